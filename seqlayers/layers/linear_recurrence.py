"""Linear recurrences, computed in parallel over time: what the linear-time mixers share.

A state that changes linearly can be advanced over many timesteps at once, because two advances in a row are one
again. `layer` and `step` of a mixer are then the same function: of the whole sequence, or of a block and the state
before it. All of it is differentiable and runs in the dtype of its arguments, which the layers make float32 or wider.
"""

import dataclasses
import math
from typing import Any, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqlayers.context import LayerError
from seqlayers.dtypes import promoted_dtype
from seqlayers.layer import SequenceLayer
from seqlayers.timing import Timing


class LinearRecurrence(SequenceLayer):
    """Base of the mixers of vectors: `layer` is one long step from the initial state."""

    @property
    def timing(self) -> Timing:
        return Timing(receptive_field=(-math.inf, 0))

    def setup(self, input_spec, rngs, constants):
        if len(input_spec.shape) != 1:
            raise LayerError(f'takes vectors and got channels {input_spec.shape}. Put sl.Flatten() before it')

    def layer(self, x, *, training, constants=None):
        state = self.get_initial_state(x.shape[0], training=training, constants=constants)
        return self.step(x, state, training=training, constants=constants)[0]


def check_sizes(layer: Any, *fields: str) -> None:
    """Raises a LayerError for a field below 1. None is a default."""
    for field in fields:
        size = getattr(layer, field)
        if size is not None and size < 1:
            raise LayerError(f'{type(layer).__name__}: {field} must be at least 1, got {size}')


def dtypes(layer: Any) -> tuple[np.dtype, np.dtype]:
    """The dtype of a layer's projections and output, and that of its state, in which small steps add up: at least
    float32.
    """
    dtype = promoted_dtype(layer.input_spec.dtype, layer.param_dtype, dtype=layer.compute_dtype)
    return dtype, jnp.promote_types(dtype, jnp.float32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Complex:
    """Complex numbers as two real arrays: not every target of an export has complex arithmetic.

    `merged`, they are one array, real parts in the first half of the last axis and imaginary parts in the second.
    """

    real: jax.Array
    imag: jax.Array

    @classmethod
    def from_merged(cls, merged: jax.Array) -> Self:
        return cls(*jnp.split(merged, 2, axis=-1))

    @classmethod
    def from_log(cls, log_radius: jax.Array, angle: jax.Array) -> Self:
        """`exp(log_radius + i angle)`."""
        radius = jnp.exp(log_radius)
        return cls(radius * jnp.cos(angle), radius * jnp.sin(angle))

    def merged(self) -> jax.Array:
        return jnp.concatenate([self.real, self.imag], axis=-1)

    def __add__(self, other: 'Complex') -> 'Complex':
        return Complex(self.real + other.real, self.imag + other.imag)

    def __mul__(self, other: 'Complex') -> 'Complex':
        real = self.real * other.real - self.imag * other.imag
        return Complex(real, self.real * other.imag + self.imag * other.real)


Numbers = TypeVar('Numbers', jax.Array, Complex)


def diagonal_recurrence(decays: Numbers, inputs: Numbers, state: Numbers) -> Numbers:
    """The states `h_t = decay_t * h_{t-1} + input_t`, the one before the first timestep included.

    Args:
      decays: `(batch, time, ...)`, the further axes of the inputs or of size 1.
      inputs: `(batch, time, ...)`.
      state: h before the first timestep, `(batch, ...)`.

    Returns:
      `(batch, 1 + time, ...)`: `state` first, the state after the last timestep last.
    """

    def then(first: tuple, second: tuple) -> tuple:
        (a, b), (decay, addend) = first, second
        return decay * a, decay * b + addend

    state = jax.tree.map(lambda h: h[:, None], state)
    products, sums = lax.associative_scan(then, (decays, inputs), axis=1)
    states = products * state + sums
    return jax.tree.map(lambda h, later: jnp.concatenate([h, later], axis=1), state, states)


def outer_product_recurrence(
    queries: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    log_decays: jax.Array,
    state: jax.Array,
    *,
    chunk_size: int,
    precision: Any = None,
) -> tuple[jax.Array, jax.Array]:
    """The outputs `q_t S_t` of the matrices `S_t = diag(decay_t) S_{t-1} + k_t^T v_t`, and the last matrix.

    Inside a chunk every output sums over the timesteps before it, as attention does; from chunk to chunk the matrix
    is handed on by `diagonal_recurrence`. Decays are multiplied by adding logarithms, and only ever forward in time,
    so that no factor is greater than 1.

    Args:
      queries, keys: `(batch, time, groups, keys)`; each group serves `heads / groups` neighbouring heads.
      values: `(batch, time, heads, units)`.
      log_decays: at most 0; `(batch, time, heads, keys)`, or `(batch, time, heads, 1)`: one for all keys.
      state: S before the first timestep, `(batch, heads, keys, units)`.
      chunk_size: timesteps of a chunk. Memory and work inside of chunks grow with it, by keys too where each has its
        own decay; the memory for matrices between chunks shrinks.
      precision: of the matrix products.

    Returns:
      The outputs, `(batch, time, heads, units)`, and S after the last timestep.
    """

    def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.matmul(a, b, precision=precision)

    def per_head(a: jax.Array) -> jax.Array:
        return jnp.repeat(a, values.shape[2] // queries.shape[2], axis=2)

    batch, time, heads, units = values.shape
    chunk = max(1, min(chunk_size, time))
    q, k, v, g = (_chunks(a, chunk) for a in (queries, keys, values, log_decays))
    if g.shape[-1] == 1:
        weights = per_head(matmul(q, k.mT)) * _decay_between(g[..., 0])
        q, k = per_head(q), per_head(k)
    else:
        q, k = per_head(q), per_head(k)
        weights = _decayed_products(q, k, g)
    since_start = jnp.exp(jnp.cumsum(g, axis=-2))
    to_end = jnp.exp(lax.cumsum(_shifted(g), axis=g.ndim - 2, reverse=True))
    added = matmul((k * to_end).mT, v)
    states = diagonal_recurrence(since_start[:, :, :, -1, :, None], added, state)
    outputs = matmul(q * since_start, states[:, :-1]) + matmul(weights, v)
    return outputs.swapaxes(2, 3).reshape(batch, -(-time // chunk) * chunk, heads, units)[:, :time], states[:, -1]


def _chunks(a: jax.Array, size: int) -> jax.Array:
    """`(batch, time, heads, n) -> (batch, chunks, heads, size, n)`, filled up by zeros, which change no state."""
    batch, time, heads, n = a.shape
    count = -(-time // size)
    a = jnp.pad(a, ((0, 0), (0, count * size - time), (0, 0), (0, 0)))
    return a.reshape(batch, count, size, heads, n).swapaxes(2, 3)


def _shifted(a: jax.Array) -> jax.Array:
    """Every timestep gets what stands at the next one, on axis -2; the last gets 0."""
    return jnp.concatenate([a[..., 1:, :], jnp.zeros_like(a[..., :1, :])], axis=-2)


def _decay_between(g: jax.Array) -> jax.Array:
    """From log decays `(..., time)` the decay from timestep s to t, `(..., t, s)`; 0 where s is later.

    Summed for each s anew: the difference of two running sums would lose what is small beside them.
    """
    time = np.arange(g.shape[-1])
    sums = jnp.cumsum(jnp.where(time[:, None] > time, g[..., None], 0), axis=-2)
    return jnp.exp(jnp.where(time[:, None] >= time, sums, -jnp.inf))


@jax.checkpoint  # the gradient would keep an array of time * time * keys
def _decayed_products(q: jax.Array, k: jax.Array, g: jax.Array) -> jax.Array:
    """The products `(..., t, s)` of queries and decayed keys, where each key has its own decay.

    A matrix product would need factors greater than 1, which overflow.
    """
    decay = jnp.moveaxis(_decay_between(jnp.moveaxis(g, -1, 0)), 0, -1)
    return jnp.sum(q[..., :, None, :] * k[..., None, :, :] * decay, axis=-1)
