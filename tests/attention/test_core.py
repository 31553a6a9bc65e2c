"""The arithmetic of attention against a loop over single queries and keys."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqlayers.attention.core import Attention, Dropout, KeyValues, Queries, Sinks, hide, masked_softmax, visible

DRAW = np.random.default_rng(0)


def normal(*shape, dtype=jnp.float32):
    return jnp.asarray(DRAW.standard_normal(shape), dtype)


def random_attention(batch=2, heads=4, kv_heads=2, queries=5, keys=7, units=3, dtype=jnp.float32, **changes):
    """A rule, queries at times 3, 4, ..., a source at 0, 1, ..., and which keys may be seen: none by the last row."""
    seen = jnp.asarray(DRAW.random((batch, keys)) < 0.8).at[-1].set(False)
    source = KeyValues(
        normal(batch, kv_heads, keys, units, dtype=dtype),
        normal(batch, kv_heads, keys, units, dtype=dtype),
        hide(jnp.broadcast_to(jnp.arange(keys), (batch, keys)), seen),
    )
    times = jnp.broadcast_to(jnp.arange(3, 3 + queries), (batch, queries))
    rule = Attention(**{'past': 3, 'future': 1, **changes})
    return rule, Queries(normal(batch, heads, queries, units, dtype=dtype), times), source, seen


def by_loops(attention, looking, source, seen):
    """The context and the weights, one number at a time."""
    queries, keys, values = (np.asarray(a) for a in (looking.values, source.keys, source.values))
    sinks, num_sinks = attention.sinks, attention.num_sinks
    b, heads, m, _ = queries.shape
    group = heads // keys.shape[1]
    weights = np.zeros((b, heads, m, num_sinks + keys.shape[2]))
    context = np.zeros((b, heads, m, values.shape[3]))
    cap = (lambda s: attention.soft_cap * math.tanh(s / attention.soft_cap)) if attention.soft_cap else (lambda s: s)
    for row, head, i in np.ndindex(b, heads, m):
        scores = {k: cap(sink_logit(sinks, queries[row, head, i], head, k)) for k in range(num_sinks)}
        time = int(looking.times[row, i])
        for j in range(keys.shape[2]):
            in_reach = (attention.past == -1 or time - j <= attention.past) and (
                attention.future == -1 or j - time <= attention.future
            )
            if seen[row, j] and in_reach:
                scores[num_sinks + j] = cap(
                    float(attention.scale * queries[row, head, i] @ keys[row, head // group, j])
                )
        total = sum(math.exp(s) for s in scores.values())
        for column, score in scores.items():
            weight = weights[row, head, i, column] = math.exp(score) / total
            if column >= num_sinks:
                context[row, head, i] += weight * values[row, head // group, column - num_sinks]
            elif sinks.values is not None:
                context[row, head, i] += weight * np.asarray(sinks.values)[column, head // group]
    return context, weights


def sink_logit(sinks, query, head, k):
    """Sinks are not scaled."""
    return float(query @ sinks.keys[k, head] if sinks.logits is None else sinks.logits[head])


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'scale': 0.3},
        {'kv_heads': 4},
        {'kv_heads': 1},
        {'past': -1},
        {'future': -1},
        {'past': 0, 'future': 0},
        {'soft_cap': 0.7},
        {'sinks': Sinks(normal(2, 4, 3), normal(2, 2, 3)), 'scale': 0.3},
        {'sinks': Sinks(logits=normal(4)), 'soft_cap': 0.7},
    ],
)
def test_weights_and_context(changes):
    attention, queries, source, seen = random_attention(**changes)
    context, weights = by_loops(attention, queries, source, seen)
    got = jax.jit(
        lambda: (
            attention.weights(queries, [source]),
            attention.context(queries, [source]),
            attention.fused_context(queries, source),
        )
    )()
    for array, expected in zip(got, (weights, context, context), strict=True):
        np.testing.assert_allclose(array, expected, atol=1e-6)


def test_sources_share_one_softmax():
    attention, queries, source, _ = random_attention()
    parts = [
        KeyValues(source.keys[:, :, a:b], source.values[:, :, a:b], source.times[:, a:b]) for a, b in ((0, 2), (2, 7))
    ]
    np.testing.assert_allclose(attention.context(queries, parts), attention.context(queries, [source]), atol=1e-6)
    np.testing.assert_allclose(attention.weights(queries, parts), attention.weights(queries, [source]), atol=1e-6)


def plain(attention, queries, source):
    return attention.context(queries, [source])


def test_chunks_positions_and_segments():
    """Horizons of chunks; positions are bounded besides times; segments see themselves alone."""
    attention, queries, source, seen = random_attention(past=1, future=0, chunk=2, queries=7)
    queries = queries._replace(times=queries.times - 3)
    times = np.arange(7)
    chunk = times[:, None] // 2 - times[None] // 2
    wanted = (chunk <= 1) & (chunk >= 0) & np.asarray(seen)[:, None]
    assert np.array_equal(attention.seen(queries, source), wanted)
    positions = jnp.broadcast_to(jnp.asarray([0, 4, 4, 5, 0, 1, 9]), (2, 7))
    apart = np.asarray(positions)[0, :, None] // 2 - np.asarray(positions)[0, None] // 2
    at_positions = (q := queries._replace(positions=positions)), source._replace(positions=positions)
    assert np.array_equal(attention.seen(*at_positions), wanted & (apart <= 1) & (apart >= 0))
    assert np.array_equal(attention.seen(q, source), wanted)  # of positions on one side nothing follows
    segments = jnp.broadcast_to(jnp.asarray([0, 0, 0, 1, 1, 1, 1]), (2, 7))
    same = np.asarray(segments)[0, :, None] == np.asarray(segments)[0]
    in_segments = queries._replace(segments=segments), source._replace(segments=segments)
    assert np.array_equal(attention.seen(*in_segments), wanted & same)


@pytest.mark.parametrize('context', [plain, Attention.fused_context])
def test_what_sees_nothing_gives_zero_and_finite_gradients(context):
    attention, queries, source, _ = random_attention()

    def loss(q, k, v):
        return jnp.sum(context(attention, queries._replace(values=q), source._replace(keys=k, values=v)) ** 2)

    gradients = jax.grad(loss, argnums=(0, 1, 2))(queries.values, source.keys, source.values)
    assert not np.any(context(attention, queries, source)[-1])
    assert all(np.isfinite(g).all() and not np.any(g[-1]) for g in gradients)


def test_fused_and_plain_have_equal_gradients():
    attention, queries, source, _ = random_attention(queries=9, keys=9)

    def gradients(context):
        def loss(q, k, v):
            return jnp.sum(jnp.sin(context(attention, queries._replace(values=q), source._replace(keys=k, values=v))))

        return jax.grad(loss, argnums=(0, 1, 2))(queries.values, source.keys, source.values)

    for by_fused, by_plain in zip(gradients(Attention.fused_context), gradients(plain), strict=True):
        np.testing.assert_allclose(by_fused, by_plain, atol=1e-6)


def residuals(context, attention, queries, source):
    """The shapes of the arrays that the backward pass keeps."""
    _, pull = jax.vjp(lambda q: context(attention, queries._replace(values=q), source), queries.values)
    return [leaf.shape for leaf in jax.tree.leaves(pull)]


def test_fused_keeps_nothing_as_large_as_queries_times_keys():
    time = 64
    attention, queries, source, _ = random_attention(queries=time, keys=time)
    assert max(map(math.prod, residuals(plain, attention, queries, source))) >= 2 * 4 * time * time
    assert max(map(math.prod, residuals(Attention.fused_context, attention, queries, source))) < time * time


def test_softmax_of_halves_is_wide():
    logits = jnp.asarray(DRAW.standard_normal((1, 1, 1, 1000)), jnp.bfloat16)
    weights = masked_softmax(logits, jnp.ones(logits.shape, bool))
    assert weights.dtype == jnp.float32
    assert abs(float(weights.sum()) - 1) < 1e-5
    assert not np.any(masked_softmax(logits, jnp.zeros(logits.shape, bool)))
    assert masked_softmax(logits[..., :0], jnp.ones((1, 1, 1, 0), bool)).shape == (1, 1, 1, 0)


def test_dtypes_of_halves():
    attention, queries, source, _ = random_attention(dtype=jnp.bfloat16)
    context, fused = attention.context(queries, [source]), attention.fused_context(queries, source)
    assert context.dtype == fused.dtype == jnp.bfloat16
    wide = dataclasses.replace(attention, float32_logits=True).context(queries, [source]).astype(jnp.float32)
    np.testing.assert_allclose(wide, fused.astype(jnp.float32), atol=0.02)


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
    attention, looking, source, _ = random_attention(batch=3, queries=queries, keys=keys, past=-1, future=-1, **changes)
    attention = dataclasses.replace(attention, dropout=Dropout(jax.random.key(7), 0.5, across_queries))
    looking = looking._replace(values=0 * looking.values, times=looking.times - 3 + start)
    source = source._replace(times=jnp.broadcast_to(jnp.arange(keys), (3, keys)))
    weights = np.asarray(jax.jit(lambda: attention.weights(looking, [source]))()) * (keys + attention.num_sinks)
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
    with_sinks = kept(sinks=Sinks(jnp.zeros((2, 4, 3)), jnp.zeros((2, 2, 3))))
    sinks, keys = with_sinks[..., :2], with_sinks[..., 2:4]
    assert abs(sinks.mean() - 0.5) < 0.05 and abs((sinks == keys).mean() - 0.5) < 0.1
