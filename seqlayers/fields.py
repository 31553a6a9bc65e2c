"""The input timesteps that each output timestep of a layer reads."""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cached_property

from seqlayers.intervals import Interval, IntervalSet, floor_div

ReceptiveField = Interval | None | Mapping[int, Interval | None] | Callable[[int], IntervalSet]


class Field:
    """What a layer reads, on a stream that is endless to both sides.

    Args:
      field: the input timesteps that an output reads, in one of four forms: `(first, last)`, relative to
        `floor(output / ratio)` and possibly infinite; None if it reads nothing; a table `{0: entry, 1: entry,
        ...}` of these for the phases of the output; or a function from the output timestep to the IntervalSet
        of absolute input timesteps.
      ratio: output timesteps per input timestep.
      period: with a function, the shift P of the output timestep after which the field repeats: output o + P
        reads what o reads, P / ratio later. By default the ratio's numerator, of which it is a multiple.
    """

    def __init__(self, field: ReceptiveField, ratio: Fraction, period: int | None):
        if isinstance(field, Mapping):
            period = math.lcm(len(field), ratio.numerator)
        self.field = field
        self.ratio = ratio
        self.period = period or ratio.numerator
        if self.period % ratio.numerator:
            raise ValueError(f'At output_ratio {ratio}, period must be a multiple of the numerator, not {period}.')

    def reads(self, outputs: IntervalSet) -> IntervalSet:
        """The inputs that a set of outputs reads.

        Exact for finite sets. For infinite ones a finite end is exact, and the gaps are filled.
        """
        shift = int(self.period / self.ratio)
        found: list[Interval] = []
        for first, last in outputs:
            for begin, end, inputs in self._runs:
                # Outputs begin + n * period to end + n * period read inputs + n * shift. Wanted are these n:
                low, high = -floor_div(end - first, self.period), floor_div(last - begin, self.period)
                if low > high:
                    continue
                for a, b in inputs:
                    if b - a + 1 >= shift or math.isinf(high - low):  # the copies touch, or go on forever
                        found.append((a + low * shift, b + high * shift))
                    else:
                        found.extend((a + n * shift, b + n * shift) for n in range(int(low), int(high) + 1))
        return IntervalSet(found)

    @cached_property
    def _runs(self) -> list[tuple[int, int, IntervalSet]]:
        """One period of outputs as runs `(begin, end, inputs)` of neighbours that read the same."""
        runs: list[tuple[int, int, IntervalSet]] = []
        for output in range(self.period):
            inputs = self._inputs(output)
            begin = runs.pop()[0] if runs and runs[-1][2] == inputs else output
            runs.append((begin, output, inputs))
        return runs

    def _inputs(self, output: int) -> IntervalSet:
        field = self.field
        if callable(field):
            return field(output)
        if isinstance(field, Mapping):
            field = field[output % len(field)]
        return IntervalSet([field] if field else []).shift(math.floor(output / self.ratio))
