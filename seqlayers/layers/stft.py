from collections.abc import Callable
from typing import Any

import numpy as np

from seqlayers import padding
from seqlayers.combinators.serial import Serial
from seqlayers.composite import Composite
from seqlayers.intervals import IntervalSet
from seqlayers.layers.activation import Abs
from seqlayers.layers.fft import IRFFT, RFFT, FFTPadding, Window, kept
from seqlayers.layers.frame import Frame, OverlapAdd
from seqlayers.padding import Padding
from seqlayers.signal import hann_window, window_table
from seqlayers.timing import Timing


def live_taps(layer: Any) -> list[int]:
    """The positions in a frame that the window does not make zero, and that are inside the transform."""
    inside = np.arange(layer.frame_length)[kept(layer.frame_length, layer.fft_length, layer.fft_padding)]
    window = window_table(layer.window_fn, layer.frame_length)
    return inside[window[inside] != 0].tolist()


class STFT(Composite):
    """The short-time Fourier transform: frames, each times a window, and their spectra.

    Shapes: `(batch, time, *channels) -> (batch, time / frame_step, fft_length // 2 + 1, *channels)`, rounded
    up; complex, or real with `output_magnitude`.

    Block size, output ratio, latencies, mask and state: those of `Frame` (for the default padding, input
    latency frame_length - 1 and output latency (frame_length - 1) // frame_step). Receptive field: that of
    `Frame`, less the timesteps that the window multiplies by zero or that `fft_length` cuts off.

    Args:
      window_fn: makes the window of a length; None for none.
      time_padding: as for `Frame`.
      fft_padding: 'right' or 'center', how frames are cut or filled with zeros to `fft_length`.

    Raises:
      LayerError: complex input, a size below 1, or an unknown padding.

    >>> import seqlayers as sl
    >>> layer = sl.STFT(8, 4, 8, output_magnitude=True)
    >>> layer.block_size, layer.output_latency, layer.receptive_field
    (4, 1, (1, 7))
    >>> layer.build(sl.ChannelSpec(()), rngs=0).output_spec
    ChannelSpec((5,), float32)
    """

    frame_length: int
    frame_step: int
    fft_length: int
    window_fn: Callable | None = hann_window
    time_padding: Padding = 'reverse_causal_valid'
    fft_padding: FFTPadding = 'right'
    output_magnitude: bool = False

    def __post_init__(self):
        self.body()

    def body(self):
        return Serial(
            [
                Frame(self.frame_length, self.frame_step, self.time_padding),
                Window(2, self.window_fn),
                RFFT(self.fft_length, axis=2, padding=self.fft_padding),
                *([Abs()] if self.output_magnitude else []),
            ]
        )

    @property
    def timing(self):
        frame = padding.window(self.frame_length, self.frame_step, 1, self.time_padding)
        taps = [tap - frame.left for tap in live_taps(self)]

        def inputs(output: int) -> IntervalSet:
            return IntervalSet.points(output * self.frame_step + tap for tap in taps)

        return Timing(
            output_ratio=frame.timing.output_ratio,
            input_latency=frame.input_latency,
            output_latency=frame.latency,
            receptive_field=inputs,
        )


class InverseSTFT(Composite):
    """The signal of a short-time Fourier transform: frames from spectra, each times a window, added up.

    Shapes: `(batch, time, fft_length // 2 + 1, *channels) -> (batch, time * frame_step, *channels)`, complex
    to real; with 'valid' padding frame_length - frame_step longer.

    Block size, output ratio, latencies, mask and state: those of `OverlapAdd`. Receptive field: that of
    `OverlapAdd`, less the frames that the window multiplies by zero.

    It undoes `STFT` if `window_fn` is `signal.InverseSTFTWindow(frame_step, window_fn of the STFT)`
    (Griffin and Lim, 1984): with 'semicausal_full' on both sides without delay in `layer`; with 'semicausal' on the way
    there and 'causal' back frame_length - frame_step output timesteps late. (Together they read less than their fields
    declare: give `check_contract` `exact_receptive_field=False`.)

    Args:
      window_fn: makes the window of a length; None for none.
      time_padding: 'causal', 'valid' or 'semicausal_full'.
      fft_padding: 'right' or 'center', as for the `STFT`.

    Raises:
      LayerError: real input, another number of frequencies, not frame_length >= frame_step >= 1, or an
        unknown padding.

    >>> import seqlayers as sl
    >>> layer = sl.InverseSTFT(8, 4, 8)
    >>> layer.output_ratio, layer.receptive_field_per_step
    (Fraction(4, 1), {0: (-1, -1), 1: (-1, 0), 2: (-1, 0), 3: (-1, 0)})
    """

    frame_length: int
    frame_step: int
    fft_length: int
    window_fn: Callable | None = hann_window
    time_padding: str = 'causal'
    fft_padding: FFTPadding = 'right'

    def __post_init__(self):
        self.body()

    def body(self):
        return Serial(
            [
                IRFFT(self.fft_length, self.frame_length, axis=2, padding=self.fft_padding),
                Window(2, self.window_fn),
                OverlapAdd(self.frame_length, self.frame_step, self.time_padding),
            ]
        )

    @property
    def timing(self):
        frame = padding.transposed_window(self.frame_length, self.frame_step, 1, self.time_padding)
        taps = live_taps(self)

        def inputs(output: int) -> IntervalSet:
            starts = (output + frame.latency - tap for tap in taps)
            return IntervalSet.points(start // self.frame_step for start in starts if start % self.frame_step == 0)

        return Timing(
            output_ratio=self.frame_step,
            input_latency=frame.input_latency,
            output_latency=frame.latency,
            receptive_field=inputs,
            blocked=frame.timing.blocked,
        )
