"""States of many streams in one batch: which axis is the batch, and how single rows are kept or set anew."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqlayers.attention.cache import SLACK, RingCache


def batch_axes(initial_state: Callable[[int], Any]) -> Any:
    """For each leaf of a state its batch axis, as -1 if it has none: where the shapes for two batch sizes differ."""
    two, three = (jax.eval_shape(lambda n=n: initial_state(n)) for n in (2, 3))

    def axis(a: Any, b: Any) -> int:
        return next((i for i, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)) if m != n), -1)

    return jax.tree.map(axis, two, three)


def select(rows: jax.Array, new: Any, old: Any, axes: Any) -> Any:
    """The state with the given rows of `new`, bool `(batch,)`, and the others of `old`. Leaves without rows are new."""

    def of_leaf(new: jax.Array, old: jax.Array, axis: int) -> jax.Array:
        if axis < 0:
            return new
        return jnp.where(rows.reshape((1,) * axis + (-1,) + (1,) * (new.ndim - axis - 1)), new, old)

    return jax.tree.map(of_leaf, new, old, axes)


def advance(rows: jax.Array, new: Any, old: Any, axes: Any, block: int) -> Any:
    """`select` of the state after a step of `block` timesteps and that before, without a pass over the caches.

    A row that rests has written a block into its ring, where there is nothing that anybody still looks at (that is
    what the slack of the ring is for), and it stays at its old place: the next block overwrites it.
    """

    def of_part(new: Any, old: Any, axes: Any) -> Any:
        if isinstance(new, RingCache) and block <= SLACK:
            return RingCache(new.entries, select(rows, new.slot, old.slot, axes.slot))
        return select(rows, new, old, axes)

    return jax.tree.map(of_part, new, old, axes, is_leaf=lambda part: isinstance(part, RingCache))
