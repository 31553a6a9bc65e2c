"""Random draws that belong to a place in the data: to a layer, a row of the batch and a timestep.

The whole sequence and any split of it into blocks then draw the same numbers.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp


def draw(
    sampler: Callable[..., jax.Array],
    key: jax.Array,
    times: jax.Array,
    shape: tuple[int, ...],
    shared: Sequence[int] = (),
) -> jax.Array:
    """`sampler(key, shape=shape)` for every row and timestep: an array `(batch, time, *shape)`.

    Args:
      sampler: such as `jax.random.normal`.
      key: of the layer, see `Context.layer_key`.
      times: the time of each timestep, int32 `(batch, time)`.
      shape: of one timestep.
      shared: axes of the result that share one draw, and so have size 1.
    """
    rows = jnp.arange(1 if 0 in shared else times.shape[0])
    times = jnp.zeros((len(rows), 1), jnp.int32) if 1 in shared else times[: len(rows)]
    shape = tuple(1 if axis in shared else n for axis, n in enumerate(shape, 2))

    def at(row: jax.Array, time: jax.Array) -> jax.Array:
        return sampler(jax.random.fold_in(jax.random.fold_in(key, row), time), shape=shape)

    return jax.vmap(jax.vmap(at, in_axes=(None, 0)))(rows, times)
