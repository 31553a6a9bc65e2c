"""The parts of `benchmarks/cpu.py`, on something small and without the published library."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent.parent / 'benchmarks'))

import cpu
from worker import Worker

VERSIONS = 'jax 1, flax 1'


@pytest.fixture(scope='module')
def worker():
    worker = Worker('ours')
    worker.declare('lstm', {})
    worker.model.build(worker._input(4))
    return worker


def test_requests_of_the_plan_are_figures_of_the_worker(worker):
    for _, request, _, _ in cpu.EIGHT_BLOCKS:
        assert callable(getattr(worker, request))


@pytest.mark.parametrize(
    'request_, arguments',
    [
        ('eager_step', {}),
        ('trace_and_compile', {}),
        ('compiled_layer', {'size': 4}),
        ('compiled_gradient', {'size': 4}),
        ('compiled_step', {'size': 2, 'batch': 3}),
        ('module_step', {}),
        ('push', {'size': 2}),
        ('operations', {}),
        ('bandwidth', {'size': 2**20}),
    ],
)
def test_a_figure_is_measured(worker, request_, arguments):
    assert getattr(worker, request_)(**arguments) > 0


def test_bytes_are_those_of_the_arrays(worker):
    width = 144
    assert worker.weight_bytes() == 4 * (2 * width * 4 * width + 4 * width)
    assert worker.state_bytes(batch=3) == 3 * 2 * 4 * width


def test_other_outputs_are_not_compared(worker, tmp_path):
    path = str(tmp_path / 'weights.npz')
    worker.check(path)
    worker.check(path)
    with np.load(path) as data:
        stored = dict(data)
    np.savez(path, **{**stored, 'outputs': stored['outputs'] + 0.01})
    with pytest.raises(SystemExit, match='nothing is compared'):
        worker.check(path)


def test_two_processes_take_turns(tmp_path):
    with cpu.Pair({'ours': sys.executable}, str(tmp_path)) as pair:
        pair.declare('lstm')
        pair.check('lstm')
        row = pair.measure(cpu.Row('blocks', 'lstm', 2, 'push', limit=pair.limit(2, 1)), turns=2, size=2)
    assert len(row.ours) == len(row.other) == 2


def test_the_ratio_is_the_median_over_turns():
    assert cpu.Row('growth', 'window', 1, 'compiled_step', [1.0, 20.0, 3.0], [2.0, 20.0, 12.0]).ratio == 0.5


def test_tables_and_pictures_are_written(tmp_path):
    rows = [cpu.Row('eight blocks', 'build', 0, 'build', [1.0], [4.0], aim=0.5)]
    rows += [cpu.Row('blocks', 'lstm', n, r, [1e-3], [2e-3], limit=1e-4) for n in (1, 4) for r in cpu.OURS_ALONE]
    rows += [cpu.Row('lengths', 'lstm', 200, r, [1e-3], [2e-3]) for r in ('compiled_layer', 'compiled_gradient')]
    rows += [cpu.Row('growth', 'window', 32, 'compiled_step', [1e-3], [2e-3], limit=1e-4)]
    cpu.write(rows, VERSIONS, tmp_path)
    with open(tmp_path / 'cpu.csv', newline='') as file:
        assert [float(row['ratio']) for row in csv.DictReader(file)] == [0.25] + [0.5] * 7
    text = (tmp_path / 'cpu.md').read_text()
    assert VERSIONS in text
    assert '| build |  | 1 s | 4 s | published | 0.25 | 0.5 |  |' in text
    assert len(list(tmp_path.glob('cpu_*.png'))) == 4
