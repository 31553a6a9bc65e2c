"""A step of attention on a GPU in one kernel, which writes the ring and reads it once.

XLA takes four kernels, and reads at three quarters of the memory's speed. Here a program takes a row and a head, or
a part of the ring of one, and keeps a running softmax, as in Dao et al., arXiv 2205.14135.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from seqlayers.attention.cache import RingCache
from seqlayers.attention.core import Attention, KeyValues, Queries, limits
from seqlayers.attention.decode import by_xla
from seqlayers.devices import TENSOR_CORE_ROWS

# As measured on an H100: benchmarks/NOTES.md.
_TILE = 64  # entries that a program holds at a time; fewer of many units, which must find room in smaller GPUs
_PROGRAMS = 512  # where rows and heads are fewer, rings are cut into parts, for the GPU to be busy
_WARPS, _STAGES = 4, 3

_LOWEST = -1e30  # a logit that weighs nothing


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 4))
def by_kernel(
    rule: Attention, queries: Queries, cache: RingCache, block: KeyValues, interpret: bool = False
) -> tuple[jax.Array, RingCache]:
    """As `decode.attend`, for queries that are scaled. `interpret` runs the kernel without a GPU, for tests."""
    b, heads, _, units = queries.values.shape
    keys, values, times = ring = cache.entries[:3]
    kv_heads, size, value_units = keys.shape[1], keys.shape[2], values.shape[3]
    group = heads // kv_heads
    rows = max(TENSOR_CORE_ROWS, pl.next_power_of_2(group))
    length = min(_TILE, 128 * _TILE // max(units, value_units))
    parts, tiles = _cut(size, b * kv_heads, length)
    back, _ = limits(rule.past, rule.future)  # of one timestep no key is too far ahead

    of_row = pl.BlockSpec((None,), lambda i, head, part: (i,))
    of_times = pl.BlockSpec((None, size), lambda i, head, part: (i, 0))

    def of_head(*shape: int) -> pl.BlockSpec:
        return pl.BlockSpec((None, None, *shape), lambda i, head, part: (i, head, 0, 0))

    def of_part(*shape: int) -> pl.BlockSpec:
        return pl.BlockSpec((None, None, None, *shape), lambda i, head, part: (i, head, part, *(0,) * len(shape)))

    rings = [of_head(size, units), of_head(size, value_units), of_times]
    found = [(value_units,), (), ()]  # of each query
    keys, values, times, slot, *found = pl.pallas_call(
        functools.partial(_kernel, group=group, back=back, size=size, tiles=tiles, length=length),
        grid=(b, kv_heads, parts),
        in_specs=[of_row, of_row, of_head(rows, units), of_head(1, units), of_head(1, value_units), of_row, *rings],
        out_specs=[*rings, of_row, *(of_part(rows, *shape) for shape in found)],
        out_shape=[jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (*ring, cache.slot)]
        + [jax.ShapeDtypeStruct((b, kv_heads, parts, group, *shape), jnp.float32) for shape in found],
        input_output_aliases={6: 0, 7: 1, 8: 2},  # the ring is written in place
        compiler_params=None if interpret else triton.CompilerParams(num_warps=_WARPS, num_stages=_STAGES),
        interpret=interpret,
    )(
        cache.slot,
        queries.times[:, 0],
        queries.values.reshape(b, kv_heads, group, units),
        *(block.keys, block.values, block.times[:, 0]),
        *ring,
    )
    context = _joined(*found).reshape(b, heads, 1, value_units).astype(queries.values.dtype)
    written = cache.entries._replace(keys=keys, values=values, times=times)
    return context, RingCache(written, slot)


@by_kernel.defjvp
def _derivative(rule, interpret, primals, tangents):
    return jax.jvp(functools.partial(by_xla, rule), primals, tangents)


def _cut(size: int, rows: int, length: int) -> tuple[int, int]:
    """How many programs share a ring, that of one row and head of so many; and how many tiles each reads."""
    parts = max(1, min(_PROGRAMS // rows, pl.cdiv(size, length)))
    tiles = pl.cdiv(size, parts * length)
    return pl.cdiv(size, tiles * length), tiles


def _kernel(
    slot_ref, now_ref, queries_ref, key_ref, value_ref, time_ref, keys_ref, values_ref, times_ref,
    new_keys_ref, new_values_ref, new_times_ref, new_slot_ref, sum_ref, total_ref, peak_ref,
    *, group, back, size, tiles, length,
):  # fmt: skip
    """One part of the ring of one head: the weighted sum of its values, the sum of the weights and the highest logit.

    The new entry is written by the first program, which also looks at it; none reads the place where it is put.
    """
    slot, now = slot_ref[...], now_ref[...]
    part, rows = pl.program_id(2), jnp.arange(queries_ref.shape[0])
    is_query = rows < group
    queries = triton.load(queries_ref, mask=is_query[:, None], other=0)

    def is_seen(times):
        return now - times <= back

    key, value, time = key_ref[...], value_ref[...], time_ref[...]
    sees_new = jnp.broadcast_to((part == 0) & is_seen(time), rows.shape)
    logit = jnp.sum(queries.astype(jnp.float32) * key.astype(jnp.float32), axis=1)
    peak = jnp.where(sees_new, logit, _LOWEST)
    total = jnp.where(sees_new, 1.0, 0.0)
    context = jnp.where(sees_new[:, None], value.astype(jnp.float32), 0)

    @pl.when(part == 0)
    def _():
        new_keys_ref[pl.ds(slot, 1), :] = key
        new_values_ref[pl.ds(slot, 1), :] = value
        new_times_ref[pl.ds(slot, 1)] = time[None]
        new_slot_ref[...] = (slot + 1) % size

    def tile(i, found):
        context, total, peak = found
        first = (part * tiles + i) * length
        some, at = pl.ds(first, length), first + jnp.arange(length)
        exists = at < size
        keys = triton.load(keys_ref.at[some, :], mask=exists[:, None], other=0)
        values = triton.load(values_ref.at[some, :], mask=exists[:, None], other=0)
        times = triton.load(times_ref.at[some], mask=exists, other=0)
        seen = (exists & (at != slot) & is_seen(times))[None]
        logits = jnp.where(seen, triton.dot(queries, keys, trans_b=True), _LOWEST)
        higher = jnp.maximum(peak, logits.max(axis=1))
        weights = jnp.where(seen, jnp.exp(logits - higher[:, None]), 0)
        shrink = jnp.exp(peak - higher)
        total = total * shrink + weights.sum(axis=1)
        context = context * shrink[:, None] + triton.dot(weights.astype(values.dtype), values)
        return context, total, higher

    context, total, peak = lax.fori_loop(0, tiles, tile, (context, total, peak))
    triton.store(sum_ref, context, mask=is_query[:, None])
    triton.store(total_ref, total, mask=is_query)
    triton.store(peak_ref, peak, mask=is_query)


def _joined(sums: jax.Array, totals: jax.Array, peaks: jax.Array) -> jax.Array:
    """The parts of a softmax, `(batch, kv_heads, parts, group)` and for the sums units, as one: without parts."""
    share = jnp.exp(peaks - peaks.max(axis=2, keepdims=True))
    total = (share * totals).sum(axis=2)
    return (share[..., None] * sums).sum(axis=2) / jnp.where(total > 0, total, 1)[..., None]
