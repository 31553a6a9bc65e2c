"""Known defects of the published library, part three: receptive fields.

The numbers are those of our list of them. Here `reads` measures by gradients which inputs each output depends on.
"""

import math

import numpy as np
import pytest

import seqlayers as sl
from tests.defects.helpers import build, conv, line, reads, transposed

INF = math.inf


def measured_table(layer, channels=(1,), dtype='float32', time=12):
    """What one period of outputs in the middle of a sequence reads: first and last input, as timing counts them."""
    period, middle = len(layer.receptive_field_per_step), math.floor(time / 2 * layer.output_ratio)
    found, table = reads(layer, time, channels, dtype), {}
    for o in range(middle, middle + period):
        now = math.floor(o / layer.output_ratio)
        table[o % period] = (found[o][0] - now, found[o][-1] - now) if found[o] else None
    return table


def held(rate):
    """Every `rate`-th timestep, held until the next one."""
    return sl.Serial([sl.Downsample1D(rate), sl.Upsample1D(rate)])


def both_ways(layer):
    return sl.Bidirectional(layer, layer, combination='add')


@pytest.mark.parametrize(
    ('layer', 'table'),
    [
        # Published with the period 2, and so too narrow: in the first only (-1, 0).
        (
            sl.Serial([transposed(5, strides=2, padding='same'), sl.Upsample1D(2)]),
            {0: (-1, 0), 1: (-1, 0), 2: (-1, 1), 3: (-1, 1)},
        ),
        (
            sl.Serial([transposed(3, strides=2, padding='causal'), transposed(2, strides=2, padding='causal')]),
            {0: (-1, 0), 1: (-1, 0), 2: (0, 0), 3: (0, 0)},
        ),
        # Published as the union of entries 0, 1 and 2, although one table has 2 of them and the other 3.
        (
            sl.Parallel([held(2), held(3)], combination='add'),
            {0: (0, 0), 1: (-1, -1), 2: (-2, 0), 3: (-1, 0), 4: (-1, 0), 5: (-2, -1)},
        ),
        # Published with the backward child out of phase by one, and strided children wrong: the first is (-2, 2).
        (both_ways(conv(3, strides=2, padding='causal')), {0: (-2, 3)}),
        (both_ways(transposed(3, strides=2, padding='causal')), {0: (-1, 0), 1: (0, 1)}),
    ],
)
def test_q4_fields_of_compositions(layer, table):
    assert layer.receptive_field_per_step == table
    assert measured_table(layer) == table


@pytest.mark.parametrize(
    ('first', 'table'),
    [
        # Every other output of the first layer reads nothing, but the outputs before it do.
        (transposed(1, strides=2, padding='causal'), {0: (-INF, 0), 1: (-INF, 0)}),
        # The output before reads further ahead.
        (
            sl.Serial([conv(3, strides=2, padding='reverse_causal'), sl.Upsample1D(2)]),
            {0: (-INF, 2), 1: (-INF, 1)},
        ),
    ],
)
def test_q4_the_field_of_a_layer_that_reads_all_of_its_past(first, table):
    """Published: what the last output of the layer before reads, as if that were always the most."""
    layer = sl.Serial([first, sl.GroupNormalization(1, cumulative=True)])
    assert layer.receptive_field_per_step == table
    last = {phase: end and end[1] for phase, end in measured_table(layer).items()}
    assert last == {phase: end for phase, (_, end) in table.items()}


def test_q4_fields_of_windows_of_integers():
    """Published: the field of an inverse STFT with padding 'semicausal_full', and those of integer windows, are
    wrong."""

    def window(length):
        return np.array([0, 1, 2, 1])

    stft = sl.STFT(4, 2, 4, window_fn=window)
    assert stft.receptive_field_per_step == measured_table(stft, channels=()) == {0: (1, 3)}
    plain = sl.InverseSTFT(4, 2, 4, window_fn=None, time_padding='semicausal_full')
    windowed = plain.replace(window_fn=window)
    for layer, table in ((plain, {0: (0, 1), 1: (0, 1)}), (windowed, {0: (0, 0), 1: (0, 1)})):
        assert layer.receptive_field_per_step == measured_table(layer, (3,), 'complex64') == table


def test_q25_timing_knows_timesteps_and_not_channels():
    """Kept as published: the field of frames that are put together again is an upper bound.

    `check_contract` says so, unless it is told that the field need not be exact."""
    layer = sl.Serial([sl.Frame(4, 2), sl.OverlapAdd(4, 2, padding='causal')])
    assert layer.receptive_field == (-3, 3)
    assert reads(layer, 12, channels=())[2:9] == [[t] for t in range(2, 9)]
    model = build(layer, line([1.0]))
    clauses = ['receptive field']
    assert sl.testing.check_contract(model, exact_receptive_field=False, clauses=clauses).passed
    report = sl.testing.check_contract(model, clauses=clauses)
    assert not report.passed and 'declares inputs' in report['receptive field'].detail
