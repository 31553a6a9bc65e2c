"""Causal attention of a whole sequence to itself by cuDNN, which then needs no mask and skips what no query sees."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from seqlayers.attention.core import Attention, KeyValues, Queries
from seqlayers.attention.fused import suits_cudnn

Context = Callable[[Queries, KeyValues], jax.Array]


def context(attention: Attention, queries: Queries, source: KeyValues, by_xla: Context) -> jax.Array:
    """`Attention.context` for times from 0 on, `(batch, heads, time, units)`: by cuDNN where that offers it.

    The attention is fusible, drops nothing and has scaled its queries. cuDNN takes lengths, not masks. Where a sequence
    has a gap, and on other devices, `by_xla` computes the same.
    """
    if not _suits(attention, queries, source):
        return by_xla(queries, source)
    by_length = functools.partial(_by_length, by_xla, attention.past)
    return lax.platform_dependent(queries, source, cuda=by_length, default=by_xla)


def _suits(attention: Attention, queries: Queries, source: KeyValues) -> bool:
    is_causal = attention.future == 0 and attention.chunk == 1 and queries.times.shape == source.times.shape
    return is_causal and not queries.is_labelled and suits_cudnn(queries.values)


# A choice keeps for its backward pass what both branches would, and copies that. So backward chooses anew.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _by_length(by_xla: Context, past: int, queries: Queries, source: KeyValues) -> jax.Array:
    functions, arrays = _functions(by_xla, past, queries, source)
    return lax.cond(_has_gaps(source), *functions, *arrays).swapaxes(1, 2)


def _forward(by_xla, past, queries, source):
    return _by_length(by_xla, past, queries, source), (queries, source)


def _backward(by_xla, past, inputs, cotangent):
    queries, source = inputs
    functions, arrays = _functions(by_xla, past, queries, source)

    def pull(function: Callable) -> Callable:
        return lambda cotangent, *arrays: jax.vjp(function, *arrays)[1](cotangent)

    pulled = lax.cond(_has_gaps(source), *map(pull, functions), cotangent.swapaxes(1, 2), *arrays)
    q, k, v = (array.swapaxes(1, 2) for array in pulled)
    nothing = jax.tree.map(lambda _: None, (queries, source))
    return nothing[0]._replace(values=q), nothing[1]._replace(keys=k, values=v)


_by_length.defvjp(_forward, _backward)


def _functions(
    by_xla: Context, past: int, queries: Queries, source: KeyValues
) -> tuple[list[Callable[..., jax.Array]], list[jax.Array]]:
    """The two ways, and what they take: queries, keys and values `(batch, time, heads, units)`.

    Such as the projections make them: what a choice takes XLA does not transpose in passing.
    """

    def masked(*arrays: jax.Array) -> jax.Array:
        q, k, v = (array.swapaxes(1, 2) for array in arrays)
        return by_xla(queries._replace(values=q), source._replace(keys=k, values=v)).swapaxes(1, 2)

    by_cudnn = functools.partial(_by_cudnn, past, _is_valid(source).sum(axis=1, dtype=jnp.int32))
    return [masked, by_cudnn], [array.swapaxes(1, 2) for array in (queries.values, source.keys, source.values)]


def _is_valid(source: KeyValues) -> jax.Array:
    return source.times >= 0


def _has_gaps(source: KeyValues) -> jax.Array:
    is_valid = _is_valid(source)
    return (is_valid[:, 1:] > is_valid[:, :-1]).any()


def _by_cudnn(past: int, lengths: jax.Array, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Of sequences whose first `lengths` keys are valid. A query that sees none of them gives 0."""
    time = q.shape[1]
    past = -1 if past >= time else past  # a window that cuts nothing
    some = jnp.maximum(lengths, 1)  # of nothing it makes NaN
    seeing = jnp.full_like(some, time) if past == -1 else jnp.minimum(some + past, time)
    q, k, v = (jnp.pad(array, ((0, 0), (0, time % 2), (0, 0), (0, 0))) for array in (q, k, v))  # odd ones it refuses
    y = jax.nn.dot_product_attention(
        q, k, v,
        scale=1.0,
        is_causal=True,
        query_seq_lengths=seeing,
        key_value_seq_lengths=some,
        local_window_size=None if past == -1 else (past, 0),
        implementation='cudnn',
    )  # fmt: skip
    return jnp.where(lengths[:, None, None, None] > 0, y[:, :time], 0)
