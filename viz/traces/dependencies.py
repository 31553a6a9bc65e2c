"""What timesteps anywhere in a model depend on, edge by edge back to the input."""

from collections.abc import Iterable
from typing import NamedTuple

from seqlayers.intervals import Interval, IntervalSet

from .edges import Rows

Intervals = tuple[Interval, ...]


class Link(NamedTuple):
    """The timesteps of the edge `source` that the edge `row` reads directly."""

    row: int
    source: int
    read: Intervals


class Cone(NamedTuple):
    """What some timesteps of an edge have seen.

    sets: for each edge the intervals of its timesteps that they depend on; ends may be infinite. links: which of these
    each edge reads of its sources.
    """

    sets: tuple[Intervals, ...]
    links: tuple[Link, ...] = ()

    def shifted(self, by: list[int]) -> 'Cone':
        """The same for timesteps so much later: `by[i]` timesteps of edge i."""
        sets = tuple(_shift(s, n) for s, n in zip(self.sets, by, strict=True))
        return Cone(sets, tuple(link._replace(read=_shift(link.read, by[link.source])) for link in self.links))


def dependencies(rows: Rows, edge: int, timesteps: Iterable[int]) -> Cone:
    """What timesteps of an edge depend on, by the declared receptive fields."""
    sets = [IntervalSet() for _ in rows.edges]
    sets[edge] = IntervalSet.points(timesteps)
    links = []
    for row in range(edge, 0, -1):
        if sets[row]:
            read = rows.reads(row, sets[row])
            for source in rows.edges[row].sources:
                sets[source] = IntervalSet.union([sets[source], read])
                links.append(Link(row, source, read.intervals))
    return Cone(tuple(s.intervals for s in sets), tuple(links))


def _shift(intervals: Intervals, by: int) -> Intervals:
    return tuple((first + by, last + by) for first, last in intervals)
