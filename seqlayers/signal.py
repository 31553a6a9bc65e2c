"""Signal processing on arrays: windows and matrices (NumPy tables, computed in float64), framing, overlap-add."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers import framing
from seqlayers.declaration import Declared
from seqlayers.padding import Padding, window


def hann_window(length: int, periodic: bool = True, dtype: Any = np.float32) -> np.ndarray:
    """The Hann window `0.5 - 0.5 cos(2 pi i / n)`.

    n is `length - 1`; or `length`, for an even length and `periodic`, so that copies of the window overlap to
    a constant.

    >>> hann_window(4).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    return _raised_cosine(length, periodic, 0.5).astype(dtype)


def hamming_window(length: int, periodic: bool = True, dtype: Any = np.float32) -> np.ndarray:
    """The Hamming window `0.54 - 0.46 cos(2 pi i / n)`, n as for `hann_window`."""
    return _raised_cosine(length, periodic, 0.54).astype(dtype)


def _raised_cosine(length: int, periodic: bool, offset: float) -> np.ndarray:
    if length == 1:
        return np.ones(1)
    n = length if periodic and length % 2 == 0 else length - 1
    return offset - (1 - offset) * np.cos(2 * np.pi * np.arange(length) / n)


class NamedWindow(Declared):
    """A window of SciPy as a window function: a name, `(name, *parameters)`, or the beta of a Kaiser window.

    Source: `scipy.signal.get_window`.

    >>> NamedWindow('bartlett')(4).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """

    window: str | float | tuple

    is_built = False

    def __call__(self, length: int, periodic: bool = True, dtype: Any = np.float32) -> np.ndarray:
        from scipy.signal import get_window  # a large module for a rare need

        return np.asarray(get_window(self.window, length, fftbins=periodic and length % 2 == 0), dtype)


get_window_fn = NamedWindow  # published spelling


def get_window(name: str | float | tuple, length: int, periodic: bool = True, dtype: Any = np.float32) -> np.ndarray:
    """`NamedWindow(name)(length, periodic, dtype)`; `periodic` as for `hann_window`."""
    return NamedWindow(name)(length, periodic, dtype)


class InverseSTFTWindow(Declared):
    """The window with which overlapping frames, windowed before by `forward_window_fn`, add up to the signal.

    It is the forward window, divided by the sum of the squares of all its copies `frame_step` apart (Griffin
    and Lim, "Signal estimation from modified short-time Fourier transform", 1984).

    >>> InverseSTFTWindow(2)(4).tolist()
    [0.0, 1.0, 1.0, 1.0]
    """

    frame_step: int
    forward_window_fn: Callable = hann_window

    is_built = False

    def __call__(self, length: int, dtype: Any = np.float32) -> np.ndarray:
        window = window_table(self.forward_window_fn, length)
        energy = np.zeros(self.frame_step)
        np.add.at(energy, np.arange(length) % self.frame_step, window**2)
        energy = energy[np.arange(length) % self.frame_step]
        return np.divide(window, energy, out=np.zeros(length), where=energy != 0).astype(dtype)


inverse_stft_window_fn = InverseSTFTWindow  # published spelling


def window_table(window_fn: Callable | None, length: int) -> np.ndarray:
    """The window as a NumPy array, float64 `(length,)`; ones if there is none."""
    if window_fn is None:
        return np.ones(length)
    with jax.ensure_compile_time_eval():  # it may use JAX
        table = np.asarray(window_fn(length), np.float64)
    if table.shape != (length,):
        raise ValueError(f'window_fn({length}) must return ({length},) values; it returned {table.shape}.')
    return table


def frame(
    x: jax.Array,
    frame_length: int,
    frame_step: int,
    axis: int = -1,
    pad_mode: Padding = 'reverse_causal_valid',
    pad_value: float = 0,
) -> jax.Array:
    """Overlapping frames of an axis, padded as by `sl.Frame`: `(..., n, ...) -> (..., frames, frame_length, ...)`.

    Raises:
      ValueError: a length below 1, or an unknown padding.

    >>> frame(jnp.arange(1, 6), 2, 2, pad_mode='causal').tolist()
    [[0, 1], [2, 3], [4, 5]]
    """
    edges = window(frame_length, frame_step, 1, pad_mode)
    moved = jnp.moveaxis(jnp.asarray(x), axis, 0)[None]
    widths = [(0, 0), (edges.left, edges.right), *[(0, 0)] * (moved.ndim - 2)]
    padded = jnp.pad(moved, widths, constant_values=pad_value)
    axis %= np.ndim(x)
    return jnp.moveaxis(framing.frames(padded, frame_length, frame_step)[0], (0, 1), (axis, axis + 1))


def overlap_and_add(frames: jax.Array, frame_step: int) -> jax.Array:
    """The sum of frames that lie `frame_step` apart: `(..., n, length) -> (..., (n - 1) * frame_step + length)`.

    >>> overlap_and_add(jnp.ones((3, 2)), 1).tolist()
    [1.0, 2.0, 2.0, 1.0]
    """
    *outer, count, length = frames.shape
    flat = framing.overlap_and_add(frames.reshape(-1, count, length), frame_step)
    return flat.reshape(*outer, flat.shape[-1])


def linear_to_mel_weight_matrix(
    num_mel_bins: int = 20,
    num_spectrogram_bins: int = 129,
    sample_rate: float = 8000,
    lower_edge_hertz: float = 125.0,
    upper_edge_hertz: float = 3800.0,
    dtype: Any = np.float32,
) -> np.ndarray:
    """The matrix `[num_spectrogram_bins, num_mel_bins]` from linear magnitudes to bands on the mel scale.

    The scale is that of HTK, `1127 ln(1 + hertz / 700)`; bands are triangles; their slopes are linear in mel;
    frequency 0 is left out.

    Raises:
      ValueError: no bins, no sample rate, or edges that are not `0 <= lower < upper <= sample_rate / 2`.
    """
    if num_mel_bins < 1 or sample_rate <= 0:
        raise ValueError(f'num_mel_bins ({num_mel_bins}) and sample_rate ({sample_rate}) must be positive.')
    if not 0 <= lower_edge_hertz < upper_edge_hertz <= sample_rate / 2:
        raise ValueError(
            f'The edges must be 0 <= lower < upper <= sample_rate / 2 = {sample_rate / 2}; '
            f'got {lower_edge_hertz} and {upper_edge_hertz}.'
        )
    bins = _mel(np.linspace(0, sample_rate / 2, num_spectrogram_bins))[:, None]
    edges = np.linspace(_mel(lower_edge_hertz), _mel(upper_edge_hertz), num_mel_bins + 2)
    lower, center, upper = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - lower) / (center - lower), (upper - bins) / (upper - center)
    weights = np.maximum(0, np.minimum(rising, falling))
    weights[0] = 0
    return weights.astype(dtype)


def _mel(hertz: Any) -> Any:
    return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)
