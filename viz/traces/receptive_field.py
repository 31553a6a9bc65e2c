"""Which inputs an output can see: by calculation at every edge, and as measured by gradients."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import seqlayers as sl
from seqlayers.intervals import Interval

from .dependencies import Cone, Intervals, Link, dependencies
from .edges import Edge, Rows
from .run import built, random_input

MEASURED_PHASES = 16  # of more phases only the narrowest and the widest are looked at
ENDLESS = 24  # input timesteps shown of a field without end
MARGIN = 4  # input timesteps examined on both sides of a field, where nothing should be
DRAWS = 4  # random inputs; one alone could have a unit switched off
ROUNDING = 1e-7  # gradients smaller than this part of the largest may be rounding


@dataclass(frozen=True, eq=False)
class OutputField:
    """What one output sees.

    Attributes:
      output: its timestep.
      sets: for each edge the intervals of timesteps that the output depends on; ends may be infinite.
      links: what each edge reads of one of its sources.
      own: the input timestep at the output's own time, to which `field` is relative.
      field: first and last input timestep seen, minus `own`; None if the output sees nothing.
      measured: the size of the gradient at each input timestep from `measured_from` on; None if not measured.
    """

    output: int
    sets: tuple[Intervals, ...]
    links: tuple[Link, ...]
    own: int
    field: Interval | None
    measured: np.ndarray | None
    measured_from: int = 0

    @property
    def size(self) -> float:
        """How many input timesteps lie between the first and the last seen, both included."""
        return self.field[1] - self.field[0] + 1 if self.field else 0


@dataclass(frozen=True, eq=False, repr=False)
class ReceptiveFieldTrace:
    """The receptive field of a layer.

    Attributes:
      name: of the layer.
      edges: its rows, input first.
      period: outputs after which the field repeats.
      fields: what the examined outputs see, one for each phase.
      table: the field of every phase, as `layer.receptive_field_per_step`.
      time: input timesteps examined.
    """

    name: str
    edges: tuple[Edge, ...]
    period: int
    fields: tuple[OutputField, ...]
    table: Mapping[int, Interval | None]
    time: int

    @property
    def status(self) -> str:
        """'not measured', 'equal' (the support is as calculated), 'upper bound' or 'exceeded' (an error)."""
        found = [self._status(f) for f in self.fields]
        order = ('not measured', 'exceeded', 'upper bound', 'equal')
        return next(status for status in order if status in found)

    def support(self, field: OutputField) -> list[int]:
        """Input timesteps with a gradient; one that may be rounding counts only where one is expected."""
        if field.measured is None:
            return []
        times = np.arange(len(field.measured)) + field.measured_from
        expected = np.isin(times, list(self._calculated(field)))
        least = np.where(expected, 0, ROUNDING * field.measured.max())
        return times[field.measured > least].tolist()

    def outside(self, field: OutputField) -> list[int]:
        """Input timesteps with a gradient that the calculation excludes. Empty unless something is wrong."""
        return sorted(set(self.support(field)) - self._calculated(field))

    def at(self, output: int) -> OutputField | None:
        """What any output sees: as the examined one of its phase, shifted; None if none was examined."""
        for field in self.fields:
            periods, rest = divmod(output - field.output, self.period)
            if rest == 0:
                return self._shifted(field, periods) if periods else field
        return None

    def __repr__(self):
        table = ', '.join(f'{f.output % self.period}: {f.field}' for f in self.fields)
        return f'ReceptiveFieldTrace({self.name}, {{{table}}}, {self.status})'

    def _shifted(self, field: OutputField, periods: int) -> OutputField:
        ratio = self.edges[-1].ratio
        by = [int(periods * self.period * edge.ratio / ratio) for edge in self.edges]
        cone = Cone(field.sets, field.links).shifted(by)
        return replace(
            field, output=field.output + by[-1], sets=cone.sets, links=cone.links, own=field.own + by[0],
            measured_from=field.measured_from + by[0],
        )  # fmt: skip

    def _calculated(self, field: OutputField) -> set[int]:
        low, high = field.measured_from, field.measured_from + self.time - 1
        return {t for a, b in field.sets[0] for t in range(int(max(a, low)), int(min(b, high)) + 1)}

    def _status(self, field: OutputField) -> str:
        if field.measured is None:
            return 'not measured'
        if self.outside(field):
            return 'exceeded'
        return 'equal' if set(self.support(field)) == self._calculated(field) else 'upper bound'


def trace_receptive_field(
    layer: Any, *, input_spec: sl.ChannelSpec | None = None, constants: Mapping | None = None
) -> ReceptiveFieldTrace:
    """The receptive field of each output phase of a layer, calculated; and measured if the layer is built.

    The measurement is the gradient of the output with respect to an all-valid input of noise. A declaration
    is only measured if `input_spec` says for which input to build it. Integers have no gradients.

    Args:
      layer: a declaration or a built layer.
      input_spec: builds a declaration, so that it can be measured.
      constants: side inputs of the layer.
    """
    model = built(layer, input_spec) if input_spec else layer
    table = model.receptive_field_per_step
    phases = _phases(table)
    rows = Rows(model)
    own = _own_time(model, table, phases)
    outputs = [math.floor(own * model.output_ratio) + phase for phase in phases]
    sets, links = zip(*(dependencies(rows, len(rows.edges) - 1, [output]) for output in outputs), strict=True)
    time = _time(model, sets, outputs)
    measured: list = [None] * len(outputs)
    if model.is_built and jnp.issubdtype(model.input_spec.dtype, jnp.inexact):
        measured = _gradients(model, time, outputs, constants)
    owns = [math.floor(output / model.output_ratio) for output in outputs]
    fields = map(OutputField, outputs, sets, links, owns, [table[phase] for phase in phases], measured)
    name = layer.name or type(layer).__name__
    return ReceptiveFieldTrace(name, tuple(rows.edges), len(table), tuple(fields), table, time)


def _phases(table: Mapping[int, Interval | None]) -> list[int]:
    """All phases, or the narrowest and the widest of many."""
    if len(table) <= MEASURED_PHASES:
        return list(table)
    size = {phase: field[1] - field[0] if field else -1 for phase, field in table.items()}
    return sorted({min(size, key=size.get), max(size, key=size.get)})  # type: ignore[arg-type]


def _own_time(model: Any, table: Mapping[int, Interval | None], phases: list[int]) -> int:
    """A time so late that the finite fields begin in the input, behind a margin; a multiple of the period."""
    starts = [field[0] for phase in phases if (field := table[phase])]
    reach = max((-s if math.isfinite(s) else ENDLESS for s in starts), default=0)
    period = int(len(table) / model.output_ratio)
    return -(-max(0, int(reach) + MARGIN) // period) * period


def _time(model: Any, sets: Sequence[tuple], outputs: list[int]) -> int:
    """How many input timesteps to examine: the finite fields, and a margin behind them."""
    ends = [b for of_output in sets for _, b in of_output[0]]
    own = math.ceil((max(outputs) + 1) / model.output_ratio) - 1  # the last that the output covers
    return int(max([own, *(b if math.isfinite(b) else own + ENDLESS for b in ends)])) + 1 + MARGIN


def _gradients(model: Any, time: int, outputs: list[int], constants: Mapping | None) -> list[np.ndarray]:
    """|gradient| of each output at each input timestep: the largest over draws, summed over channels."""
    x = random_input(model.input_spec, DRAWS, -(-time // model.block_size) * model.block_size)

    @jax.jit
    def run(model: Any, values: jax.Array) -> jax.Array:
        y, pullback = jax.vjp(
            lambda v: model.layer(x.replace(values=v), training=False, constants=constants).values, values
        )
        weights = jax.random.normal(jax.random.key(0), (DRAWS, *y.shape[2:])).astype(y.dtype)
        pick = lambda output: jnp.zeros_like(y).at[:, output].set(weights)  # noqa: E731
        (gradients,) = jax.vmap(lambda output: pullback(pick(output)))(jnp.asarray(outputs))
        return jnp.abs(gradients).reshape(*gradients.shape[:3], -1).sum(-1).max(1)

    return list(np.asarray(run(model, x.values), np.float32)[:, :time])
