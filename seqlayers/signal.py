"""Window functions and matrices of signal processing: NumPy tables, computed in float64."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from seqlayers.declaration import Declared


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
