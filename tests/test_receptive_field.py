"""The receptive field: published numbers, and `deps` against what perturbing every input changes."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from seqlayers.intervals import IntervalSet
from seqlayers.padding import transposed_window, window
from seqlayers.timing import SerialTiming, Timing, bidirectional, parallel, repeat, serial
from tests.stream_contract import random_model
from tests.streams import (
    Bidirectional,
    Convolution,
    Recurrent,
    Serial,
    Transposed,
    downsample,
    garbage,
    upsample,
)

INF = math.inf


def conv(k, s=1, d=1, padding='causal'):
    return window(k, s, d, padding).timing


def transposed(k, s, d=1, padding='causal'):
    return transposed_window(k, s, d, padding).timing


# Interval sets.


def test_intervals_are_merged():
    assert IntervalSet([(4, 6), (0, 1), (2, 2), (5, 9)]).intervals == ((0, 2), (4, 9))
    assert IntervalSet([(3, INF), (-INF, 2)]).intervals == ((-INF, INF),)
    assert IntervalSet([(0, 9), (2, 3), (5, 5)]).intervals == ((0, 9),)
    assert IntervalSet.points([3, 1, 2, 5]) == IntervalSet([(1, 3), (5, 5)])


def test_interval_operations():
    some = IntervalSet([(0, 2), (5, 5)])
    assert some.shift(3) == IntervalSet([(3, 5), (8, 8)])
    assert some.mirror(5) == IntervalSet([(0, 0), (3, 5)])
    assert IntervalSet.union([some, IntervalSet([(3, 4)])]) == IntervalSet([(0, 5)])
    assert (some.hull, IntervalSet().hull) == ((0, 5), None)
    assert [i for i in range(8) if i in some] == [0, 1, 2, 5]
    assert (bool(some), bool(IntervalSet())) == (True, False)
    assert IntervalSet([(-INF, 3)]).shift(2).mirror(0) == IntervalSet([(-5, INF)])


# Four ways to state a field.


def test_forms_of_a_field():
    half = Fraction(1, 2)
    assert Timing(output_ratio=half, receptive_field=(-1, 2)).deps(3) == IntervalSet([(5, 8)])
    assert Timing(receptive_field=None).receptive_field is None
    table = Timing(output_ratio=2, receptive_field={0: (-1, 0), 1: None})
    assert [table.deps(o).intervals for o in (-2, -1, 6, 7)] == [((-2, -1),), (), ((2, 3),), ()]
    assert table.receptive_field_per_step == {0: (-1, 0), 1: None}
    chunks = Timing(receptive_field=lambda o: IntervalSet([(o // 3 * 3 - 3, o // 3 * 3 + 2)]), period=3)
    assert chunks.receptive_field_per_step == {0: (-3, 2), 1: (-4, 1), 2: (-5, 0)}
    assert chunks.receptive_field == (-5, 2)


def test_a_table_repeats_until_it_fits_the_ratio():
    timing = Timing(output_ratio=2, receptive_field={0: (0, 1)})
    assert timing.receptive_field_per_step == {0: (0, 1), 1: (0, 1)}


def test_dilated_windows_read_their_taps_only():
    assert conv(3, 2, 3).deps(4) == IntervalSet.points([2, 5, 8])


# Published numbers.


@pytest.mark.parametrize(
    'layers, table',
    [
        ([], {0: (0, 0)}),
        ([conv(5, padding='same')] * 4, {0: (-8, 8)}),
        (
            [conv(5, 2, padding='same'), transposed(6, 4, padding='same')],
            {0: (-4, 2), 1: (-2, 2), 2: (-3, 1), 3: (-3, 3)},
        ),
        # The next two are narrower in the published library, which takes too short a period.
        (
            [transposed(5, 2, padding='same'), upsample(2).timing],
            {0: (-1, 0), 1: (-1, 0), 2: (-1, 1), 3: (-1, 1)},
        ),
        ([transposed(3, 2), transposed(2, 2)], {0: (-1, 0), 1: (-1, 0), 2: (0, 0), 3: (0, 0)}),
        ([downsample(2).timing, Recurrent.timing], {0: (-INF, 0)}),
        ([Recurrent.timing, upsample(2).timing], {0: (-INF, 0), 1: (-INF, 0)}),
        ([Timing(receptive_field=(-INF, INF)), conv(3)], {0: (-INF, INF)}),
        ([conv(3, padding='reverse_causal'), Timing(receptive_field=(-INF, 2))], {0: (-INF, 4)}),
        ([conv(3), Timing(receptive_field=(1, INF))], {0: (-1, INF)}),
        ([conv(3), Timing(receptive_field=None)], {0: None}),
    ],
)
def test_chains(layers, table):
    assert serial(layers).receptive_field_per_step == table


def test_sets_between_layers_not_hulls():
    """Between the taps of the second layer lies an output of the first that reads nothing."""
    timing = serial([transposed(2, 2, 2), conv(3, 1, 3, 'reverse_causal')])
    assert timing.deps(9) == IntervalSet([(5, 6)])
    assert timing.receptive_field == (-1, 3)


def test_parallel_expands_to_a_common_period():
    timing = parallel([serial([upsample(2).timing, upsample(3).timing]), serial([transposed(9, 6)])])
    assert timing.receptive_field_per_step == {o: (-1, 0) if o < 3 else (0, 0) for o in range(6)}


def test_repeat_is_the_chain():
    child = serial([conv(3, 2), transposed(4, 2, padding='same')])
    assert repeat(child, 3).receptive_field_per_step == serial([child] * 3).receptive_field_per_step
    assert repeat(conv(3, padding='same'), 4).receptive_field == (-4, 4)


def test_deep_models_stay_small():
    """Long fields are intervals, not points: twelve layers of 4097 timesteps each are read at once."""
    attention = Timing(receptive_field=(-4096, 2), output_latency=2, input_latency=2)
    model = repeat(serial([parallel([serial([]), serial([attention])]), conv(3)]), 12)
    assert model.receptive_field == (-12 * 4098, 24)
    assert model.deps(100_000).intervals == ((100_000 - 12 * 4098, 100_024),)


def test_bidirectional_by_hand():
    assert bidirectional(conv(3), conv(3)).receptive_field_per_step == {0: (-2, 2)}
    assert bidirectional(conv(3, 2), conv(3, 2)).receptive_field == (-2, 3)
    assert bidirectional(Recurrent.timing, Recurrent.timing).receptive_field == (-INF, INF)


# Perturbation.


def compare(node, rng, length, outputs):
    """What each of `outputs` reads according to `deps`, against what changes when any input does."""
    mask = np.ones(length, bool)
    values = garbage(length)
    reference, valid = node.layer((values, mask))
    changed = {o: [] for o in outputs if o < len(valid) and valid[o]}
    assert changed, 'no output to compare'
    for i in range(length):
        moved = values.copy()
        moved[i] += int(rng.integers(1, 2**30))
        y, _ = node.layer((moved, mask))
        for o in changed:
            if y[o] != reference[o]:
                changed[o].append(i)
    for o, inputs in changed.items():
        deps = node.timing.deps(o)
        found = IntervalSet.points(inputs)
        if deps and math.isinf(deps.hull[0]):
            assert found.hull[1] == deps.hull[1], f'output {o} reads {found}, not {deps}'
        else:
            assert found == deps, f'output {o} reads {found}, not {deps}'


def compare_in_the_middle(node, rng):
    """One period of outputs, so far from both ends that nothing they read, layer by layer, is padding."""
    timing = node.timing
    first, last = timing.receptive_field or (0, 0)
    reach = int(max(-first if first > -INF else 0, last)) + 40
    start = int(reach * timing.output_ratio)
    start -= start % timing.period
    length = 2 * reach + int(timing.period / timing.output_ratio)
    if length < 150:
        compare(node, rng, length, range(start, start + timing.period))
    return length < 150


@pytest.mark.parametrize('block', range(4))
def test_deps_of_random_models(block):
    done = 0
    for seed in range(1000 + 16 * block, 1016 + 16 * block):
        model, rng = random_model(seed)
        if model.timing.period <= 12:
            done += compare_in_the_middle(model, rng)
    assert done >= 5


def test_deps_of_bidirectional():
    rng = np.random.default_rng(0)
    children = [
        Convolution(3, 1, 1, 'causal'),
        Convolution(2, 1, 2, 'reverse_causal'),
        Serial(Convolution(3, 2, 1, 'causal'), Transposed(3, 2, 1, 'causal')),
        Serial(downsample(3), upsample(3), Convolution(2, 1, 1, 'causal')),
    ]
    for forward, backward in itertools.product(children, children):
        node = Bidirectional(forward, backward)
        for length in (48, 50):  # ends that are, and are not, whole phases of the backward child
            compare(node, rng, length, range(24, 24 + node.timing.period))


def check_period(timing):
    shift = int(timing.period / timing.output_ratio)
    for o in range(min(timing.period, 24)):
        for n in (-1, 1, 2):
            assert timing.deps(o + n * timing.period) == timing.deps(o).shift(n * shift)


@pytest.mark.parametrize('seed', range(40))
def test_the_period_is_one(seed):
    model, _ = random_model(seed)
    check_period(model.timing)


def common_multiple_of_periods(monkeypatch):
    monkeypatch.setattr(SerialTiming, 'period', property(lambda self: math.lcm(*(c.period for c in self.children))))


def hulls_between_layers(monkeypatch):
    def reads(self, outputs):
        for child in reversed(self.children):
            outputs = IntervalSet(filter(None, [child.reads(outputs).hull]))
        return outputs

    monkeypatch.setattr(SerialTiming, 'reads', reads)


def test_mutant_of_the_period(monkeypatch):
    """The published period of this model is 2, and then its field is too narrow; the true one is 4."""
    layers = [transposed(3, 2), transposed(2, 2)]
    check_period(serial(layers))
    common_multiple_of_periods(monkeypatch)
    assert serial(layers).period == 2
    with pytest.raises(AssertionError):
        check_period(serial(layers))


def test_mutant_of_the_sets(monkeypatch):
    rng = np.random.default_rng(0)
    model = Serial(Transposed(2, 2, 2, 'causal'), Convolution(3, 1, 3, 'reverse_causal'))
    assert compare_in_the_middle(model, rng)
    hulls_between_layers(monkeypatch)
    with pytest.raises(AssertionError, match='reads IntervalSet'):
        compare_in_the_middle(model, rng)
