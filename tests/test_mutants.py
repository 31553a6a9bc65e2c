"""Rules about the start of a stream that look right and are not: each, put into the library, makes models fail.

The letters are those of the design's table of tempting rules. Each mutant is the smallest change of the library that
brings its rule about. It must break its smallest model, and one that `random_architecture` drew (kept here without
layers that have no part in it, for what a seed draws changes with the layers that there are). Both are fine without it.

P (chains aligned to whole blocks) is right, only slower: it keeps the contract, but then the latency depends on how
layers are grouped.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

import seqlayers as sl
from seqlayers import layer
from seqlayers.combinators import chain
from seqlayers.layers import position, windows
from seqlayers.padding import Window
from seqlayers.testing.quick import fast_compilation
from seqlayers.timing import ParallelTiming, RepeatTiming, SerialTiming, Timing

SPEC = sl.ChannelSpec((4,))
AHEAD = sl.Lookahead(1)
POSITION = sl.AddTimingSignal(max_timescale=10.0, only_advance_position_for_valid_timesteps=False)


def conv(kernel_size: int, padding: str, strides: int = 1) -> sl.Conv1D:
    return sl.Conv1D(4, kernel_size, strides, padding=padding)


# --- the mutants ------------------------------------------------------------------------------------------------
def nobody_is_told(patch):
    plan = SerialTiming.plan
    patch(SerialTiming, 'plan', lambda self, a: ([(q, 0) for q, _ in plan(self, a)[0]], plan(self, a)[1]))


def buffer_starts_valid(patch):
    valid = ('causal_valid', 'reverse_causal_valid')
    patch(Window, 'buffer_mask', property(lambda self: self.padding in valid))
    patch(Window, 'told_offset', property(lambda self: self.padding == 'causal_valid'))


def lookahead_drops_valid_steps(patch):
    def step(self, x, state, *, training, constants=None):
        valid = state[:, None] + jnp.cumsum(x.mask, axis=1)
        return x.unmask().replace(mask=x.mask & (valid > self.length)), state + x.mask.sum(axis=1)

    patch(sl.Lookahead, 'step', step)


def starts_at_the_first_valid_step(patch, module, cls):
    """The clock of the layer stands still, before zero, until something is valid."""
    step = cls.step

    def mutant(self, x, state, **call):
        def tick(now, n):
            running = (now > 0)[:, None] | (jnp.cumsum(x.mask, axis=1) > 0)
            times = jnp.maximum(now, 0)[:, None] + jnp.cumsum(running, axis=1)
            return jnp.where(running, times - 1, -1), times[:, -1]

        patch(module, 'tick', tick)
        return step(self, x, state, **call)

    patch(cls, 'step', mutant)


def windows_start_at_the_first_valid_step(patch):
    starts_at_the_first_valid_step(patch, windows, windows.Windowed)


def positions_start_at_the_first_valid_step(patch):
    starts_at_the_first_valid_step(patch, position, position.Positional)


def no_delay_before_a_stride(patch):
    def plan(self, offset):
        steps = []
        for child in self.children:
            steps.append((0, offset))
            offset = child.output_offset(offset)
        return steps, offset

    facts = layer._StepFacts
    patch(Timing, '_check_aligned', lambda self, offset: None)
    patch(layer, '_StepFacts', lambda block_size, align, *others: facts(block_size, 1, *others))
    patch(SerialTiming, 'plan', plan)


def branches_aligned_on_input_latency(patch):
    def delays(self, offset):
        latencies = [branch.flush(0, offset) for branch in self.branches]
        return [max(latencies) - n for n in latencies]

    patch(ParallelTiming, 'delays', delays)


def branches_not_aligned(patch):
    patch(ParallelTiming, 'delays', lambda self, offset: [0] * len(self.branches))


def calls_are_skipped(patch):
    """A layer in a chain keeps its state in a step that begins before its offset is over."""
    initial_state, step = chain.initial_state, chain.step

    def mutant_state(layers, timing, batch_size, offset, **call):
        states = initial_state(layers, timing, batch_size, offset, **call)
        return tuple(
            (jnp.int32(start), state) for (_, start), state in zip(timing.plan(offset)[0], states, strict=True)
        )

    def mutant_step(layers, x, states, **call):
        new_states, emits = [], {}
        for named, (left, old) in zip(layers, states, strict=True):
            rest = left - x.shape[1]
            x, (new,), emitted = step([named], x, (old,), **call)
            kept = jax.tree.map(lambda a, b, left=left: jnp.where(left > 0, a, b), old, new)
            new_states.append((rest, kept))
            emits |= emitted
        return x, tuple(new_states), emits

    patch(chain, 'initial_state', mutant_state)
    patch(chain, 'step', mutant_step)


def one_offset_for_all_repetitions(patch):
    patch(RepeatTiming, 'offsets', lambda self, offset: [offset] * self.num_repeats)


def repetitions_without_delay(patch):
    patch(RepeatTiming, 'delay', lambda self, offset: 0)


def flush_without_inserted_delays(patch):
    def flush(self, steps, offset):
        for child, (_, start) in zip(reversed(self.children), reversed(self.plan(offset)[0]), strict=True):
            steps = child.flush(steps, start)
        return steps

    patch(SerialTiming, 'flush', flush)


def flush_is_output_latency(patch):
    patch(Timing, 'flush', lambda self, f, a: math.ceil((f + self._output_latency) / self.output_ratio))


def offsets_without_the_ratio(patch):
    patch(Timing, 'output_offset', lambda self, a: a + self._output_latency)


def period_of_the_tables(patch):
    patch(SerialTiming, 'period', property(lambda self: math.lcm(*(child.period for child in self.children))))


class Mutant(NamedTuple):
    """`apply(patch)` puts it in. It breaks the smallest and the drawn model, each with how it is run."""

    apply: Callable[[Callable], None]
    smallest: tuple[sl.SequenceLayer, dict[str, int]]
    drawn: tuple[sl.SequenceLayer, dict[str, int]]


def chunks(heads: int, past: int, future: int = 0) -> list[sl.SequenceLayer]:
    return [sl.BlockwiseDotProductSelfAttention(2, heads, 4, past, future), sl.DenseShaped([4])]


TIED = sl.Shared({'tied': AHEAD}, sl.Serial([sl.Ref('tied'), sl.Upsample1D(2), sl.Ref('tied')]))
STRIDED = sl.Serial([sl.SeparableConv1D(4, 3, 2, padding='reverse_causal'), sl.Upsample1D(3)])
MAMBA = sl.Serial([sl.RMSNormalization(epsilon=0.1), sl.Dense(10), sl.SelectiveStateSpace(2, 2, 2, chunk_size=4)])
EMBEDDED = sl.Serial([sl.ConcatPositionEmbedding(256, 2), sl.DenseShaped([4])])
RECURRENT = sl.DiagonalStateSpace(4, min_step=0.05, max_step=0.5)
FRAMED = sl.Serial([sl.Frame(4, 1, 'reverse_causal'), sl.DenseShaped([4])])

MUTANTS = {
    'A': Mutant(
        nobody_is_told,
        (sl.Serial([conv(2, 'reverse_causal'), conv(2, 'causal_valid')]), {'time': 1}),
        (TIED, {'time': 5}),
    ),
    'B': Mutant(
        buffer_starts_valid,
        (conv(2, 'reverse_causal_valid'), {'time': 1}),
        (
            sl.Serial([sl.MinPooling1D(2, padding='reverse_causal_valid'), sl.Skip([sl.Zoneout(sl.GRU(4), 0.3)])]),
            {'time': 7, 'offset': 1},
        ),
    ),
    'C': Mutant(lookahead_drops_valid_steps, (sl.Serial([AHEAD]), {'time': 2}), (TIED, {'time': 5, 'offset': 2})),
    'D': Mutant(
        windows_start_at_the_first_valid_step,
        (conv(2, 'causal_valid'), {'time': 2}),
        (
            sl.Residual(
                [sl.Repeat(sl.Serial([sl.Frame(4, 3, 'causal_valid'), sl.DenseShaped([4]), sl.Upsample1D(3)]), 3)]
            ),
            {'time': 11, 'offset': 1},
        ),
    ),
    'E': Mutant(
        positions_start_at_the_first_valid_step,
        (POSITION, {'time': 2}),
        (
            sl.Serial([sl.ConcatTimingSignal(2, only_advance_position_for_valid_timesteps=False), sl.DenseShaped([4])]),
            {'time': 3, 'blocks': 3},
        ),
    ),
    'F': Mutant(
        no_delay_before_a_stride,
        (sl.Serial([AHEAD, sl.Downsample1D(2)]), {'time': 6}),
        (STRIDED, {'time': 2, 'blocks': 2, 'offset': 3}),
    ),
    'G': Mutant(
        branches_aligned_on_input_latency,
        (sl.Residual([AHEAD]), {'time': 2}),
        (
            sl.Blockwise(sl.Parallel([sl.Lookahead(3), sl.Serial([MAMBA, sl.DenseShaped([4])])], 'mean'), 3),
            {'time': 7, 'blocks': 3},
        ),
    ),
    'H': Mutant(
        branches_not_aligned,
        (sl.Residual([conv(2, 'reverse_causal')]), {'time': 1}),
        (sl.Serial([sl.Parallel([EMBEDDED, sl.MinPooling1D(3, padding='same')]), sl.Upsample1D(3)]), {'time': 5}),
    ),
    'I': Mutant(
        calls_are_skipped,
        (sl.Serial([conv(2, 'reverse_causal'), conv(2, 'causal')]), {'time': 2, 'blocks': 2}),
        (STRIDED, {'time': 2, 'blocks': 2, 'offset': 3}),
    ),
    'J': Mutant(
        one_offset_for_all_repetitions,
        (sl.Repeat(AHEAD, 2), {'time': 2}),
        (
            sl.Repeat(sl.Serial([EMBEDDED, sl.DepthwiseConv1D(3, 2, 1, 2, 'reverse_causal'), sl.Upsample1D(2)]), 2),
            {'time': 14, 'blocks': 2},
        ),
    ),
    'K': Mutant(
        repetitions_without_delay,
        (sl.Repeat(sl.Serial([*chunks(1, 1), conv(2, 'reverse_causal')]), 2), {'time': 4}),
        (
            sl.Repeat(
                sl.Serial(
                    [
                        *chunks(2, 1, 1),
                        sl.Shared({'tied': RECURRENT}, sl.Serial([sl.Ref('tied'), FRAMED, sl.Ref('tied')])),
                    ]
                ),
                2,
            ),
            {'time': 5},
        ),
    ),
    'L': Mutant(
        flush_without_inserted_delays,
        (sl.Serial([conv(2, 'reverse_causal'), conv(1, 'causal', 2)]), {'time': 1}),
        (
            sl.Serial([sl.STFT(4, 2, 4, time_padding=(1, 2), output_magnitude=True), sl.DenseShaped([4])]),
            {'time': 9, 'offset': 3, 'blocks': 3},
        ),
    ),
    'M': Mutant(
        flush_is_output_latency,
        (sl.Serial([conv(2, 'causal'), sl.Delay(1)]), {'time': 1}),
        (sl.Serial([sl.DepthwiseConv1D(4, 2, padding='semicausal_full'), sl.SequenceDense(4, 256)]), {'time': 2}),
    ),
    'N': Mutant(
        offsets_without_the_ratio,
        (sl.Serial([AHEAD, sl.Upsample1D(2), POSITION]), {'time': 2}),
        (STRIDED, {'time': 2, 'blocks': 2, 'offset': 3}),
    ),
    'O': Mutant(
        period_of_the_tables,
        (sl.Serial([sl.Conv1DTranspose(4, k, 2, padding='causal') for k in (3, 2)]), {'time': 1}),
        (sl.Serial([sl.Upsample1D(2), sl.Conv1DTranspose(4, 4, 2, padding='causal')]), {'time': 1}),
    ),
}


def passes(model: sl.SequenceLayer, run: dict[str, int]) -> bool:
    """Whether a model keeps the contract. Repetitions of unequal states, an error, break it too."""
    try:
        return sl.testing.quick_check(model, SPEC, **run, compiler_options=fast_compilation()).passed
    except sl.LayerError:
        return False


@pytest.mark.parametrize('letter', MUTANTS)
@pytest.mark.parametrize('kind', ['smallest', 'drawn'])
def test_mutant_breaks(letter, kind, monkeypatch):
    model, run = getattr(MUTANTS[letter], kind)
    assert passes(model, run)
    MUTANTS[letter].apply(monkeypatch.setattr)
    assert not passes(model, run)


def test_aligning_chains_to_blocks_is_only_slower(monkeypatch):
    """P: whole blocks wait before every chain inside another layer."""
    layers = [AHEAD, sl.Delay(1, delay_layer_output=False), conv(1, 'causal', 3)]
    flat, grouped = sl.Serial(layers), sl.Serial([layers[0], sl.Serial(layers[1:])])
    assert (flat.output_latency, grouped.output_latency) == (1, 1)
    init = SerialTiming.__init__

    def aligned(self, children):
        init(self, children)
        self.align = self.block_size

    monkeypatch.setattr(SerialTiming, '__init__', aligned)
    assert (flat.output_latency, grouped.output_latency) == (1, 2)
    assert passes(grouped, {'time': 7})
