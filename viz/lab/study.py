"""What is known of a declaration: computed when it is asked for, and once."""

import contextlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import seqlayers as sl
from seqlayers.summary import LayerSummary, summarize

from ..traces.diagram import DiagramTrace, of_summary, trace_diagram
from ..traces.run import random_input
from .catalogue import SOURCE, WIDTH

BLOCKS = 24  # of the input that pictures show
GAP = (11, 12)  # blocks of it that are invalid


class Study:
    """A declaration on an input, with what it costs and does. `constants` are its side inputs; by default made up."""

    block_size = None  # the smallest
    forget_state = False

    def __init__(self, declaration: Any, input_spec: sl.ChannelSpec, constants: Mapping | None = None):
        self.declaration, self.input_spec, self._constants = declaration, input_spec, constants

    @cached_property
    def constants(self) -> Mapping[str, Any] | None:
        """Side inputs for `x`."""
        return self._side_inputs(1, self.time)

    def _side_inputs(self, batch_size: int, time: int) -> Mapping[str, Any] | None:
        """Side inputs for `time` timesteps of the input."""
        if self._constants is not None or not _reads_source(self.declaration):
            return self._constants
        return {SOURCE: random_input(sl.ChannelSpec((WIDTH,)), batch_size, time)}

    @cached_property
    def time(self) -> int:
        """Input timesteps of a picture."""
        return BLOCKS * self.declaration.block_size

    @cached_property
    def x(self) -> sl.Sequence:
        """Noise with a gap of two invalid blocks."""
        valid = ~np.isin(np.arange(self.time) // self.declaration.block_size, GAP)
        return sl.Sequence(random_input(self.input_spec, 1, self.time).values, jnp.asarray(valid[None]))

    @cached_property
    def model(self) -> Any:
        """The built layer."""
        with quick_compilation():
            return self._build()

    @cached_property
    def abstract(self) -> Any:
        """The built layer, with shapes in the place of arrays: nothing is computed.

        Raises:
          LayerError: the layers do not fit together.
        """
        return jax.eval_shape(self._build)

    @cached_property
    def summary(self) -> LayerSummary:
        """Channels, parameters and state."""
        return summarize(self.abstract, constants=self.constants)

    @cached_property
    def diagram(self) -> DiagramTrace:
        """The model as blocks; up to where its layers do not fit together."""
        try:
            return of_summary(self.summary, self.constants)
        except Exception:  # the diagram says which, and where
            return trace_diagram(self.declaration, self.input_spec, constants=self.constants)

    def prove(self) -> sl.testing.ContractReport:
        """The contract, checked on a random input."""
        time = 2 * self.model.block_size + 9 + min(self.model.input_latency, 32)
        x = sl.testing.random_sequence(self.input_spec, time)
        with quick_compilation():
            return sl.testing.check_contract(self.model, x, constants=self._side_inputs(*x.shape[:2]))

    def _build(self) -> Any:
        return self.declaration.build(self.input_spec, rngs=0, constants=self.constants)


@contextlib.contextmanager
def quick_compilation() -> Iterator[None]:
    """Every change is compiled anew and run once: most of the time is saved by compiling without optimizations."""
    before = jax.config.read('jax_disable_most_optimizations')
    jax.config.update('jax_disable_most_optimizations', True)
    try:
        yield
    finally:
        jax.config.update('jax_disable_most_optimizations', before)


def _reads_source(declaration: Any) -> bool:
    values = (value for _, layer in sl.layer.walk(declaration) for value in layer.field_values().values())
    return any(value == SOURCE or (isinstance(value, tuple) and SOURCE in value) for value in values)
