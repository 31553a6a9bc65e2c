"""The product of few rows with a matrix on a GPU, in a kernel that reads the matrix at the speed of the memory.

XLA's products reach half of that. Here a program makes some columns of the result, or of a part of their sums.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from seqlayers.devices import TENSOR_CORE_ROWS

# As measured on an H100: benchmarks/NOTES.md.
ROWS = 32  # more are left to XLA
COLUMNS, DEPTH = 32, 64  # of the matrix, that a program holds at a time
_PROGRAMS = 256  # where there are fewer columns, sums are cut into parts, for the GPU to be busy
_PARTS = 4  # at most of up to 16 rows, whose parts are added by a single block
_WARPS, _STAGES = 4, 5


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def product(rows: jax.Array, matrix: jax.Array, interpret: bool = False) -> jax.Array:
    """`rows @ matrix`, both of one dtype of 16 bits, summed in float32.

    The matrix has a multiple of `DEPTH` rows and of `COLUMNS` columns. `interpret` runs the kernel without a GPU, for
    tests.
    """
    (m, depth), columns = rows.shape, matrix.shape[1]
    parts, block = _parts(m, depth, columns), max(TENSOR_CORE_ROWS, pl.next_power_of_2(m))
    out = jax.ShapeDtypeStruct((parts, m, columns), rows.dtype if parts == 1 else jnp.float32)
    sums = pl.pallas_call(
        functools.partial(_kernel, rows=m, steps=depth // (parts * DEPTH)),
        grid=(columns // COLUMNS, parts),
        in_specs=[
            pl.BlockSpec((block, depth), lambda column, part: (0, 0)),
            pl.BlockSpec((depth, COLUMNS), lambda column, part: (0, column)),
        ],
        out_specs=pl.BlockSpec((None, block, COLUMNS), lambda column, part: (part, 0, column)),
        out_shape=out,
        compiler_params=None if interpret else triton.CompilerParams(num_warps=_WARPS, num_stages=_STAGES),
        interpret=interpret,
    )(rows, matrix)
    return sums.sum(axis=0).astype(rows.dtype)


@product.defjvp
def _derivative(interpret, primals, tangents):
    rows, matrix = primals
    return product(rows, matrix, interpret), tangents[0] @ matrix + rows @ tangents[1]


def _parts(rows: int, depth: int, columns: int) -> int:
    """How many programs share the sums of a column."""
    parts, most = 1, _PROGRAMS * COLUMNS // columns
    if rows <= TENSOR_CORE_ROWS:
        most = min(most, _PARTS)
    while 2 * parts <= most and depth % (2 * parts * DEPTH) == 0:
        parts *= 2
    return parts


def _kernel(rows_ref, matrix_ref, sums_ref, *, rows, steps):
    block, part = rows_ref.shape[0], pl.program_id(1)
    exists = (jnp.arange(block) < rows)[:, None]

    def step(i, total):
        some = pl.ds((part * steps + i) * DEPTH, DEPTH)
        values = triton.load(rows_ref.at[:, some], mask=exists, other=0)
        return total + triton.dot(values, matrix_ref[some, :])

    total = lax.fori_loop(0, steps, step, jnp.zeros((block, COLUMNS), jnp.float32))
    triton.store(sums_ref, total.astype(sums_ref.dtype), mask=exists)
