"""Products of values with weights."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from seqlayers.devices import beside_ampere

_ROWS = 16  # the least number of rows that a tensor core multiplies


def einsum(equation: str, values: jax.Array, kernel: jax.Array, precision: Any = None) -> jax.Array:
    """`jnp.einsum` of values `(batch, time, ...)` and a kernel; batch and time stand in front of the result too.

    On a GPU a single timestep is joined by rows of zeros: of the product of one row with a matrix XLA makes a product
    of elements, writes that to memory, as large as the matrix, and sums it.
    """
    product = functools.partial(jnp.einsum, equation, precision=precision)
    if values.shape[0] * values.shape[1] != 1 or not beside_ampere() or _has_rows(product, values, kernel):
        return product(values, kernel)
    return lax.platform_dependent(values, kernel, cuda=functools.partial(_with_zeros, product), default=product)


def _has_rows(product: Any, values: jax.Array, kernel: jax.Array) -> bool:
    """Whether there is more than one row, by axes of channels that the product leaves as they are."""
    return values.size * jax.eval_shape(product, values, kernel).size != kernel.size


def _with_zeros(product: Any, values: jax.Array, kernel: jax.Array) -> jax.Array:
    rows = jnp.pad(values, [(0, _ROWS - 1)] + [(0, 0)] * (values.ndim - 1))
    return product(rows, kernel)[:1]
