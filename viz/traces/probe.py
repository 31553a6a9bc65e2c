"""Which input each number of a state comes from, found by experiment."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import seqlayers as sl
from seqlayers.streaming import rows

from .run import random_input, repeated, stepper, steps

PROBES = 64  # inputs whose way is followed; of a longer input, runs of timesteps are followed together


class Followed(NamedTuple):
    """One leaf of a state before the first block and after each: all `[blocks + 1, *shape]`, of one item.

    Of repetitions only the first is kept. `newest` is the latest input that a number depends on, `oldest` the first;
    -1 if there is none.
    """

    values: Any
    newest: Any
    oldest: Any


def followed_together(time: int) -> int:
    """How many timesteps of an input so long are changed at once, and cannot be told apart."""
    return -(-time // PROBES)


def follow(model: Any, item: sl.Sequence, block_size: int, constants: Mapping | None) -> list[Followed]:
    """Runs one item in blocks, and beside it noise, with each timestep changed in turn.

    One batch holds the item in its last row, and noise in the others; in a second one each of these has
    another timestep changed. Equal programs give equal bits, so that any difference is a dependency.
    """
    time = item.shape[1]
    together = followed_together(time)
    probes = -(-time // together)
    last = np.minimum(np.arange(1, probes + 1) * together, time) - 1
    batches = _probes(model, item, np.arange(time) // together == np.arange(probes)[:, None])

    def initial_state(batch_size: int) -> Any:
        side = repeated(constants, batch_size)
        return model.get_initial_state(batch_size, training=False, constants=side, max_length=time)

    axes, initial = batch_axes(initial_state), initial_state(probes + 1)

    @jax.jit
    def look(state: Any, other: Any) -> list[Followed]:
        leaves = zip(jax.tree.leaves(state), jax.tree.leaves(other), axes, strict=True)
        return [_look(_first(a, axis), _first(b, axis), jnp.asarray(last)) for a, b, axis in leaves]

    step = stepper(model, repeated(constants, probes + 1))
    runs = zip(*(steps(step, initial, batch, block_size) for batch in batches), strict=True)
    seen = [look(initial, initial), *(look(state, other) for (_, state), (_, other) in runs)]
    return [Followed(*map(np.stack, zip(*leaf, strict=True))) for leaf in zip(*seen, strict=True)]


def batch_axes(initial_state: Callable[[int], Any]) -> list[int | None]:
    """The batch axis of each leaf of a state; None if it has none."""
    return [None if axis < 0 else axis for axis in jax.tree.leaves(rows.batch_axes(initial_state))]


def entry_axis(leaf: Followed) -> int | None:
    """The axis of a leaf's `shape` whose entries hold different timesteps; None if there is no such axis."""
    spread = []
    for axis in range(1, leaf.newest.ndim):
        newest = leaf.newest.max(tuple(set(range(1, leaf.newest.ndim)) - {axis}))
        oldest = np.where(newest < 0, newest.max(1, keepdims=True), newest).min(1)
        spread.append(int((oldest != newest.max(1)).sum()))
    if any(spread):
        return int(np.argmax(spread))
    has_channels, is_known = leaf.values.ndim > 2, leaf.newest >= 0
    of_one_timestep = is_known.any() and np.array_equal(leaf.oldest, leaf.newest)  # unlike a sum or a clock
    is_one_entry = leaf.values.shape[1:2] == (1,) and (has_channels or of_one_timestep)
    return 0 if is_one_entry else None


def _look(a: jax.Array, b: jax.Array, last: jax.Array) -> Followed:
    """The item's values, and the newest and the oldest of the timesteps that make `a` and `b` differ."""
    differ = (a != b) & ~(jnp.isnan(a) & jnp.isnan(b))
    when = last.reshape(-1, *(1,) * (a.ndim - 1))
    rows = differ[: len(last)] if len(differ) > 1 else differ
    newest = jnp.where(rows, when, -1).max(0)
    oldest = jnp.where(newest < 0, -1, jnp.where(rows, when, jnp.iinfo(when.dtype).max).min(0))
    return Followed(a[-1].astype(jnp.float32), newest, oldest)


def _first(leaf: Any, batch_axis: int | None) -> Any:
    """A leaf with its batch axis in front: of repetitions the first."""
    return leaf[None] if batch_axis is None else leaf[(0,) * batch_axis]


def _probes(model: Any, item: sl.Sequence, touched: np.ndarray) -> list[sl.Sequence]:
    """Rows of noise with the mask of the item; and with touched timesteps changed. The item below both."""
    noise = random_input(model.input_spec, 1, item.shape[1]).values
    noise = jnp.ones_like(noise) if jnp.issubdtype(noise.dtype, jnp.integer) else noise
    values, mask = jnp.repeat(noise, len(touched), 0), jnp.repeat(item.mask, len(touched), 0)
    # Another value, the mask flipped: not the old value, nor the 0 that layers put for invalid ones.
    change = jnp.where(touched, jnp.where(mask, -1, 1), 0).astype(values.dtype)
    other = values + change.reshape(change.shape + (1,) * (values.ndim - 2))
    batches = ((values, mask), (other, mask ^ touched))
    return [sl.Sequence(jnp.concatenate([v, item.values]), jnp.concatenate([m, item.mask])) for v, m in batches]
