"""Layers with parameters of their own for every timestep, for sequences of a fixed greatest length."""

import itertools
import math
from collections.abc import Callable
from collections.abc import Sequence as PySequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers import buffers
from seqlayers.clock import clock, tick
from seqlayers.context import LayerError
from seqlayers.dtypes import promote
from seqlayers.initializers import embedding_normal, lecun_normal, zeros
from seqlayers.layer import SequenceLayer
from seqlayers.parameters import param
from seqlayers.sequence import Sequence
from seqlayers.timing import Timing


class TimeVarying(SequenceLayer):
    """Base of the layers that look parameters up by time. Authors define `at(x, times)`.

    Timesteps from `num_steps` on have no parameters: their values are NaN. Void timesteps, before time 0, take those
    of time 0."""

    def at(self, x: Sequence, times: jax.Array) -> Sequence:
        """The output for inputs at `times`, int32 `(time,)`, or `(batch, time)` where each item has its own."""
        raise NotImplementedError(f'{type(self).__name__} must define at')

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        return clock(batch_size, offset)

    def layer(self, x, *, training, constants=None):
        return self.at(x, jnp.arange(x.shape[1]))

    def step(self, x, state, *, training, constants=None):
        times, state = tick(state, x.shape[1])
        return self.at(x, times), state


def einsum_at(times: jax.Array, equation: str, *operands: jax.Array, precision: Any) -> jax.Array:
    """An einsum in which `B` is the batch axis of what was looked up by `times`, if those have one."""
    return jnp.einsum(equation.replace('B', 'b' if times.ndim == 2 else ''), *operands, precision=precision)


def at_times(table: jax.Array, times: jax.Array) -> jax.Array:
    """The entries of a table for timesteps; the first or last one where it has none."""
    return jnp.take(table, times, axis=0, mode='clip')


def exist(y: jax.Array, times: jax.Array, num_steps: int) -> jax.Array:
    """`y`, and NaN at timesteps from `num_steps` on."""
    return jnp.where((times < num_steps)[..., None], y, jnp.nan)


def check_vectors(input_spec: Any) -> None:
    if len(input_spec.shape) != 1:
        raise LayerError(f'takes vectors and got channels {input_spec.shape}. Put sl.Flatten() before it')


class SequenceEmbedding(TimeVarying):
    """Looks up a learned vector for every integer, in a table of its own for every timestep.

    Shapes: `(batch, time, *channels) -> (batch, time, *channels, dimension)`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0) |

    An integer outside of its timestep's table, and a timestep from `num_steps` on, give NaN.

    Mask: unchanged. State: the time of the next input timestep, int32 `(batch,)`. Parameters: `embedding [rows,
    dimension]`, the tables of all timesteps one after the other.

    Args:
      num_embeddings_per_step: the size of the tables, one for all or one each.
      round_num_embeddings_to_multiple_of: fill up the rows to a multiple of this.

    Raises:
      LayerError: the number of sizes is not `num_steps`, no table has a row, or the input is not of integers.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> layer = sl.SequenceEmbedding(4, num_embeddings_per_step=[3, 5], num_steps=2)
    >>> layer.build(sl.ChannelSpec((), jnp.int32), rngs=0).embedding.shape
    (8, 4)
    """

    dimension: int
    num_embeddings_per_step: int | PySequence[int]
    num_steps: int
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    embedding_init: Callable = embedding_normal
    embedding_sharding: Any = None
    round_num_embeddings_to_multiple_of: int | None = None

    def __post_init__(self):
        if len(self._sizes) != self.num_steps or sum(self._sizes) < 1:
            raise LayerError(
                f'SequenceEmbedding: num_embeddings_per_step must be one size or {self.num_steps}, not all 0; got '
                f'{self.num_embeddings_per_step}'
            )

    @property
    def _sizes(self) -> tuple[int, ...]:
        given = self.num_embeddings_per_step
        return (given,) * self.num_steps if isinstance(given, int) else tuple(given)

    def setup(self, input_spec, rngs, constants):
        if not jnp.issubdtype(input_spec.dtype, jnp.integer):
            raise LayerError(f'looks up integers and got {input_spec.dtype}. Put sl.Cast("int32") before it')
        multiple = self.round_num_embeddings_to_multiple_of or 1
        rows = math.ceil(sum(self._sizes) / multiple) * multiple
        self.embedding = param(
            self.embedding_init, rngs, (rows, self.dimension), self.param_dtype,
            fan_in=self.dimension, sharding=self.embedding_sharding,
        )  # fmt: skip

    def at(self, x, times):
        sizes = np.array([*self._sizes, 0])
        starts = np.array([*itertools.accumulate(self._sizes, initial=0)])
        step = jnp.clip(times, 0, self.num_steps)
        channels = (1,) * (x.ndim - 2)
        size, start = (jnp.asarray(a)[step].reshape(*times.shape, *channels) for a in (sizes, starts))
        codes = x.mask_invalid().values
        exists = (codes >= 0) & (codes < size)
        table = self.embedding[...].astype(self.compute_dtype or self.param_dtype)
        return x.apply_values(
            lambda _: jnp.take(
                table, jnp.where(exists, start + codes, len(table)), axis=0, mode='fill', fill_value=jnp.nan
            )
        )


class SequenceDense(TimeVarying):
    """A linear map of its own for every timestep, with a bias and an activation.

    Shapes: `(batch, time, in) -> (batch, time, features)`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0) |

    Timesteps from `num_steps` on give NaN.

    Mask: unchanged. State: the time of the next input timestep, int32 `(batch,)`. Parameters: `kernel [num_steps, in,
    features]`, `bias [num_steps, features]`.

    Raises:
      LayerError: the input has not exactly one channel axis.

    >>> import seqlayers as sl
    >>> sl.SequenceDense(3, num_steps=8).build(sl.ChannelSpec((5,)), rngs=0).kernel.shape
    (8, 5, 3)
    """

    features: int
    num_steps: int
    use_bias: bool = True
    activation: Callable | None = None
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    precision: Any = None
    kernel_init: Callable = lecun_normal
    kernel_sharding: Any = None
    bias_init: Callable = zeros
    bias_sharding: Any = None

    def setup(self, input_spec, rngs, constants):
        check_vectors(input_spec)
        (inputs,) = input_spec.shape
        self.kernel = param(
            self.kernel_init, rngs, (self.num_steps, inputs, self.features), self.param_dtype,
            fan_in=inputs, sharding=self.kernel_sharding,
        )  # fmt: skip
        if self.use_bias:
            shape = (self.num_steps, self.features)
            self.bias = param(self.bias_init, rngs, shape, self.param_dtype, sharding=self.bias_sharding)

    def at(self, x, times):
        bias = self.bias[...] if self.use_bias else None
        values, kernel, bias = promote(x.values, self.kernel[...], bias, dtype=self.compute_dtype)
        y = einsum_at(times, 'bti,Btio->bto', values, at_times(kernel, times), precision=self.precision)
        if bias is not None:
            y = y + at_times(bias, times)
        y = self.activation(y) if self.activation else y
        return Sequence(exist(y, times, self.num_steps), x.mask)


class MaskedDense(TimeVarying):
    """A linear map of the whole past, with a kernel of its own for every pair of timesteps, a bias and an activation.

    Shapes: `(batch, time, in) -> (batch, time, features)`. With kernel W and bias b, `y[t] = activation(sum over s <=
      t of x[s] W[s, t] + b[t])`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (1 - num_steps, 0) |

    Timesteps from `num_steps` on give NaN. Invalid inputs count as zeros.

    Mask: unchanged. State: the inputs so far, by their time, `(batch, num_steps, in)`, and the time of the next,
      int32 `(batch,)`.
    Parameters: `kernel [num_steps, num_steps, in, features]`, of which those with source after target are never used,
    and `bias [num_steps, features]`.

    Raises:
      LayerError: the input has not exactly one channel axis.

    >>> import seqlayers as sl
    >>> sl.MaskedDense(3, num_steps=8).receptive_field
    (-7, 0)
    """

    features: int
    num_steps: int
    use_bias: bool = True
    activation: Callable | None = None
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    precision: Any = None
    kernel_init: Callable = lecun_normal
    kernel_sharding: Any = None
    bias_init: Callable = zeros
    bias_sharding: Any = None

    @property
    def timing(self):
        return Timing(receptive_field=(1 - self.num_steps, 0))

    def setup(self, input_spec, rngs, constants):
        check_vectors(input_spec)
        (inputs,) = input_spec.shape
        steps = self.num_steps
        self.kernel = param(
            self.kernel_init, rngs, (steps, steps, inputs, self.features), self.param_dtype,
            fan_in=steps * inputs, sharding=self.kernel_sharding,
        )  # fmt: skip
        if self.use_bias:
            self.bias = param(
                self.bias_init, rngs, (steps, self.features), self.param_dtype, sharding=self.bias_sharding
            )

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        past = buffers.empty(batch_size, self.num_steps, self.input_spec).values
        return past, clock(batch_size, offset)

    def layer(self, x, *, training, constants=None):
        steps = self.num_steps
        past = x.mask_invalid()[:, :steps].pad_time(0, max(0, steps - x.shape[1])).values
        return self._targets(x, past, jnp.arange(x.shape[1]))

    def step(self, x, state, *, training, constants=None):
        past, now = state
        times, now = tick(now, x.shape[1])
        # Each input is added to the place of its time, which holds zeros so far; without a scatter, which does not
        # export.
        place = (times[:, :, None] == jnp.arange(self.num_steps)).astype(x.dtype)
        past = past + jnp.einsum('bts,bti->bsi', place, x.mask_invalid().values)
        return self._targets(x, past, times), (past, now)

    def _targets(self, x: Sequence, past: jax.Array, times: jax.Array) -> Sequence:
        """The outputs at `times`, of all inputs by their time `(batch, num_steps, in)`."""
        bias = self.bias[...] if self.use_bias else None
        values, kernel, bias = promote(past, self.kernel[...], bias, dtype=self.compute_dtype)
        causal = np.tri(self.num_steps, dtype=bool)[:, :, None, None]  # target, source
        kernel = at_times(jnp.where(causal, kernel.swapaxes(0, 1), 0), times)
        y = einsum_at(times, 'bsi,Btsio->bto', values, kernel, precision=self.precision)
        if bias is not None:
            y = y + at_times(bias, times)
        y = self.activation(y) if self.activation else y
        return Sequence(exist(y, times, self.num_steps), x.mask)
