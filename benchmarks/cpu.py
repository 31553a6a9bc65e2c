"""This library beside the published one on the CPU: `python benchmarks/cpu.py PYTHON`.

PYTHON is the interpreter of an environment with the published library, of the same JAX:
`python -m venv peer; peer/bin/pip install sequence-layers jax==<the version here>`. Both libraries run in processes of
their own, in turn, and must compute the same; of each figure the least of all rounds counts. Writes
benchmarks/results/cpu.csv and cpu.md.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import jax

HERE = Path(__file__).parent


def run(python: str, library: str, weights: str) -> dict[str, float]:
    print(f'  {library} ...', flush=True)
    environment = {**os.environ, 'PYTHONPATH': str(HERE.parent)} if library == 'ours' else dict(os.environ)
    command = [python, str(HERE / 'worker.py'), library, weights]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f'{library} failed:\n{done.stderr[-3000:]}')
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('python', help='interpreter of an environment with the published library')
    parser.add_argument('--rounds', type=int, default=3)
    arguments = parser.parse_args()
    rounds: dict[str, list] = {'ours': [], 'published': []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            print(f'round {number + 1} of {arguments.rounds}', flush=True)
            for library, python in (('ours', sys.executable), ('published', arguments.python)):
                rounds[library].append(run(python, library, f'{folder}/weights.npz'))
    best = {library: {k: min(r[k] for r in found) for k in found[0]} for library, found in rounds.items()}
    write(best)


def write(best: dict[str, dict[str, float]]) -> None:
    folder = HERE / 'results'
    folder.mkdir(exist_ok=True)
    rows = [(what, ours, best['published'].get(what)) for what, ours in best['ours'].items()]
    with open(folder / 'cpu.csv', 'w', newline='') as file:
        table = csv.writer(file)
        table.writerow(['what', 'seqlayers, s', 'published, s', 'ratio'])
        table.writerows([w, f'{a:.6f}', f'{b:.6f}' if b else '', f'{a / b:.3f}' if b else ''] for w, a, b in rows)
    lines = [
        '# Eight Conformer blocks of width 144 on the CPU, batch 1',
        '',
        f'{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, '
        f'JAX {jax.__version__}; written by `python benchmarks/cpu.py`. The least of all rounds.',
        '',
        '| | seqlayers | published 0.2 | ratio |',
        '|---|---|---|---|',
        *(
            f'| {w} | {1e3 * a:.3g} ms | {f"{1e3 * b:.3g} ms" if b else ""} | {f"{a / b:.2f}" if b else ""} |'
            for w, a, b in rows
        ),
    ]
    text = '\n'.join(lines) + '\n'
    (folder / 'cpu.md').write_text(text)
    print(text)


if __name__ == '__main__':
    main()
