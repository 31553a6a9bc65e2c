from collections.abc import Sequence as PySequence
from fractions import Fraction

import jax.numpy as jnp

from seqlayers.context import LayerError
from seqlayers.layer import Stateless
from seqlayers.timing import Timing


class Downsample1D(Stateless):
    """Keeps every `rate`-th timestep, the first one included.

    Shapes: `(batch, time, *channels) -> (batch, time / rate, *channels)`, rounded up.

    | block size | output ratio | input latency | output latency | receptive field |
    |---|---|---|---|---|
    | rate | 1 / rate | rate - 1 | 0 | (0, 0) |

    Mask: that of the timesteps kept. State: none.

    Raises:
      LayerError: rate below 1.

    >>> import seqlayers as sl
    >>> model = sl.Downsample1D(2).build(sl.ChannelSpec(()), rngs=0)
    >>> model.layer(sl.Sequence.from_values(jnp.array([[1.0, 2.0, 3.0]])), training=False).values.tolist()
    [[1.0, 3.0]]
    """

    rate: int

    def __post_init__(self):
        if self.rate < 1:
            raise LayerError(f'Downsample1D: rate must be at least 1, got {self.rate}')

    @property
    def timing(self) -> Timing:
        return Timing(output_ratio=Fraction(1, self.rate), input_latency=self.rate - 1)

    def layer(self, x, *, training, constants=None):
        return x[:, :: self.rate]


class Upsample1D(Stateless):
    """Repeats every timestep `rate` times.

    Shapes: `(batch, time, *channels) -> (batch, time * rate, *channels)`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | rate | 0 | (0, 0) |

    Mask: repeated alike. State: none.

    Raises:
      LayerError: rate below 1.

    >>> import seqlayers as sl
    >>> model = sl.Upsample1D(2).build(sl.ChannelSpec(()), rngs=0)
    >>> model.layer(sl.Sequence.from_values(jnp.array([[1.0, 2.0]])), training=False).values.tolist()
    [[1.0, 1.0, 2.0, 2.0]]
    """

    rate: int

    def __post_init__(self):
        if self.rate < 1:
            raise LayerError(f'Upsample1D: rate must be at least 1, got {self.rate}')

    @property
    def timing(self) -> Timing:
        return Timing(output_ratio=self.rate)

    def layer(self, x, *, training, constants=None):
        values, mask = (jnp.repeat(a, self.rate, axis=1) for a in (x.values, x.mask))
        return type(x)(values, mask)


class Upsample2D(Stateless):
    """Repeats every timestep `rate[0]` times and every position of the spatial axis `rate[1]` times.

    Shapes: `(batch, time, width, channels) -> (batch, time * rate[0], width * rate[1], channels)`. One number
    counts for both.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | rate[0] | 0 | (0, 0) |

    Mask: repeated alike. State: none.

    Raises:
      LayerError: a rate below 1, not two of them, or the input has not two channel axes.

    >>> import seqlayers as sl
    >>> sl.Upsample2D((2, 3)).build(sl.ChannelSpec((5, 4)), rngs=0).output_spec
    ChannelSpec((15, 4), float32)
    """

    rate: int | PySequence[int]

    def __post_init__(self):
        if len(self._rates) != 2 or min(self._rates) < 1:
            raise LayerError(f'Upsample2D: rate must be one or two numbers, at least 1; got {self.rate}')

    @property
    def _rates(self) -> tuple[int, ...]:
        return (self.rate, self.rate) if isinstance(self.rate, int) else tuple(self.rate)

    @property
    def timing(self) -> Timing:
        return Timing(output_ratio=self._rates[0])

    def setup(self, input_spec, rngs, constants):
        if len(input_spec.shape) != 2:
            raise LayerError(f'takes channels (width, channels), got {input_spec.shape}')

    def layer(self, x, *, training, constants=None):
        time, space = self._rates
        values = jnp.repeat(jnp.repeat(x.values, time, axis=1), space, axis=2)
        return type(x)(values, jnp.repeat(x.mask, time, axis=1))
