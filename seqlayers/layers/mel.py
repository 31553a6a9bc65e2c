import jax.numpy as jnp

from seqlayers.context import LayerError
from seqlayers.dtypes import promoted_dtype
from seqlayers.layer import Stateless
from seqlayers.signal import linear_to_mel_weight_matrix


class LinearToMelSpectrogram(Stateless):
    """Sums linear magnitudes into triangular bands on the mel scale of HTK.

    Shapes: `(batch, time, ..., frequencies) -> (batch, time, ..., num_mel_bins)`; the frequencies lie evenly
    from 0 to half of `sample_rate` (in hertz), as the output of `STFT(..., output_magnitude=True)` does.

    Block size 1, output ratio 1, no latency, receptive field (0, 0). Mask: unchanged. State: none.

    Raises:
      LayerError: the input has no channel axis, or the edges are not 0 <= lower < upper <= sample_rate / 2.

    >>> import seqlayers as sl
    >>> sl.LinearToMelSpectrogram(80, 16000, 20.0, 8000.0).build(sl.ChannelSpec((257,)), rngs=0).output_spec
    ChannelSpec((80,), float32)
    """

    num_mel_bins: int
    sample_rate: float
    lower_edge_hertz: float
    upper_edge_hertz: float

    def __post_init__(self):
        try:
            self._matrix(2)
        except ValueError as error:
            raise LayerError(f'{self!r}: {error}') from None

    def setup(self, input_spec, rngs, constants):
        if not input_spec.shape:
            raise LayerError('sums the last channel axis and got channels ()')

    def layer(self, x, *, training, constants=None):
        matrix = self._matrix(x.shape[-1]).astype(promoted_dtype(x.dtype))
        # Accelerators would round the weights, and features should not depend on the machine.
        return x.apply_values_masked(jnp.matmul, matrix, precision='highest')

    def _matrix(self, bins: int):
        edges = self.lower_edge_hertz, self.upper_edge_hertz
        return linear_to_mel_weight_matrix(self.num_mel_bins, bins, self.sample_rate, *edges, dtype=float)
