"""A model block by block: what every edge emits in each block, what feeds it, and what is kept until the next."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import seqlayers as sl

from .dependencies import Cone, dependencies
from .edges import Edge, Rows
from .memory import Memory, memories
from .run import block_size_of, built_for, of_first_item, stepper, steps, tapped


@dataclass(frozen=True, eq=False, repr=False)
class RowSteps:
    """What one edge emits.

    Attributes:
      edge: where.
      mask: bool `[steps]`, of all timesteps in the order in which they come. The first `edge.offset` are void; number
        n carries time `n - edge.offset`.
      per_block: timesteps a block.
    """

    edge: Edge
    mask: np.ndarray
    per_block: int

    @property
    def offset(self) -> int:
        return self.edge.offset or 0

    def emitted(self, block: int) -> range:
        """The timesteps that come in a block; negative ones are void."""
        first = block * self.per_block - self.offset
        return range(first, first + self.per_block)


@dataclass(frozen=True, eq=False, repr=False)
class StepTrace:
    """A run in blocks, with the blocks of invalid timesteps that flush the latency.

    Attributes:
      name: of the model.
      rows: the edges, input first, output last.
      block_size: in input timesteps.
      time: input timesteps before the flush.
      memories: what is kept between blocks, edge by edge.
      period: input timesteps after which dependencies repeat.
      cones: what the outputs of a block have seen, for each kind of block, moved back to the first period.
    """

    name: str
    rows: tuple[RowSteps, ...]
    block_size: int
    time: int
    memories: tuple[Memory, ...]
    period: int
    cones: Mapping[tuple[int, int], Cone]

    @property
    def num_steps(self) -> int:
        """Input timesteps, the flush included."""
        return len(self.rows[0].mask)

    @property
    def num_blocks(self) -> int:
        return self.num_steps // self.block_size

    @cached_property
    def latency(self) -> int:
        """Steps from the arrival of an input to the output of its own time, at most."""
        return math.ceil(self.rows[-1].offset / self.rows[-1].edge.ratio)

    def outputs(self, block: int) -> range:
        """The output timesteps that a block emits, without void ones."""
        emitted = self.rows[-1].emitted(block)
        return range(max(emitted.start, 0), max(emitted.stop, 0))

    def waits(self, block: int) -> list[int]:
        """For each output of a block, the steps from the arrival of its own input."""
        late, ratio = self.rows[-1].offset, self.rows[-1].edge.ratio
        return [int((output + late) / ratio) - int(output / ratio) for output in self.outputs(block)]

    def cone(self, block: int) -> Cone:
        """What the outputs of a block have seen; empty if all are void."""
        outputs = self.outputs(block)
        if not outputs:
            return Cone(((),) * len(self.rows))
        kind, periods = self.kind(outputs)
        return self.cones[kind].shifted([int(periods * self.period * row.edge.ratio) for row in self.rows])

    def kind(self, outputs: range) -> tuple[tuple[int, int], int]:
        """The outputs of a block, moved back to the first period: (first, count); and by how many periods."""
        periods, first = divmod(outputs.start, int(self.period * self.rows[-1].edge.ratio))
        return (first, len(outputs)), periods

    def __repr__(self):
        blocks = f'{self.num_blocks} blocks of {self.block_size}'
        return f'StepTrace({self.name}: {blocks}, {len(self.rows)} edges, latency {self.latency})'


def trace_steps(
    model: Any, x: sl.Sequence, block_size: int | None = None, *, constants: Mapping | None = None
) -> StepTrace:
    """Runs a built model in blocks, to the end of its flush, and keeps what every edge emits in each.

    Args:
      model: a built layer that can step; a declaration is built with random parameters.
      x: its input, of at least one timestep; the first item is traced.
      block_size: input timesteps a call, a multiple of the model's; the last is filled with invalid ones.
      constants: side inputs of the model.

    What the state holds is found for streams of up to 64 input timesteps, flush included; of longer ones `memories`
    is empty.

    Raises:
      ValueError: the model cannot step, or not in such blocks; or there is no timestep.
      LayerError: `x` does not fit the model.
    """
    model = built_for(x, model)
    block_size = block_size_of(model, block_size)
    constants = of_first_item(constants, x.shape[0])
    item = x[:1].pad_time(0, model.input_latency).pad_to_multiple(block_size)
    rows = Rows(model)
    masks = [np.asarray(item.mask[0]), *_masks(rows, item, block_size, constants)]
    runs = tuple(RowSteps(e, m, int(block_size * e.ratio)) for e, m in zip(rows.edges, masks, strict=True))
    period = int(len(model.receptive_field_per_step) / model.output_ratio)
    cones: dict[tuple[int, int], Cone] = {}
    trace = StepTrace(
        model.name or type(model).__name__, runs, block_size, x.shape[1],
        memories(model, rows, item, block_size, period, constants), period, cones,
    )  # fmt: skip
    for block in range(trace.num_blocks):
        if outputs := trace.outputs(block):
            (first, count), _ = kind, _ = trace.kind(outputs)
            if kind not in cones:
                cones[kind] = dependencies(rows, len(runs) - 1, range(first, first + count))
    return trace


def _masks(rows: Rows, item: sl.Sequence, block_size: int, constants: Mapping | None) -> list[np.ndarray]:
    """The mask at every edge behind the input, of all timesteps that the steps emit."""
    model = tapped(rows, item, constants)
    initial = model.get_initial_state(1, training=False, constants=constants, max_length=item.shape[1])
    step = stepper(model, constants, lambda emits: [y.mask[0] for y in rows.emitted(emits)])
    blocks = [masks for masks, _ in steps(step, initial, item, block_size)]
    return [np.concatenate(of_edge) for of_edge in zip(*blocks, strict=True)]
