"""Attention over a whole sequence by the fused kernels that JAX offers."""

import jax
import jax.numpy as jnp
from jax import lax

from seqlayers.devices import beside_ampere


def dot_product_attention(queries: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
    """`jax.nn.dot_product_attention` of scaled queries, by cuDNN where that is to be had.

    All are `(batch, time, heads, units)` and of one dtype; the mask is `(batch, 1, queries, keys)`. A query
    that sees nothing gets the mean of all values.
    """
    if not suits_cudnn(queries):
        return _by_jax(queries, keys, values, mask)
    # What is traced beside a GPU may still be compiled for another platform.
    return lax.platform_dependent(queries, keys, values, mask, cuda=_by_cudnn, default=_by_jax)


def _by_jax(queries: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
    return jax.nn.dot_product_attention(queries, keys, values, mask=mask, scale=1.0)


def _by_cudnn(queries: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
    """With a mask, cuDNN takes even lengths only: one more timestep is added where that is needed."""
    time, m, n = queries.shape[1], queries.shape[1] % 2, keys.shape[1] % 2
    queries = jnp.pad(queries, ((0, 0), (0, m), (0, 0), (0, 0)))
    keys = jnp.pad(keys, ((0, 0), (0, n), (0, 0), (0, 0)))
    values = jnp.pad(values, ((0, 0), (0, n), (0, 0), (0, 0)))
    mask = jnp.pad(mask, ((0, 0), (0, 0), (0, m), (0, n)))
    context = jax.nn.dot_product_attention(queries, keys, values, mask=mask, scale=1.0, implementation='cudnn')
    return context[:, :time]


def suits_cudnn(queries: jax.Array) -> bool:
    """Its kernel asks for an Ampere GPU or later, 16 bits, and units that are a multiple of 8 up to 128."""
    units = queries.shape[-1]
    return beside_ampere() and queries.dtype.itemsize == 2 and units % 8 == 0 and units <= 128
