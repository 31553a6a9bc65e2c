"""Layers that slide a window over time, whole and in steps: what convolution, pooling and framing share."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqlayers import buffers, padding
from seqlayers.clock import clock, tick
from seqlayers.context import LayerError
from seqlayers.framing import frames
from seqlayers.layer import SequenceLayer
from seqlayers.layers.ring import SLACK, Ring
from seqlayers.padding import Padding, Window
from seqlayers.sequence import Sequence


class Axis(NamedTuple):
    """How windows lie along time or along a spatial axis."""

    size: int
    stride: int
    dilation: int
    padding: Padding

    @property
    def pads(self) -> tuple[int, int]:
        return padding.pads(self.padding, self.size, self.stride, self.dilation)


def time_and_space(
    count: int, sizes: Any, strides: Any, dilations: Any, time_padding: Any, spatial_padding: Any
) -> list[Axis]:
    """Time and `count - 1` spatial axes, from fields that hold one value, or one for each axis.

    Raises:
      ValueError: a field with another number of values, or an unknown padding.
    """
    is_pair = count == 2 and isinstance(spatial_padding, tuple) and len(spatial_padding) == 2
    spatial = (spatial_padding,) if is_pair else _per_axis(spatial_padding, count - 1, 'spatial_padding')
    for mode in spatial:
        padding.validate_padding(mode, allow_explicit=True)
    fields = {'size': sizes, 'strides': strides, 'dilation_rate': dilations}
    values = [_per_axis(value, count, field) for field, value in fields.items()]
    return [Axis(*axis) for axis in zip(*values, (time_padding, *spatial), strict=True)]


def _per_axis(value: Any, count: int, field: str) -> tuple:
    if not isinstance(value, tuple):
        return (value,) * count
    if len(value) != count:
        raise ValueError(f'{field} must be one value, or one for each of {count} axes; got {value}.')
    return value


class Windowed(SequenceLayer):
    """Base of the layers in which output i is a function of one window of the input, all windows alike.

    Authors define `axes` and `slide`. In `layer` the input is padded; in `step` a buffer of the last inputs
    stands in front of the block. What follows is the same: windows at 0, stride, 2 * stride, ... of what
    there is.

    State: `(buffer,)`, a `Sequence` of the last `window.buffer` timesteps, or with dilation a `Ring` of them,
    of which a step reads only what it needs; `()` if no window reaches back behind a block. With padding
    'causal_valid' `(buffer, clock)`: padding counts as valid there, and so do void timesteps, which the clock
    tells apart.
    """

    @property
    def axes(self) -> list[Axis]:
        """Time, and the spatial axes that the window has too."""
        raise NotImplementedError(f'{type(self).__name__} must define axes')

    def slide(self, x: Sequence, time: Axis, training: bool) -> jax.Array:
        """The values `(batch, count, ...)` of every whole window of x, the first at its first timestep.

        `time` says how the windows lie: as `axes[0]`, or side by side.
        """
        raise NotImplementedError(f'{type(self).__name__} must define slide')

    def fill(self) -> Any:
        """The value of padding and of invalid timesteps."""
        return 0

    @property
    def keeps_zeros(self) -> bool:
        """Whether `slide` maps zeros to zeros."""
        return False

    def __post_init__(self):
        try:
            _ = self.window
        except ValueError as error:
            raise LayerError(f'{self!r}: {error}') from None

    @property
    def window(self) -> Window:
        """The window over time."""
        return padding.window(*self.axes[0])

    @property
    def timing(self):
        return self.window.timing

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        window = self.window
        if not window.buffer:
            return ()
        make = Ring.empty if window.dilation > 1 else buffers.empty
        buffer = make(batch_size, window.buffer, self.input_spec, self.fill(), window.buffer_mask)
        return (buffer, clock(batch_size, offset)) if window.told_offset else (buffer,)

    def layer(self, x, *, training, constants=None):
        window = self.window
        padded = self._masked(x).pad_time(window.left, window.right, window.buffer_mask, self.fill())
        y = self._windows(padded, x.mask, window.left, training)
        return type(x)(y.values, y.mask) if self.keeps_zeros and window.kernel_size == 1 else y

    def step(self, x, state, *, training, constants=None):
        training = False  # what a layer may learn of its own weights in training, it learns in `layer`
        window, block, time = self.window, self._masked(x), x.shape[1]
        if not state:
            return self._windows(block, block.mask, 0, training), ()
        if not window.told_offset:
            y, buffer = self._advance(block, state[0])
            return y, (buffer,)
        buffer, now = state
        times, now = tick(now, time)
        void = times < 0  # padding to the windows that follow, and so valid
        y, buffer = self._advance(block.replace(mask=block.mask | void), buffer)
        return y.replace(mask=y.mask & ~void[:, :: window.stride]), (buffer, now)

    def _advance(self, block: Sequence, buffer: Sequence | Ring) -> tuple[Sequence, Sequence | Ring]:
        """The windows that end in a block, and the buffer after it."""
        window, time = self.window, block.shape[1]
        if isinstance(buffer, Sequence):
            seen = buffer.concatenate(block)
            return self._windows(seen, block.mask, window.buffer, False), seen[:, time:]
        ring = buffer.append(block)
        if time > SLACK:
            seen = buffer.read(jnp.arange(-window.buffer, 0)).concatenate(block)
            return self._windows(seen, block.mask, window.buffer, False), ring
        starts = jnp.arange(-window.buffer - time, -window.buffer, window.stride)
        taps = starts[:, None] + window.dilation * jnp.arange(window.kernel_size)
        seen = ring.read(taps.reshape(-1))
        values = self.slide(seen, Axis(window.kernel_size, window.kernel_size, 1, 'valid'), False)
        if self._follows_block(window.buffer):
            return Sequence(values, block.mask[:, :: window.stride]), ring
        if window.mask_rule == 'tap':
            return Sequence(values, ring.read(starts + window.left).mask), ring
        mask = seen.mask.reshape(len(seen.mask), *taps.shape)
        return Sequence(values, mask.all(axis=2) if window.mask_rule == 'all' else mask.any(axis=2)), ring

    def _masked(self, x: Sequence) -> Sequence:
        """x fit to be mixed over time."""
        return x.unmask() if self.window.kernel_size == 1 else x.mask_invalid(self.fill())

    def _windows(self, seen: Sequence, mask: jax.Array, before: int, training: bool) -> Sequence:
        """All whole windows of what is seen: a block with this mask, behind `before` other timesteps."""
        # With stride 1 it is the mask itself, and layers behind this one can tell.
        follows = self._follows_block(before)
        mask = mask[:, :: self.window.stride] if follows else window_mask(self.window, seen.mask)
        return Sequence(self.slide(seen, self.axes[0], training), mask)

    def _follows_block(self, before: int) -> bool:
        """Whether outputs are valid where inputs of the block are, which stands behind `before` other timesteps."""
        return self.window.mask_rule == 'tap' and self.window.left == before


def window_mask(window: Window, mask: jax.Array) -> jax.Array:
    """The mask `(batch, count)` of every whole window of a padded or buffered mask `(batch, time)`."""
    if window.mask_rule == 'tap':
        count = (mask.shape[1] - window.effective) // window.stride + 1
        return mask[:, window.left : window.left + count * window.stride : window.stride]
    taps = frames(mask, window.kernel_size, window.stride, window.dilation)
    return taps.all(axis=2) if window.mask_rule == 'all' else taps.any(axis=2)
