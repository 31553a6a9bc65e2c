"""Steps of attention to a cache: where a model samples, reading its caches is most of its time."""

import dataclasses
import functools

import jax
from jax import lax

from seqlayers.attention.cache import Cache, RingCache
from seqlayers.attention.core import Attention, KeyValues, Queries
from seqlayers.devices import has_triton, is_alone


def attend(rule: Attention, queries: Queries, cache: Cache, block: KeyValues) -> tuple[jax.Array, Cache]:
    """Queries look at a cache that a block has joined: `(batch, heads, queries, units)`, and that cache."""
    alone = is_alone(queries.values, block.keys, cache.entries.keys)
    if not (alone and _suits(rule, queries, cache, block) and has_triton()):
        return by_xla(rule, queries, cache, block)
    from seqlayers.attention.decode_kernel import by_kernel  # Pallas takes long to import

    # What is traced beside a GPU may still be compiled for another platform.
    queries = queries._replace(values=rule.scaled(queries))
    rule = dataclasses.replace(rule, scale=1.0)
    return lax.platform_dependent(
        queries, cache, block, cuda=functools.partial(by_kernel, rule), default=functools.partial(by_xla, rule)
    )


def by_xla(rule: Attention, queries: Queries, cache: Cache, block: KeyValues) -> tuple[jax.Array, Cache]:
    written, sources = cache.append(block)
    return written.checked(rule.context(queries, sources)), written


def _suits(rule: Attention, queries: Queries, cache: Cache, block: KeyValues) -> bool:
    """Whether the kernel offers what is asked for: plain attention of one query in 16 bits."""
    is_plain = rule.is_plain and rule.dropout is None and rule.chunk == 1 and not queries.is_labelled
    is_one = queries.times.shape[1] == block.times.shape[1] == 1
    batch = block.times.shape[0]
    has_rows = isinstance(batch, int) and batch > 0  # in exports it may be a symbol
    arrays = (queries.values, block.keys, block.values)
    dtypes, units = {array.dtype for array in arrays}, {array.shape[3] for array in arrays}
    is_short = len(dtypes) == 1 and arrays[0].dtype.itemsize == 2
    has_form = is_one and has_rows and is_short and units <= {16, 32, 64, 128, 256}
    return is_plain and has_form and isinstance(cache, RingCache)
