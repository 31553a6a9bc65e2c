"""What a change costs in the architecture lab: `python benchmarks/lab.py`. Writes benchmarks/results/lab.md.

One line a model and view, in milliseconds. A tick of the slider: its processor time, and that of the worst of many.
A change of the model, which is traced and compiled anew: wall time until its numbers are there, latency, receptive
field, parameters and state, beside the words that the lab is working; and until its picture is there. Medians, of a few
changes. Below, the same as seen in JupyterLab in a browser, by its test: from the event until the picture has changed.
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


def ticks(lab: Any) -> list[float]:
    """Milliseconds of processor time that moves of the slider take."""
    slider, positions, times = lab.picture.slider, lab.picture.view.positions, []
    for i in range(TICKS):
        start = time.process_time()
        slider.value = positions[i % len(positions)]
        times.append(1e3 * (time.process_time() - start))
    return times[1:]  # the first finds the slider where it is


def change(lab: Any, name: str) -> tuple[float, float]:
    """Milliseconds from a change of a field until the numbers of the model are there, and until its picture is."""
    told = []
    lab.widgets.numbers.observe(lambda _: told.append(time.perf_counter()), 'value')
    start = time.perf_counter()
    lab.fields.controls['name'].value = repr(name)
    lab.widgets.numbers.unobserve_all('value')
    return 1e3 * (told[-1] - start), 1e3 * (time.perf_counter() - start)


def in_the_kernel() -> list[str]:
    rows = ['| model | view | tick | worst tick | numbers | picture |', '|---|---|---|---|---|---|']
    for name, (declaration, spec) in MODELS.items():
        lab = open_lab(declaration, spec)
        lab.widgets.tree.value = (('layers', 0),)
        for view in lab.picture.choice.options:
            lab.picture.choice.value = view
            ticked = ticks(lab)
            changes = [change(lab, f'{view}_{i}') for i in range(CHANGES)]
            told, shown = (statistics.median(times) for times in zip(*changes, strict=True))
            times = statistics.median(ticked), max(ticked), told, shown
            rows.append(f'| {name} | {view} | {" | ".join(f"{ms:.0f}" for ms in times)} |')
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
