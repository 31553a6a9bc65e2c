"""The arithmetic of attention: scores, what may be seen, one softmax, and the weighted sum of values.

What a query sees is decided by time alone. Queries and keys carry their timestep, and a key that must not be
seen (an invalid one, an empty place in a cache) is given a time far in the past. So a whole sequence, a cache
and a block are treated alike.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqlayers.attention.fused import dot_product_attention

# Times are compared by difference, which stays right when int32 wraps. A hidden key is this far back; a
# horizon without limit reaches half as far.
_FAR = 2**30


class KeyValues(NamedTuple):
    """What queries look at. Heads stand before time: a matrix product then reads a head's entries in one run.

    keys: `(batch, kv_heads, time, units)`. values: the same, perhaps with other units. times: int32
    `(batch, time)`.
    """

    keys: jax.Array
    values: jax.Array
    times: jax.Array


class Sinks(NamedTuple):
    """Learned entries that every query sees. Values of None are zeros: such sinks only take weight away.

    logits: `(batch, heads, queries, sinks)`. values: `(batch, kv_heads, sinks, units)`.
    """

    logits: jax.Array
    values: jax.Array | None


class Dropout(NamedTuple):
    """Drops weights with probability `rate`; `across_queries`: a key is dropped for all queries or none."""

    key: jax.Array
    rate: float
    across_queries: bool


def hidden(times: jax.Array) -> jax.Array:
    """The times of keys that nobody may see."""
    return times - _FAR


def hide(times: jax.Array, mask: jax.Array) -> jax.Array:
    """The times of keys of which only those in the mask may be seen."""
    return jnp.where(mask, times, hidden(times))


def visible(query_times: jax.Array, key_times: jax.Array, past: int, future: int) -> jax.Array:
    """Which keys each query sees: up to `past` timesteps back and `future` ahead; -1 is no limit.

    Bool `(batch, queries, keys)`.
    """
    ago = query_times[:, :, None] - key_times[:, None, :]
    back, ahead = (_FAR // 2 if horizon == -1 else horizon for horizon in (past, future))
    return (ago <= back) & (ago >= -ahead)


@dataclasses.dataclass(frozen=True)
class Attention:
    """Attention of queries to sources, under one softmax.

    Attributes:
      queries: scaled, `(batch, heads, queries, units)`. Head n uses key-value head `n // (heads / kv_heads)`.
      query_times: int32 `(batch, queries)`.
      sources: one or more; their keys are the columns of the weights, in this order, behind the sinks.
      past, future: the horizons in timesteps; -1 is no limit.
      soft_cap: squashes logits into `(-soft_cap, soft_cap)`; None or 0 leaves them.
      float32_logits: compute logits in float32, whatever the dtype of queries and keys.
    """

    queries: jax.Array
    query_times: jax.Array
    sources: list[KeyValues]
    past: int
    future: int
    soft_cap: float | None = None
    sinks: Sinks | None = None
    dropout: Dropout | None = None
    precision: lax.PrecisionLike = None
    float32_logits: bool = False

    def weights(self) -> jax.Array:
        """The probabilities `(batch, heads, queries, sinks + keys)`; a row that sees nothing is zero."""
        b, _, m, _ = self.queries.shape
        logits = [self._scores(source.keys) for source in self.sources]
        seen = [visible(self.query_times, s.times, self.past, self.future) for s in self.sources]
        if self.sinks is not None:
            logits.insert(0, self.sinks.logits)
            seen.insert(0, jnp.ones((b, m, self.num_sinks), bool))
        if self.soft_cap:
            logits = [self.soft_cap * jnp.tanh(part / self.soft_cap) for part in logits]
        weights = masked_softmax(jnp.concatenate(logits, axis=-1), jnp.concatenate(seen, axis=-1)[:, None])
        return weights if self.dropout is None else self._dropped(weights, self.dropout)

    def context(self) -> jax.Array:
        """The weighted sum of values, `(batch, heads, queries, units)`; zero if a query sees nothing."""
        dtype = jnp.result_type(self.queries, *(a for s in self.sources for a in (s.keys, s.values)))
        ends = np.cumsum([self.num_sinks, *(s.keys.shape[2] for s in self.sources)])
        to_sinks, *to_sources = jnp.split(self.weights().astype(dtype), ends[:-1], axis=-1)
        parts = list(zip(to_sources, [source.values for source in self.sources], strict=True))
        if self.sinks is not None and self.sinks.values is not None:
            parts.append((to_sinks, self.sinks.values))
        return functools.reduce(jnp.add, (self._sum(w, values.astype(dtype)) for w, values in parts))

    def fused_context(self) -> jax.Array:
        """`context()` by a fused kernel, where that offers what is asked for; for whole sequences.

        Nothing of size queries x keys is kept for the backward pass.
        """
        if not self._is_fusible():
            return self.context()

        @jax.checkpoint
        def attend(queries: jax.Array, query_times: jax.Array, source: KeyValues) -> jax.Array:
            seen = visible(query_times, source.times, self.past, self.future)
            q, k, v = (array.swapaxes(1, 2) for array in (queries, source.keys, source.values))
            context = dot_product_attention(q, k, v, seen[:, None])
            return jnp.where(seen.any(-1)[:, None, :, None], context.swapaxes(1, 2), 0)

        return attend(self.queries, self.query_times, self.sources[0])

    @property
    def num_sinks(self) -> int:
        return 0 if self.sinks is None else self.sinks.logits.shape[-1]

    def _is_fusible(self) -> bool:
        (keys, values, _), *more = self.sources
        extras = (self.sinks, self.dropout, self.precision)
        is_plain = not more and not self.soft_cap and all(extra is None for extra in extras)
        is_one_dtype = self.queries.dtype == keys.dtype == values.dtype and keys.dtype.itemsize <= 4
        return is_plain and is_one_dtype and keys.shape == values.shape and keys.size > 0

    # A key head serves a group of query heads. The group joins the query axis, so that a key is read once.
    def _scores(self, keys: jax.Array) -> jax.Array:
        b, heads, m, units = self.queries.shape
        queries = self.queries.reshape(b, keys.shape[1], heads // keys.shape[1] * m, units)
        dtype = jnp.float32 if self.float32_logits else None
        scores = jnp.einsum('bnqh,bnkh->bnqk', queries, keys, precision=self.precision, preferred_element_type=dtype)
        return scores.reshape(b, heads, m, keys.shape[2])

    def _sum(self, weights: jax.Array, values: jax.Array) -> jax.Array:
        b, heads, m, keys = weights.shape
        weights = weights.reshape(b, values.shape[1], heads // values.shape[1] * m, keys)
        context = jnp.einsum('bnqk,bnkh->bnqh', weights, values, precision=self.precision)
        return context.reshape(b, heads, m, values.shape[3])

    def _dropped(self, weights: jax.Array, dropout: Dropout) -> jax.Array:
        b, heads, _, _ = weights.shape
        # Sinks have no time; give them one that no key has.
        sink_times = hidden(jnp.broadcast_to(jnp.arange(self.num_sinks), (b, self.num_sinks)))
        key_times = jnp.concatenate([sink_times, *(source.times for source in self.sources)], axis=1)
        query_times = jnp.zeros((b, 1), jnp.int32) if dropout.across_queries else self.query_times
        kept = _keep(dropout.key, 1 - dropout.rate, heads, query_times, key_times)
        return jnp.where(kept, weights / (1 - dropout.rate), 0)


def masked_softmax(logits: jax.Array, seen: jax.Array) -> jax.Array:
    """Softmax over the last axis where `seen`, in float32 or wider; zero elsewhere."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    lowest = jnp.finfo(logits.dtype).min
    logits = jnp.where(seen, logits, lowest)
    peak = lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True, initial=lowest))
    weights = jnp.where(seen, jnp.exp(logits - peak), 0)
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
