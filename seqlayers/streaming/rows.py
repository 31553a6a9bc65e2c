"""States of many streams in one batch: which axis is the batch, and how single rows are kept or set anew."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqlayers.attention.cache import SLACK, RingCache
from seqlayers.layer import SequenceLayer, walk


def batch_axes(initial_state: Callable[[int], Any]) -> Any:
    """For each leaf of a state its batch axis, as -1 if it has none: where the shapes for two batch sizes differ."""
    two, three = (jax.eval_shape(lambda n=n: initial_state(n)) for n in (2, 3))

    def axis(a: Any, b: Any) -> int:
        return next((i for i, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)) if m != n), -1)

    return jax.tree.map(axis, two, three)


def select(rows: jax.Array, new: Any, old: Any, axes: Any, shared: str = 'new') -> Any:
    """The state with the given rows of `new`, bool `(batch,)`, and the others of `old`.

    Leaves without rows, which all share, are those of `new`, or `old` if `shared` says so.
    """

    def of_leaf(new: jax.Array, old: jax.Array, axis: int) -> jax.Array:
        if axis < 0:
            return new if shared == 'new' else old
        return jnp.where(rows.reshape((1,) * axis + (-1,) + (1,) * (new.ndim - axis - 1)), new, old)

    return jax.tree.map(of_leaf, new, old, axes)


def advance(rows: jax.Array, new: Any, old: Any, axes: Any, longest_block: int) -> Any:
    """`select` of the state after a step and that before, without a pass over the caches.

    `longest_block` is the number of timesteps that the step has at any layer.

    A row that rests has written a block into its ring, where there is nothing that anybody still looks at (that is
    what the slack of the ring is for), and it stays at its old place: the next block overwrites it.
    """

    def of_part(new: Any, old: Any, axes: Any) -> Any:
        if isinstance(new, RingCache) and longest_block <= SLACK:
            return RingCache(new.entries, select(rows, new.slot, old.slot, axes.slot))
        return select(rows, new, old, axes)

    return jax.tree.map(of_part, new, old, axes, is_leaf=lambda part: isinstance(part, RingCache))


def longest_block(model: SequenceLayer, block: int) -> int:
    """The number of timesteps that a step of `block` may have at a layer inside the model: an upper bound."""
    raised = (layer.output_ratio for _, layer in walk(model) if not layer.is_combinator)
    return math.ceil(block * math.prod(max(ratio, 1) for ratio in raised))
