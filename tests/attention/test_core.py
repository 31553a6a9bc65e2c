"""The arithmetic of attention against a loop over single queries and keys."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqlayers.attention.core import Attention, Dropout, KeyValues, Sinks, hide, masked_softmax, visible

DRAW = np.random.default_rng(0)


def normal(*shape, dtype=jnp.float32):
    return jnp.asarray(DRAW.standard_normal(shape), dtype)


def random_attention(batch=2, heads=4, kv_heads=2, queries=5, keys=7, units=3, dtype=jnp.float32, **changes):
    """Queries at times 3, 4, ... and keys at 0, 1, ...; some keys hidden, and all of them from the last row."""
    seen = jnp.asarray(DRAW.random((batch, keys)) < 0.8).at[-1].set(False)
    source = KeyValues(
        normal(batch, kv_heads, keys, units, dtype=dtype),
        normal(batch, kv_heads, keys, units, dtype=dtype),
        hide(jnp.broadcast_to(jnp.arange(keys), (batch, keys)), seen),
    )
    times = jnp.broadcast_to(jnp.arange(3, 3 + queries), (batch, queries))
    fields = {'past': 3, 'future': 1, **changes}
    return Attention(normal(batch, heads, queries, units, dtype=dtype), times, [source], **fields), seen


def by_loops(attention, seen):
    """The context and the weights, one number at a time."""
    queries, (source,) = np.asarray(attention.queries), attention.sources
    keys, values = np.asarray(source.keys), np.asarray(source.values)
    sinks = attention.sinks
    num_sinks = attention.num_sinks
    b, heads, m, _ = queries.shape
    group = heads // keys.shape[1]
    weights = np.zeros((b, heads, m, num_sinks + keys.shape[2]))
    context = np.zeros((b, heads, m, values.shape[3]))
    cap = (lambda s: attention.soft_cap * math.tanh(s / attention.soft_cap)) if attention.soft_cap else (lambda s: s)
    for row, head, i in np.ndindex(b, heads, m):
        scores = {k: cap(float(sinks.logits[row, head, i, k])) for k in range(num_sinks)}
        time = int(attention.query_times[row, i])
        for j in range(keys.shape[2]):
            in_reach = (attention.past == -1 or time - j <= attention.past) and (
                attention.future == -1 or j - time <= attention.future
            )
            if seen[row, j] and in_reach:
                scores[num_sinks + j] = cap(float(queries[row, head, i] @ keys[row, head // group, j]))
        total = sum(math.exp(s) for s in scores.values())
        for column, score in scores.items():
            weight = weights[row, head, i, column] = math.exp(score) / total
            if column >= num_sinks:
                context[row, head, i] += weight * values[row, head // group, column - num_sinks]
            elif sinks.values is not None:
                context[row, head, i] += weight * np.asarray(sinks.values)[row, head // group, column]
    return context, weights


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'kv_heads': 4},
        {'kv_heads': 1},
        {'past': -1},
        {'future': -1},
        {'past': 0, 'future': 0},
        {'soft_cap': 0.7},
        {'sinks': Sinks(normal(2, 4, 5, 2), normal(2, 2, 2, 3))},
        {'sinks': Sinks(normal(2, 4, 5, 1), None), 'soft_cap': 0.7},
    ],
)
def test_weights_and_context(changes):
    attention, seen = random_attention(**changes)
    context, weights = by_loops(attention, seen)
    got = jax.jit(lambda: (attention.weights(), attention.context(), attention.fused_context()))()
    for array, expected in zip(got, (weights, context, context), strict=True):
        np.testing.assert_allclose(array, expected, atol=1e-6)


def test_sources_share_one_softmax():
    attention, _ = random_attention()
    (source,) = attention.sources
    parts = [
        KeyValues(source.keys[:, :, a:b], source.values[:, :, a:b], source.times[:, a:b]) for a, b in ((0, 2), (2, 7))
    ]
    split = dataclasses.replace(attention, sources=parts)
    np.testing.assert_allclose(split.context(), attention.context(), atol=1e-6)
    np.testing.assert_allclose(split.weights(), attention.weights(), atol=1e-6)


@pytest.mark.parametrize('context', [Attention.context, Attention.fused_context])
def test_what_sees_nothing_gives_zero_and_finite_gradients(context):
    attention, _ = random_attention()

    def loss(queries, source):
        return jnp.sum(context(dataclasses.replace(attention, queries=queries, sources=[source])) ** 2)

    floats = attention.sources[0]
    gradients = jax.grad(lambda q, k, v: loss(q, KeyValues(k, v, floats.times)), argnums=(0, 1, 2))(
        attention.queries, floats.keys, floats.values
    )
    assert not np.any(context(attention)[-1])
    assert all(np.isfinite(g).all() and not np.any(g[-1]) for g in gradients)


def test_fused_and_plain_have_equal_gradients():
    attention, _ = random_attention(queries=9, keys=9)

    def gradients(context):
        def loss(queries, keys, values):
            source = KeyValues(keys, values, attention.sources[0].times)
            return jnp.sum(jnp.sin(context(dataclasses.replace(attention, queries=queries, sources=[source]))))

        return jax.grad(loss, argnums=(0, 1, 2))(attention.queries, *attention.sources[0][:2])

    for fused, plain in zip(gradients(Attention.fused_context), gradients(Attention.context), strict=True):
        np.testing.assert_allclose(fused, plain, atol=1e-6)


def residuals(context, attention):
    """The arrays that the backward pass keeps."""
    _, pull = jax.vjp(lambda q: context(dataclasses.replace(attention, queries=q)), attention.queries)
    return [leaf.shape for leaf in jax.tree.leaves(pull)]


def test_fused_keeps_nothing_as_large_as_queries_times_keys():
    time = 64
    attention, _ = random_attention(queries=time, keys=time)
    assert max(map(math.prod, residuals(Attention.context, attention))) >= 2 * 4 * time * time
    assert max(map(math.prod, residuals(Attention.fused_context, attention))) < time * time


def test_softmax_of_halves_is_wide():
    logits = jnp.asarray(DRAW.standard_normal((1, 1, 1, 1000)), jnp.bfloat16)
    weights = masked_softmax(logits, jnp.ones(logits.shape, bool))
    assert weights.dtype == jnp.float32
    assert abs(float(weights.sum()) - 1) < 1e-5
    assert not np.any(masked_softmax(logits, jnp.zeros(logits.shape, bool)))
    assert masked_softmax(logits[..., :0], jnp.ones((1, 1, 1, 0), bool)).shape == (1, 1, 1, 0)


def test_dtypes_of_halves():
    attention, _ = random_attention(dtype=jnp.bfloat16)
    assert attention.context().dtype == attention.fused_context().dtype == jnp.bfloat16
    context = dataclasses.replace(attention, float32_logits=True).context().astype(jnp.float32)
    np.testing.assert_allclose(context, attention.fused_context().astype(jnp.float32), atol=0.02)


def test_horizons():
    times = jnp.arange(5)[None]
    seen = visible(times, times, 2, 1)[0]
    assert [''.join(map(str, row)) for row in np.asarray(seen, int).tolist()] == [
        '11000',
        '11100',
        '11110',
        '01111',
        '00111',
    ]
    assert visible(times, times, -1, -1).all()
    hidden = hide(times, times != 3)
    assert np.array_equal(visible(times, hidden, -1, -1), visible(times, times, -1, -1) & (times != 3))


def test_times_may_wrap():
    times, late = jnp.arange(9)[None], jnp.arange(9)[None] + (2**31 - 4)
    assert late.min() < 0 < late.max()
    for past, future in ((3, 0), (2, 2)):
        assert np.array_equal(
            visible(late, hide(late, times != 5), past, future), visible(times, hide(times, times != 5), past, future)
        )


# --- dropout ----------------------------------------------------------------------------------------
def kept(across_queries=False, queries=40, keys=50, start=0, **changes):
    """Which of even weights a dropout of one half leaves; queries at times `start` and on, keys at 0 and on."""
    attention, _ = random_attention(batch=3, queries=queries, keys=keys, past=-1, future=-1, **changes)
    attention = dataclasses.replace(
        attention,
        queries=0 * attention.queries,
        query_times=attention.query_times - 3 + start,
        sources=[attention.sources[0]._replace(times=jnp.broadcast_to(jnp.arange(keys), (3, keys)))],
        dropout=Dropout(jax.random.key(7), 0.5, across_queries),
    )
    weights = np.asarray(jax.jit(attention.weights)()) * (keys + attention.num_sinks)
    assert np.isclose(weights, 0).sum() + np.isclose(weights, 2).sum() == weights.size
    return weights > 0


@pytest.fixture(scope='module')
def whole():
    return kept()


def test_dropout_keeps_its_share(whole):
    assert abs(whole.mean() - 0.5) < 0.02


def test_dropout_differs_by_row_head_query_and_key(whole):
    for axis in range(4):
        neighbours = np.moveaxis(whole, axis, 0)
        assert abs((neighbours[0] == neighbours[1]).mean() - 0.5) < 0.1


def test_dropout_belongs_to_the_times(whole):
    assert np.array_equal(kept(queries=5, start=11), whole[:, :, 11:16])


def test_dropout_across_queries_is_one_draw():
    shared = kept(across_queries=True)
    assert (shared == shared[:, :, :1]).all() and 0.4 < shared.mean() < 0.6


def test_dropout_drops_sinks_too():
    with_sinks = kept(sinks=Sinks(jnp.zeros((3, 4, 40, 2)), None))
    sinks, keys = with_sinks[..., :2], with_sinks[..., 2:4]
    assert abs(sinks.mean() - 0.5) < 0.05 and abs((sinks == keys).mean() - 0.5) < 0.1
