"""How a mask travels through a model: which timesteps are valid at every edge."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import seqlayers as sl

from .edges import Edge, Rows
from .run import built, random_input, whole


@dataclass(frozen=True, eq=False, repr=False)
class MaskTrace:
    """The masks of a run of `layer`.

    Attributes:
      name: of the layer.
      edges: its rows, input first.
      masks: for each edge bool `[batch, time of the edge]`.
    """

    name: str
    edges: tuple[Edge, ...]
    masks: tuple[np.ndarray, ...]

    def lost(self, row: int, item: int = 0) -> np.ndarray:
        """Timesteps of a row that are invalid although all of its sources are valid at the same time."""
        mask, before = self.masks[row][item], self._before(row, item)
        return ~mask & before

    def gained(self, row: int, item: int = 0) -> np.ndarray:
        """Timesteps of a row that are valid although not all of its sources are, at the same time."""
        mask, before = self.masks[row][item], self._before(row, item)
        return mask & ~before

    def _before(self, row: int, item: int) -> np.ndarray:
        """Where all sources of a row are valid; False past their ends."""
        if row == 0:
            return self.masks[0][item]
        return np.all([self._at_the_time_of(row, source, item) for source in self.edges[row].sources], 0)

    def _at_the_time_of(self, row: int, source: int, item: int) -> np.ndarray:
        """The mask of a source at the timesteps of `row`."""
        step = self.edges[source].ratio / self.edges[row].ratio
        times = np.arange(self.masks[row].shape[1]) * step.numerator // step.denominator
        mask = self.masks[source][item]
        return np.where(times < len(mask), np.append(mask, False)[np.minimum(times, len(mask))], False)

    def __repr__(self):
        counts = [f'{m.sum()} of {m.size}' for m in (self.masks[0], self.masks[-1])]
        return f'MaskTrace({self.name}: {counts[0]} input timesteps valid, {counts[1]} output timesteps)'


def trace_mask(
    layer: Any, mask: Any, *, input_spec: sl.ChannelSpec | None = None, constants: Mapping | None = None
) -> MaskTrace:
    """The mask at the input and behind every layer, in a layer-wise run.

    Args:
      layer: a built layer, or a declaration: that is built for `input_spec` (that of the Sequence, or 8 channels).
      mask: bool (or 0 and 1) `(time,)` or `(batch, time)`: which input timesteps are valid; or a Sequence, whose
        values the layer then runs on.
      input_spec, constants: of the layer.

    Raises:
      ValueError: the mask has another shape.
      LayerError: the Sequence does not fit the layer.
    """
    if isinstance(mask, sl.Sequence):
        x, model = mask, built(layer, input_spec or mask.channel_spec)
    else:
        model = built(layer, input_spec)
        mask = np.asarray(mask).astype(bool)
        if mask.ndim not in (1, 2) or not mask.size:
            raise ValueError(f'trace_mask: the mask must have the shape (time,) or (batch, time), got {mask.shape}')
        mask = np.atleast_2d(mask)
        x = sl.Sequence(random_input(model.input_spec, *mask.shape).values, mask)
    rows = Rows(model)
    masks = tuple(np.asarray(y.mask) for y in (x, *whole(rows, x, constants)))
    return MaskTrace(layer.name or type(layer).__name__, tuple(rows.edges), masks)
