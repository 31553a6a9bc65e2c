"""Layers that know the position of each timestep."""

import math
from collections.abc import Callable
from collections.abc import Sequence as PySequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers.clock import clock, tick
from seqlayers.combinators.combine import CombinationMode, combine
from seqlayers.context import LayerError
from seqlayers.initializers import embedding_normal, ones
from seqlayers.layer import SequenceLayer
from seqlayers.layers.sinusoid import sinusoids
from seqlayers.layers.time_varying import TimeVarying, at_times, exist
from seqlayers.parameters import param
from seqlayers.sequence import ChannelSpec, Sequence
from seqlayers.timing import Timing


class Positional(SequenceLayer):
    """Base of layers that look at positions. Authors define `at` and say in `counts_valid` what positions are: the
    number of valid timesteps before this one, or the number of all.
    """

    @property
    def counts_valid(self) -> bool:
        raise NotImplementedError(f'{type(self).__name__} must define counts_valid')

    @property
    def state_is_clock(self) -> bool:
        """Whether the state is the time of the next input: who knows that may hold it for this layer."""
        return type(self).step is Positional.step and not self.counts_valid

    def at(self, x: Sequence, positions: jax.Array) -> Sequence:
        """The output for inputs at `positions`, `(batch or 1, time)`."""
        raise NotImplementedError(f'{type(self).__name__} must define at')

    @property
    def timing(self) -> Timing:
        return Timing(receptive_field=(-math.inf if self.counts_valid else 0, 0))

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        return clock(batch_size, 0 if self.counts_valid else offset)  # no void timestep is valid

    def layer(self, x, *, training, constants=None):
        if self.counts_valid:
            return self.at(x, _count(x.mask))
        return self.at(x, jnp.arange(x.shape[1])[None])

    def step(self, x, state, *, training, constants=None):
        if self.counts_valid:
            return self.at(x, state[:, None] + _count(x.mask)), state + x.lengths()
        times, state = tick(state, x.shape[1])
        return self.at(x, times), state


def _count(mask: jax.Array) -> jax.Array:
    """For each valid timestep the number of valid ones before it."""
    return jnp.cumsum(mask, axis=1, dtype=jnp.int32) - 1


def check_floating(input_spec: ChannelSpec) -> None:
    if not jnp.issubdtype(input_spec.dtype, jnp.floating):
        raise LayerError(f'takes floating inputs and got {input_spec.dtype}. Put sl.Cast("float32") before it')


def check_timescales(layer: Any) -> None:
    if not 0 < layer.min_timescale <= layer.max_timescale:
        raise LayerError(
            f'{type(layer).__name__}: timescales must be positive and go up, got min_timescale='
            f'{layer.min_timescale} and max_timescale={layer.max_timescale}'
        )


class AddTimingSignal(Positional):
    """Adds sines and cosines of the position to the channels.

    Shapes: `(batch, time, *channels)` unchanged.

    | positions count | block size | output ratio | latencies | receptive field |
    |---|---|---|---|---|
    | valid timesteps | 1 | 1 | 0 | (-inf, 0) |
    | all timesteps | 1 | 1 | 0 | (0, 0) |

    With n channels, channel i < n / 2 gets `sin(position / s[i])` and channel n / 2 + i the cosine. The timescales s
    go from `min_timescale` to `max_timescale` by a constant factor. (The published layer has 1 / min_timescale for
    min_timescale.) Of an odd number of channels the last gets nothing. Positions are float32, exact up to 2**24.

    Mask: unchanged. State: the position of the next timestep, int32 `(batch,)`. Parameters: with `trainable_scale`,
    `scale []`.

    Args:
      trainable_scale: a learned factor for the signal, of value 1.
      axes: the channel axes along which the signal varies, counted among the channels, so that 0 is the first; all
        by default. Several are flattened.
      param_dtype: dtype of the signal and of its factor.
      only_advance_position_for_valid_timesteps: positions count valid timesteps, or all.

    Raises:
      LayerError: timescales that do not go up, an axis that is no channel axis, an input that is not floating.

    Source: Vaswani et al., arXiv 1706.03762.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> model = sl.AddTimingSignal().build(sl.ChannelSpec((4,)), rngs=0)
    >>> y = model.layer(sl.Sequence.from_values(jnp.zeros((1, 2, 4))), training=False)
    >>> [round(float(v), 2) for v in y.values[0, 1]]
    [0.84, 0.0, 0.54, 1.0]
    """

    min_timescale: float = 1.0
    max_timescale: float = 1e4
    trainable_scale: bool = False
    axes: int | PySequence[int] | None = None
    sharding: Any = None
    param_dtype: Any = np.dtype('float32')
    only_advance_position_for_valid_timesteps: bool = True

    def __post_init__(self):
        check_timescales(self)

    @property
    def counts_valid(self) -> bool:
        return self.only_advance_position_for_valid_timesteps

    def setup(self, input_spec, rngs, constants):
        check_floating(input_spec)
        rank, axes = len(input_spec.shape), self._axes
        if not all(-rank <= axis < rank for axis in axes):
            raise LayerError(
                f'axes {self.axes} must name axes of the channels {input_spec.shape}, of which the first is 0 and the '
                'last -1'
            )
        if self.trainable_scale:
            self.scale = param(ones, rngs, (), self.param_dtype, sharding=self.sharding)

    @property
    def _axes(self) -> tuple[int, ...]:
        if self.axes is None:
            return tuple(range(len(self.input_spec.shape)))
        return (self.axes,) if isinstance(self.axes, int) else tuple(self.axes)

    def at(self, x, positions):
        varying = {axis % len(x.channel_shape) for axis in self._axes}
        shape = [n if axis in varying else 1 for axis, n in enumerate(x.channel_shape)]
        signal = sinusoids(positions, math.prod(shape), self.min_timescale, self.max_timescale)
        signal = signal.astype(self.param_dtype)
        if self.trainable_scale:
            signal = signal * self.scale[...]
        signal = signal.reshape(*positions.shape, *shape).astype(x.dtype)
        return x.apply_values(lambda values: values + signal)


class ConcatTimingSignal(Positional):
    """Appends sines and cosines of the position to the last channel axis.

    Shapes: `(batch, time, *outer, in) -> (batch, time, *outer, in + channels)`; a scalar counts as one channel.

    | positions count | block size | output ratio | latencies | receptive field |
    |---|---|---|---|---|
    | valid timesteps | 1 | 1 | 0 | (-inf, 0) |
    | all timesteps | 1 | 1 | 0 | (0, 0) |

    The signal is that of `AddTimingSignal`.

    Mask: unchanged. State: the position of the next timestep, int32 `(batch,)`.

    Raises:
      LayerError: timescales that do not go up, less than one channel, an input that is not floating.

    >>> import seqlayers as sl
    >>> sl.ConcatTimingSignal(8).build(sl.ChannelSpec((3,)), rngs=0).output_spec
    ChannelSpec((11,), float32)
    """

    channels: int = 8
    min_timescale: float = 1.0
    max_timescale: float = 1e4
    only_advance_position_for_valid_timesteps: bool = True

    def __post_init__(self):
        check_timescales(self)
        check_channels(self)

    @property
    def counts_valid(self) -> bool:
        return self.only_advance_position_for_valid_timesteps

    def setup(self, input_spec, rngs, constants):
        check_floating(input_spec)

    def at(self, x, positions):
        return append(x, sinusoids(positions, self.channels, self.min_timescale, self.max_timescale))


class ConcatPositionEmbedding(TimeVarying):
    """Appends a learned vector for each timestep to the last channel axis.

    Shapes: `(batch, time, *outer, in) -> (batch, time, *outer, in + channels)`; a scalar counts as one channel.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0) |

    Timesteps from `timesteps` on have no vector: NaN is appended.

    Mask: unchanged. State: the time of the next input timestep, int32 `(batch,)`. Parameters:
    `embedding [timesteps, channels]`.

    Raises:
      LayerError: less than one timestep or channel, an input that is not floating.

    >>> import seqlayers as sl
    >>> model = sl.ConcatPositionEmbedding(timesteps=100, channels=2).build(sl.ChannelSpec((3,)), rngs=0)
    >>> model.output_spec, model.embedding.shape
    (ChannelSpec((5,), float32), (100, 2))
    """

    timesteps: int
    channels: int
    param_dtype: Any = np.dtype('float32')
    embedding_init: Callable = embedding_normal
    embedding_sharding: Any = None

    def __post_init__(self):
        check_channels(self)
        if self.timesteps < 1:
            raise LayerError(f'ConcatPositionEmbedding: timesteps must be at least 1, got {self.timesteps}')

    def setup(self, input_spec, rngs, constants):
        check_floating(input_spec)
        self.embedding = param(
            self.embedding_init, rngs, (self.timesteps, self.channels), self.param_dtype,
            fan_in=self.channels, sharding=self.embedding_sharding,
        )  # fmt: skip

    def at(self, x, times):
        return append(x, exist(at_times(self.embedding[...], times), times, self.timesteps))


def check_channels(layer: Any) -> None:
    if layer.channels < 1:
        raise LayerError(f'{type(layer).__name__}: channels must be at least 1, got {layer.channels}')


def append(x: Sequence, vectors: jax.Array) -> Sequence:
    """`x` with a vector for each timestep behind its channels, in its dtype. `vectors` broadcasts over the batch."""
    vectors = jnp.broadcast_to(vectors, (*x.shape[:2], vectors.shape[-1])).astype(x.dtype)
    return combine([x, Sequence(vectors, x.mask)], CombinationMode.CONCAT)
