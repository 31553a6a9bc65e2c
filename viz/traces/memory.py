"""The buffers in a model's state, and the timestep that each of their entries carries."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

import seqlayers as sl
from seqlayers.attention.shared import DotProduct
from seqlayers.layer import walk

from .dependencies import dependencies
from .edges import Rows, describe
from .probe import PROBES
from .state import StateLeaf, trace_state


@dataclass(frozen=True, eq=False, repr=False)
class Memory:
    """What a layer keeps from block to block: a buffer of timesteps, or numbers of another kind.

    Attributes:
      row: the edge that the layer computes.
      source: the edge whose timesteps it keeps.
      name: of the group of arrays in the layer's state: 'entries', 'queries', 'delay', ...
      kind: 'buffer' or 'ring', a buffer written in place; 'vector'; 'counter'; or 'folded', of several layers.
      times: int `[blocks + 1, entries]`, before the first block and after each: the timestep of the source that an
        entry carries; -1 if none. What is no buffer has no entries.
      size: numbers that are kept for one item of the batch.
    """

    row: int
    source: int
    name: str
    kind: str
    times: np.ndarray
    size: int

    @property
    def entries(self) -> int:
        return self.times.shape[1]


def memories(
    model: Any, rows: Rows, item: sl.Sequence, block_size: int, period: int, constants: Mapping | None
) -> tuple[Memory, ...]:
    """What is kept at each edge; nothing if the item is too long to follow each timestep."""
    if item.shape[1] > PROBES:
        return ()
    # All valid: what is stored of an invalid timestep is often 0, and then depends on no more than its mask.
    valid = sl.Sequence.from_values(item.values)
    leaves = trace_state(model, valid, block_size, constants=constants).leaves
    layers, found, folded = dict(walk(model)), [], defaultdict(int)
    for (path, name, _), group in groupby(leaves, lambda leaf: (leaf.path, _group(leaf), leaf.newest.shape[1])):
        alike, row = list(group), _row(rows, list(layers), path)
        source = _source(rows, row, path, name, layers)
        if source is not None:
            found.append(_memory(row, source, name, alike, _newest(rows, source, item.shape[1], period)))
        else:
            folded[row] += _size(alike)
    nothing = np.zeros((item.shape[1] // block_size + 1, 0), int)
    found += [Memory(row, rows.edges[row].sources[0], '', 'folded', nothing, size) for row, size in folded.items()]
    return tuple(sorted(found, key=lambda memory: memory.row))


def _row(rows: Rows, paths: list[str], path: str) -> int:
    """The edge that the layer at `path` computes or is folded into: that of the last layer before it, or its own."""
    starts = [paths.index(edge.path) if i else -1 for i, edge in enumerate(rows.edges)]
    own = paths.index(path)
    return max((i for i, start in enumerate(starts) if start <= own), key=lambda i: (starts[i], i))


def _source(rows: Rows, row: int, path: str, name: str, layers: Mapping[str, Any]) -> int | None:
    """The edge whose timesteps a layer keeps; None if the row is more than the layer, or it keeps what others read."""
    edge, layer = rows.edges[row], layers[path]
    if (edge.path, edge.name) != (path, describe(layer)[0]):
        return None
    waits_for_others = name == 'delay' and type(layers[path.rpartition('/')[0]]) is sl.Parallel
    if type(layer) is sl.Residual:  # of its sides the one that waits; its own delay, if it can have no other
        is_opened = any(other.path.startswith(path + '/') for other in rows.edges)
        sides = sorted(edge.sources, key=lambda side: rows.edges[side].offset or 0)
        return sides[0] if is_opened and not waits_for_others else None
    if waits_for_others:
        return row
    return edge.sources[0] if name == 'delay' or not layer.children() or isinstance(layer, DotProduct) else None


def _group(leaf: StateLeaf) -> str:
    """Leaves of one group hold different numbers of the same timesteps, as keys and values do."""
    names = [name for name in leaf.name.split('.')[:-1] if not name.isdigit()]
    return names[-1] if names else ''


def _memory(row: int, source: int, name: str, leaves: list[StateLeaf], newest: np.ndarray) -> Memory:
    largest = max(leaves, key=lambda leaf: leaf.nbytes)
    if not largest.is_buffer:
        return Memory(row, source, name, largest.kind, np.zeros((len(largest.newest), 0), int), _size(leaves))
    times = np.stack([carried(entries, newest) for entries in largest.newest])
    return Memory(row, source, name, 'ring' if largest.is_ring else 'buffer', times, _size(leaves))


def _size(leaves: list[StateLeaf]) -> int:
    return sum(leaf.values[0].size * leaf.repeats for leaf in leaves)


def _newest(rows: Rows, edge: int, time: int, period: int) -> np.ndarray:
    """The newest input that each timestep of an edge depends on, up to the input's last."""
    ratio = rows.edges[edge].ratio
    per_period = int(period * ratio)
    first = [dependencies(rows, edge, [t]).sets[0] for t in range(per_period)]
    last = np.array([intervals[-1][1] if intervals else -1 for intervals in first])
    periods = np.arange(-(-time // period))
    return (last + period * periods[:, None]).ravel()


def carried(entries: np.ndarray, newest: np.ndarray) -> np.ndarray:
    """The timestep that each entry carries, from the newest input that the entry depends on; -1 for none.

    Where several timesteps have the same newest input, the entries that hold it are in the order of time, round the
    ring if it is one.
    """
    times = np.full(len(entries), -1)
    wraps = np.flatnonzero(np.diff(entries) < 0)
    order = np.roll(np.arange(len(entries)), -(wraps[0] + 1) if len(wraps) else 0)
    for value in np.unique(entries[entries >= 0]):
        holding = order[entries[order] == value]
        candidates = np.flatnonzero(newest <= value)
        times[holding] = candidates[-len(holding) :] if len(candidates) >= len(holding) else -1
    return times
