"""The algebra of time: how the timesteps of a layer's output relate to those of its input.

Everything here is pure Python and known before a layer has parameters. A leaf states a few numbers;
combinators compose them and keep the parts, because the latency of a chain depends on the *offset* at which
it starts.

In steps, a layer of output latency `l` emits `l` outputs before its first real one. They are *void*: not
there yet, neither valid nor invalid. The **offset** of an edge is the number of void steps at its start, in
timesteps of that edge: physical step n carries time n - offset. A layer that starts at offset `a`, a multiple
of its `align`, keeps two promises:

* after `a` void steps and an input x it emits `output_offset(a)` void steps, then just what `layer(x)` gives;
* `flush(f, a)` invalid steps after x, filled up to a whole block, push out everything valid and at least `f`
  steps that follow it.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property

from seqlayers.fields import Field, ReceptiveField
from seqlayers.intervals import Interval, IntervalSet


class Timing:
    """The timing of one layer.

    Attributes:
      output_ratio: output timesteps per input timestep.
      block_size: a step takes a multiple of this many input timesteps.
      align: a layer can start at the offsets that are multiples of this (input timesteps).
      phase: the shift of the offset (input timesteps) under which the delays inside the layer stay the same.
      blocked: why the layer cannot step (a sentence), or None.

    Args:
      block_size: by default the ratio's denominator.
      input_latency: invalid input timesteps that push out everything valid.
      output_latency: output timesteps before the first real output.
      align: by default the ratio's denominator; the chunk length for a layer that cuts time into chunks.
      receptive_field: the input timesteps that an output reads, in one of four forms: `(first, last)`,
        relative to `floor(output / output_ratio)` and possibly infinite; None if it reads nothing; a table
        `{0: entry, 1: entry, ...}` of these for the phases of the output; or a function from the output
        timestep to the IntervalSet of absolute input timesteps, negative ones included.
      period: with a function, the shift of the output after which the field repeats; by default the ratio's
        numerator, of which it is a multiple.

    Raises:
      ValueError: block_size or align is no multiple of the ratio's denominator, or period of its numerator.

    A layer whose latency follows another rule subclasses and overrides `output_offset` (and `flush`).
    """

    def __init__(
        self,
        *,
        output_ratio: int | Fraction = 1,
        block_size: int | None = None,
        input_latency: int = 0,
        output_latency: int = 0,
        align: int | None = None,
        receptive_field: ReceptiveField = (0, 0),
        period: int | None = None,
        blocked: str | None = None,
    ):
        self.output_ratio = Fraction(output_ratio)
        denominator = self.output_ratio.denominator
        self.block_size = denominator if block_size is None else block_size
        self.align = self.phase = denominator if align is None else align
        self.blocked = blocked
        self._input_latency = input_latency
        self._output_latency = output_latency
        self._field = Field(receptive_field, self.output_ratio, period)
        if self.block_size % denominator or self.align % denominator:
            raise ValueError(
                f'For output_ratio {self.output_ratio}, block_size and align must be multiples of its '
                f'denominator, not {self.block_size} and {self.align}.'
            )

    # Latency.

    def output_offset(self, offset: int) -> int:
        """The void output timesteps of a layer that starts after `offset` void input timesteps.

        Raises:
          ValueError: `offset` is not a multiple of `align`. (In a Serial it always is: that inserts delays.)
        """
        self._check_aligned(offset)
        return int(offset * self.output_ratio) + self._output_latency

    def flush(self, steps: int, offset: int) -> int:
        """The invalid input timesteps that push out everything valid and `steps` outputs after it.

        Raises:
          ValueError: `offset` is not a multiple of `align`.
        """
        self._check_aligned(offset)
        return math.ceil(steps / self.output_ratio) + self._input_latency

    @property
    def input_latency(self) -> int:
        """Invalid input timesteps that, filled up to a whole block, complete a stream from offset 0."""
        return self.flush(0, 0)

    @property
    def output_latency(self) -> int:
        """Output timesteps to drop at the start of a stream from offset 0."""
        return self.output_offset(0)

    @property
    def supports_step(self) -> bool:
        return self.blocked is None

    def _check_aligned(self, offset: int) -> None:
        if offset % self.align:
            raise ValueError(f'The offset must be a multiple of {self.align} timesteps, but is {offset}.')

    # Receptive field.

    @property
    def period(self) -> int:
        """The shift P of the output timestep with deps(o + P) = deps(o) + P / output_ratio."""
        return self._field.period

    def deps(self, output: int) -> IntervalSet:
        """The absolute input timesteps that an output timestep reads, on a stream endless to both sides."""
        return self.reads(IntervalSet([(output, output)]))

    def reads(self, outputs: IntervalSet) -> IntervalSet:
        """The union of `deps` over a set of output timesteps.

        Exact for finite sets. For infinite ones a finite end is exact, and the gaps are filled.
        """
        return self._field.reads(outputs)

    @cached_property
    def receptive_field_per_step(self) -> dict[int, Interval | None]:
        """By phase: the first and last input timestep read, less floor(output / output_ratio); or None."""
        table = {}
        for output in range(self.period):
            hull, base = self.deps(output).hull, math.floor(output / self.output_ratio)
            table[output] = hull and (hull[0] - base, hull[1] - base)
        return table

    @property
    def receptive_field(self) -> Interval | None:
        """Over all phases: the first and last input timestep, less floor(output / output_ratio); or None."""
        return IntervalSet(field for field in self.receptive_field_per_step.values() if field).hull

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(output_ratio={self.output_ratio}, block_size={self.block_size}, '
            f'input_latency={self.input_latency}, output_latency={self.output_latency}, '
            f'blocked={self.blocked!r})'
        )


class SerialTiming(Timing):
    """A chain. It accepts every offset: before a child that does not, it inserts a delay."""

    def __init__(self, children: Sequence[Timing]):
        self.children = tuple(children)
        self.ratios = [Fraction(1)]  # at the entrance of each child, and at the exit, per input timestep
        for child in self.children:
            self.ratios.append(self.ratios[-1] * child.output_ratio)
        super().__init__(
            output_ratio=self.ratios[-1],
            block_size=self._fold([c.block_size for c in self.children]),
            align=self._fold([c.phase for c in self.children]),
            blocked=_first_reason(self.children),
        )
        self.align = 1

    def _fold(self, sizes: Sequence[int]) -> int:
        """The least number of input timesteps that is a multiple of `sizes[i]` timesteps at every child i."""
        total = 1
        for ratio, size in zip(self.ratios, sizes, strict=False):
            total = int(math.lcm(int(total * ratio), size) / ratio)
        return total

    def plan(self, offset: int) -> tuple[list[tuple[int, int]], int]:
        """For each child `(inserted delay, offset)` in its input timesteps; and the offset of the output."""
        steps = []
        for child in self.children:
            delay = -offset % child.align
            steps.append((delay, offset + delay))
            offset = child.output_offset(offset + delay)
        return steps, offset

    def output_offset(self, offset: int) -> int:
        return self.plan(offset)[1]

    def flush(self, steps: int, offset: int) -> int:
        plan, _ = self.plan(offset)
        for child, (delay, start) in reversed(list(zip(self.children, plan, strict=True))):
            steps = delay + child.flush(steps, start)
        return steps

    @property
    def period(self) -> int:
        after = [self.output_ratio / ratio for ratio in self.ratios[1:]]  # ratio of all that follows child i
        periods = [(a * child.period).numerator for a, child in zip(after, self.children, strict=True)]
        return math.lcm(self.output_ratio.numerator, *periods)

    def reads(self, outputs: IntervalSet) -> IntervalSet:
        for child in reversed(self.children):
            outputs = child.reads(outputs)
        return outputs


class ParallelTiming(Timing):
    """Branches side by side, each a chain (others become one), delayed after their last layer to the latest.

    Raises:
      ValueError: there are no branches, or their output ratios differ.
    """

    def __init__(self, branches: Sequence[Timing]):
        if len({b.output_ratio for b in branches}) != 1:
            ratios = ', '.join(str(b.output_ratio) for b in branches)
            raise ValueError(f'Branches must be one or more and have one output ratio, not [{ratios}].')
        self.branches = tuple(b if isinstance(b, SerialTiming) else SerialTiming([b]) for b in branches)
        super().__init__(
            output_ratio=branches[0].output_ratio,
            block_size=math.lcm(*(b.block_size for b in branches)),
            align=math.lcm(*(b.phase for b in branches)),
            blocked=_first_reason(branches),
        )
        self.align = 1

    def delays(self, offset: int) -> list[int]:
        """The output timesteps by which each branch is delayed after its last layer."""
        offsets = [b.output_offset(offset) for b in self.branches]
        return [max(offsets) - o for o in offsets]

    def output_offset(self, offset: int) -> int:
        return max(b.output_offset(offset) for b in self.branches)

    def flush(self, steps: int, offset: int) -> int:
        late = zip(self.branches, self.delays(offset), strict=True)
        return max(branch.flush(steps + delay, offset) for branch, delay in late)

    @property
    def period(self) -> int:
        return math.lcm(*(b.period for b in self.branches))

    def reads(self, outputs: IntervalSet) -> IntervalSet:
        return IntervalSet.union(b.reads(outputs) for b in self.branches)


class RepeatTiming(Timing):
    """A child several times in a row; aligned to the child's phase, so that all repetitions are alike.

    Raises:
      ValueError: the child's output ratio is not 1.
    """

    def __init__(self, child: Timing, num_repeats: int):
        if child.output_ratio != 1:
            raise ValueError(f'A repeated layer must have output ratio 1, not {child.output_ratio}.')
        super().__init__(block_size=child.block_size, align=child.phase, blocked=child.blocked)
        self.child = child
        self.num_repeats = num_repeats

    def delay(self, offset: int) -> int:
        """The timesteps by which the output of each repetition is delayed, the last one's too."""
        self._check_aligned(offset)
        return -self.child.output_offset(offset) % self.align

    def offsets(self, offset: int) -> list[int]:
        """The offset of each repetition."""
        latency = self._latency(offset)
        return [offset + i * latency for i in range(self.num_repeats)]

    def output_offset(self, offset: int) -> int:
        return offset + self.num_repeats * self._latency(offset)

    def flush(self, steps: int, offset: int) -> int:
        delay = self.delay(offset)
        for start in reversed(self.offsets(offset)):
            steps = self.child.flush(steps + delay, start)
        return steps

    def _latency(self, offset: int) -> int:
        return self.child.output_offset(offset) + self.delay(offset) - offset

    @property
    def period(self) -> int:
        return self.child.period

    def reads(self, outputs: IntervalSet) -> IntervalSet:
        for _ in range(self.num_repeats):
            outputs = self.child.reads(outputs)
        return outputs


class BlockwiseTiming(Timing):
    """The child's timing with a larger block; neither latency nor alignment changes.

    Raises:
      ValueError: the block does not hold whole blocks of the child.
    """

    def __init__(self, child: Timing, block_size: int):
        if block_size < 1 or block_size % child.block_size:
            raise ValueError(f'The block size must be a multiple of {child.block_size}, not {block_size}.')
        super().__init__(
            output_ratio=child.output_ratio, block_size=block_size, align=child.phase, blocked=child.blocked
        )
        self.align = child.align
        self.child = child

    def output_offset(self, offset: int) -> int:
        return self.child.output_offset(offset)

    def flush(self, steps: int, offset: int) -> int:
        return self.child.flush(steps, offset)

    @property
    def period(self) -> int:
        return self.child.period

    def reads(self, outputs: IntervalSet) -> IntervalSet:
        return self.child.reads(outputs)


class BidirectionalTiming(Timing):
    """A forward child, and a backward child that reads each item mirrored about its own end.

    Raises:
      ValueError: the output ratios differ.
    """

    def __init__(self, forward: Timing, backward: Timing):
        if forward.output_ratio != backward.output_ratio:
            ratios = f'{forward.output_ratio} and {backward.output_ratio}'
            raise ValueError(f'Both directions must have one output ratio, not {ratios}.')
        super().__init__(
            output_ratio=forward.output_ratio,
            blocked='the backward direction starts at the end of a sequence, which a stream has not reached',
        )
        self.forward = forward
        self.backward = backward

    @property
    def period(self) -> int:
        return math.lcm(self.forward.period, self.backward.period)

    def reads(self, outputs: IntervalSet) -> IntervalSet:
        # Items end at multiples of the backward phase. Any of them that is a whole period gives the same set.
        end = math.lcm(self.backward.phase, int(self.backward.period / self.output_ratio))
        mirrored = self.backward.reads(outputs.mirror(int(end * self.output_ratio) - 1)).mirror(end - 1)
        return IntervalSet.union([self.forward.reads(outputs), mirrored])


def _first_reason(timings: Sequence[Timing]) -> str | None:
    return next((t.blocked for t in timings if t.blocked), None)


serial, parallel, repeat = SerialTiming, ParallelTiming, RepeatTiming
blockwise, bidirectional = BlockwiseTiming, BidirectionalTiming
