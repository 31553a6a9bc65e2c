"""A step of a model, compiled: what `Stream` and `StreamPool` run."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from seqlayers.combinators.unstack import unstack
from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer, State
from seqlayers.sequence import ChannelSpec, Sequence
from seqlayers.streaming import constants as side_inputs


class CompiledStep:
    """Steps of a built model by one compiled function, its state held outside.

    The module and its state are flattened once: handing a module of a hundred layers to `jax.jit` costs more Python
    than many a step. States are donated, so that caches are written in place.

    Attributes:
      model: what runs: the model with its repetitions unstacked, but not with a key, as random draws go by the place
        of a layer. It has the weights of now.
      input_latency, output_latency: those of the model, which are worked out anew whenever it is asked.
      compilations: how often the step was compiled; once for each block length.
      steps: how many have run. seconds: how long they took, without those that compiled.
    """

    def __init__(
        self,
        model: SequenceLayer,
        batch_size: int,
        *,
        block_size: int | None = None,
        training: bool = False,
        constants: Mapping[str, Any] | None = None,
        rng: jax.Array | None = None,
        max_length: int | None = None,
        around: Callable | None = None,
    ):
        name = type(model).__name__
        if not model.is_built:
            raise LayerError(f'{name} is a declaration: build it, and stream the model that build returns')
        self.model = unstack(model) if rng is None else model
        self._given = model
        self.block_size = self.model.block_size if block_size is None else block_size
        if self.block_size < 1 or self.block_size % self.model.block_size:
            raise LayerError(f'block_size must be a multiple of that of {name}, {model.block_size}; got {block_size}')
        self.batch_size, self.max_length = batch_size, max_length
        self.input_latency, self.output_latency = self.model.input_latency, self.model.output_latency
        self.streamed, self._fixed = side_inputs.split(model, constants)
        self.call = {'training': training, 'rng': rng}
        self._leaves, self._structure = jax.tree.flatten(self.model)
        self._around = around or (lambda step, state: step(state))
        self._run = jax.jit(self._traced, donate_argnums=1)
        self.compilations = self.steps = 0
        self.seconds = 0.0
        self.state_structure = jax.tree.structure(jax.eval_shape(self.initial_state))

    def initial_state(self) -> State:
        """The state before the first step."""
        return self.initial_state_of(self.batch_size)

    def initial_state_of(self, batch_size: int) -> State:
        """The same for another batch."""
        given = {'constants': {**self._fixed, **self.streamed}, 'max_length': self.max_length, **self.call}
        return self.model.get_initial_state(batch_size, **given)

    def initial_leaves(self) -> list[jax.Array]:
        """The same as a list of arrays, new ones, to be handed to `__call__`."""
        return [leaf.copy() for leaf in self._initial]

    @functools.cached_property
    def _initial(self) -> list[jax.Array]:
        return jax.tree.leaves(jax.jit(self.initial_state)())

    def __call__(
        self, state: list[jax.Array], x: Sequence, constants: Mapping[str, Any], *extra: Any
    ) -> tuple[Sequence, list[jax.Array]]:
        """The output, in NumPy arrays, and the new state; the old one is gone. `extra` goes to `around`."""
        before, start = self.compilations, time.perf_counter()
        values, mask, state = self._run(self._leaves, state, x.values, x.mask, dict(constants), *extra)
        y = Sequence(np.asarray(values), np.asarray(mask))  # waits for the step
        if self.compilations == before:
            self.seconds += time.perf_counter() - start
            self.steps += 1
        return y, state

    def _traced(
        self, leaves: list, state_leaves: list, values: jax.Array, mask: jax.Array, constants: dict, *extra: Any
    ) -> tuple[jax.Array, jax.Array, list]:
        self.compilations += 1  # Python runs this when it is traced
        model = jax.tree.unflatten(self._structure, leaves)
        state = jax.tree.unflatten(self.state_structure, state_leaves)
        constants = {**self._fixed, **constants}
        step = functools.partial(model.step, Sequence(values, mask), constants=constants, **self.call)
        y, state = self._around(step, state, *extra)
        return y.values, y.mask, jax.tree.leaves(state)

    def output_length(self, time: int) -> int:
        """How many timesteps `layer` gives for an input of so many."""
        spec, shape = self.model.input_spec, (self.batch_size, time)
        x = Sequence(jax.ShapeDtypeStruct(shape + spec.shape, spec.dtype), jax.ShapeDtypeStruct(shape, np.bool_))
        streamed = side_inputs.pad_to({k: v[:, :0] for k, v in self.streamed.items()}, time)
        constants = {**self._fixed, **streamed}
        # Of the given model: repetitions in a row fill up to whole blocks, which as layers of their own they do not.
        return jax.eval_shape(lambda x: self._given.layer(x, constants=constants, **self.call), x).shape[1]

    def flushed(self, time: int) -> int:
        """How many timesteps so many are with the invalid ones that push out the latency, in whole blocks."""
        total = time + self.input_latency
        return total + -total % self.block_size

    def check_length(self, time: int) -> None:
        """Raises a LayerError if an input of so many timesteps is, with its flush, longer than `max_length`."""
        flushed = self.flushed(time)
        if self.max_length is not None and flushed > self.max_length:
            raise LayerError(
                f'the stream would have {time} timesteps, {flushed} with the flush, and max_length is '
                f'{self.max_length}; close it, or begin one with a larger max_length'
            )

    @property
    def state_bytes(self) -> int:
        """The size of the state."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(self.initial_state)))

    def cost(self, rate: float | None) -> str:
        """What a step has cost, in words. `rate` is that of the input, in timesteps a second."""
        if not self.steps:
            return 'no step measured'
        each = self.seconds / self.steps
        text = f'{self.steps} steps of {1e6 * each:.0f} us'
        return f'{text}, {each * rate / self.block_size:.3g} of real time' if rate else text


def invalid(spec: ChannelSpec, batch_size: int, time: int = 0) -> Sequence:
    """Invalid timesteps, in NumPy arrays."""
    return Sequence(np.zeros((batch_size, time, *spec.shape), spec.dtype), np.zeros((batch_size, time), bool))


def as_block(model: SequenceLayer, chunk: Any, batch_size: int) -> Sequence:
    """A chunk as a Sequence of NumPy arrays: `(batch, time, *channels)`, or without batch if that is 1.

    Raises:
      LayerError: it does not fit the model.
    """
    spec = model.input_spec
    if isinstance(chunk, Sequence):
        values, mask = np.asarray(chunk.values), np.asarray(chunk.mask)
    else:
        values = np.asarray(chunk)
        values = values[None] if batch_size == 1 and values.ndim == 1 + len(spec.shape) else values
        mask = np.ones(values.shape[:2], bool)
    if values.shape[:1] + values.shape[2:] != (batch_size, *spec.shape) or values.ndim < 2:
        raise LayerError(
            f'a chunk must have the shape (batch={batch_size}, time, {", ".join(map(str, spec.shape))}), '
            f'got {values.dtype}{list(values.shape)}'
        )
    if not np.can_cast(values.dtype, spec.dtype, 'same_kind'):
        raise LayerError(f'a chunk must hold {spec.dtype}, got {values.dtype}')
    return Sequence(values.astype(spec.dtype), mask)
