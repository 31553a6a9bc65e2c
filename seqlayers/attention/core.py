"""The arithmetic of attention: scores, what may be seen, one softmax, and the weighted sum of values.

What a query sees is decided by time alone. Queries and keys carry their timestep, and a key that must not be seen (an invalid
one, an empty place in a cache) is given a time far in the past. So a whole sequence, a cache and a block are treated alike.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Times are compared by difference, which stays right when int32 wraps. A hidden key is this far back; a horizon without limit
# reaches half as far.
_FAR = 2**30


class KeyValues(NamedTuple):
    """What queries look at. Heads stand before time, so that a matrix product reads the entries of a head in one run.

    keys: `(batch, kv_heads, time, units)`. values: the same, perhaps with other units. times: int32 `(batch, time)`.
    """

    keys: jax.Array
    values: jax.Array
    times: jax.Array


class Sinks(NamedTuple):
    """Learned entries that every query sees: logits `(batch, heads, queries, sinks)`, values `(batch, kv_heads, sinks, units)`.

    Values of None are zeros: such a sink only takes weight away.
    """

    logits: jax.Array
    values: jax.Array | None


class Dropout(NamedTuple):
    """Drops weights with probability `rate`; with `across_queries` a key is dropped for all queries or for none."""

    key: jax.Array
    rate: float
    across_queries: bool


def hide(times: jax.Array, seen: jax.Array) -> jax.Array:
    """The times of keys, those not to be seen moved far into the past."""
    return jnp.where(seen, times, times - _FAR)


def visible(query_times: jax.Array, key_times: jax.Array, past: int, future: int) -> jax.Array:
    """Which keys each query sees, bool `(batch, queries, keys)`: from `past` timesteps back to `future` ahead; -1 is no limit."""
    ago = query_times[:, :, None] - key_times[:, None, :]
    back, ahead = (_FAR // 2 if horizon == -1 else horizon for horizon in (past, future))
    return (ago <= back) & (ago >= -ahead)


@dataclasses.dataclass(frozen=True)
class Attention:
    """Attention of queries to sources, under one softmax.

    Attributes:
      queries: scaled, `(batch, heads, queries, units)`. Head `n` looks at key-value head `n // (heads / kv_heads)`.
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
        sinks = [] if self.sinks is None else [self.sinks.logits]
        logits = sinks + [self._scores(source.keys) for source in self.sources]
        if self.soft_cap:
            logits = [self.soft_cap * jnp.tanh(part / self.soft_cap) for part in logits]
        seen = [jnp.ones((b, m, part.shape[-1]), bool) for part in sinks]
        seen += [visible(self.query_times, source.times, self.past, self.future) for source in self.sources]
        seen = jnp.concatenate(seen, axis=-1)[:, None]
        weights = masked_softmax(jnp.concatenate(logits, axis=-1), seen)
        return weights if self.dropout is None else self._dropped(weights)

    def context(self) -> jax.Array:
        """The weighted sum of values, `(batch, heads, queries, units)`; zero for a query that sees nothing."""
        dtype = jnp.result_type(self.queries, *(array for s in self.sources for array in (s.keys, s.values)))
        ends = np.cumsum([self.num_sinks, *(s.keys.shape[2] for s in self.sources)])
        to_sinks, *parts = jnp.split(self.weights().astype(dtype), ends[:-1], axis=-1)
        context = sum(self._sum(part, s.values.astype(dtype)) for part, s in zip(parts, self.sources, strict=True))
        if self.sinks is not None and self.sinks.values is not None:
            context += self._sum(to_sinks, self.sinks.values.astype(dtype))
        return context

    def fused_context(self) -> jax.Array:
        """`context()` by JAX's fused attention, where that offers what is asked for. For whole sequences: it transposes the keys.

        Nothing of size queries x keys is kept for the backward pass.
        """
        if not self._is_fusible():
            return self.context()

        @jax.checkpoint
        def attend(queries: jax.Array, query_times: jax.Array, source: KeyValues) -> jax.Array:
            seen = visible(query_times, source.times, self.past, self.future)
            arrays = (array.swapaxes(1, 2) for array in (queries, source.keys, source.values))
            context = _dot_product_attention(*arrays, seen[:, None])
            # JAX gives the mean of all values to a query that sees nothing.
            return jnp.where(seen.any(-1)[:, None, :, None], context.swapaxes(1, 2), 0)

        return attend(self.queries, self.query_times, self.sources[0])

    @property
    def num_sinks(self) -> int:
        return 0 if self.sinks is None else self.sinks.logits.shape[-1]

    def _is_fusible(self) -> bool:
        keys, values, _ = self.sources[0]
        is_plain = self.sinks is None and self.dropout is None and self.precision is None and not self.soft_cap
        dtypes = {self.queries.dtype, keys.dtype, values.dtype}
        is_one_dtype = len(dtypes) == 1 and dtypes <= {np.dtype(d) for d in (jnp.float32, jnp.bfloat16, jnp.float16)}
        return is_plain and is_one_dtype and len(self.sources) == 1 and keys.shape == values.shape and keys.size > 0

    # A key head serves a group of query heads. The group joins the query axis: one matrix product, which reads a key once.
    def _scores(self, keys: jax.Array) -> jax.Array:
        b, heads, m, units = self.queries.shape
        kv_heads = keys.shape[1]
        grouped = self.queries.reshape(b, kv_heads, heads // kv_heads * m, units)
        dtype = jnp.float32 if self.float32_logits else None
        scores = jnp.einsum('bnqh,bnkh->bnqk', grouped, keys, precision=self.precision, preferred_element_type=dtype)
        return scores.reshape(b, heads, m, keys.shape[2])

    def _sum(self, weights: jax.Array, values: jax.Array) -> jax.Array:
        b, heads, m, keys = weights.shape
        kv_heads = values.shape[1]
        grouped = weights.reshape(b, kv_heads, heads // kv_heads * m, keys)
        context = jnp.einsum('bnqk,bnkh->bnqh', grouped, values, precision=self.precision)
        return context.reshape(b, heads, m, values.shape[-1])

    def _dropped(self, weights: jax.Array) -> jax.Array:
        key, rate, across_queries = self.dropout
        b, heads, _, _ = weights.shape
        sinks = jnp.broadcast_to(-_FAR + jnp.arange(self.num_sinks), (b, self.num_sinks))  # they need some time of their own
        key_times = jnp.concatenate([sinks, *(source.times for source in self.sources)], axis=1)
        query_times = jnp.zeros((b, 1), jnp.int32) if across_queries else self.query_times
        kept = _keep(key, 1 - rate, heads, query_times, key_times)
        return jnp.where(kept, weights / (1 - rate), 0)


def masked_softmax(logits: jax.Array, seen: jax.Array) -> jax.Array:
    """Softmax over the last axis where `seen`, zero elsewhere and in rows that see nothing. In float32 or wider."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    lowest = jnp.finfo(logits.dtype).min
    logits = jnp.where(seen, logits, lowest)
    peak = lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True, initial=lowest))
    weights = jnp.where(seen, jnp.exp(logits - peak), 0)
    total = weights.sum(axis=-1, keepdims=True)
    return weights / jnp.where(total > 0, total, 1)


def _keep(key: jax.Array, keep: float, heads: int, query_times: jax.Array, key_times: jax.Array) -> jax.Array:
    """Which weights survive a dropout, `(batch, heads, queries, keys)`: by row, head, query time and key time.

    So a step draws what the whole sequence draws. Threefry is costly to compile and to run: one evaluation for each weight.
    """
    rows = len(key_times)
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(rows * heads)).reshape(rows, heads)
    # One number for the two times, different for all that are less than some ten thousands of timesteps apart.
    spread = query_times.astype(jnp.uint32) * np.uint32(0x9E3779B1)
    places = spread[:, :, None] + key_times[:, None, :].astype(jnp.uint32)

    def bits(key: jax.Array, place: jax.Array) -> jax.Array:
        return jax.random.key_data(jax.random.fold_in(key, place))[0]

    of_weights = jax.vmap(jax.vmap(bits, in_axes=(None, 0)), in_axes=(None, 0))
    of_heads = jax.vmap(of_weights, in_axes=(0, None))
    return jax.vmap(of_heads)(keys, places) < np.uint32(min(keep * 2**32, 2**32 - 1))


def _dot_product_attention(queries: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
    """`jax.nn.dot_product_attention` of scaled queries, by cuDNN where that is to be had. All `(batch, time, heads, units)`."""

    def by_jax(queries, keys, values, mask, implementation=None):
        return jax.nn.dot_product_attention(
            queries, keys, values, mask=mask, scale=1.0, implementation=implementation
        )

    def by_cudnn(queries, keys, values, mask):
        m, n = queries.shape[1] % 2, keys.shape[1] % 2  # with a mask it takes even lengths only
        queries, keys, values = (
            jnp.pad(array, ((0, 0), (0, odd), (0, 0), (0, 0)))
            for array, odd in ((queries, m), (keys, n), (values, n))
        )
        mask = jnp.pad(mask, ((0, 0), (0, 0), (0, m), (0, n)))
        return by_jax(queries, keys, values, mask, 'cudnn')[:, : queries.shape[1] - m]

    if not _suits_cudnn(queries):
        return by_jax(queries, keys, values, mask)
    # What is traced beside a GPU may still be compiled for another platform.
    return lax.platform_dependent(queries, keys, values, mask, cuda=by_cudnn, default=by_jax)


def _suits_cudnn(queries: jax.Array) -> bool:
    """What its fused attention asks for: an NVIDIA GPU of the Ampere generation or later, 16 bits, units a multiple of 8 up to 128."""
    device = jax.devices()[0]
    if device.platform != 'gpu' or not device.device_kind.startswith('NVIDIA') or float(device.compute_capability) < 8:
        return False
    units = queries.shape[-1]
    return queries.dtype.itemsize == 2 and units % 8 == 0 and units <= 128
