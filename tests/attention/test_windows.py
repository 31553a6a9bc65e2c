"""Attention in blocks of queries equals attention at once, and costs the window and not the square of time."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqlayers as sl
from seqlayers.attention import core, windows
from seqlayers.attention.core import Attention, Dropout, KeyValues, Queries, Sinks, hide
from tests.jaxprs import equations

HEADS, KV_HEADS, UNITS = 4, 2, 3
NEAR = jnp.asarray(np.random.default_rng(1).standard_normal((2, HEADS, UNITS)), jnp.float32)


def example(time, seed=0):
    """Queries and a source with hidden keys: none is to be seen by the end of the second row."""
    draw = np.random.default_rng(seed)
    times = jnp.broadcast_to(jnp.arange(time, dtype=jnp.int32), (2, time))
    mask = jnp.asarray(draw.random((2, time)) < 0.8).at[1, time // 2 :].set(False)
    q, k, v = (jnp.asarray(draw.standard_normal((2, n, time, UNITS)), jnp.float32) for n in (HEADS, KV_HEADS, KV_HEADS))
    return Queries(q, times), KeyValues(k, v, hide(times, mask))


def value_and_gradients(context, queries, source):
    """The context, and the gradients of a function of it by queries, keys and values."""

    def loss(q, k, v):
        y = context(queries._replace(values=q), source._replace(keys=k, values=v))
        return jnp.sin(3 * y).sum(), y

    gradients, y = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(queries.values, source.keys, source.values)
    return y, *gradients


def plain(rule):
    return lambda queries, source: rule.context(queries, [source])


XL = sl.TransformerXLRelativePositionEmbedding(HEADS, UNITS, 3, 2, position_bias_dim=4)
RULES = {
    'past': Attention(past=3, future=0, scale=0.6),
    'both': Attention(past=2, future=4),
    'wider than time': Attention(past=30, future=30),
    'itself': Attention(past=0, future=0),
    'chunks': Attention(past=1, future=1, chunk=3),
    'one chunk': Attention(past=0, future=0, chunk=2),
    'without limit': Attention(past=-1, future=2),
    'sinks': Attention(past=3, future=1, sinks=Sinks(NEAR, NEAR[:, :KV_HEADS]), soft_cap=0.8),
    'dropout': Attention(past=3, future=1, dropout=Dropout(jax.random.key(3), 0.4, False)),
    'dropout of keys': Attention(past=3, future=1, dropout=Dropout(jax.random.key(3), 0.4, True)),
    'positions': Attention(past=3, future=2, bias=XL.build(nnx.Rngs(0))),
}


@pytest.mark.parametrize('name', RULES)
def test_blocks_of_every_length(name):
    """Values and gradients; 11 timesteps are a multiple of 1 and 11 only, and blocks may be longer than that.

    To compile all lengths takes long, so most rules have three.
    """
    rule, time = RULES[name], 11
    queries, source = example(time)
    blocks = range(1, time + 4) if name in ('both', 'chunks') else (1, 4, 14)
    blocks = [n for n in blocks if n % rule.chunk == 0]

    @jax.jit
    def run():
        in_blocks = [
            value_and_gradients(lambda q, s, n=n: windows.context(rule, q, s, n), queries, source) for n in blocks
        ]
        return value_and_gradients(plain(rule), queries, source), in_blocks

    wanted, in_blocks = run()
    for n, got in zip(blocks, in_blocks, strict=True):
        for what, a, b in zip(('context', 'by queries', 'by keys', 'by values'), got, wanted, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-5, err_msg=f'{what}, blocks of {n}')


@pytest.mark.parametrize('time', [127, 128, 150])
def test_the_block_that_it_chooses(time):
    """The shortest one is 64, and it needs two of them."""
    rule, (queries, source) = Attention(past=9, future=3), example(time)
    got, wanted = jax.jit(lambda: (windows.context(rule, queries, source), rule.context(queries, [source])))()
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    made = arrays(lambda q: windows.context(rule, q, source), queries)
    assert (max(a.size for a in made) < 2 * HEADS * time**2) == (time >= 128)


def test_weights_are_those_of_the_window():
    rule, time, block = RULES['sinks'], 11, 4
    queries, source = example(time)
    in_windows, whole = jax.jit(
        lambda: (windows.weights(rule, queries, source, block), rule.weights(queries, [source]))
    )()
    assert in_windows.shape == (2, HEADS, time, 2 + rule.past + block + rule.future)
    np.testing.assert_allclose(in_windows[..., :2], whole[..., :2], atol=1e-6)
    for query in range(time):
        first = query // block * block - rule.past
        for column in range(rule.past + block + rule.future):
            key = first + column
            wanted = whole[:, :, query, 2 + key] if 0 <= key < time else 0
            np.testing.assert_allclose(in_windows[:, :, query, 2 + column], wanted, atol=1e-6)


def test_a_fused_kernel_is_not_mapped(monkeypatch):
    """That of cuDNN cannot be when it has a mask."""
    kernel = jax.custom_batching.custom_vmap(core.dot_product_attention)

    @kernel.def_vmap
    def refuse(*_):
        raise NotImplementedError('mapped')

    monkeypatch.setattr(core, 'dot_product_attention', kernel)
    queries, source = example(11)
    rule = Attention(past=3, future=1)
    jax.eval_shape(lambda q: windows.context(rule, q, source, 4), queries)
    with pytest.raises(NotImplementedError, match='mapped'):
        jax.eval_shape(jax.vmap(lambda v: rule.fused_context(queries._replace(values=v), source)), queries.values[None])


# --- what it costs ----------------------------------------------------------------------------------
def arrays(fn, *args):
    """The shapes and dtypes of all arrays that `fn` makes, also inside of loops, calls and recomputations."""

    return [v.aval for equation in equations(jax.make_jaxpr(fn)(*args)) for v in equation.outvars]


def largest(layer, time):
    """How many numbers the largest array holds that `layer` makes for one sequence, and its gradient."""
    model = layer.build(sl.ChannelSpec((4,)), rngs=0)

    def loss(model, values):
        return jnp.sum(model.layer(sl.Sequence.from_values(values), training=False).values ** 2)

    values = jnp.zeros((1, time, 4))
    return [max(a.size for a in arrays(fn, model, values)) for fn in (loss, jax.grad(loss, argnums=(0, 1)))]


LIMITED = [
    sl.DotProductSelfAttention(1, 4, 20, 4),
    sl.DotProductSelfAttention(1, 4, 20, num_sink_embeddings=1, relative_position_embedding=sl.ALiBi(1)),
    sl.DotProductSelfAttentionV2(1, 4, 20, 4, attention_logits_soft_cap=5.0),
    sl.DotProductSelfAttentionV2(1, 4, 20, flash_attention_query_block_size=16),
    sl.LocalDotProductSelfAttention(1, 4, 32, 20, 4),
    sl.BlockwiseDotProductSelfAttention(8, 1, 4, 2, 1),
]


@pytest.mark.parametrize('layer', LIMITED)
def test_nothing_grows_with_the_square_of_time(layer):
    assert max(largest(layer, 1024)) < 2.1 * max(largest(layer, 512)) < 1024**2 / 4


def test_the_square_of_time_would_be_noticed():
    for size in largest(sl.DotProductSelfAttention(1, 4, -1), 512):
        assert size >= 512**2


def test_an_endless_past_in_blocks_of_queries():
    """Never more than the logits of a block."""
    assert max(largest(sl.DotProductSelfAttentionV2(1, 4, -1, flash_attention_query_block_size=16), 512)) <= 16 * 512


def residual_size(context, time):
    """The numbers that are kept for the backward pass."""
    queries, source = example(time)

    def pullback(q, k, v):
        run = lambda q, k, v: context(queries._replace(values=q), source._replace(keys=k, values=v))  # noqa: E731
        return jax.vjp(run, q, k, v)[1]

    kept = jax.eval_shape(pullback, queries.values, source.keys, source.values)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(kept))


ENDLESS = Attention()


@pytest.mark.parametrize(
    'rule',
    [
        Attention(past=20, future=4),
        Attention(past=20, future=4, soft_cap=3.0),
        ENDLESS,
        dataclasses.replace(ENDLESS, soft_cap=3.0),
        dataclasses.replace(ENDLESS, sinks=Sinks(logits=jnp.zeros(HEADS))),
        dataclasses.replace(ENDLESS, bias=sl.ALiBi(HEADS).build(nnx.Rngs(0))),
        dataclasses.replace(ENDLESS, precision='highest'),
    ],
)
def test_what_is_kept_grows_with_time(rule):
    short, long = (residual_size(lambda q, s: windows.context(rule, q, s), time) for time in (256, 512))
    assert long <= 2.1 * short < 256**2


def test_kept_weights_would_be_noticed():
    assert residual_size(plain(ENDLESS), 256) >= 256**2
