from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from seqlayers.axes import channel_axes
from seqlayers.context import LayerError
from seqlayers.dtypes import promoted_dtype
from seqlayers.layer import Stateless
from seqlayers.signal import hann_window, window_table

FFTPadding = Literal['right', 'center']


def kept(size: int, length: int, padding: FFTPadding) -> slice:
    """The part of `size` samples that is left when they are cut to `length`, if they are more."""
    start = max(0, size - length) // 2 if padding == 'center' else 0
    return slice(start, start + min(size, length))


def fit(values: jax.Array, axis: int, length: int | None, padding: FFTPadding) -> jax.Array:
    """Cuts or fills an axis with zeros to `length`: at its end ('right') or at both ends ('center')."""
    size = values.shape[axis]
    if length is None or length == size:
        return values
    values = jax.lax.slice_in_dim(values, *kept(size, length, padding).indices(size)[:2], axis=axis)
    missing = max(0, length - size)
    left = missing // 2 if padding == 'center' else 0
    pads = [(0, 0)] * values.ndim
    pads[axis] = (left, missing - left)
    return jnp.pad(values, pads)


class Window(Stateless):
    """Multiplies a channel axis by a window.

    Shapes: `(batch, time, *channels)` unchanged. Block size 1, output ratio 1, no latency, receptive field
    (0, 0). Mask: unchanged.
    State: none.

    Args:
      axis: the axis, counted from the batch: 2 is the first channel axis, -1 the last.
      window_fn: makes the window `(length,)` of a length, as those of `seqlayers.signal` do.

    Raises:
      LayerError: the axis is not a channel axis.

    >>> import seqlayers as sl
    >>> model = sl.Window(-1).build(sl.ChannelSpec((4,)), rngs=0)
    >>> model.layer(sl.Sequence.from_values(jnp.ones((1, 1, 4))), training=False).values.tolist()
    [[[0.0, 0.5, 1.0, 0.5]]]
    """

    axis: int
    window_fn: Callable | None = hann_window

    def layer(self, x, *, training, constants=None):
        (axis,) = channel_axes(self.axis, x.channel_shape)
        table = window_table(self.window_fn, x.shape[axis])
        real = jnp.finfo(promoted_dtype(x.dtype)).dtype
        window = table.astype(real).reshape((-1,) + (1,) * (x.ndim - 1 - axis))
        return x.apply_values_masked(lambda values: values * window)


class Transform(Stateless):
    """Base of the Fourier transforms of a channel axis."""

    def __post_init__(self: Any):
        for field in ('fft_length', 'frame_length'):
            length = getattr(self, field, None)
            if length is not None and length < 1:
                raise LayerError(f'{self!r}: {field} must be at least 1')
        if self.padding not in ('right', 'center'):
            raise LayerError(f"{self!r}: padding must be 'right' or 'center'")

    def transform(self, values: jax.Array, axis: int) -> jax.Array:
        raise NotImplementedError(f'{type(self).__name__} must define transform')

    def layer(self: Any, x, *, training, constants=None):
        (axis,) = channel_axes(self.axis, x.channel_shape)
        values = x.values.astype(jnp.promote_types(x.dtype, jnp.float32))  # there is no FFT of fewer bits
        return type(x)(self.transform(values, axis), x.mask)

    def check_size(self: Any, size: int, expected: int) -> None:
        if size != expected:
            raise LayerError(f'inverts an FFT of length {self.fft_length} with {expected} values, got {size}')


class FFT(Transform):
    """The discrete Fourier transform of a channel axis.

    Shapes: `(batch, time, ..., n, ...) -> (batch, time, ..., fft_length, ...)`, the size kept without
    `fft_length`; complex. The axis is cut or filled with zeros first, at its end ('right') or at both ends
    ('center').

    Block size 1, output ratio 1, no latency, receptive field (0, 0). Mask: unchanged. State: none.

    Raises:
      LayerError: the axis is not a channel axis, or a bad length or padding.

    >>> import seqlayers as sl
    >>> sl.FFT(8).build(sl.ChannelSpec((6,)), rngs=0).output_spec
    ChannelSpec((8,), complex64)
    """

    fft_length: int | None = None
    axis: int = -1
    padding: FFTPadding = 'right'

    def transform(self, values, axis):
        return jnp.fft.fft(fit(values, axis, self.fft_length, self.padding), axis=axis)


class IFFT(Transform):
    """The inverse of `FFT`; of its values the first ('right') or middle ('center') `frame_length` are kept.

    Shapes: `(batch, time, ..., n, ...) -> (batch, time, ..., frame_length, ...)`, n without `frame_length`;
    complex. `fft_length`, if given, must be n. (The published layer ignores it.)

    Block size 1, output ratio 1, no latency, receptive field (0, 0). Mask: unchanged. State: none.

    Raises:
      LayerError: the axis is not a channel axis, its size is not `fft_length`, or a bad length or padding.

    >>> import seqlayers as sl
    >>> sl.IFFT(frame_length=6).build(sl.ChannelSpec((8,), 'complex64'), rngs=0).output_spec
    ChannelSpec((6,), complex64)
    """

    fft_length: int | None = None
    frame_length: int | None = None
    axis: int = -1
    padding: FFTPadding = 'right'

    def transform(self, values, axis):
        self.check_size(values.shape[axis], self.fft_length or values.shape[axis])
        return fit(jnp.fft.ifft(values, axis=axis), axis, self.frame_length, self.padding)


class RFFT(Transform):
    """The discrete Fourier transform of a real channel axis: frequencies from 0 to half the sampling rate.

    Shapes: `(batch, time, ..., n, ...) -> (batch, time, ..., (fft_length or n) // 2 + 1, ...)`; complex. The
    axis is cut or filled with zeros first, at its end ('right') or at both ends ('center').

    Block size 1, output ratio 1, no latency, receptive field (0, 0). Mask: unchanged. State: none.

    Raises:
      LayerError: complex input, the axis is not a channel axis, or a bad length or padding.

    >>> import seqlayers as sl
    >>> sl.RFFT(8).build(sl.ChannelSpec((6,)), rngs=0).output_spec
    ChannelSpec((5,), complex64)
    """

    fft_length: int | None = None
    axis: int = -1
    padding: FFTPadding = 'right'

    def transform(self, values, axis):
        if jnp.iscomplexobj(values):
            raise LayerError(f'transforms real values and got {values.dtype}; use FFT')
        return jnp.fft.rfft(fit(values, axis, self.fft_length, self.padding), axis=axis)


class IRFFT(Transform):
    """The inverse of `RFFT`; of its values the first ('right') or middle ('center') `frame_length` are kept.

    Shapes: `(batch, time, ..., n, ...) -> (batch, time, ..., frame_length or fft_length or 2 (n - 1), ...)`;
    real. n must be `fft_length // 2 + 1`.

    Block size 1, output ratio 1, no latency, receptive field (0, 0). Mask: unchanged. State: none.

    Raises:
      LayerError: real input, the axis is not a channel axis, its size does not fit `fft_length`, or a bad
        length or padding.

    >>> import seqlayers as sl
    >>> sl.IRFFT(8, frame_length=6).build(sl.ChannelSpec((5,), 'complex64'), rngs=0).output_spec
    ChannelSpec((6,), float32)
    """

    fft_length: int | None = None
    frame_length: int | None = None
    axis: int = -1
    padding: FFTPadding = 'right'

    def transform(self, values, axis):
        if not jnp.iscomplexobj(values):
            raise LayerError(f'transforms complex values and got {values.dtype}')
        size = values.shape[axis]
        length = self.fft_length or 2 * (size - 1)
        self.check_size(size, length // 2 + 1)
        return fit(jnp.fft.irfft(values, length, axis=axis), axis, self.frame_length, self.padding)
