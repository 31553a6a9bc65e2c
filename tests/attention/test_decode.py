"""A step of attention by the GPU's kernel, run by Pallas' interpreter: the same output and the same ring."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from seqlayers import devices
from seqlayers.attention import decode, decode_kernel
from seqlayers.attention.cache import RingCache
from seqlayers.attention.core import Attention, KeyValues, Queries, hide
from tests.jaxprs import accesses_are_masked

BATCH, UNITS, VALUE_UNITS = 3, 16, 32


def timestep(now, heads, kv_heads, future):
    """A query, and the key and value that join; those of the last row are invalid, of the second some."""
    draws = np.random.default_rng(now)

    def normal(*shape):
        return jnp.asarray(draws.normal(size=shape), jnp.float16)

    time = jnp.full((BATCH, 1), now, jnp.int32)
    valid = jnp.array([[True], [now % 3 > 0], [False]])
    block = KeyValues(normal(BATCH, kv_heads, 1, UNITS), normal(BATCH, kv_heads, 1, VALUE_UNITS), hide(time, valid))
    return Queries(normal(BATCH, heads, 1, UNITS), time - future), block


def exact(rule, queries, cache, block):
    """What a step gives in float32."""
    queries, cache, block = jax.tree.map(
        lambda a: a.astype(jnp.float32) if a.dtype == jnp.float16 else a, (queries, cache, block)
    )
    return decode.by_xla(rule, queries, cache, block)[0]


# The rings: less than a tile; three parts with a last one that is short; and queries that share keys, and wait.
@pytest.mark.parametrize('heads, kv_heads, past, future', [(2, 2, 17, 0), (2, 1, 140, 0), (20, 1, 30, 3)])
def test_kernel_gives_what_xla_gives(heads, kv_heads, past, future):
    rule = Attention(past=past, future=future)
    specs = (sl.ChannelSpec((kv_heads, units), 'float16') for units in (UNITS, VALUE_UNITS))
    cache = plain = RingCache.empty(BATCH, past + future, *specs)
    by_kernel = jax.jit(lambda *args: decode_kernel.by_kernel(rule, *args, True))
    by_xla = jax.jit(lambda *args: decode.by_xla(rule, *args))
    for now in (*range(12), *range(10_000, 10_000 + past + 20)):  # a pause hides all that was before
        queries, block = timestep(now, heads, kv_heads, future)
        wanted = exact(rule, queries, plain, block)
        got, cache = by_kernel(queries, cache, block)
        _, plain = by_xla(queries, plain, block)
        np.testing.assert_allclose(got.astype(jnp.float32), wanted, atol=4e-3)
        jax.tree.map(np.testing.assert_array_equal, cache, plain)
    assert (got[2] == 0).all() and (got[0] != 0).all()  # who sees nothing gets zeros


@pytest.mark.parametrize('heads, kv_heads, past', [(2, 2, 17), (20, 1, 300)])
def test_kernel_is_lowered_for_a_gpu(abstract_gpu, heads, kv_heads, past):
    """As far as it goes without one: Pallas makes it Triton's, and there it is checked."""
    specs = (sl.ChannelSpec((kv_heads, units), 'float16') for units in (UNITS, VALUE_UNITS))
    queries, block = timestep(0, heads, kv_heads, 0)
    given = jax.eval_shape(lambda: (queries, RingCache.empty(BATCH, past, *specs), block))
    by_kernel = jax.jit(lambda *args: decode_kernel.by_kernel(Attention(past=past, future=0), *args))
    with abstract_gpu:
        traced = by_kernel.trace(*given)
        assert 'triton' in traced.lower(lowering_platforms=('cuda',)).as_text()
    assert accesses_are_masked(traced.jaxpr) == [True] * 7  # queries, three of each tile, three that are given


def test_kernel_has_the_derivatives_of_the_plain_way():
    rule = Attention(past=9, future=0)
    cache = RingCache.empty(
        BATCH, 9, sl.ChannelSpec((2, UNITS), 'float16'), sl.ChannelSpec((2, VALUE_UNITS), 'float16')
    )
    queries, block = timestep(0, 2, 2, 0)
    _, cache = decode.by_xla(rule, queries, cache, block)
    queries, block = timestep(1, 2, 2, 0)

    def gradient(attend):
        def total(values, keys):
            y, _ = attend(queries._replace(values=values), cache, block._replace(keys=keys))
            return (y.astype(jnp.float32) ** 2).sum()

        return jax.grad(total, (0, 1))(queries.values, block.keys)

    by_kernel = gradient(lambda *args: decode_kernel.by_kernel(rule, *args, True))
    by_xla = gradient(lambda *args: decode.by_xla(rule, *args))
    assert all((g != 0).any() for g in by_xla)
    for got, wanted in zip(by_kernel, by_xla, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-2)


@pytest.mark.parametrize(
    'fields, timesteps, is_taken',
    [
        ({'compute_dtype': 'bfloat16'}, 1, True),
        ({'compute_dtype': 'bfloat16', 'max_future_horizon': 2}, 1, True),
        ({'compute_dtype': 'bfloat16'}, 2, False),
        ({}, 1, False),
        ({'compute_dtype': 'bfloat16', 'attention_logits_soft_cap': 5.0}, 1, False),
        ({'compute_dtype': 'bfloat16', 'num_sink_embeddings': 1}, 1, False),
        ({'compute_dtype': 'bfloat16', 'max_past_horizon': -1}, 1, False),
    ],
)
def test_kernel_is_taken_beside_a_gpu_where_it_offers_what_is_asked_for(monkeypatch, fields, timesteps, is_taken):
    monkeypatch.setattr(decode, 'is_alone', lambda *arrays: True)
    fields = {'max_past_horizon': 5, **fields}
    model = sl.DotProductSelfAttention(2, UNITS, **fields).build(sl.ChannelSpec((4,)), rngs=0)
    x = sl.Sequence.from_values(jnp.ones((2, timesteps, 4)))
    state = model.get_initial_state(2, training=False, max_length=9)
    traced = str(jax.make_jaxpr(lambda x, state: model.step(x, state, training=False))(x, state))
    assert ('pallas_call' in traced) == is_taken
    # Compiled for a CPU, it takes the plain way.
    y, _ = jax.jit(lambda x, state: model.step(x, state, training=False))(x, state)
    assert jnp.isfinite(y.values).all()


BF16 = {'compute_dtype': 'bfloat16'}


@pytest.mark.parametrize(
    'fields, is_taken',
    [
        (BF16, True),
        ({**BF16, 'num_kv_heads': 1, 'input_projection': sl.SeparateQueryKeyValueProjection()}, True),
        ({**BF16, 'relative_position_embedding': sl.ALiBi(2)}, False),
        ({**BF16, 'attention_probabilities_dropout_rate': 0.5}, False),
        ({**BF16, 'precision': 'highest'}, False),
        ({**BF16, 'units_per_head': 24}, False),
    ],
)
def test_a_step_beside_a_gpu_compiled_for_a_cpu_gives_the_same(monkeypatch, fields, is_taken):
    fields = {'num_heads': 2, 'units_per_head': 16, 'max_past_horizon': 5, **fields}
    model = sl.DotProductSelfAttention(**fields).build(sl.ChannelSpec((4,)), rngs=0)
    x = sl.Sequence.from_values(jax.random.normal(jax.random.key(0), (2, 3, 4)))

    def steps(x):
        state = model.get_initial_state(2, training=True)
        for i in range(3):
            y, state = model.step(x[:, i : i + 1], state, training=True, rng=jax.random.key(0))
        return y.values

    wanted = jax.jit(steps)(x)
    monkeypatch.setattr(decode, 'is_alone', lambda *arrays: True)
    jax.clear_caches()
    assert ('pallas_call' in str(jax.make_jaxpr(steps)(x))) == is_taken
    np.testing.assert_allclose(jax.jit(lambda x: steps(x))(x).astype(float), wanted.astype(float), atol=1e-2)


@pytest.mark.parametrize('batch', [0, 1])
def test_a_batch_of_none_is_a_batch(monkeypatch, batch):
    monkeypatch.setattr(decode, 'is_alone', lambda *arrays: True)
    model = sl.DotProductSelfAttention(2, UNITS, 5, **BF16).build(sl.ChannelSpec((4,)), rngs=0)
    x = sl.Sequence.from_values(jnp.ones((batch, 1, 4)))
    y, _ = jax.jit(lambda x, state: model.step(x, state, training=False))(
        x, model.get_initial_state(batch, training=False)
    )
    assert y.shape == (batch, 1, 2, UNITS)


def test_a_step_goes_the_plain_way_over_a_mesh(monkeypatch):
    monkeypatch.setattr(devices, 'beside_ampere', lambda: True)
    model = sl.DotProductSelfAttention(2, UNITS, 5, **BF16).build(sl.ChannelSpec((4,)), rngs=0)
    x, state = sl.Sequence.from_values(jnp.ones((1, 1, 4))), model.get_initial_state(1, training=False)
    rows = jax.sharding.PartitionSpec('rows')

    def step(x, state):
        return model.step(x, state, training=False)[0].values

    mesh = jax.make_mesh((1,), ('rows',), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.shard_map(step, mesh=mesh, in_specs=rows, out_specs=rows)
    np.testing.assert_array_equal(jax.jit(sharded)(x, state), jax.jit(step)(x, state))
