from collections.abc import Callable

from seqlayers.combinators.serial import Serial
from seqlayers.composite import Composite
from seqlayers.context import LayerError
from seqlayers.layers.activation import Log, Power
from seqlayers.layers.elementwise import Maximum
from seqlayers.layers.fft import FFTPadding
from seqlayers.layers.stft import STFT
from seqlayers.padding import Padding
from seqlayers.signal import hann_window


class Spectrogram(Composite):
    """The magnitude of the short-time Fourier transform, to a power, and as a logarithm if wanted.

    Shapes: `(batch, time, *channels) -> (batch, time / frame_step, fft_length // 2 + 1, *channels)`, rounded up; real.

    Block size, output ratio, latencies, receptive field, mask and state: those of `STFT`.

    Args:
      frame_length, frame_step, fft_length, window_fn, time_padding, fft_padding: as for `STFT`.
      power: 1 for magnitudes, 2 for power.
      log_floor: the natural logarithm of the values, or of this where they are less; None for none.

    Raises:
      LayerError: complex input, a size below 1, an unknown padding, or `log_floor` not above 0.

    Source: published for TensorFlow.

    >>> import seqlayers as sl
    >>> layer = sl.Spectrogram(8, 4, 8, power=2.0, log_floor=1e-6)
    >>> layer.block_size, layer.output_latency, layer.receptive_field
    (4, 1, (1, 7))
    """

    frame_length: int
    frame_step: int
    fft_length: int
    window_fn: Callable | None = hann_window
    time_padding: Padding = 'reverse_causal_valid'
    fft_padding: FFTPadding = 'right'
    power: float = 1.0
    log_floor: float | None = None

    def __post_init__(self):
        if self.log_floor is not None and self.log_floor <= 0:
            raise LayerError(f'Spectrogram: log_floor must be above 0, or None for no logarithm; got {self.log_floor}')
        self.body()

    def body(self):
        frames = self.frame_length, self.frame_step, self.fft_length
        magnitude = STFT(*frames, self.window_fn, self.time_padding, self.fft_padding, output_magnitude=True)
        power = [] if self.power == 1 else [Power(self.power)]
        log = [] if self.log_floor is None else [Maximum(self.log_floor), Log()]
        return Serial([magnitude, *power, *log])
