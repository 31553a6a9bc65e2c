"""Sets of integer timesteps as sorted, disjoint, closed intervals; the ends may be infinite."""

import math
from collections.abc import Iterable, Iterator

Bound = int | float  # an int, or -math.inf / math.inf
Interval = tuple[Bound, Bound]


class IntervalSet:
    """An immutable set of integers, kept as the fewest intervals `(first, last)`, both ends included.

    >>> IntervalSet([(4, 6), (0, 1), (2, 2)])
    IntervalSet([(0, 2), (4, 6)])
    """

    __slots__ = ('intervals',)

    def __init__(self, intervals: Iterable[Interval] = ()):
        merged: list[Interval] = []
        for first, last in sorted(intervals):
            if merged and first <= merged[-1][1] + 1:
                if last > merged[-1][1]:
                    merged[-1] = (merged[-1][0], last)
            else:
                merged.append((first, last))
        self.intervals = tuple(merged)

    @classmethod
    def points(cls, points: Iterable[int]) -> 'IntervalSet':
        return cls((p, p) for p in points)

    @classmethod
    def union(cls, sets: Iterable['IntervalSet']) -> 'IntervalSet':
        return cls(interval for s in sets for interval in s)

    @property
    def hull(self) -> Interval | None:
        """The smallest and the greatest element; None if the set is empty."""
        return (self.intervals[0][0], self.intervals[-1][1]) if self.intervals else None

    def shift(self, by: int) -> 'IntervalSet':
        return IntervalSet((first + by, last + by) for first, last in self.intervals)

    def mirror(self, about: int) -> 'IntervalSet':
        """The set of `about - i` for every element i."""
        return IntervalSet((about - last, about - first) for first, last in self.intervals)

    def __iter__(self) -> Iterator[Interval]:
        return iter(self.intervals)

    def __contains__(self, point: int) -> bool:
        return any(first <= point <= last for first, last in self.intervals)

    def __bool__(self) -> bool:
        return bool(self.intervals)

    def __eq__(self, other: object) -> bool:
        return self.intervals == other.intervals if isinstance(other, IntervalSet) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.intervals)

    def __repr__(self) -> str:
        return f'IntervalSet({list(self.intervals)})'


def floor_div(dividend: Bound, divisor: int) -> Bound:
    """Floor division that keeps infinities (Python's gives nan)."""
    return dividend if math.isinf(dividend) else dividend // divisor
