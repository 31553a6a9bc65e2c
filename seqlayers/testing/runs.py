"""The runs of a model that the contract compares: whole, in steps, and the gradients of both."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers.layer import SequenceLayer
from seqlayers.sequence import Sequence
from seqlayers.streaming import constants as side_inputs
from seqlayers.streaming.step_by_step import scan_steps
from seqlayers.testing.compare import to_length
from seqlayers.testing.sequences import random_values

SPLITS = ('1x', '2x', 'uneven')
OFFSETS = (0, 1, 2, 3)  # in multiples of the model's alignment


def on_host(x: Sequence) -> Sequence:
    """The sequence in NumPy arrays: cutting and joining them compiles nothing."""
    return type(x)(*jax.tree.map(np.asarray, (x.values, x.mask)))


class Runs:
    """A model with what it is called with; each run is compiled once for each shape.

    `time` is the longest input. Steps may go on after it by the flush and some blocks.
    """

    def __init__(self, model: SequenceLayer, time: int, training: bool, constants: Mapping | None, rng: Any, seed: int):
        self.model, self.seed = model, seed
        self.call = {'training': training, 'constants': constants, 'rng': rng}
        timing = model.timing
        offset = OFFSETS[-1] * timing.align
        flush = timing.flush(0, offset) + (4 + timing.output_latency) * timing.block_size
        self.max_length = time + offset + flush
        streamed, self._fixed = side_inputs.split(model, constants)
        self._streamed = {name: value[:, :time] for name, value in streamed.items()}  # with the input it ends
        self._long = jax.tree.map(np.asarray, side_inputs.pad_to(self._streamed, self.max_length))
        self._layer = jax.jit(lambda m, xs: [m.layer(x, **self.call_at(0, x.shape[1])) for x in xs])
        self._step = jax.jit(lambda m, x, state, block: m.step(x, state, **self._call_with(block)))

    def _call_with(self, streamed: Mapping[str, Any]) -> dict[str, Any]:
        return {**self.call, 'constants': {**self._fixed, **streamed}}

    def _block(self, start: int, stop: int) -> dict[str, Any]:
        return {name: value[:, start:stop] for name, value in self._long.items()}

    def call_at(self, start: int, stop: int) -> dict[str, Any]:
        """The keyword arguments for these timesteps of a stream."""
        return self._call_with(self._block(start, stop))

    def call_all_valid(self, time: int) -> dict[str, Any]:
        """The keyword arguments for `time` timesteps, where constants that stream have no invalid ones."""

        def repeat(value: Any) -> Any:
            if not isinstance(value, Sequence):
                return np.take(value, np.arange(time), axis=1, mode='wrap')
            values = np.take(value.values, np.arange(time), axis=1, mode='wrap')
            return Sequence.from_values(values)

        return self._call_with({name: repeat(value) for name, value in self._streamed.items()})

    def layer(self, *xs: Sequence) -> list[Sequence]:
        """`layer` of each sequence; those of different lengths are compiled together."""
        if len({x.shape for x in xs}) == 1:
            return [on_host(self._layer(self.model, [x])[0]) for x in xs]
        return [on_host(y) for y in self._layer(self.model, list(xs))]

    def layer_type(self, x: Sequence) -> Sequence:
        """What `layer` of x would be, in the abstract."""
        return jax.eval_shape(self._layer, self.model, [x])[0]

    def blocks(self, time: int, split: str) -> Iterator[int]:
        """Block lengths that add up to `time`, a whole number of blocks."""
        draw = np.random.default_rng(self.seed)
        uneven = iter(lambda: int(draw.integers(1, 4)), 0)
        sizes = {'1x': itertools.repeat(1), '2x': itertools.repeat(2), 'uneven': uneven}[split]
        while time > 0:
            n = min(next(sizes) * self.model.block_size, time)
            yield n
            time -= n

    @functools.cached_property
    def _states(self) -> Callable:
        align = self.model.timing.align

        def initial(m: SequenceLayer, batch: int) -> list:
            limits = {'max_length': self.max_length, **self.call}
            return [m.get_initial_state(batch, offset=n * align, **limits) for n in OFFSETS]

        return jax.jit(initial, static_argnums=1)

    def states(self, batch: int) -> list:
        """The initial states behind each of OFFSETS."""
        return self._states(self.model, batch)

    def step(self, x: Sequence, state: Any, start: int = 0) -> tuple[Sequence, Any]:
        """A step whose first timestep is number `start` of the stream."""
        return self._step(self.model, x, state, self._block(start, start + x.shape[1]))

    def steps(self, x: Sequence, split: str, offsets: int = 0, extra_blocks: int = 0) -> Sequence:
        """All outputs of steps over void timesteps, `x`, the flush and some more blocks; nothing is dropped.

        `offsets` counts void timesteps in multiples of the alignment. They hold NaN.
        Constants that stream have none: they arrive from the first step on.
        """
        block, offset = self.model.block_size, offsets * self.model.timing.align
        void = np.nan if jnp.issubdtype(x.dtype, jnp.inexact) else 0
        x = x.unmask().pad_time(offset, 0, pad_value=void)
        x = x.pad_time(0, self.model.timing.flush(0, offset)).pad_to_multiple(block).pad_time(0, extra_blocks * block)
        state = self.states(x.shape[0])[offsets]
        outputs, start = [], 0
        for n in self.blocks(x.shape[1], split):
            y, state = self.step(x[:, start : start + n], state, start)
            outputs.append(y.unmask())
            start += n
        return Sequence.concatenate_sequences(map(on_host, outputs))

    def gradients(self, x: Sequence, expected: Sequence, latency: int) -> tuple[Any, Any]:
        """By model and input, of a random linear function of the valid outputs: of `layer`, and of steps."""
        cotangent = random_values(expected.channel_spec, expected.shape[:2], self.seed + 1)
        flush = self.model.input_latency + 2 * self.model.block_size

        def by_steps(m, x):
            x = x.pad_time(0, flush).pad_to_multiple(m.block_size)
            state = m.get_initial_state(x.shape[0], max_length=x.shape[1], **self.call)
            return scan_steps(m, x, state, m.block_size, **self.call)[0][:, latency:]

        def loss(run, m, values):
            y = to_length(run(m, Sequence(values, x.mask)), expected.shape[1])
            product = jnp.where(expected.expanded_mask(), y.values * cotangent, 0)
            return jnp.real(product.astype(jnp.promote_types(product.dtype, jnp.float32))).sum()

        def gradient(run: Callable, model: Any, values: Any):
            by_model, by_values = jax.grad(functools.partial(loss, run), argnums=(0, 1), allow_int=True)(model, values)
            if by_values.dtype != jax.dtypes.float0:
                by_values = jnp.where(x.expanded_mask(), by_values, 0)
            return by_model, by_values

        # The model is an argument: with weights as constants XLA makes products that it cannot emit (JAX 0.11.2).
        by_layer = lambda m, x: m.layer(x, **self.call)  # noqa: E731
        return jax.jit(lambda *given: (gradient(by_layer, *given), gradient(by_steps, *given)))(self.model, x.values)
