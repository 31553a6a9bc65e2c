"""Relative positions: their tables, and the weights of a layer by the formula of each pair of query and key."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqlayers as sl
from seqlayers.attention.core import KeyValues, Queries
from tests.attention.naive import assert_valid_close, attend, projected, random_sequence, randomize

HEADS, UNITS, DIM = 4, 3, 6
SHAW = sl.ShawRelativePositionEmbedding(2, 1, HEADS, UNITS)  # clips both ways, as the horizons are 3 and 2
T5 = sl.T5RelativePositionEmbedding(8, HEADS, bidirectional=True, max_distance=4)
XL = sl.TransformerXLRelativePositionEmbedding(HEADS, UNITS, 4, 2, position_bias_dim=DIM)


def sinusoid(distance):
    timescales = [10000 ** (i / (DIM // 2 - 1)) for i in range(DIM // 2)]
    angles = [distance / scale for scale in timescales]
    return np.array([*map(math.sin, angles), *map(math.cos, angles)])


# The logit of a query and a key `distance` timesteps behind it (not scaled, scaled, key, head, distance), before the
# soft cap; the formulas are those of the papers.
def shaw(e, raw, q, k, head, distance):
    return q @ k + raw @ e.embedding[...][min(max(distance, -2), 1) + 2, head]


def t5(e, raw, q, k, head, distance):
    bucket = {-3: 2, -2: 2, -1: 1, 0: 0, 1: 5, 2: 6}[distance]
    return q @ k + e.embedding[...][bucket, head]


def transformer_xl(e, raw, q, k, head, distance):
    position = np.einsum('d,dh->h', sinusoid(-distance), np.asarray(e.kernel[...])[:, head])
    u, v = (e.u[...][head], e.v[...][head]) if e.use_bias else (0, 0)
    return (q + u) @ k + (q + v) @ position


def alibi(e, raw, q, k, head, distance):
    return q @ k - 2.0 ** (-8 * (head + 1) / HEADS) * abs(distance)


@pytest.mark.parametrize(
    ('embedding', 'formula'),
    [(SHAW, shaw), (T5, t5), (XL, transformer_xl), (XL.replace(use_bias=False), transformer_xl), (sl.ALiBi(4), alibi)],
    ids=['Shaw', 'T5', 'TransformerXL', 'TransformerXL without bias', 'ALiBi'],
)
def test_weights_of_a_layer(embedding, formula):
    """Two heads of keys; keys that are scaled; a soft cap behind everything. Invalid timesteps count as distance."""
    past, future, cap, x = 3, 2, 3.0, random_sequence(8)
    model = sl.DotProductSelfAttention(
        HEADS, UNITS, past, future, num_kv_heads=2, input_projection=sl.QueryAndKeyValueProjection(), query_scale=0.4,
        per_dim_key_scale=True, attention_logits_soft_cap=cap, relative_position_embedding=embedding,
    ).build(x.channel_spec, rngs=0)  # fmt: skip
    e = model.relative_position_embedding
    randomize([model.dim_key_scale, *([e.u, e.v] if getattr(e, 'use_bias', False) else [])])
    queries, keys, values = projected(model, x)
    keys = keys * np.log1p(np.exp(model.dim_key_scale[...])) / math.log(2)

    def logit(q, k, head, i, j):
        return cap * math.tanh(formula(e, q, 0.4 * q, k, head, j - i) / cap)

    def sees(row, i, j):
        return x.mask[row, j] and -past <= j - i <= future

    weights, context = attend(queries, keys, values, sees, logit)
    y, emits = jax.jit(lambda x: model.layer_with_emits(x, training=False))(x)
    assert_valid_close(emits.probabilities, weights)
    assert_valid_close(y, context)


# --- buckets ----------------------------------------------------------------------------------------
def ranges(*entries):
    """`(first, last, bucket)` as a table of single distances."""
    return {distance: bucket for first, last, bucket in entries for distance in range(first, last + 1)}


def singles(distances, buckets):
    return dict(zip(distances, buckets, strict=True))


BUCKETS = {
    (8, True, 16): ranges((-200, -16, 3), (-15, -2, 2), (-1, -1, 1), (0, 0, 0), (1, 1, 5), (2, 12, 6), (16, 200, 7)),
    (8, False, 16): {
        **ranges((-200, -16, 7), (-9, -7, 5), (-6, -4, 4), (-3, -3, 3), (-2, -2, 2), (-1, -1, 1), (0, 200, 0)),
        **singles([-15, -12], [6, 6]),
    },
    (32, True, 128): {
        **singles([-128, -100, -64, -32, -20, -9, -8], [15, 14, 13, 11, 10, 8, 8]),
        **ranges((-16, -12, 9)),
        **{-n: n for n in range(8)},
        **singles([1, 2, 3, 4, 5, 8, 12, 16, 64, 128], [17, 18, 19, 20, 21, 24, 25, 25, 29, 31]),
    },
    (32, False, 128): {
        **ranges((-300, -128, 31), (0, 300, 0)),
        **singles([-100, -64, -32, -20, -16], [29, 26, 21, 17, 16]),
        **{-n: n for n in range(1, 16)},
    },
}


@pytest.mark.parametrize(('buckets', 'bidirectional', 'max_distance'), BUCKETS)
def test_t5_buckets(buckets, bidirectional, max_distance):
    table = BUCKETS[buckets, bidirectional, max_distance]
    embedding = sl.T5RelativePositionEmbedding(buckets, 2, bidirectional, max_distance)
    got = embedding.bucket(jnp.asarray(list(table)))
    assert got.dtype == jnp.int32
    assert dict(zip(table, got.tolist(), strict=True)) == table


@pytest.mark.parametrize('bidirectional', [True, False])
def test_t5_buckets_follow_the_distance(bidirectional):
    """No bucket is left out, and none is further than a nearer distance's."""
    embedding = sl.T5RelativePositionEmbedding(16, 2, bidirectional, max_distance=100)
    behind = np.asarray(embedding.bucket(-jnp.arange(400)))
    assert set(np.diff(behind)) == {0, 1} and behind[-1] == (7 if bidirectional else 15)
    ahead = np.asarray(embedding.bucket(jnp.arange(1, 400)))
    assert np.array_equal(ahead, behind[1:] + 8 if bidirectional else 0 * ahead)


def test_slopes_of_alibi():
    times = jnp.arange(3, dtype=jnp.int32)[None]
    values = jnp.zeros((1, 8, 3, 2))
    bias = sl.ALiBi(8).build(nnx.Rngs(0))(Queries(values, times), values, KeyValues(values, values, times))
    np.testing.assert_array_equal(bias[0, :, 2, 0], [-(2.0**-i) * 2 for i in range(1, 9)])
    np.testing.assert_array_equal(bias[0, 0], bias[0, 0].T)


# --- dtypes, parameters and errors ------------------------------------------------------------------
@pytest.mark.parametrize('embedding', [SHAW, T5, XL, sl.ALiBi(HEADS)])
def test_they_do_not_change_the_dtype(embedding):
    layer = sl.DotProductSelfAttention(HEADS, UNITS, 4, relative_position_embedding=embedding, compute_dtype='bfloat16')
    model = layer.build(sl.ChannelSpec((5,)), rngs=0)
    assert model.output_spec.dtype == jnp.bfloat16
    parameters = nnx.state(model.relative_position_embedding, nnx.Param)
    assert {p.dtype for p in jax.tree.leaves(parameters)} <= {np.dtype('float32')}


def test_parameters():
    built = [e.build(nnx.Rngs(0)) for e in (SHAW, T5, XL)]
    assert [jax.tree.map(jnp.shape, jax.tree.leaves(e)) for e in built] == [
        [(4, HEADS, UNITS)],
        [(8, HEADS)],
        [(DIM, HEADS, UNITS), (HEADS, UNITS), (HEADS, UNITS)],
    ]
    wide = XL.replace(num_heads=16, units_per_head=64, position_bias_dim=32).build(nnx.Rngs(0))
    assert abs(float(wide.kernel[...].std()) * math.sqrt(32) - 1) < 0.02
    assert not wide.u[...].any() and not wide.v[...].any()


@pytest.mark.parametrize(
    ('embedding', 'message'),
    [
        (SHAW.replace(num_heads=2), 'its ShawRelativePositionEmbedding has num_heads=2, must be 4'),
        (SHAW.replace(units_per_head=5), 'has units_per_head=5, must be 3'),
        (T5.replace(num_heads=3), 'its T5RelativePositionEmbedding has num_heads=3'),
        (sl.ALiBi(2), 'its ALiBi has num_heads=2'),
        (XL.replace(max_backward=3), 'distances from 3 back to 2 ahead, but the horizons are 4 and 2'),
        (XL.replace(max_forward=1), 'distances from 4 back to 1 ahead, but the horizons are 4 and 2'),
    ],
)
def test_embeddings_that_do_not_go_with_the_layer(embedding, message):
    with pytest.raises(sl.LayerError, match=f'^DotProductSelfAttention: its .*{message.removeprefix("its ")}'):
        sl.DotProductSelfAttention(HEADS, UNITS, 4, 2, relative_position_embedding=embedding)


@pytest.mark.parametrize('horizons', [(-1, 2), (4, -1)])
def test_sinusoids_of_endless_distances(horizons):
    with pytest.raises(sl.LayerError, match=r'-1 is no limit\). Give max_backward and max_forward the horizons'):
        sl.DotProductSelfAttention(HEADS, UNITS, *horizons, relative_position_embedding=XL)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: SHAW.replace(max_backward=-1), 'must not be negative, got -1 and 1'),
        (lambda: T5.replace(num_buckets=3), 'num_buckets must be at least 4'),
        (lambda: T5.replace(num_buckets=1, bidirectional=False), 'num_buckets must be at least 2'),
        (lambda: T5.replace(max_distance=2), 'more than the 2 distances that have a bucket each; got 8 and 2'),
    ],
)
def test_wrong_declarations(make, message):
    with pytest.raises(sl.LayerError, match=f'RelativePositionEmbedding: .*{message}'):
        make()
