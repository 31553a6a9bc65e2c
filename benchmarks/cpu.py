"""This library beside the published one on the CPU: `python benchmarks/cpu.py PYTHON`.

PYTHON is the interpreter of an environment with the published library (see benchmarks/README.md). Each library runs
in a process of its own; both must compute the same from the same weights, then they take turns, figure by figure.
Writes benchmarks/results/cpu.csv, cpu.md and cpu_*.png.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import plots

HERE = Path(__file__).parent
FRESH = 3  # pairs of new processes for what happens once in a process
TURNS = 3  # of two processes, for what can be repeated
BEGIN = time.monotonic()
SIZES = (1, 2, 4, 8, 16, 32, 64)

# What is measured of eight Conformer blocks: the words for it, the request, and the ratio that is aimed at.
EIGHT_BLOCKS = (
    ('import, with JAX and Flax', 'import_seconds', {}, 0.8),
    ('build', 'build', {}, 0.2),
    ('eager layer, 200 timesteps', 'eager_layer', {'size': 200}, 0.4),
    ('eager step', 'eager_step', {}, 0.4),
    ('trace and compile a step', 'trace_and_compile', {}, 0.7),
    ('compiled step', 'compiled_step', {}, 0.6),
    ('compiled step, the module as argument', 'module_step', {}, None),
    ('Stream.push of one timestep', 'push', {}, 1.15),
    ('compiled layer, 200 timesteps', 'compiled_layer', {'size': 200}, None),
    ('compiled gradient, 200 timesteps', 'compiled_gradient', {'size': 200}, None),
    ('temporary memory of the layer', 'layer_temporaries', {'size': 200}, None),
    ('state of a stream', 'state_bytes', {}, None),
    ('memory of the process, at its peak', 'peak_memory', {}, None),
)
# The published library has no such thing; they are compared with the compiled step of this one.
OURS_ALONE = ('module_step', 'push')


@dataclass
class Row:
    """A figure in seconds or bytes: of this library, and of what it is compared with, turn by turn."""

    table: str
    what: str
    at: int  # the place on the axis of a plot
    request: str
    ours: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    aim: float | None = None
    limit: float | None = None  # seconds that the machine needs for the products alone

    @property
    def medians(self) -> tuple[float, float]:
        return statistics.median(self.ours), statistics.median(self.other)

    @property
    def ratio(self) -> float:
        """The median over turns next to each other, in which the machine is as busy with other things."""
        return statistics.median(a / b for a, b in zip(self.ours, self.other, strict=True))


class Pair:
    """A process of each library. They read the same weights from files in `folder`."""

    def __init__(self, pythons: dict[str, str], folder: str):
        self.folder, self.processes = folder, {}
        # What is compiled is not to come from a cache, but the bytecode of Python is, for both.
        environment = {**os.environ, 'PYTHONPATH': str(HERE.parent), 'JAX_ENABLE_COMPILATION_CACHE': 'false'}
        environment.pop('PYTHONDONTWRITEBYTECODE', None)
        for name, python in pythons.items():
            command = [python, str(HERE / 'worker.py'), name]
            self.processes[name] = subprocess.Popen(
                command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            self.ask(name, 'import_seconds')  # so that they do not start at the same time

    def __enter__(self) -> 'Pair':
        return self

    def __exit__(self, *error: Any) -> None:
        for process in self.processes.values():
            process.communicate()

    def ask(self, name: str, request: str, **arguments: Any) -> Any:
        process = self.processes[name]
        print(json.dumps([request, arguments]), file=process.stdin, flush=True)
        answer = process.stdout.readline()
        if not answer:
            raise SystemExit(f'{name} failed at {request} {arguments}; its message stands above')
        return json.loads(answer)

    def declare(self, model: str, **arguments: Any) -> None:
        for name in self.processes:
            self.ask(name, 'declare', model=model, arguments=arguments)

    def check(self, key: str) -> None:
        for name in self.processes:
            self.ask(name, 'check', path=f'{self.folder}/{key}.npz')

    def measure(self, row: Row, turns: int = 1, **arguments: Any) -> Row:
        beside = ('ours', 'compiled_step') if row.request in OURS_ALONE else ('published', row.request)
        for _ in range(turns):
            row.ours.append(self.ask('ours', row.request, **arguments))
            row.other.append(self.ask(*beside, **arguments))
        print(f'{time.monotonic() - BEGIN:4.0f} s  {row.table}, {row.what}, {row.at}: {row.ratio:.2f}', flush=True)
        return row

    def limit(self, size: int, batch: int) -> float:
        """Seconds for the products of a step: all weights and caches are read once, and each number is multiplied and
        added for each timestep.
        """
        weights, state = self.ask('ours', 'weight_bytes'), self.ask('ours', 'state_bytes', batch=batch)
        reading = (weights + state) / self.ask('ours', 'bandwidth', size=weights + state)
        return max(reading, 2 * size * (weights * batch + state) / 4 / self.ask('ours', 'operations'))


def eight_blocks(rows: list[Row], pair: Pair) -> None:
    """Adds a value of each figure."""
    pair.declare('conformer')
    for row, (_, request, arguments, _) in zip(rows, EIGHT_BLOCKS, strict=True):
        pair.measure(row, **arguments)
        if request == 'build':
            pair.check('conformer')


def blocks(pair: Pair) -> Iterator[Row]:
    """Steps of more timesteps at once."""
    for model, sizes in (('conformer', SIZES), ('convolutions', SIZES), ('lstm', SIZES[::2]), ('rglru', SIZES[::2])):
        pair.declare(model)
        pair.check(model)
        for size in sizes:
            limit = pair.limit(size, 1)
            for request in ('compiled_step', 'push'):
                row = Row('blocks', model, size, request, limit=limit)
                yield pair.measure(row, TURNS, size=size)


def mixers(pair: Pair) -> Iterator[Row]:
    """What mixes over time, on longer and longer sequences, as a layer and in its gradient."""
    for model in ('lstm', 'rglru', 'attention', 'conformer'):
        arguments = {'blocks': 2} if model == 'conformer' else {}
        pair.declare(model, **arguments)
        pair.check(f'{model}{arguments}')
        for length in (200, 800, 3200):
            for request in ('compiled_layer', 'compiled_gradient'):
                yield pair.measure(Row('lengths', model, length, request), size=length)


def growth(pair: Pair) -> Iterator[Row]:
    """Steps of one timestep of Conformers that are larger in one way."""
    cases = [
        *(('window', window, {'blocks': 2, 'window': window}, 1) for window in (32, 128, 512, 2048, 8192)),
        *(('layers', layers, {'blocks': layers}, 1) for layers in (1, 2, 4, 8, 16)),
        *(('batch', batch, {'blocks': 2}, batch) for batch in (1, 4, 16, 64)),
    ]
    for what, at, arguments, batch in cases:
        pair.declare('conformer', **arguments)
        pair.check(f'conformer{arguments}')
        row = Row('growth', what, at, 'compiled_step', limit=pair.limit(1, batch))
        yield pair.measure(row, TURNS, batch=batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('python', help='interpreter of an environment with the published library')
    pythons = {'ours': sys.executable, 'published': parser.parse_args().python}
    rows = [Row('eight blocks', what, 0, request, aim=aim) for what, request, _, aim in EIGHT_BLOCKS]
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(FRESH):
            with Pair(pythons, folder) as pair:
                eight_blocks(rows, pair)
        with Pair(pythons, folder) as pair:
            rows += [*blocks(pair), *mixers(pair), *growth(pair)]
            versions = pair.ask('published', 'versions')
    write(rows, versions, HERE / 'results')


def write(rows: list[Row], versions: str, folder: Path) -> None:
    """The tables and the pictures."""
    folder.mkdir(exist_ok=True)
    with open(folder / 'cpu.csv', 'w', newline='') as file:
        table = csv.DictWriter(file, [*(f.name for f in fields(Row)), 'ratio'])
        table.writeheader()
        for row in rows:
            table.writerow({**asdict(row), 'ratio': row.ratio})
    title = f'{processor()}, {os.cpu_count()} cores; Python {sys.version.split()[0]}, {versions}'
    (folder / 'cpu.md').write_text(markdown(rows, title))
    plots.ratios([row for row in rows if row.aim], title, folder / 'cpu_ratios.png')
    for table in ('blocks', 'lengths', 'growth'):
        plots.growth([row for row in rows if row.table == table], title, folder / f'cpu_{table}.png')


def processor() -> str:
    with open('/proc/cpuinfo') as file:
        names = [line.split(':')[1].strip() for line in file if line.startswith('model name')]
    return names[0]


def markdown(rows: list[Row], title: str) -> str:
    lines = ['# Beside the published library, on the CPU', '', f'{title}.', '']
    lines += ['Written by `make bench`; what it measures, and how, stands in [README](../README.md).']
    for table in dict.fromkeys(row.table for row in rows):
        lines += ['', f'## {table.capitalize()}', '']
        lines += ['| | at | seqlayers | beside | | ratio | aim | limit |', '|---|---|---|---|---|---|---|---|']
        lines += [line(row) for row in rows if row.table == table]
    return '\n'.join(lines) + '\n'


def line(row: Row) -> str:
    show = in_bytes if row.request in ('layer_temporaries', 'state_bytes', 'peak_memory') else in_seconds
    ours, other = map(show, row.medians)
    beside = 'its compiled step' if row.request in OURS_ALONE else 'published'
    limit = in_seconds(row.limit) if row.limit else ''
    what = row.what if not row.at else f'{row.what}: {row.request.replace("_", " ")}'
    cells = [what, row.at or '', ours, other, beside, f'{row.ratio:.2f}', row.aim or '', limit]
    return '| ' + ' | '.join(map(str, cells)) + ' |'


def in_seconds(value: float) -> str:
    return f'{value:.3g} s' if value >= 1 else f'{1e3 * value:.3g} ms'


def in_bytes(value: float) -> str:
    return f'{value / 1e6:,.3g} MB'


if __name__ == '__main__':
    main()
