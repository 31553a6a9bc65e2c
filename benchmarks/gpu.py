"""This library, the published one and PyTorch on a GPU: `python benchmarks/gpu.py [ours] [published] [pytorch]`.

Each runs in a process of its own, alone, and must compute what this library computes from the same weights. Writes
benchmarks/results/gpu.csv, gpu.md, gpu_decode.png and gpu_layer.png.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gpu_worker import BATCH, BATCHES, HIDDEN, LAYERS, LENGTH, WIDTH, WINDOW, WINDOWS
from matplotlib.figure import Figure
from plots import LIMIT, OURS, PUBLISHED, THIRD, logarithmic

HERE = Path(__file__).parent
NAMES = {'ours': 'seqlayers', 'published': 'published library', 'pytorch': 'PyTorch'}
COLOURS = {'ours': OURS, 'published': PUBLISHED, 'pytorch': THIRD}
BANDWIDTH, OPERATIONS = 3.0e12, 7.9e14  # a second, that an H100 reaches in a copy and in a large matrix product
WEIGHTS = LAYERS * WIDTH * (4 * WIDTH + 3 * HIDDEN)  # of the products, which are nearly all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('libraries', nargs='*', help=f'some of {", ".join(NAMES)}; all by default')
    parser.add_argument('--output', type=Path, default=HERE / 'results')
    options = parser.parse_args()
    if unknown := set(options.libraries) - set(NAMES):
        parser.error(f'libraries are {", ".join(NAMES)}; got {", ".join(sorted(unknown))}')
    options.output.mkdir(exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in dict.fromkeys(['ours', *(options.libraries or NAMES)]):  # ours writes the weights for the others
            for row in measured(name, folder):
                rows.append(row)
                write_tables(rows, options.output)  # what was measured is kept if a later figure fails
            draw_decode(rows, options.output / 'gpu_decode.png')
            draw_layer(rows, options.output / 'gpu_layer.png')


def measured(name: str, folder: str) -> Iterator[dict]:
    """The rows that a library's process prints, shown as they come."""
    command = [sys.executable, str(HERE / 'gpu_worker.py'), name, folder]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith('{"table"'):
                print(line, end='', flush=True)
                yield json.loads(line)
    if process.returncode:
        print(f'{name} ended with {process.returncode}: its rows end here', file=sys.stderr)


def write_tables(rows: list[dict], folder: Path) -> None:
    keys = dict.fromkeys(key for row in rows for key in row)
    with open(folder / 'gpu.csv', 'w', newline='') as file:
        table = csv.DictWriter(file, list(keys))
        table.writeheader()
        table.writerows(rows)
    (folder / 'gpu.md').write_text(markdown(rows))


def of(rows: list[dict], table: str, **wanted: object) -> list[dict]:
    return [row for row in rows if row['table'] == table and all(row.get(k) == v for k, v in wanted.items())]


def shown(rows: list[dict], digits: int = 2) -> str:
    if not rows:
        return ''
    return rows[0].get('failed') or f'{rows[0]["milliseconds"]:.{digits}f}'


# --- the limits of the machine ----------------------------------------------------------------------------
def reading(batch: int, window: int) -> float:
    """Milliseconds to read the weights and the caches once."""
    caches = 2 * LAYERS * batch * window * WIDTH
    return 1e3 * 2 * (WEIGHTS + caches) / BANDWIDTH


def multiplying(passes: int) -> float:
    """Milliseconds for the products of weights and of the attention within its window."""
    seen = sum(min(i + 1, WINDOW) for i in range(LENGTH))
    operations = 2 * BATCH * (LENGTH * WEIGHTS + LAYERS * 2 * seen * WIDTH)
    return 1e3 * passes * operations / OPERATIONS


# --- tables -----------------------------------------------------------------------------------------------
def markdown(rows: list[dict]) -> str:
    found = {row['what']: row for row in of(rows, 'versions')}
    versions = '; '.join(
        ', '.join([row['library'], *(f'{key} {row[key]}' for key in ('jax', 'flax') if key in row)])
        for row in found.values()
    )
    lines = [
        '# On a GPU',
        '',
        f'{found["ours"]["device"]}; {versions}. Limits are those of an H100: {BANDWIDTH / 1e12:.1f} TB/s and '
        f'{OPERATIONS / 1e12:.0f} TFLOP/s. Written by `python benchmarks/gpu.py {" ".join(found)}`.',
        '',
        f'## Decoding: milliseconds a token, {LAYERS} layers of width {WIDTH} in bfloat16',
        '',
        '| batch | window | ' + ' | '.join(NAMES[name] for name in found) + ' | limit |',
        '|---|---|' + '---|' * (len(found) + 1),
    ]
    for batch in BATCHES:
        for window in WINDOWS:
            cells = [shown(of(rows, 'decode', what=name, batch=batch, window=window), 3) for name in found]
            lines.append(f'| {batch} | {window} | {" | ".join(cells)} | {reading(batch, window):.3f} |')
    limits = f'{multiplying(1):.1f} and {multiplying(3):.1f}'
    lines += [
        '',
        f'## Whole sequences: {BATCH} x {LENGTH} timesteps, window {WINDOW}; limits {limits} ms',
        '',
        *of_passes(rows, 'layer'),
        '',
        f'## Recurrences: {BATCH} x {LENGTH} timesteps of {WIDTH} channels in float32',
        '',
        *of_passes(rows, 'mixers'),
    ]
    return '\n'.join(lines) + '\n'


def of_passes(rows: list[dict], table: str) -> list[str]:
    lines = ['| | | forward, ms | gradient, ms | memory of the gradient, GB |', '|---|---|---|---|---|']
    for name, variant in dict.fromkeys((row['what'], row['variant']) for row in of(rows, table)):
        forward, gradient = (
            of(rows, table, what=name, variant=variant, **{'pass': p}) for p in ('forward', 'gradient')
        )
        memory = f'{gradient[0]["gigabytes"]:.1f}' if gradient and 'gigabytes' in gradient[0] else ''
        lines.append(f'| {NAMES[name]} | {variant} | {shown(forward)} | {shown(gradient)} | {memory} |')
    return lines


# --- pictures ---------------------------------------------------------------------------------------------
def draw_decode(rows: list[dict], path: Path) -> None:
    figure = Figure((9, 4.2), layout='constrained')
    for axes, batch in zip(figure.subplots(1, len(BATCHES), sharey=True), BATCHES, strict=True):
        for name, marker in zip(NAMES, 'osD', strict=True):
            points = [(row['window'], row.get('milliseconds')) for row in of(rows, 'decode', what=name, batch=batch)]
            kept = [(window, time) for window, time in points if time]
            if kept:
                axes.plot(*zip(*kept, strict=True), color=COLOURS[name], marker=marker, label=NAMES[name])
            for window, time in points:
                if time is None:
                    axes.annotate('out of memory', (window, kept[-1][1]), ha='right', va='bottom', fontsize=8)
        limits = [reading(batch, window) for window in WINDOWS]
        axes.plot(WINDOWS, limits, color=LIMIT, linestyle=':', label='weights and caches read once')
        axes.set_title(f'batch {batch}')
        axes.set_xlabel('timesteps in the window')
        logarithmic(axes, WINDOWS)
    figure.axes[0].set_ylabel('milliseconds a token')
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc='outside lower center', ncols=4)
    figure.suptitle(f'Decoding on an {of(rows, "versions")[0]["device"]}')
    figure.savefig(path, dpi=110)


def draw_layer(rows: list[dict], path: Path) -> None:
    figure = Figure((9, 3.4), layout='constrained')
    variants = list(dict.fromkeys((row['what'], row['variant']) for row in of(rows, 'layer')))
    labels = [f'{NAMES[name]}, {variant}' for name, variant in variants]
    for axes, what, passes in zip(figure.subplots(1, 2, sharey=True), ('forward', 'gradient'), (1, 3), strict=True):
        for place, (name, variant) in enumerate(variants):
            (row,) = of(rows, 'layer', what=name, variant=variant, **{'pass': what}) or [{'failed': 'not measured'}]
            time = row.get('milliseconds')
            axes.barh(place, time or 0, color=COLOURS[name], height=0.6)
            axes.annotate(
                f'{time:.1f}' if time else row['failed'], (time or 0, place), (4, 0), textcoords='offset points',
                va='center',
            )  # fmt: skip
        axes.axvline(multiplying(passes), color=LIMIT, linestyle=':')
        axes.set_title(f'{what}; dotted: products alone')
        axes.set_xlabel('milliseconds')
        axes.margins(x=0.18)
        axes.set_yticks(range(len(labels)), labels)
    figure.axes[0].invert_yaxis()
    figure.savefig(path, dpi=110)


if __name__ == '__main__':
    main()
