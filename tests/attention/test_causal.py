"""Causal attention by lengths, with cuDNN replaced by arithmetic that does as its documentation says, or by XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from seqlayers.attention import causal
from seqlayers.attention.core import Attention, KeyValues, Queries, hide

LENGTHS = (23, 9, 1, 0)


def by_lengths(past, lengths, q, k, v):
    """Attention of `(batch, time, heads, units)` to the first `lengths` keys of a row."""
    q, k, v = (array.swapaxes(1, 2) for array in (q, k, v))
    times = jnp.broadcast_to(jnp.arange(q.shape[2]), (len(q), q.shape[2]))
    source = KeyValues(k, v, hide(times, times < lengths[:, None]))
    return Attention(past=past, future=0).context(Queries(q, times), [source]).swapaxes(1, 2)


@pytest.fixture
def beside_a_gpu(monkeypatch):
    """The GPU's way is taken, on the CPU; gives what stands for cuDNN, to be replaced."""

    class Lax:
        cond = staticmethod(jax.lax.cond)
        optimization_barrier = staticmethod(jax.lax.optimization_barrier)

        @staticmethod
        def platform_dependent(*args, cuda, default):
            return cuda(*args)

    def use(function):
        monkeypatch.setattr(causal, 'suits_cudnn', lambda queries: True)
        monkeypatch.setattr(causal, 'lax', Lax)
        monkeypatch.setattr(causal, '_by_cudnn', function)

    return use


def sequences(gap):
    values = jax.random.normal(jax.random.key(0), (len(LENGTHS), max(LENGTHS), 6))
    x = sl.Sequence.from_lengths(values, LENGTHS)
    return sl.Sequence(x.values, x.mask.at[1, 3].set(False)) if gap else x


def value_and_gradients(model, x):
    leaves, structure = jax.tree.flatten(model)

    def total(leaves, values):
        y = jax.tree.unflatten(structure, leaves).layer(sl.Sequence(values, x.mask), training=True).mask_invalid()
        return (y.values**2).sum(), y.values

    return jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))(leaves, x.values)


@pytest.mark.parametrize('gap', [False, True])
@pytest.mark.parametrize('past', [5, -1])
def test_values_and_gradients_are_those_of_masks(beside_a_gpu, past, gap):
    attention = sl.DotProductSelfAttention(
        4, 8, past, num_kv_heads=2, input_projection=sl.SeparateQueryKeyValueProjection()
    )
    model, x = attention.build(sl.ChannelSpec((6,)), rngs=0), sequences(gap)
    wanted = value_and_gradients(model, x)
    beside_a_gpu(by_lengths)
    got = value_and_gradients(model, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4), got, wanted)


@pytest.mark.parametrize('gap', [False, True])
def test_lengths_are_used_only_where_there_is_no_gap(beside_a_gpu, gap):
    model = sl.DotProductSelfAttention(2, 8, 5).build(sl.ChannelSpec((6,)), rngs=0)
    beside_a_gpu(lambda past, lengths, q, k, v: jnp.full_like(v, 7))
    y = jax.jit(lambda x: model.layer(x, training=False))(sequences(gap))
    assert (y.values == 7).all() == (not gap)


@pytest.mark.parametrize(
    'fields',
    [
        {'max_future_horizon': 1},
        {'attention_probabilities_dropout_rate': 0.5},
        {'num_sink_embeddings': 1},
        {'attention_logits_soft_cap': 3.0},
    ],
)
def test_what_cudnn_does_not_offer_goes_the_other_way(beside_a_gpu, fields):
    model = sl.DotProductSelfAttention(2, 8, 5, **fields).build(sl.ChannelSpec((6,)), rngs=0)

    def refuse(*args):
        raise AssertionError

    beside_a_gpu(refuse)
    assert jnp.isfinite(model.layer(sequences(False), training=True, rng=jax.random.key(0)).values).all()


@pytest.mark.parametrize('time', [23, 24])
@pytest.mark.parametrize('past', [5, 40, -1])
def test_what_cudnn_is_told_is_what_masks_say(monkeypatch, past, time):
    """Its arguments, computed by XLA, which takes the same ones."""
    attend = jax.nn.dot_product_attention
    monkeypatch.setattr(jax.nn, 'dot_product_attention', lambda *a, implementation, **kw: attend(*a, **kw))
    lengths = jnp.array([time, 9, 1, 0])
    times = jnp.broadcast_to(jnp.arange(time), (4, time))
    valid = times < lengths[:, None]
    q, k, v = (jax.random.normal(jax.random.key(i), (4, time, heads, 8)) for i, heads in enumerate((4, 2, 2)))
    k, v = (jnp.where(valid[..., None, None], a, 0) for a in (k, v))

    def by_masks(*arrays):
        q, k, v = (a.swapaxes(1, 2) for a in arrays)
        source = KeyValues(k, v, hide(times, valid))
        return Attention(past=past, future=0).context(Queries(q, times), [source]).swapaxes(1, 2)

    def run(attend):
        y, pull = jax.vjp(attend, q, k, v)
        return y, pull(jnp.cos(y))

    got, wanted = run(lambda *a: causal._by_cudnn(past, lengths, *a)), run(by_masks)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4), got, wanted)


def test_gradients_under_shard_map(beside_a_gpu):
    """What the branch without cuDNN keeps varies over the mesh as the other's does."""
    model, x = sl.DotProductSelfAttention(2, 8, 5).build(sl.ChannelSpec((6,)), rngs=0), sequences(False)
    wanted = jax.grad(lambda values: (model.layer(x.replace(values=values), training=True).values ** 2).sum())(x.values)
    beside_a_gpu(by_lengths)
    mesh = jax.make_mesh((1,), ('rows',), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.PartitionSpec('rows')

    def gradient(values, mask):
        return jax.grad(lambda v: (model.layer(sl.Sequence(v, mask), training=True).values ** 2).sum())(values)

    got = jax.jit(jax.shard_map(gradient, mesh=mesh, in_specs=rows, out_specs=rows))(x.values, x.mask)
    np.testing.assert_allclose(got, wanted, atol=1e-5, rtol=1e-4)
