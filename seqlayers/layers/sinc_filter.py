import jax.numpy as jnp
import numpy as np
from jax import lax

from seqlayers.context import LayerError
from seqlayers.dtypes import promoted_dtype
from seqlayers.layers.kernels import dimension_numbers
from seqlayers.layers.windows import Axis, Windowed
from seqlayers.padding import Padding


class SincFilter1D(Windowed):
    """A low-pass filter over time, the same for every channel: a sinc under a Kaiser window.

    Shapes: `(batch, time, *channels) -> (batch, time / strides, *channels)`, rounded up; see `Conv1D`.

    Block size, output ratio, latencies, receptive field, mask and state: those of `Conv1D`. The filter is symmetric:
    with 'same' padding it keeps the phase (of an odd size exactly), with 'causal' it delays by `(kernel_size - 1) / 2`.
    Parameters: none. Constant signals pass unchanged.

    Args:
      kernel_size: the number of taps; the more, the steeper.
      cutoff: the frequency of half amplitude, above 0 and at most 1, where 1 is half the input's rate. Before
        lowering the rate by `strides`, at most `1 / strides`, or what is above comes back as a lower frequency.
      kaiser_beta: the more, the less passes above the cutoff, and the wider the slope; 8 lets pass -80 dB.

    Raises:
      LayerError: `cutoff` out of range, a size below 1, or an unknown padding.

    Source: published for TensorFlow; Kaiser, "Nonrecursive digital filter design using the I0-sinh window function",
    ISCAS 1974.

    >>> import seqlayers as sl
    >>> half = sl.SincFilter1D(33, cutoff=1 / 2, strides=2, padding='same')
    >>> half.output_ratio, half.output_latency, half.receptive_field
    (Fraction(1, 2), 8, (-16, 16))
    """

    kernel_size: int
    cutoff: float
    strides: int = 1
    kaiser_beta: float = 8.0
    padding: Padding = 'valid'

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.cutoff <= 1:
            raise LayerError(
                f'SincFilter1D: cutoff is above 0 and at most 1, half the rate of the input; got {self.cutoff}'
            )

    @property
    def axes(self):
        return [Axis(self.kernel_size, self.strides, 1, self.padding)]

    @property
    def keeps_zeros(self):
        return True

    def taps(self) -> np.ndarray:
        """The filter, float64 `(kernel_size,)`; it sums to 1."""
        times = np.arange(self.kernel_size) - (self.kernel_size - 1) / 2
        taps = np.sinc(self.cutoff * times) * np.kaiser(self.kernel_size, self.kaiser_beta)
        return taps / taps.sum()

    def slide(self, x, time, training):
        values = x.values.astype(promoted_dtype(x.dtype))
        batch, length, *channels = values.shape
        y = lax.conv_general_dilated(  # channels are a spatial axis, each filtered alone
            values.reshape(batch, length, int(np.prod(channels)), 1),
            jnp.asarray(self.taps().reshape(-1, 1, 1, 1), values.dtype),
            window_strides=(self.strides, 1),
            padding='VALID',
            dimension_numbers=dimension_numbers(2),
            precision='highest',  # accelerators would round the taps
        )
        return y.reshape(batch, y.shape[1], *channels)
