"""What a change costs in the architecture lab: `python benchmarks/lab.py`. Writes benchmarks/results/lab.md.

One line a model and view: milliseconds of wall time for a tick of the slider (the median of many), and for a change of
the model, which is traced and compiled anew (the median of a few). The block diagram and the receptive field need
no building. Below, the same as seen in JupyterLab in a browser, by its test: from the event until the picture has
changed.
"""

import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax

import seqlayers as sl
from viz.lab import open_lab
from viz.lab.gallery import GALLERY, looks_ahead

VECTORS = sl.ChannelSpec((8,))
MODELS = {
    'convolutions that look ahead': (looks_ahead(), VECTORS),
    'streaming Conformer': GALLERY['streaming Conformer'](),
    '12 Transformer layers': (
        sl.Serial([sl.Dense(8), *[sl.models.transformer_block(8, num_heads=2, past=8).replace(name=None)] * 12]),
        VECTORS,
    ),
    '50 convolutions': (sl.Serial([sl.Conv1D(8, 3, padding='causal') for _ in range(50)]), VECTORS),
}
TICKS, CHANGES = 20, 3
ROOT = Path(__file__).parent.parent


def milliseconds(widget: Any, values: list) -> float:
    """The median time to set a widget to one of the values."""
    times = []
    for value in values:
        start = time.perf_counter()
        widget.value = value
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def in_the_kernel() -> list[str]:
    rows = ['| model | view | tick, ms | change, ms |', '|---|---|---|---|']
    for name, (declaration, spec) in MODELS.items():
        lab = open_lab(declaration, spec)
        lab.widgets.tree.value = (('layers', 0),)
        for view in lab.picture.choice.options:
            lab.picture.choice.value = view
            positions = lab.picture.view.positions
            tick = milliseconds(lab.picture.slider, [positions[i % len(positions)] for i in range(TICKS)])
            names = [repr(f'{view}_{i}') for i in range(CHANGES)]
            change = milliseconds(lab.fields.controls['name'], names)
            rows.append(f'| {name} | {view} | {tick:.0f} | {change:.0f} |')
            print(rows[-1], flush=True)
            jax.clear_caches()
    return rows


def in_the_browser() -> list[str]:
    command = [sys.executable, '-m', 'pytest', '-q', '-s', 'tests/browser/test_lab.py']
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rows = [f'| {what} | {ms} |' for what, ms in re.findall(r'^(\w.*?) +(\d+) ms$', printed, re.M)]
    return ['| in JupyterLab, some convolutions | ms |', '|---|---|', *rows]


def main() -> None:
    where = f'{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, JAX {jax.__version__}'
    lines = ['# Ticks and changes in the architecture lab', '', f'{where}; written by `python benchmarks/lab.py`.', '']
    text = '\n'.join([*lines, *in_the_kernel(), '', *in_the_browser(), ''])
    (ROOT / 'benchmarks' / 'results').mkdir(exist_ok=True)
    (ROOT / 'benchmarks' / 'results' / 'lab.md').write_text(text)
    print(text)


if __name__ == '__main__':
    main()
