"""The arithmetic of attention: scores, what may be seen, one softmax, and the weighted sum of values.

What a query sees is decided by time. Queries and keys carry their timestep, and a key that must not be seen (an
invalid one, an empty place in a cache) is given a time far in the past. So a whole sequence, a cache and a block
are treated alike.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqlayers.attention.fused import dot_product_attention

# Times are compared by difference, which stays right when int32 wraps. A hidden key is this far back; a
# horizon without limit reaches half as far.
_FAR = 2**30


class Queries(NamedTuple):
    """What looks. Heads stand before time, as in `KeyValues`.

    values: `(batch, heads, time, units)`, not yet scaled. times, positions, segments: int32 `(batch, time)`.
    """

    values: jax.Array
    times: jax.Array
    positions: jax.Array | None = None
    segments: jax.Array | None = None

    @property
    def is_labelled(self) -> bool:
        return self.positions is not None or self.segments is not None


class KeyValues(NamedTuple):
    """What queries look at. Heads stand before time: a matrix product then reads a head's entries in one run.

    keys: `(batch, kv_heads, time, units)`. values: the same, perhaps with other units. times, positions,
    segments: int32 `(batch, time)`.
    """

    keys: jax.Array
    values: jax.Array
    times: jax.Array
    positions: jax.Array | None = None
    segments: jax.Array | None = None


class Sinks(NamedTuple):
    """Learned entries that every query sees: embeddings, or bare logits whose values are zero.

    keys: `(sinks, heads, units)`, values: `(sinks, kv_heads, units)`; or logits: `(heads,)`.
    """

    keys: jax.Array | None = None
    values: jax.Array | None = None
    logits: jax.Array | None = None

    @property
    def number(self) -> int:
        return 1 if self.keys is None else len(self.keys)


class Dropout(NamedTuple):
    """Drops weights with probability `rate`; `across_queries`: a key is dropped for all queries or none."""

    key: jax.Array
    rate: float
    across_queries: bool


def timesteps(first: jax.Array, n: int) -> jax.Array:
    """The times `first`, `first + 1`, ...; int32, `(batch,) -> (batch, n)`."""
    return first[:, None] + jnp.arange(n, dtype=jnp.int32)


def hidden(times: jax.Array) -> jax.Array:
    """The times of keys that nobody may see."""
    return times - _FAR


def hide(times: jax.Array, mask: jax.Array) -> jax.Array:
    """The times of keys of which only those in the mask may be seen."""
    return jnp.where(mask, times, hidden(times))


def limits(past: int, future: int) -> tuple[int, int]:
    """The most timesteps back and ahead that horizons allow; a hidden key is farther."""
    back, ahead = (_FAR // 2 if horizon == -1 else horizon for horizon in (past, future))
    return back, ahead


def visible(query_times: jax.Array, key_times: jax.Array, past: int, future: int, chunk: int = 1) -> jax.Array:
    """Which keys each query sees: up to `past` chunks of timesteps back and `future` ahead; -1 is no limit.

    Bool `(batch, queries, keys)`.
    """
    back, ahead = limits(past, future)
    ago = query_times[:, :, None] - key_times[:, None, :]
    if chunk == 1:
        return (ago <= back) & (ago >= -ahead)
    chunks_ago = query_times[:, :, None] // chunk - key_times[:, None, :] // chunk
    return (chunks_ago <= back) & (chunks_ago >= -ahead) & (ago <= _FAR // 2)


@dataclasses.dataclass(frozen=True)
class Attention:
    """How queries attend to sources, under one softmax.

    Attributes:
      past, future: the horizons in timesteps; -1 is no limit. They bound the times, and the positions where given.
        Where segments are given, those of query and key must be equal.
      chunk: time is cut into pieces of so many timesteps, and the horizons count these.
      scale: of the queries.
      soft_cap: squashes logits into `(-soft_cap, soft_cap)`; None or 0 leaves them.
      bias: what relative positions add to the logits, `(batch, heads, queries, keys)`, of a source.
      float32_logits: compute logits in float32 or wider, whatever the dtype of queries and keys.
    """

    past: int = -1
    future: int = -1
    chunk: int = 1
    scale: float | jax.Array = 1.0
    soft_cap: float | None = None
    sinks: Sinks | None = None
    bias: Callable[[Queries, jax.Array, KeyValues], jax.Array] | None = None
    dropout: Dropout | None = None
    precision: lax.PrecisionLike = None
    float32_logits: bool = False

    # Key-value head n serves the query heads n * group, ..., n * group + group - 1.
    def weights(self, queries: Queries, sources: list[KeyValues]) -> jax.Array:
        """The probabilities `(batch, heads, queries, sinks + keys)`, the sources in order behind the sinks; a row
        that sees nothing is zero.
        """
        b, _, m, _ = queries.values.shape
        scaled = self.scaled(queries)
        logits = [self._logits(queries, scaled, source) for source in sources]
        seen = [self.seen(queries, source) for source in sources]
        if self.sinks is not None:
            logits.insert(0, self._sink_logits(queries.values, self.sinks))
            seen.insert(0, jnp.ones((b, m, self.num_sinks), bool))
        if self.soft_cap:
            logits = [self.soft_cap * jnp.tanh(part / self.soft_cap) for part in logits]
        weights = masked_softmax(jnp.concatenate(logits, axis=-1), jnp.concatenate(seen, axis=-1)[:, None])
        return weights if self.dropout is None else self._dropped(weights, queries, sources, self.dropout)

    def context(self, queries: Queries, sources: list[KeyValues]) -> jax.Array:
        """The weighted sum of values, `(batch, heads, queries, units)`; zero if a query sees nothing."""
        dtype = jnp.result_type(queries.values, *(a for s in sources for a in (s.keys, s.values)))
        ends = np.cumsum([self.num_sinks, *(s.keys.shape[2] for s in sources)])
        to_sinks, *to_sources = jnp.split(self.weights(queries, sources).astype(dtype), ends[:-1], axis=-1)
        parts = [self._sum(w, s.values.astype(dtype)) for w, s in zip(to_sources, sources, strict=True)]
        if self.sinks is not None and self.sinks.values is not None:
            values = self.sinks.values.swapaxes(0, 1).astype(dtype)
            parts.append(self._sum(to_sinks, jnp.broadcast_to(values, (len(to_sinks), *values.shape))))
        return functools.reduce(jnp.add, parts)

    def fused_context(self, queries: Queries, source: KeyValues) -> jax.Array:
        """`context()` for whole sequences: by a fused kernel, where that offers what is asked for.

        Nothing of size queries x keys is kept for the backward pass: it is computed again. Not so with dropout, whose
        draws are dear.
        """
        if self.dropout is not None:
            return self.context(queries, [source])
        if not self.is_fusible(queries, source):
            return jax.checkpoint(lambda queries, source: self.context(queries, [source]))(queries, source)

        @jax.checkpoint
        def attend(scaled: jax.Array, queries: Queries, source: KeyValues) -> jax.Array:
            seen = self.seen(queries, source)
            q, k, v = (array.swapaxes(1, 2) for array in (scaled, source.keys, source.values))
            context = dot_product_attention(q, k, v, seen[:, None])
            return jnp.where(seen.any(-1)[:, None, :, None], context.swapaxes(1, 2), 0)

        return attend(self.scaled(queries), queries, source)

    def seen(self, queries: Queries, source: KeyValues) -> jax.Array:
        """Which keys each query sees, bool `(batch, queries, keys)`."""
        seen = visible(queries.times, source.times, self.past, self.future, self.chunk)
        if queries.positions is not None and source.positions is not None:
            seen &= visible(queries.positions, source.positions, self.past, self.future, self.chunk)
        if queries.segments is not None and source.segments is not None:
            seen &= queries.segments[:, :, None] == source.segments[:, None, :]
        return seen

    @property
    def num_sinks(self) -> int:
        return 0 if self.sinks is None else self.sinks.number

    @property
    def is_plain(self) -> bool:
        """Whether weights are a softmax of products, and nothing else."""
        return not self.soft_cap and all(extra is None for extra in (self.sinks, self.bias, self.precision))

    def is_fusible(self, queries: Queries, source: KeyValues) -> bool:
        """Whether a fused kernel offers what is asked for, but for dropout and labels."""
        keys, values = source.keys, source.values
        is_one_dtype = queries.values.dtype == keys.dtype == values.dtype and keys.dtype.itemsize <= 4
        return self.is_plain and is_one_dtype and keys.shape == values.shape and keys.size > 0

    def scaled(self, queries: Queries) -> jax.Array:
        """The values of the queries, scaled as the logits want them."""
        return queries.values * jnp.asarray(self.scale, queries.values.dtype)

    def _logits(self, queries: Queries, scaled: jax.Array, source: KeyValues) -> jax.Array:
        """`(batch, heads, queries, keys)`."""
        b, heads, m, units = scaled.shape
        kv_heads, n = source.keys.shape[1:3]
        # A key head serves a group of query heads. The group joins the query axis, so that a key is read once.
        grouped = scaled.reshape(b, kv_heads, heads // kv_heads * m, units)
        dtype = jnp.result_type(scaled, source.keys)
        if self.float32_logits:
            dtype = jnp.promote_types(dtype, jnp.float32)
        logits = jnp.einsum(
            'bnqh,bnkh->bnqk', grouped, source.keys, precision=self.precision, preferred_element_type=dtype
        ).reshape(b, heads, m, n)
        return logits if self.bias is None else logits + self.bias(queries, scaled, source).astype(logits.dtype)

    def _sink_logits(self, queries: jax.Array, sinks: Sinks) -> jax.Array:
        """Of queries that are not scaled: as in the published library, scales do not touch sinks."""
        if sinks.keys is not None:
            keys = sinks.keys.astype(queries.dtype)
            return jnp.einsum('bnqh,knh->bnqk', queries, keys, precision=self.precision)
        assert sinks.logits is not None  # of two kinds it is the other
        logits = sinks.logits.astype(queries.dtype)[:, None, None]
        return jnp.broadcast_to(logits, (*queries.shape[:3], 1))

    def _sum(self, weights: jax.Array, values: jax.Array) -> jax.Array:
        b, heads, m, keys = weights.shape
        weights = weights.reshape(b, values.shape[1], heads // values.shape[1] * m, keys)
        context = jnp.einsum('bnqk,bnkh->bnqh', weights, values, precision=self.precision)
        return context.reshape(b, heads, m, values.shape[3])

    def _dropped(self, weights: jax.Array, queries: Queries, sources: list[KeyValues], dropout: Dropout) -> jax.Array:
        b, heads, _, _ = weights.shape
        # Sinks have no time; give them one that no key has.
        sink_times = hidden(jnp.broadcast_to(jnp.arange(self.num_sinks), (b, self.num_sinks)))
        key_times = jnp.concatenate([sink_times, *(source.times for source in sources)], axis=1)
        query_times = jnp.zeros((b, 1), jnp.int32) if dropout.across_queries else queries.times
        kept = _keep(dropout.key, 1 - dropout.rate, heads, query_times, key_times)
        return jnp.where(kept, weights / (1 - dropout.rate), 0)


def masked_softmax(logits: jax.Array, seen: jax.Array) -> jax.Array:
    """Softmax over the last axis where `seen`, in float32 or wider; zero elsewhere."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    logits = jnp.where(seen, logits, -jnp.inf)
    lowest = jnp.finfo(logits.dtype).min  # of a row that sees nothing: infinities have no difference
    peak = lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True, initial=lowest))
    weights = jnp.exp(logits - peak)
    total = weights.sum(axis=-1, keepdims=True)
    return weights / jnp.where(total > 0, total, 1)


def _keep(key: jax.Array, keep: float, heads: int, query_times: jax.Array, key_times: jax.Array) -> jax.Array:
    """Which weights survive a dropout, `(batch, heads, queries, keys)`, by row, head, query time and key time.

    So a step draws what the whole sequence draws. Threefry is dear: this runs it once for each weight.
    """
    rows = len(key_times)
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(rows * heads)).reshape(rows, heads)
    # One number for both times; two pairs less than some ten thousand timesteps apart never have the same.
    spread = query_times.astype(jnp.uint32) * np.uint32(0x9E3779B1)
    places = spread[:, :, None] + key_times[:, None, :].astype(jnp.uint32)

    def bits(key: jax.Array, place: jax.Array) -> jax.Array:
        return jax.random.key_data(jax.random.fold_in(key, place))[0]

    of_weights = jax.vmap(jax.vmap(bits, in_axes=(None, 0)), in_axes=(None, 0))
    of_heads = jax.vmap(of_weights, in_axes=(0, None))
    return jax.vmap(of_heads)(keys, places) < np.uint32(min(keep * 2**32, 2**32 - 1))
