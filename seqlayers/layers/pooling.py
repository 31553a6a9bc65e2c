import math
from collections.abc import Callable
from collections.abc import Sequence as PySequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers.context import LayerError
from seqlayers.framing import frames
from seqlayers.layers.windows import Axis, Windowed, time_and_space
from seqlayers.padding import Padding
from seqlayers.sequence import Sequence


class Pooling(Windowed):
    """Base of the poolings: a reduction of every window over time and the first channel axes."""

    def setup(self, input_spec, rngs, constants):
        spatial = len(self.axes) - 1
        if len(input_spec.shape) < spatial:
            raise LayerError(f'pools {spatial} spatial axes and got channels {input_spec.shape}')
        if jnp.iscomplexobj(jnp.zeros((), input_spec.dtype)):
            raise LayerError(f'pools real numbers and got {input_spec.dtype}')

    def reduce(self, values: jax.Array, time: Axis, reduction: Callable) -> jax.Array:
        """Reduces one axis of the windows after the other."""
        for i, axis in enumerate([time, *self.axes[1:]], start=1):
            values = jnp.moveaxis(values, i, 1)
            if i > 1:
                pads = [(0, 0), axis.pads] + [(0, 0)] * (values.ndim - 2)
                values = jnp.pad(values, pads, constant_values=self.fill())
            values = reduction(frames(values, axis.size, axis.stride, axis.dilation), axis=2)
            values = jnp.moveaxis(values, 1, i)
        return values


def infinity(dtype: np.dtype, sign: int) -> Any:
    """The greatest value of a dtype, or with sign -1 the least."""
    if jnp.issubdtype(dtype, jnp.inexact):
        return sign * np.inf
    if jnp.issubdtype(dtype, bool):
        return sign > 0
    return jnp.iinfo(dtype).max if sign > 0 else jnp.iinfo(dtype).min


class _Extreme(Pooling):
    """Reduces to an extreme value, which of padding alone is infinite.

    Invalid outputs are 0: at an infinity, a linear map behind would have gradients of 0 * inf.
    """

    sign: ClassVar[int]  # of the infinity

    def fill(self):
        return infinity(self.input_spec.dtype, self.sign)

    def layer(self, x, *, training, constants=None):
        return super().layer(x, training=training, constants=constants).mask_invalid()

    def step(self, x, state, *, training, constants=None):
        y, state = super().step(x, state, training=training, constants=constants)
        return y.mask_invalid().unmask(), state


class _Max(_Extreme):
    sign = -1

    def slide(self, x, time, training):
        return self.reduce(x.values, time, jnp.max)


class _Min(_Extreme):
    sign = 1

    def slide(self, x, time, training):
        return self.reduce(x.values, time, jnp.min)


class _Average:
    """Reduces to the mean of all values, or of those at valid timesteps."""

    def slide(self: Any, x: Sequence, time: Axis, training: bool) -> jax.Array:
        exact = jnp.issubdtype(x.dtype, jnp.inexact)
        wide = jnp.promote_types(x.dtype, jnp.float32 if exact else jnp.int32)
        total = self.reduce(x.values.astype(wide), time, jnp.sum)
        count = time.size
        if self.masked_average:
            taps = frames(x.mask, time.size, time.stride, time.dilation).sum(axis=2)
            count = jnp.maximum(taps, 1).reshape(taps.shape + (1,) * (total.ndim - 2))
        count *= math.prod(axis.size for axis in self.axes[1:])
        return (total / count if exact else total // count).astype(x.dtype)


class Pooling1D(Pooling):
    """Base of the poolings over time."""

    pool_size: int
    strides: int = 1
    dilation_rate: int = 1
    padding: Padding = 'valid'

    @property
    def axes(self):
        return [Axis(self.pool_size, self.strides, self.dilation_rate, self.padding)]


class Pooling2D(Pooling):
    """Base of the poolings over time and one spatial axis."""

    pool_size: int | PySequence[int]
    strides: int | PySequence[int] = 1
    dilation_rate: int | PySequence[int] = 1
    time_padding: Padding = 'valid'
    spatial_padding: Padding = 'same'

    @property
    def axes(self):
        fields = self.pool_size, self.strides, self.dilation_rate, self.time_padding, self.spatial_padding
        return time_and_space(2, *fields)


class Pooling3D(Pooling):
    """Base of the poolings over time and two spatial axes."""

    pool_size: int | PySequence[int]
    strides: int | PySequence[int] = 1
    dilation_rate: int | PySequence[int] = 1
    time_padding: Padding = 'valid'
    spatial_padding: Padding | PySequence[Padding] = ('same', 'same')

    @property
    def axes(self):
        fields = self.pool_size, self.strides, self.dilation_rate, self.time_padding, self.spatial_padding
        return time_and_space(3, *fields)


class MaxPooling1D(_Max, Pooling1D):
    """The greatest value of each window over time.

    Shapes: `(batch, time, *channels) -> (batch, time / strides, *channels)`, rounded up; for 'valid' and
    'semicausal_full' see the number of windows in `padding.output_length`.

    Block size, output ratio, latencies, receptive field, mask and state: those of `Conv1D` with
    kernel_size = pool_size. Padding and invalid timesteps count as minus infinity (the least value of an
    integer dtype); invalid outputs are 0.

    Raises:
      LayerError: complex input, or an unknown padding.

    >>> import seqlayers as sl
    >>> model = sl.MaxPooling1D(2, padding='causal').build(sl.ChannelSpec(()), rngs=0)
    >>> x = sl.Sequence.from_values(jnp.array([[1.0, 3.0, 2.0, 0.0]]))
    >>> model.layer(x, training=False).values.tolist()
    [[1.0, 3.0, 3.0, 2.0]]
    """


class MaxPooling2D(_Max, Pooling2D):
    """The greatest value of each window over time and one spatial axis.

    Shapes: `(batch, time, width, *channels) -> (batch, time / strides[0], width', *channels)`. The spatial
    axis is padded by `spatial_padding`, a mode or (left, right); its size follows from
    `padding.output_length`.

    Sizes, strides and dilation rates are one number, or one for time and one for space. All else as
    `MaxPooling1D`, for the time axis and `time_padding`.

    Raises:
      LayerError: complex input, no spatial axis, or an unknown padding.

    >>> import seqlayers as sl
    >>> layer = sl.MaxPooling2D(2, strides=(1, 2), time_padding='causal')
    >>> layer.build(sl.ChannelSpec((80, 3)), rngs=0).output_spec
    ChannelSpec((40, 3), float32)
    """


class MaxPooling3D(_Max, Pooling3D):
    """The greatest value of each window over time and two spatial axes.

    Shapes: `(batch, time, width, height, *channels) -> (batch, time / strides[0], width', height',
    *channels)`; all else as `MaxPooling2D`, with `spatial_padding` one mode for both spatial axes or one
    each.

    Raises:
      LayerError: complex input, fewer than two spatial axes, or an unknown padding.

    >>> import seqlayers as sl
    >>> layer = sl.MaxPooling3D(2, strides=(1, 2, 2), time_padding='causal')
    >>> layer.build(sl.ChannelSpec((32, 24, 3)), rngs=0).output_spec
    ChannelSpec((16, 12, 3), float32)
    """


class MinPooling1D(_Min, Pooling1D):
    """The least value of each window over time: all as `MaxPooling1D`, with infinity for padding.

    >>> import seqlayers as sl
    >>> model = sl.MinPooling1D(2, padding='causal').build(sl.ChannelSpec(()), rngs=0)
    >>> x = sl.Sequence.from_values(jnp.array([[1.0, 3.0, 2.0, 0.0]]))
    >>> model.layer(x, training=False).values.tolist()
    [[1.0, 1.0, 2.0, 0.0]]
    """


class MinPooling2D(_Min, Pooling2D):
    """The least value of each window over time and one spatial axis: all as `MaxPooling2D`.

    >>> import seqlayers as sl
    >>> sl.MinPooling2D(2).build(sl.ChannelSpec((80, 3)), rngs=0).output_spec
    ChannelSpec((80, 3), float32)
    """


class MinPooling3D(_Min, Pooling3D):
    """The least value of each window over time and two spatial axes: all as `MaxPooling3D`.

    >>> import seqlayers as sl
    >>> sl.MinPooling3D(2, strides=2).build(sl.ChannelSpec((32, 24, 3)), rngs=0).output_spec
    ChannelSpec((16, 12, 3), float32)
    """


class AveragePooling1D(_Average, Pooling1D):
    """The mean of each window over time.

    Shapes, block size, output ratio, latencies, receptive field, mask and state: those of `MaxPooling1D`.
    Padding and invalid timesteps count as zeros; with `masked_average` they do not count (in 'causal_valid',
    where padding is valid, it does), and a window without any valid timestep gives 0. Means of integers are
    rounded down.

    Raises:
      LayerError: complex input, or an unknown padding.

    >>> import seqlayers as sl
    >>> model = sl.AveragePooling1D(2, padding='causal').build(sl.ChannelSpec(()), rngs=0)
    >>> x = sl.Sequence.from_values(jnp.array([[1.0, 3.0, 2.0, 0.0]]))
    >>> model.layer(x, training=False).values.tolist()
    [[0.5, 2.0, 2.5, 1.0]]
    """

    masked_average: bool = False


class AveragePooling2D(_Average, Pooling2D):
    """The mean of each window over time and one spatial axis.

    All as `AveragePooling1D` and `MaxPooling2D`; spatial padding counts, also with `masked_average`.

    >>> import seqlayers as sl
    >>> sl.AveragePooling2D(2).build(sl.ChannelSpec((80, 3)), rngs=0).output_spec
    ChannelSpec((80, 3), float32)
    """

    masked_average: bool = False


class AveragePooling3D(_Average, Pooling3D):
    """The mean of each window over time and two spatial axes.

    All as `AveragePooling1D` and `MaxPooling3D`; spatial padding counts, also with `masked_average`.

    >>> import seqlayers as sl
    >>> sl.AveragePooling3D(2, strides=2).build(sl.ChannelSpec((32, 24, 3)), rngs=0).output_spec
    ChannelSpec((16, 12, 3), float32)
    """

    masked_average: bool = False
