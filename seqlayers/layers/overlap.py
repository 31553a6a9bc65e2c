"""Layers that spread each timestep over several outputs and sum: transposed convolution, overlap-add."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers.clock import clock, tick
from seqlayers.context import LayerError
from seqlayers.framing import frames
from seqlayers.layer import SequenceLayer
from seqlayers.layers.windows import Axis
from seqlayers.padding import TransposedWindow, transposed_window
from seqlayers.sequence import Sequence


class Overlapping(SequenceLayer):
    """Base of the layers that are the transpose of a sliding window.

    Authors define `axes`, `spread` and, if anything is done after adding up, `finish`. In `layer` the sum of
    all inputs is cropped as the padding says. A `step` gives what no later input adds to, and keeps the rest.

    State: `()` if outputs of neighbours do not overlap; else a tuple of the sums that later inputs add to,
    `[batch, overlap, ...]`; with padding 'same' also the masks of the outputs that wait out its latency,
    `[batch, overlap // 2]`; with 'valid' and 'semicausal_full' the masks of the inputs that still add to outputs, and a
    clock.
    """

    @property
    def axes(self) -> list[Axis]:
        """Time, and the spatial axes that are spread too."""
        raise NotImplementedError(f'{type(self).__name__} must define axes')

    def spread(self, values: jax.Array, training: bool) -> jax.Array:
        """The sum over all timesteps: `(batch, time, ...) -> (batch, time * stride + overlap, ...)`."""
        raise NotImplementedError(f'{type(self).__name__} must define spread')

    def finish(self, y: jax.Array) -> jax.Array:
        """What is done with the complete sums."""
        return y

    def __post_init__(self):
        try:
            _ = [transposed_window(*axis) for axis in self.axes]
        except ValueError as error:
            raise LayerError(f'{self!r}: {error}') from None

    @property
    def window(self) -> TransposedWindow:
        """The transposed window over time."""
        return transposed_window(*self.axes[0])

    @property
    def timing(self):
        return self.window.timing

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        window = self.window
        if not window.overlap:
            return ()
        shape = (batch_size, 1, *self.input_spec.shape)
        x = jax.ShapeDtypeStruct(shape, self.input_spec.dtype)
        spec = jax.eval_shape(lambda values: self.spread(values, training=False), x)
        sums = jnp.zeros((batch_size, window.overlap, *spec.shape[2:]), spec.dtype)
        if window.told_offset:
            before = jnp.full((batch_size, reach(window)), window.mask_rule == 'all')
            return sums, before, clock(batch_size, offset)
        return (sums, jnp.zeros((batch_size, window.latency), bool)) if window.latency else (sums,)

    def layer(self, x, *, training, constants=None):
        window, length = self.window, self.window.output_length(x.shape[1])
        y = self.spread(self._masked(x), training)[:, window.latency : window.latency + length]
        return Sequence(self.finish(y), layer_mask(window, x.mask))

    def step(self, x, state, *, training, constants=None):
        training = False  # what a layer may learn of its own weights in training, it learns in `layer`
        window, length = self.window, x.shape[1] * self.window.stride
        y = self.spread(self._masked(x), training)
        mask = jnp.repeat(x.mask, window.stride, axis=1)
        if not state:
            return Sequence(self.finish(y), mask), ()
        sums, *rest = state
        y = jnp.concatenate([y[:, : window.overlap] + sums, y[:, window.overlap :]], axis=1)
        if window.told_offset:
            times, now = tick(rest[1], x.shape[1])
            added = x.mask | (times < 0) if window.mask_rule == 'all' else x.mask
            seen = jnp.concatenate([rest[0], added], axis=1)
            valid = sums_mask(window, seen)
            mask = mask & valid if window.mask_rule == 'all' else valid & ~self._is_dropped(times)
            rest = seen[:, x.shape[1] :], now
        elif window.latency:
            mask = jnp.concatenate([rest[0], mask], axis=1)
            mask, rest = mask[:, :length], (mask[:, length:],)
        return Sequence(self.finish(y[:, :length]), mask), (y[:, length:], *rest)

    def _is_dropped(self, times: jax.Array) -> jax.Array:
        """Whether `layer` drops an output, `(batch, time * stride)`: one of the first of the sum, or before it."""
        stride = self.window.stride
        outputs = times[:, :, None] * stride + jnp.arange(stride)
        return outputs.reshape(len(times), -1) < self.window.latency

    def _masked(self, x: Sequence) -> jax.Array:
        return x.values if self.window.kernel_size == 1 else x.mask_invalid().values


def reach(window: TransposedWindow) -> int:
    """How many earlier inputs add to the outputs of an input."""
    return -(-window.effective // window.stride) - 1


def sums_mask(window: TransposedWindow, mask: jax.Array) -> jax.Array:
    """For each output whether all (or by the mask rule any) of the inputs that add to it are valid.

    `(batch, reach + time) -> (batch, time * stride)`; the first `reach` entries are those of earlier inputs.
    """
    past = reach(window)
    adds = np.zeros((window.stride, past + 1), bool)  # [phase of the output, input from oldest to newest]
    for tap in range(0, window.effective, window.dilation):
        adds[tap % window.stride, past - tap // window.stride] = True
    taps = frames(mask, past + 1, 1)[:, :, None, :]
    valid = (taps & adds).any(-1) if window.mask_rule == 'any' else (taps | ~adds).all(-1)
    return valid.reshape(mask.shape[0], -1)


def layer_mask(window: TransposedWindow, mask: jax.Array) -> jax.Array:
    """The mask of the whole output from that of the whole input."""
    if window.mask_rule == 'repeat':
        return jnp.repeat(mask, window.stride, axis=1)
    length, tail = window.output_length(mask.shape[1]), math.ceil(window.overlap / window.stride)
    mask = jnp.pad(mask, ((0, 0), (0, tail)))
    before = ((0, 0), (reach(window), 0))
    if window.mask_rule == 'any':
        return sums_mask(window, jnp.pad(mask, before))[:, window.latency : window.latency + length]
    valid = sums_mask(window, jnp.pad(mask, before, constant_values=True))
    return (valid & jnp.repeat(mask, window.stride, axis=1))[:, :length]
