"""The algebra of time against numbers known from the design, and against a simulator of streams."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from seqlayers.padding import Window, window
from seqlayers.timing import (
    ParallelTiming,
    RepeatTiming,
    SerialTiming,
    Timing,
    bidirectional,
    blockwise,
    parallel,
    repeat,
    serial,
)
from tests.stream_contract import check, check_contract, check_end, masks, random_model
from tests.streams import (
    Bidirectional,
    Blockwise,
    Chunks,
    Convolution,
    Delay,
    Lookahead,
    Parallel,
    Recurrent,
    Repeat,
    Serial,
    Transposed,
    concat,
    cut,
    downsample,
    garbage,
    invalid,
    position,
    upsample,
)


def conv(kernel_size, stride, padding):
    return window(kernel_size, stride, 1, padding).timing


DOWN = {rate: downsample(rate).timing for rate in (2, 3, 4, 6)}
UP = {rate: upsample(rate).timing for rate in (2, 3, 4)}
AHEAD = {n: Lookahead(n).timing for n in (1, 2, 3)}


def rng(seed=0):
    return np.random.default_rng(seed)


# Leaves.


def test_defaults_come_from_the_ratio():
    timing = Timing(output_ratio=Fraction(3, 2))
    assert (timing.block_size, timing.align, timing.phase, timing.period) == (2, 2, 2, 3)
    assert (timing.input_latency, timing.output_latency, timing.supports_step) == (0, 0, True)


@pytest.mark.parametrize('numbers', [{'block_size': 3}, {'align': 1}, {'period': 2}])
def test_numbers_that_contradict_the_ratio(numbers):
    with pytest.raises(ValueError, match=r'denominator, not|numerator, not'):
        Timing(output_ratio=Fraction(3, 2), **numbers)


def test_misaligned_offset():
    for query in (DOWN[2].output_offset, lambda a: DOWN[2].flush(0, a)):
        with pytest.raises(ValueError, match='a multiple of 2 timesteps, but is 3'):
            query(3)


def test_resampling():
    assert [DOWN[3].flush(f, 0) for f in range(5)] == [2, 5, 8, 11, 14]
    assert [UP[3].flush(f, 0) for f in range(5)] == [0, 1, 1, 1, 2]
    assert [UP[3].output_offset(a) for a in range(5)] == [0, 3, 6, 9, 12]


def test_a_rule_of_its_own():
    """Attention to a source that streams too: what arrived while the stream was void need not be awaited."""

    class Source(Timing):
        def output_offset(self, offset):
            return max(offset, 3)

    source = Source(input_latency=3)
    assert source.output_latency == 3
    assert [serial([AHEAD[n], source]).output_latency for n in AHEAD] == [3, 3, 3]
    assert serial([AHEAD[3], AHEAD[2], source]).output_latency == 5


# Combinators: numbers.


@pytest.mark.parametrize(
    'children, block_size, ratio',
    [
        ([], 1, 1),
        ([UP[3], conv(1, 2, 'causal')], 2, Fraction(3, 2)),
        ([conv(1, 2, 'causal'), UP[3], conv(1, 2, 'causal')], 4, Fraction(3, 4)),
        ([UP[4], DOWN[6]], 3, Fraction(2, 3)),
        ([conv(3, 2, 'causal')] * 3, 8, Fraction(1, 8)),
    ],
)
def test_block_size_and_ratio(children, block_size, ratio):
    timing = serial(children)
    assert (timing.block_size, timing.output_ratio) == (block_size, ratio)
    assert timing.align == 1


def test_the_missing_delay_is_inserted():
    three, four = (serial([conv(k, 1, 'reverse_causal'), DOWN[3]]) for k in (3, 4))
    assert three.plan(0) == ([(0, 0), (1, 3)], 1)
    assert four.plan(0) == ([(0, 0), (0, 3)], 1)
    assert (three.input_latency, four.input_latency) == (2 + 1 + 2, 2 + 0 + 3)


def test_lookahead_before_downsampling():
    timing = serial([AHEAD[1], DOWN[2]])
    assert timing.plan(0) == ([(0, 0), (1, 2)], 1)
    assert (timing.input_latency, timing.output_latency) == (2, 1)
    assert [timing.output_offset(a) for a in range(4)] == [1, 1, 2, 2]


def test_branches_are_aligned_on_output():
    timing = parallel([serial([AHEAD[1]]), serial([])])
    assert timing.delays(0) == [0, 1]
    assert (timing.input_latency, timing.output_latency) == (1, 1)
    assert timing.output_offset(5) == 6


def test_a_bare_branch_is_a_chain():
    timing = parallel([DOWN[2], serial([AHEAD[1], DOWN[2]])])
    assert timing.branches[0].plan(1) == ([(1, 2)], 1)
    assert timing.delays(0) == [1, 0]
    assert timing.delays(1) == [0, 0]


def test_repetitions_start_later_and_later():
    timing = repeat(serial([conv(2, 1, 'causal_valid'), conv(2, 1, 'reverse_causal')]), 3)
    assert (timing.align, timing.delay(2), timing.offsets(2)) == (1, 0, [2, 3, 4])
    assert timing.output_offset(2) == 5


def test_repetitions_keep_their_phase():
    timing = repeat(serial([conv(2, 1, 'reverse_causal'), conv(1, 2, 'causal'), UP[2]]), 2)
    assert (timing.align, timing.delay(0), timing.offsets(0)) == (2, 0, [0, 2])
    assert timing.output_latency == 4


def test_repetitions_are_delayed_to_keep_their_phase():
    child = serial([Chunks(2, 0).timing, conv(2, 1, 'reverse_causal')])
    timing = repeat(child, 3)
    assert (timing.align, timing.delay(0), timing.offsets(0)) == (2, 1, [0, 2, 4])
    assert timing.output_latency == 6
    assert len({tuple(d for d, _ in child.plan(a)[0]) for a in timing.offsets(0)}) == 1
    with pytest.raises(ValueError, match='a multiple of 2 timesteps, but is 1'):
        timing.output_offset(1)
    assert serial([AHEAD[1], timing]).plan(0) == ([(0, 0), (1, 2)], 8)


def test_larger_blocks_cost_no_latency():
    timing = serial([AHEAD[1], blockwise(Timing(), 64)])
    assert (timing.block_size, timing.output_latency, timing.input_latency) == (64, 1, 0)


def test_blocked():
    stuck = Timing(output_latency=2, input_latency=1, blocked='Because.')
    for timing in (
        serial([DOWN[2], stuck]),
        parallel([Timing(), stuck]),
        repeat(stuck, 2),
        blockwise(stuck, 4),
        bidirectional(Timing(), Timing()),
    ):
        assert not timing.supports_step
        assert timing.blocked
    assert serial([stuck, DOWN[2]]).output_latency == 1
    assert serial([Timing(), DOWN[2]]).supports_step


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda: parallel([DOWN[2], Timing()]), r'one output ratio, not \[1/2, 1\]'),
        (lambda: parallel([]), r'one or more .* not \[\]'),
        (lambda: repeat(UP[2], 2), 'must have output ratio 1, not 2'),
        (lambda: blockwise(DOWN[2], 3), 'a multiple of 2, not 3'),
        (lambda: bidirectional(UP[2], UP[3]), 'one output ratio, not 2 and 3'),
    ],
)
def test_impossible_combinations(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_numbers_of_an_audio_encoder():
    """The published composition: equal strides, latencies that need no inserted delay."""
    layers = [conv(k, s, 'reverse_causal') for k, s in [(4, 3), (4, 3)]]
    timing = serial(layers)
    assert timing.plan(0) == ([(0, 0), (2, 3)], 2)  # latency 1 is no multiple of 3, so 2 steps are inserted
    assert timing.input_latency == 3 + 3 * (2 + 3)
    assert serial([conv(7, 1, 'reverse_causal')]).output_latency == 6


# Combinators: structure.

GROUPED = [
    [AHEAD[1], Delay(1, True).timing, DOWN[3]],
    [conv(4, 1, 'same'), DOWN[2], conv(5, 3, 'valid'), UP[4]],
    [UP[2], AHEAD[3], DOWN[4], conv(3, 1, 'reverse_causal'), DOWN[3]],
    [Chunks(3, 1).timing, AHEAD[1], Chunks(2, 0).timing, repeat(serial([AHEAD[1], DOWN[2], UP[2]]), 2)],
]


@pytest.mark.parametrize('children', GROUPED)
def test_grouping_changes_no_number(children):
    flat = serial(children)
    for cut1, cut2 in itertools.combinations(range(len(children) + 1), 2):
        inner = serial(children[cut1:cut2])
        grouped = serial([*children[:cut1], inner, *children[cut2:]])
        for name in ('block_size', 'phase', 'output_ratio', 'period', 'receptive_field_per_step'):
            assert getattr(grouped, name) == getattr(flat, name), name
        for a in range(13):
            assert grouped.output_offset(a) == flat.output_offset(a)
            assert [grouped.flush(f, a) for f in range(4)] == [flat.flush(f, a) for f in range(4)]


@pytest.mark.parametrize('children', GROUPED)
def test_the_plan_depends_on_the_phase_only(children):
    timing = serial(children)
    ahead = int(timing.phase * timing.output_ratio)
    for a in range(timing.phase):
        (steps, offset), (later, later_offset) = timing.plan(a), timing.plan(a + timing.phase)
        assert [delay for delay, _ in steps] == [delay for delay, _ in later]
        assert later_offset == offset + ahead
        assert timing.flush(2, a) == timing.flush(2, a + timing.phase)
    if timing.phase > 1:
        assert len({tuple(d for d, _ in timing.plan(a)[0]) for a in range(timing.phase)}) > 1


# Streams.


def stepped(node, x, flush=0):
    """All outputs of x and `flush` invalid steps, from offset 0."""
    x = concat(x, invalid(flush))
    step, block = node.start(0), node.timing.block_size
    return concat(*(step(cut(x, i, i + block)) for i in range(0, len(x[0]), block)))


def test_worked_example_same_then_causal_valid():
    node = Serial(Convolution(3, 1, 1, 'same'), Convolution(2, 1, 1, 'causal_valid'))
    assert node.timing.plan(0) == ([(0, 0), (0, 1)], 1)
    assert (node.timing.input_latency, node.timing.output_latency) == (1, 1)
    _, mask = stepped(node, (garbage(3), np.ones(3, bool)), flush=1)
    assert mask.tolist() == [0, 1, 1, 1]


def test_worked_example_lookahead_then_downsample():
    node = Serial(Lookahead(1), downsample(2))
    values, mask = stepped(node, (np.arange(6), np.ones(6, bool)), flush=node.timing.input_latency)
    assert mask.tolist() == [0, 1, 1, 1]
    assert values[1:].tolist() == [1, 3, 5]


LEAVES = {
    'down': downsample(3),
    'up': upsample(3),
    'position': position(),
    'recurrent': Recurrent(),
    'delay in layer': Delay(3, True),
    'delay in steps': Delay(3, False),
    'lookahead': Lookahead(3),
    'chunks': Chunks(3, 0),
    'chunks ahead': Chunks(2, 2),
}


@pytest.mark.parametrize('leaf', LEAVES)
def test_contract_of_a_leaf(leaf):
    for seed in range(3):
        check(LEAVES[leaf], rng(seed), lengths=range(8))


@pytest.mark.parametrize('block', range(8))
def test_contract_of_random_models(block):
    for seed in range(block * 12, block * 12 + 12):
        model, generator = random_model(seed)
        check(model, generator)


def test_end_of_bidirectional():
    """Items may end anywhere, also at the end of the array, whatever the strides."""
    children = [
        Convolution(3, 2, 1, 'causal'),
        Convolution(2, 2, 1, 'causal_valid'),
        Serial(downsample(3), upsample(3), Recurrent(), downsample(2)),
    ]
    for forward, backward in itertools.product(children, children):
        for length in range(1, 9):
            for mask in masks(length, rng(length)):
                check_end(Bidirectional(forward, backward), (garbage(length), mask))


# Rules that look right and are not. Each breaks its smallest case, and most a random model soon.


def misaligned(monkeypatch):
    monkeypatch.setattr(Timing, '_check_aligned', lambda self, offset: None)

    def plan(self, offset):
        steps = []
        for child in self.children:
            steps.append((0, offset))
            offset = child.output_offset(offset)
        return steps, offset

    monkeypatch.setattr(SerialTiming, 'plan', plan)


def nobody_is_told(monkeypatch):
    plan = SerialTiming.plan
    monkeypatch.setattr(SerialTiming, 'plan', lambda self, a: ([(q, 0) for q, _ in plan(self, a)[0]], plan(self, a)[1]))


def buffer_starts_valid(monkeypatch):
    modes = ('causal_valid', 'reverse_causal_valid')
    monkeypatch.setattr(Window, 'buffer_mask', property(lambda self: self.padding in modes))
    monkeypatch.setattr(Window, 'told_offset', property(lambda self: self.padding == 'causal_valid'))


def aligned_on_input_latency(monkeypatch):
    def delays(self, offset):
        latencies = [b.flush(0, offset) for b in self.branches]
        return [max(latencies) - n for n in latencies]

    monkeypatch.setattr(ParallelTiming, 'delays', delays)


def not_aligned(monkeypatch):
    monkeypatch.setattr(ParallelTiming, 'delays', lambda self, offset: [0] * len(self.branches))


def one_offset_for_all(monkeypatch):
    monkeypatch.setattr(RepeatTiming, 'offsets', lambda self, offset: [offset] * self.num_repeats)


def repeated_without_delay(monkeypatch):
    monkeypatch.setattr(RepeatTiming, 'delay', lambda self, offset: 0)


def flush_without_inserted_delays(monkeypatch):
    def flush(self, steps, offset):
        for child, (_, start) in zip(reversed(self.children), reversed(self.plan(offset)[0]), strict=True):
            steps = child.flush(steps, start)
        return steps

    monkeypatch.setattr(SerialTiming, 'flush', flush)


def flush_is_output_latency(monkeypatch):
    monkeypatch.setattr(Timing, 'flush', lambda self, f, a: math.ceil((f + self._output_latency) / self.output_ratio))


def offsets_without_the_ratio(monkeypatch):
    monkeypatch.setattr(Timing, 'output_offset', lambda self, a: a + self._output_latency)


MUTANTS = {
    nobody_is_told: lambda: Serial(Convolution(2, 1, 1, 'reverse_causal'), Convolution(2, 1, 1, 'causal_valid')),
    buffer_starts_valid: lambda: Convolution(2, 1, 1, 'reverse_causal_valid'),
    misaligned: lambda: Serial(Lookahead(1), downsample(2)),
    aligned_on_input_latency: lambda: Parallel(Serial(Lookahead(1)), Serial()),
    not_aligned: lambda: Parallel(Serial(Convolution(2, 1, 1, 'reverse_causal')), Serial()),
    one_offset_for_all: lambda: Repeat(Serial(Lookahead(1)), 2),
    repeated_without_delay: lambda: Repeat(Serial(Chunks(2, 0), Convolution(2, 1, 1, 'reverse_causal')), 2),
    flush_without_inserted_delays: lambda: Serial(
        Convolution(2, 1, 1, 'reverse_causal'), Convolution(1, 2, 1, 'causal')
    ),
    flush_is_output_latency: lambda: Serial(Convolution(2, 1, 1, 'causal'), Delay(1, True)),
    offsets_without_the_ratio: lambda: Serial(Lookahead(1), upsample(2), position()),
}
RARE = (buffer_starts_valid, repeated_without_delay, flush_without_inserted_delays)


def check_short(make):
    for length in (1, 2, 5):
        check_contract(make(), (garbage(length), np.ones(length, bool)), 0, rng())


@pytest.mark.parametrize('mutant', MUTANTS, ids=lambda mutant: mutant.__name__)
def test_mutant_breaks_its_smallest_case(monkeypatch, mutant):
    check_short(MUTANTS[mutant])
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        check_short(MUTANTS[mutant])


@pytest.mark.parametrize('mutant', [m for m in MUTANTS if m not in RARE], ids=lambda mutant: mutant.__name__)
def test_mutant_breaks_random_models(monkeypatch, mutant):
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        for seed in range(160):
            model, generator = random_model(seed)
            check(model, generator)


def test_models_that_stream():
    """A look-ahead inside nearly everything at once."""
    block = Serial(Convolution(5, 1, 1, 'same'), Convolution(3, 1, 1, 'causal_valid'), Lookahead(1))
    conformer = Repeat(Serial(Parallel(block, Serial()), Transposed(3, 1, 1, 'same')), 2)
    model = Serial(Convolution(3, 2, 1, 'same'), Blockwise(conformer, 4), position(), upsample(2))
    assert model.timing.output_latency == 2 * (0 + 2 * (2 + 1 + 1) + 0)
    for seed in range(3):
        check(model, rng(seed), lengths=(0, 1, 9, 20))
