"""Products of values with weights."""

import functools
import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from seqlayers.devices import TENSOR_CORE_ROWS, beside_ampere, has_triton, is_alone


def einsum(equation: str, values: jax.Array, kernel: jax.Array, precision: Any = None) -> jax.Array:
    """`jnp.einsum` of values `(batch, time, ...)` and a kernel; batch and time stand in front of the result too.

    A GPU has three ways of its own. Few rows in 16 bits go through a kernel of this library. Any other single timestep
    is joined by rows of zeros: of the product of one row with a matrix XLA makes a product of elements, writes that to
    memory, as large as the matrix, and sums it. Kernels with several axes on a side become matrices: for their gradient
    XLA would write what arrives from behind once more, transposed.
    """
    product = functools.partial(jnp.einsum, equation, precision=precision)
    if not beside_ampere():
        return product(values, kernel)
    axes = _summed(equation)
    if axes and precision is None and _suits_kernel(values, kernel, axes):
        by_gpu = functools.partial(_by_matrix, axes, _by_kernel)
    elif values.shape[0] * values.shape[1] == 1 and not _has_rows(product, values, kernel):
        by_gpu = functools.partial(_with_zeros, product)
    elif axes and kernel.ndim > 2 and is_alone(values, kernel):  # over a mesh an axis of the kernel may be shared
        by_gpu = functools.partial(_by_matrix, axes, functools.partial(jnp.matmul, precision=precision))
    else:
        return product(values, kernel)
    return lax.platform_dependent(values, kernel, cuda=by_gpu, default=product)


def _summed(equation: str) -> int:
    """How many axes the product sums over, if they are the last of the values and the first of the kernel; or 0."""
    values, kernel, result = re.split(',|->', equation.replace(' ', ''))
    for n in range(1, len(kernel) + 1):
        lead = values.removesuffix(kernel[:n])
        if lead != values and result == lead + kernel[n:]:
            return n
    return 0


def _suits_kernel(values: jax.Array, kernel: jax.Array, axes: int) -> bool:
    is_short = values.dtype == kernel.dtype and values.dtype in (jnp.float16, jnp.bfloat16)
    if not (is_short and is_alone(values, kernel) and has_triton()):
        return False
    from seqlayers.products_kernel import COLUMNS, DEPTH, ROWS  # Pallas takes long to import

    (depth, columns), sizes = _as_matrix(kernel, axes), values.shape[: values.ndim - axes]
    # In exports sizes may be symbols.
    has_rows = all(isinstance(n, int) for n in sizes) and 0 < math.prod(sizes) <= ROWS
    return has_rows and depth % DEPTH == columns % COLUMNS == 0 < depth * columns


def _by_kernel(values: jax.Array, matrix: jax.Array) -> jax.Array:
    from seqlayers.products_kernel import product

    return product(values.reshape(-1, values.shape[-1]), matrix)


def _by_matrix(axes: int, multiply: Callable, values: jax.Array, kernel: jax.Array) -> jax.Array:
    """The product by a function of values `(*rows, depth)` and a matrix, which may join the axes of the rows."""
    matrix, lead = _as_matrix(kernel, axes), values.shape[: values.ndim - axes]
    y = multiply(values.reshape(*lead, matrix[0]), kernel.reshape(matrix))
    return y.reshape(lead + kernel.shape[axes:])


def _as_matrix(kernel: jax.Array, axes: int) -> tuple[int, int]:
    return math.prod(kernel.shape[:axes]), math.prod(kernel.shape[axes:])


def _has_rows(product: Any, values: jax.Array, kernel: jax.Array) -> bool:
    """Whether there is more than one row, by axes of channels that the product leaves as they are."""
    return values.size * jax.eval_shape(product, values, kernel).size != kernel.size


def _with_zeros(product: Any, values: jax.Array, kernel: jax.Array) -> jax.Array:
    rows = jnp.pad(values, [(0, TENSOR_CORE_ROWS - 1)] + [(0, 0)] * (values.ndim - 1))
    return product(rows, kernel)[:1]
