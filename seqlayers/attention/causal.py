"""Causal attention of a whole sequence to itself by cuDNN, which then needs no mask and skips what no query sees."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

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


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _by_length(by_xla: Context, past: int, queries: Queries, source: KeyValues) -> jax.Array:
    masked, by_cudnn, arrays = _functions(by_xla, past, queries, source)
    y = lax.cond(_has_gaps(source), _flat(masked), _flat(by_cudnn), *arrays)
    return _apart(y, arrays[0])


# Left to itself, a choice keeps for its backward pass what both its branches would. Here backward chooses anew; for
# cuDNN it finds what that keeps beside its input and its output, the sums of the weights.
def _forward(by_xla, past, queries, source):
    masked, by_cudnn, arrays = _functions(by_xla, past, queries, source)
    pull = None

    def by_cudnn_keeping(*arrays):
        nonlocal pull
        y, kept, pull = _with_pull(by_cudnn, *arrays)
        return _without_heads(y), kept

    _, shapes = jax.eval_shape(by_cudnn_keeping, *arrays)

    def masked_alike(*arrays):
        return _flat(masked)(*arrays), [jnp.zeros_like(s) for s in shapes]

    y, kept = lax.cond(_has_gaps(source), masked_alike, by_cudnn_keeping, *arrays)
    y = _apart(y, arrays[0])
    return y, (queries, source, y, kept, pull)


def _backward(by_xla, past, saved, cotangent):
    queries, source, y, kept, pull = saved
    masked, _, arrays = _functions(by_xla, past, queries, source)

    def pull_masked(cotangent, y, kept, *arrays):
        return jax.vjp(masked, *arrays)[1](cotangent)

    cotangent, y = cotangent.swapaxes(1, 2), y.swapaxes(1, 2)
    gradients = lax.cond(_has_gaps(source), _flat(pull_masked), _flat(pull), cotangent, y, kept, *arrays)
    q, k, v = map(_apart, gradients, arrays)
    nothing = jax.tree.map(lambda _: None, (queries, source))
    return nothing[0]._replace(values=q), nothing[1]._replace(keys=k, values=v)


_by_length.defvjp(_forward, _backward)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _Pull:
    """What pulls a cotangent back, without its arrays. Of these `places` says where they stand: among the arguments and
    behind them the value; None is among those that were kept.
    """

    structure: Any
    places: tuple[int | None, ...]

    def __call__(
        self, cotangent: jax.Array, y: jax.Array, kept: list[jax.Array], *arrays: jax.Array
    ) -> tuple[jax.Array, ...]:
        known, rest = (*arrays, y), iter(kept)
        leaves = [next(rest) if place is None else known[place] for place in self.places]
        return jax.tree.unflatten(self.structure, leaves)(cotangent)


def _with_pull(function: Callable[..., jax.Array], *arrays: jax.Array) -> tuple[jax.Array, list[jax.Array], _Pull]:
    """The value, the arrays to keep for its derivative, and the derivative."""
    y, pull = jax.vjp(function, *arrays)
    leaves, structure = jax.tree.flatten(pull)
    known = (*arrays, y)
    places = tuple(next((i for i, array in enumerate(known) if array is leaf), None) for leaf in leaves)
    kept = [leaf for leaf, place in zip(leaves, places, strict=True) if place is None]
    return y, kept, _Pull(structure, places)


# What a choice takes and gives XLA does not transpose in passing, but what follows it is moved into its branches; and
# the branch that is never taken decides on a layout. Of arrays without heads there is only one that suits.
def _without_heads(array: jax.Array) -> jax.Array:
    """`(batch, time, heads, units)` as `(batch, time, heads * units)`."""
    return array.reshape(*array.shape[:2], -1)


def _flat(function: Callable) -> Callable:
    """A branch that gives its arrays so."""
    return lambda *arrays: jax.tree.map(_without_heads, function(*arrays))


def _apart(y: jax.Array, like: jax.Array) -> jax.Array:
    """What such a branch gave, with as many heads as `like`, `(batch, heads, time, units)`."""
    return lax.optimization_barrier(y).reshape(*y.shape[:2], like.shape[2], -1).swapaxes(1, 2)


def _functions(
    by_xla: Context, past: int, queries: Queries, source: KeyValues
) -> tuple[Callable[..., jax.Array], Callable[..., jax.Array], list[jax.Array]]:
    """The two ways, and what they take: queries, keys and values `(batch, time, heads, units)`.

    Such as the projections make them.
    """

    def masked(*arrays: jax.Array) -> jax.Array:
        q, k, v = (array.swapaxes(1, 2) for array in arrays)
        return by_xla(queries._replace(values=q), source._replace(keys=k, values=v)).swapaxes(1, 2)

    by_cudnn = functools.partial(_by_cudnn, past, _is_valid(source).sum(axis=1, dtype=jnp.int32))
    return masked, by_cudnn, [array.swapaxes(1, 2) for array in (queries.values, source.keys, source.values)]


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
    seeing = jnp.where(lengths > 0, time if past == -1 else jnp.minimum(some + past, time), 0)
    if time % 2:  # which it refuses
        q, k, v = (jnp.pad(array, ((0, 0), (0, 1), (0, 0), (0, 0))) for array in (q, k, v))
    return jax.nn.dot_product_attention(
        q, k, v,
        scale=1.0,
        is_causal=True,
        query_seq_lengths=seeing,
        key_value_seq_lengths=some,
        local_window_size=None if past == -1 else (past, 0),
        implementation='cudnn',
    )[:, :time]  # fmt: skip
