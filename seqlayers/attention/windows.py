"""Attention of a whole sequence in blocks of queries: its cost grows with the window, not with the square of time."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from seqlayers.attention import causal
from seqlayers.attention.core import Attention, KeyValues, Queries, hide

# Blocks are not shorter than this if nobody says so: short ones keep matrix units idle.
_SHORTEST_BLOCK = 64


def context(attention: Attention, queries: Queries, source: KeyValues, block: int | None = None) -> jax.Array:
    """`Attention.context` of queries to a source, the times of both from 0 on; with limited horizons by windows.

    Nothing of size queries x keys is kept for the backward pass, unless weights are dropped. `block` is the number of
    queries that are taken together where windows are cut; by default what suits the horizons.
    """
    if attention.dropout is not None or not attention.is_fusible(queries, source):
        return _attend(attention, queries, source, block)
    queries = queries._replace(values=attention.scaled(queries))
    attention = dataclasses.replace(attention, scale=1.0)
    return causal.context(attention, queries, source, functools.partial(_compiled, attention, block=block))


def _attend(attention: Attention, queries: Queries, source: KeyValues, block: int | None) -> jax.Array:
    time, reach = queries.times.shape[1], attention_reach(attention)
    if reach is None:
        return _by_blocks(attention, queries, source, block) if block else attention.fused_context(queries, source)
    if block is None:
        block = max(sum(reach), _SHORTEST_BLOCK)
        block += -block % attention.chunk
        if time < 2 * block:
            return attention.fused_context(queries, source)
    # Draws belong to rows of the batch, so with dropout blocks must not join it.
    attend = _joined(attention.fused_context) if attention.dropout is None else _mapped(attention.context)
    return _by_windows(attend, attention, queries, source, block)


# Outside of `jit` it is one program, and layers that are alike have it traced once. Then the rule is but numbers.
_compiled = jax.jit(_attend, static_argnames=('attention', 'block'))


def weights(attention: Attention, queries: Queries, source: KeyValues, block: int) -> jax.Array:
    """`Attention.weights` for limited horizons: the columns are those of the window around the query's block.

    `(batch, heads, queries, sinks + past + block + future)`: key `sinks + i` of a query in block n is timestep
    `n * block - past + i`.
    """
    return _by_windows(_mapped(attention.weights), attention, queries, source, block)


def attention_reach(attention: Attention) -> tuple[int, int] | None:
    """How many timesteps before and after its block of queries an attention looks; None if without limit."""
    if -1 in (attention.past, attention.future):
        return None
    return attention.past * attention.chunk, attention.future * attention.chunk


def _by_windows(
    attend: Callable[[Queries, KeyValues], jax.Array],
    attention: Attention,
    queries: Queries,
    source: KeyValues,
    block: int,
) -> jax.Array:
    """`attend` to blocks of queries and the keys that each can see; blocks are the first axis of all."""
    reach = attention_reach(attention)
    assert reach is not None  # the caller has looked
    before, after = reach
    time = queries.times.shape[1]
    blocks = -(-time // block)
    width = before + block + after
    starts = jnp.arange(blocks) * block
    padding = (before, max(0, blocks * block + after - source.times.shape[1]))
    # Keys that the padding adds are hidden; everything else about them is never looked at.
    is_key = _pad(jnp.ones_like(source.times, bool), 1, *padding)
    padded = jax.tree.map(lambda a: _pad(a, _time_axis(a), *padding), source)
    padded = padded._replace(times=hide(padded.times, is_key))

    def window(array: jax.Array) -> jax.Array:  # (..., time, ...) -> (blocks, ..., width, ...)
        return jax.vmap(lambda start: lax.dynamic_slice_in_dim(array, start, width, _time_axis(array)))(starts)

    windows = jax.tree.map(window, padded)
    return _join(attend(_blocks_of(queries, block), windows), time)


def _mapped(attend: Callable[[Queries, list[KeyValues]], jax.Array]) -> Callable[[Queries, KeyValues], jax.Array]:
    """`attend` for each block."""
    return jax.vmap(lambda queries, source: attend(queries, [source]))


def _joined(attend: Callable[[Queries, KeyValues], jax.Array]) -> Callable[[Queries, KeyValues], jax.Array]:
    """`attend` for all blocks as one batch: a fused kernel that has a mask cannot be mapped (jax 0.10 and 0.11)."""

    def joined(queries: Queries, source: KeyValues) -> jax.Array:
        blocks, batch = queries.times.shape[:2]
        y = attend(*jax.tree.map(lambda a: a.reshape(blocks * batch, *a.shape[2:]), (queries, source)))
        return y.reshape(blocks, batch, *y.shape[1:])

    return joined


def _by_blocks(attention: Attention, queries: Queries, source: KeyValues, block: int) -> jax.Array:
    """Each block of queries to all keys, one block after the other; recomputed in the backward pass."""
    attend = jax.checkpoint(lambda q: attention.context(q, [source]))
    return _join(lax.map(attend, _blocks_of(queries, block)), queries.times.shape[1])


def _blocks_of(queries: Queries, block: int) -> Queries:
    """`(..., time, ...)` as `(blocks, ..., block, ...)`, the last one filled up."""

    def split(array: jax.Array) -> jax.Array:
        axis = _time_axis(array)
        array = _pad(array, axis, 0, -array.shape[axis] % block)
        shape = (*array.shape[:axis], array.shape[axis] // block, block, *array.shape[axis + 1 :])
        return jnp.moveaxis(array.reshape(shape), axis, 0)

    return jax.tree.map(split, queries)


def _join(y: jax.Array, time: int) -> jax.Array:
    """`(blocks, batch, heads, block, units) -> (batch, heads, time, units)`."""
    blocks, batch, heads, block, units = y.shape
    return jnp.moveaxis(y, 0, 2).reshape(batch, heads, blocks * block, units)[:, :, :time]


def _time_axis(array: jax.Array) -> int:
    """Of `(batch, heads, time, units)` or `(batch, time)`."""
    return 2 if array.ndim == 4 else 1


def _pad(array: jax.Array, axis: int, before: int, after: int) -> jax.Array:
    widths = [(0, 0)] * array.ndim
    widths[axis] = (before, after)
    return jnp.pad(array, widths)
