"""Layer against step: the same input whole and in blocks, aligned by the latency, compared at every edge."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import seqlayers as sl

from .edges import Edge, Rows
from .run import block_size_of, built_for, channels, stepper, steps, tapped, whole

TOLERANCE = {'bfloat16': 5e-2, 'float16': 5e-3}
DEFAULT_TOLERANCE = 1e-5  # of float32 and everything exact; relative to the largest value if that exceeds 1


@dataclass(frozen=True, eq=False, repr=False)
class RowComparison:
    """The two runs at one edge.

    Attributes:
      edge: where.
      layer, step: values `[batch, time, channels]`, the steps without their leading void timesteps.
      layer_mask, step_mask: bool `[batch, time]`.
      tolerance: differences up to it are rounding.
    """

    edge: Edge
    layer: np.ndarray
    step: np.ndarray
    layer_mask: np.ndarray
    step_mask: np.ndarray
    tolerance: float

    @cached_property
    def errors(self) -> np.ndarray:
        """`[batch, time, channels]`: |layer - step|; 0 where either is invalid, inf where one is NaN or infinite."""
        with np.errstate(invalid='ignore'):
            errors = np.abs(self.layer - self.step)
        errors[(self.layer == self.step) | (np.isnan(self.layer) & np.isnan(self.step))] = 0
        both = (self.layer_mask & self.step_mask)[..., None]
        return np.where(both, np.nan_to_num(errors, nan=np.inf, posinf=np.inf), 0)

    @cached_property
    def difference(self) -> np.ndarray:
        """`[time]`: the largest error over batch and channels."""
        return self.errors.max((0, 2), initial=0)

    @cached_property
    def mask_differs(self) -> np.ndarray:
        """bool `[time]`: valid in one run only, for any item of the batch."""
        return (self.layer_mask != self.step_mask).any(0)

    @cached_property
    def differs(self) -> np.ndarray:
        """bool `[time]`: another mask, or an error above the tolerance."""
        return self.mask_differs | (self.difference > self.tolerance)

    @property
    def first(self) -> int | None:
        """The first timestep that differs."""
        return int(np.argmax(self.differs)) if self.differs.any() else None


@dataclass(frozen=True, eq=False, repr=False)
class ComparisonTrace:
    """Whole run and block-wise run of a model.

    Attributes:
      name: of the model.
      rows: the edges behind the input, compared; the last is the output.
      block_size: in input timesteps.
      forget_state: whether every call was handed the initial state.
    """

    name: str
    rows: tuple[RowComparison, ...]
    block_size: int
    forget_state: bool

    @property
    def output(self) -> RowComparison:
        """The comparison of the outputs."""
        return self.rows[-1]

    @property
    def latency(self) -> int:
        """Void output timesteps that the steps emit first."""
        return self.output.edge.offset or 0

    @property
    def first_row(self) -> RowComparison | None:
        """The first edge, in the order of computation, that differs."""
        return next((row for row in self.rows if row.first is not None), None)

    @property
    def first_layer(self) -> str | None:
        """The path of the first layer that differs; the model's name if it has no layers inside."""
        return self.first_row and (self.first_row.edge.path or self.name)

    @property
    def first_timestep(self) -> int | None:
        """The first output timestep of that layer that differs."""
        return self.first_row and self.first_row.first

    def __repr__(self):
        how = f'{self.name} in blocks of {self.block_size}{", state forgotten" if self.forget_state else ""}'
        time = len(self.output.differs)
        if self.first_row is None:
            return f'ComparisonTrace({how}: layer and step agree on all {time} timesteps)'
        return (
            f'ComparisonTrace({how}: first difference at {self.first_layer}, timestep {self.first_timestep}; '
            f'{self.output.differs.sum()} of {time} output timesteps differ)'
        )


def compare_layer_and_step(
    model: Any,
    x: sl.Sequence,
    block_size: int | None = None,
    *,
    forget_state: bool = False,
    tolerance: float | None = None,
    constants: Mapping | None = None,
) -> ComparisonTrace:
    """Runs a layer whole and in blocks, and finds the first layer inside and timestep where the two differ.

    The model is run once with a tap behind every layer, so that a difference is seen where it arises.

    Args:
      model: a built layer that can step; a declaration is built with random parameters.
      x: its input.
      block_size: input timesteps a call, a multiple of the model's; the last is filled with invalid ones.
      forget_state: hand the initial state to every call, not the new one: see what the state is good for.
      tolerance: differences up to it are rounding; by default 1e-5 of the largest value (5e-3 in
        float16, 5e-2 in bfloat16).
      constants: side inputs of the model.

    Raises:
      ValueError: the model cannot step, or not in such blocks.
      LayerError: `x` does not fit the model.
    """
    model = built_for(x, model)
    block_size = block_size_of(model, block_size)
    rows = Rows(model)
    once, stepped = whole(rows, x, constants), _stepped(rows, x, block_size, constants, forget_state)
    compared = (_compared(*row, tolerance) for row in zip(rows.edges[1:], once, stepped, strict=True))
    return ComparisonTrace(model.name or type(model).__name__, tuple(compared), block_size, forget_state)


def _stepped(rows: Rows, x: sl.Sequence, block_size: int, constants: Any, forget_state: bool) -> list[sl.Sequence]:
    """What the steps emit at every edge, flushed and without the void timesteps."""
    model = tapped(rows, x, constants)
    x = x.pad_time(0, model.input_latency).pad_to_multiple(block_size)
    initial = model.get_initial_state(x.shape[0], training=False, constants=constants, max_length=x.shape[1])
    step = stepper(model, constants, rows.emitted)
    blocks = [emitted for emitted, _ in steps(step, initial, x, block_size, forget_state)]
    joined = map(sl.Sequence.concatenate_sequences, zip(*blocks, strict=True))
    return [y[:, edge.offset :] for edge, y in zip(rows.edges[1:], joined, strict=True)]


def _compared(edge: Edge, y: sl.Sequence, stepped: sl.Sequence, tolerance: float | None) -> RowComparison:
    """The timesteps of `layer`, and those behind it that the steps call valid."""
    late = np.flatnonzero(np.asarray(stepped.mask).any(0))
    time = max(y.shape[1], int(late[-1]) + 1 if len(late) else 0)
    y, stepped = (s.pad_time(0, max(0, time - s.shape[1]))[:, :time] for s in (y, stepped))
    (layer, layer_mask), (step, step_mask) = ((channels(s.values), np.asarray(s.mask)) for s in (y, stepped))
    if tolerance is None:
        valid = np.abs(layer[layer_mask])
        scale = max(1.0, float(valid[np.isfinite(valid)].max(initial=0)))
        tolerance = scale * TOLERANCE.get(y.dtype.name, DEFAULT_TOLERANCE)
    return RowComparison(edge, layer, step, layer_mask, step_mask, tolerance)
