"""What only self-attention has: its emits, its errors, its parameters. That it streams, the contract suite shows."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqlayers as sl
from seqlayers.interop import to_published

SelfAttention = sl.DotProductSelfAttention


def build(layer, channels=5, dtype='float32'):
    return layer.build(sl.ChannelSpec((channels,), dtype), rngs=0)


def random_sequence(time, batch=2, channels=5, gaps=True):
    draw = np.random.default_rng(time)
    mask = draw.random((batch, time)) < (0.8 if gaps else 2)
    return sl.Sequence(jnp.asarray(draw.standard_normal((batch, time, channels)), jnp.float32), jnp.asarray(mask))


# --- what one sees ----------------------------------------------------------------------------------
def pattern(weights):
    return [''.join('01'[int(w > 0)] for w in row) for row in np.asarray(weights)]


def test_what_a_layer_sees():
    model = build(SelfAttention(1, 2, max_past_horizon=2, max_future_horizon=1))
    _, emits = model.layer_with_emits(random_sequence(5, gaps=False), training=False)
    assert emits.probabilities.channel_shape == (1, 5)
    assert pattern(emits.probabilities.values[0, :, 0]) == ['11000', '11100', '11110', '01111', '00111']


def test_what_single_steps_see():
    """The columns of a step are the window of the query that comes out, and the future is waited for."""
    model = build(SelfAttention(1, 2, max_past_horizon=1, max_future_horizon=2))
    x = sl.Sequence.from_lengths(random_sequence(6, batch=1, gaps=False).values, [4])
    state, seen, valid = model.get_initial_state(1, training=False), [], []
    for t in range(6):
        y, state, emits = model.step_with_emits(x[:, t : t + 1], state, training=False)
        seen += pattern(emits.probabilities.values[0, :, 0])
        valid += y.mask[0].tolist()
    assert seen == ['0001', '0011', '0111', '1111', '1110', '1100']
    assert valid == [False, False, True, True, True, True]


@pytest.mark.parametrize('m', [3, 12])
@pytest.mark.parametrize('sinks', [{}, {'num_sink_embeddings': 2}, {'use_sink_scalars': True}])
def test_weights_of_steps_are_those_of_the_layer(m, sinks):
    past, future, time = 4, 2, 24
    model = build(SelfAttention(2, 3, past, future, **sinks))
    x = random_sequence(time)
    _, whole = jax.jit(lambda x: model.layer_with_emits(x, training=False))(x)
    step = jax.jit(lambda x, state: model.step_with_emits(x, state, training=False))
    state = model.get_initial_state(2, training=False)
    num_sinks = whole.probabilities.channel_shape[1] - time
    for start in range(0, time, m):
        _, state, emits = step(x[:, start : start + m], state)
        weights = emits.probabilities
        assert weights.channel_shape == (2, num_sinks + past + future + m)
        for i in range(m):
            query = start + i - future
            if query < 0:
                assert not np.any(weights.mask[:, i])
                continue
            valid = np.asarray(weights.mask[:, i])
            assert np.array_equal(valid, whole.probabilities.mask[:, query])
            first = start - past - future  # the timestep of the first column of keys
            expected = np.pad(whole.probabilities.values[:, query], ((0, 0), (0, 0), (0, m)))
            columns = [*range(num_sinks), *(num_sinks + t for t in range(max(first, 0), start + m))]
            got = np.delete(weights.values[:, i], slice(num_sinks, num_sinks + max(-first, 0)), axis=-1)
            np.testing.assert_allclose(got[valid], expected[..., columns][valid], atol=1e-6)


def test_weights_that_nobody_asks_for_are_not_computed():
    model = build(sl.Serial([SelfAttention(2, 4, 3), sl.DenseShaped([5])]))
    x = random_sequence(16)

    def exponentials(fn):
        return jax.jit(fn).lower(x).compile().as_text().count(' exponential(')

    without = exponentials(lambda x: model.layers[0].layer(x, training=False).values)
    assert without == exponentials(lambda x: model.layer(x, training=False).values)
    assert without < exponentials(lambda x: model.layer_with_emits(x, training=False))


def test_what_sees_nothing_gives_zero():
    """Here the network of the keys makes all of them invalid in the second item."""

    def forget(keys):
        return keys.replace(mask=keys.mask & (jnp.arange(len(keys.mask)) == 0)[:, None])

    model = build(SelfAttention(2, 3, 3, key_network=sl.Lambda(forget, sequence_input=True)))
    x = random_sequence(6, gaps=False)

    def loss(model):
        return jnp.sum(model.layer(x, training=False).values ** 2)

    y = model.layer(x, training=False)
    assert y.mask.all() and np.any(y.values[0]) and not np.any(y.values[1])
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(jax.grad(loss)(model)))
    stepped = sl.step_by_step(model, x)
    assert not np.any(stepped.values[1])


def test_prefill_and_then_single_steps():
    model = build(SelfAttention(2, 3, 5, 2))
    x = random_sequence(40)
    step = jax.jit(lambda x, state: model.step(x, state, training=False))
    y, state = step(x[:, :31], model.get_initial_state(2, training=False))
    outputs = [y]
    for t in range(31, 40):
        y, state = step(x[:, t : t + 1], state)
        outputs.append(y)
    stepped = sl.Sequence.concatenate_sequences(outputs)[:, 2:]
    expected = model.layer(x, training=False)[:, :38]
    assert not sl.testing.first_difference(expected, stepped)


# --- timing -----------------------------------------------------------------------------------------
def test_receptive_field_includes_the_networks():
    assert SelfAttention(2, 3, 4, 1).receptive_field == (-4, 1)
    assert SelfAttention(2, 3, 4, query_network=sl.Delay(6)).receptive_field == (-6, 0)
    assert SelfAttention(2, 3, 4, 1, value_network=sl.Delay(2)).receptive_field == (-6, 1)
    assert SelfAttention(2, 3, -1, -1).receptive_field == (-math.inf, math.inf)


def test_why_it_cannot_step():
    assert 'future horizon of -1 looks ahead' in SelfAttention(2, 3, 1, -1).explain_streamability()
    blocked = SelfAttention(2, 3, 1, key_network=sl.Lambda(jnp.sin, name='wave'))
    assert blocked.supports_step == sl.Lambda(jnp.sin).supports_step


# --- a past without limit ---------------------------------------------------------------------------
def test_a_past_without_limit_must_know_the_length_of_the_stream():
    model = build(SelfAttention(2, 3, -1))
    with pytest.raises(sl.LayerError, match=r'past horizon is -1.*max_length=timesteps'):
        model.get_initial_state(1, training=False)
    assert model.get_initial_state(1, training=False, max_length=50).cache.size == 50


def test_a_stream_beyond_its_length_is_an_error():
    model = build(SelfAttention(2, 3, -1))
    x = sl.Sequence.from_values(jax.random.normal(jax.random.key(0), (2, 8, 5)))
    whole = model.layer(x, training=False)
    state = model.get_initial_state(2, training=False, max_length=7)
    y, state = model.step(x[:, :5], state, training=False)
    with pytest.raises(sl.LayerError, match='longer than the max_length=7 timesteps'):
        model.step(x[:, 5:], state, training=False)
    last, full = model.step(x[:, 5:7], state, training=False)
    np.testing.assert_allclose(jnp.concatenate([y.values, last.values], 1), whole.values[:, :7], atol=1e-5)
    # Compiled code cannot raise: it gives NaN, then and ever after.
    step = jax.jit(lambda x, state: model.step(x, state, training=False))
    y, over = step(x[:, 7:], full)
    assert np.isnan(y.values).all()
    assert np.isnan(step(x[:, :1], over)[0].values).all()


def test_the_length_is_told_in_the_timesteps_of_each_layer():
    layers = [sl.Downsample1D(2), SelfAttention(2, 2, -1), sl.Flatten(), sl.Upsample1D(6), SelfAttention(2, 2, -1)]
    model = build(sl.Serial(layers))
    state = model.get_initial_state(1, training=False, max_length=10)
    assert (state[1].cache.size, state[4].cache.size) == (5, 30)


# --- parameters -------------------------------------------------------------------------------------
KERNELS = {
    sl.CombinedQueryKeyValueProjection(): {'query_key_value_projection': (512, 3, 4, 16)},
    sl.CombinedQueryKeyValueProjection(share_kv_projection=True): {'query_key_value_projection': (512, 2, 4, 16)},
    sl.SeparateQueryKeyValueProjection(): {
        'query_projection': (512, 4, 16),
        'key_projection': (512, 2, 16),
        'value_projection': (512, 2, 16),
    },
    sl.QueryAndKeyValueProjection(): {'query_projection': (512, 4, 16), 'key_value_projection': (512, 2, 2, 16)},
    sl.QueryAndSharedKeyValueProjection(): {
        'query_projection': (512, 4, 16),
        'shared_key_value_projection': (512, 2, 16),
    },
}


@pytest.mark.parametrize('projection', KERNELS, ids=lambda projection: projection.__class__.__name__)
def test_projections(projection):
    """Published paths and shapes, and a variance of one over the input channels, however the kernel is stacked."""
    kv_heads = None if isinstance(projection, sl.CombinedQueryKeyValueProjection) else 2
    model = build(
        SelfAttention(4, 16, 3, num_kv_heads=kv_heads, input_projection=projection, use_bias=True), channels=512
    )
    weights = to_published(model)['params']
    assert {name: w['kernel'].shape for name, w in weights.items()} == KERNELS[projection]
    assert {name: w['bias'].shape for name, w in weights.items()} == {n: s[1:] for n, s in KERNELS[projection].items()}
    for w in weights.values():
        assert abs(float(w['kernel'].std()) * math.sqrt(512) - 1) < 0.03
        assert not np.any(w['bias'])


def test_parameters_of_scales_sinks_and_networks():
    model = build(
        SelfAttention(
            4,
            3,
            2,
            num_kv_heads=2,
            input_projection=sl.SeparateQueryKeyValueProjection(),
            per_dim_scale=True,
            per_dim_key_scale=True,
            num_sink_embeddings=5,
            query_network=sl.Dense(3),
            value_network=sl.Dense(3, name='own'),
        )
    )
    shapes = jax.tree.map(jnp.shape, to_published(model)['params'])
    assert {k: v for k, v in shapes.items() if not k.endswith('projection')} == {
        'per_dim_scale': (3,),
        'per_dim_key_scale': (3,),
        'sink_key_embeddings': (5, 4, 3),
        'sink_value_embeddings': (5, 2, 3),
        'query_network': {'kernel': (3, 3), 'bias': (3,)},
        'own': {'kernel': (3, 3), 'bias': (3,)},
    }
    scalars = build(SelfAttention(4, 3, 2, use_sink_scalars=True))
    assert scalars.sink_scalars.shape == (4,)


def test_learned_scales_start_as_no_scale():
    x = random_sequence(6)
    plain, scaled = (
        build(SelfAttention(2, 3, 3, per_dim_scale=learned, per_dim_key_scale=learned)).layer(x, training=False)
        for learned in (False, True)
    )
    assert not sl.testing.first_difference(plain, scaled)


def test_two_models_may_share_the_declaration_of_their_projection():
    """It is a module without variables, which NNX finds in both."""
    layer = SelfAttention(2, 3, 3)
    student, teacher = build(layer), build(layer)

    @nnx.jit
    def difference(student, teacher):
        x = sl.Sequence.from_values(jnp.ones((1, 4, 5)))
        return nnx.grad(lambda m, t: jnp.sum(m.layer(x, training=False).values - t.layer(x, training=False).values))(
            student, teacher
        )

    gradients = difference(student, teacher)
    assert len(jax.tree.leaves(gradients)) == 1


def test_cache_is_in_the_compute_dtype():
    half = build(SelfAttention(2, 3, 3, compute_dtype='bfloat16'))
    assert half.get_initial_state(1, training=False).cache.entries.keys.dtype == jnp.bfloat16
    wide = build(SelfAttention(2, 3, 3), dtype='bfloat16')  # with float32 parameters
    assert wide.get_initial_state(1, training=False).cache.entries.values.dtype == jnp.float32
    assert wide.output_spec.dtype == jnp.float32


class AddConstant(sl.Stateless):
    """Adds a constant: a network that needs `constants`, in steps too."""

    def layer(self, x, *, training, constants=None):
        return x.apply_values(lambda v: v + constants['shift'])


def test_networks_receive_constants():
    constants = {'shift': jnp.ones(())}
    layer = SelfAttention(
        2, 3, 3, 1, query_network=AddConstant(), key_network=AddConstant(), value_network=AddConstant()
    )
    model = layer.build(sl.ChannelSpec((5,)), rngs=0, constants=constants)
    x = random_sequence(8)
    whole = model.layer(x, training=False, constants=constants)
    assert not sl.testing.first_difference(whole, sl.step_by_step(model, x, constants=constants))
    assert sl.testing.first_difference(whole, model.layer(x, training=False, constants={'shift': jnp.zeros(())}))


# --- errors -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    'changes, message',
    [
        ({'num_heads': 0}, 'num_heads and units_per_head must be at least 1'),
        ({'num_kv_heads': 3}, 'num_kv_heads must divide num_heads=4, got 3'),
        ({'num_kv_heads': 2}, 'input_projection=SeparateQueryKeyValueProjection'),
        ({'input_projection': sl.Dense(3)}, 'input_projection must be a projection'),
        ({'max_past_horizon': -2}, 'got past -2 and future 0'),
        ({'max_past_horizon': 0}, 'must not both be 0'),
        ({'attention_logits_soft_cap': -1.0}, 'attention_logits_soft_cap must be positive'),
        ({'attention_probabilities_dropout_rate': 1.0}, r'must be in \[0, 1\)'),
        ({'num_sink_embeddings': -1}, 'num_sink_embeddings must not be negative'),
        ({'num_sink_embeddings': 2, 'use_sink_scalars': True}, 'not both'),
        ({'use_sink_scalars': True, 'zero_fully_masked': True}, 'zero_fully_masked has no meaning with sinks'),
        ({'query_network': 3}, 'query_network must be a layer or None'),
        ({'key_network': sl.Lookahead(1)}, r'key_network must keep the rate.*output latency 1'),
        ({'value_network': sl.Upsample1D(2)}, r'value_network must keep the rate.*output ratio 2'),
        ({'relative_position_embedding': object()}, 'relative_position_embedding must be one of ALiBi, Shaw.* or None'),
    ],
)
def test_wrong_declarations(changes, message):
    with pytest.raises(sl.LayerError, match=f'^DotProductSelfAttention.*{message}'):
        SelfAttention(**{'num_heads': 4, 'units_per_head': 3, 'max_past_horizon': 3, **changes})


def test_wrong_input():
    with pytest.raises(
        sl.LayerError,
        match=r'layers_0 \(DotProductSelfAttention.build\): takes one channel axis, got channels \(3, 5\)',
    ):
        sl.Serial([SelfAttention(2, 3, 3)]).build(sl.ChannelSpec((3, 5)), rngs=0)


def test_dropout_without_a_key():
    model = build(SelfAttention(2, 3, 3, attention_probabilities_dropout_rate=0.1))
    with pytest.raises(sl.LayerError, match='got no key'):
        model.layer(random_sequence(4), training=True)


# --- networks that go by the time -------------------------------------------------------------------
@pytest.mark.parametrize('counts_valid, ahead', [(False, 0), (False, 2), (True, 0)])
def test_a_rotation_goes_by_the_clock_of_the_attention(counts_valid, ahead):
    """A state of its own it needs only to count valid timesteps. Behind a latency both clocks start late."""
    rotate = sl.ApplyRotaryPositionalEncoding(9.0, only_advance_position_for_valid_timesteps=counts_valid)
    attention = SelfAttention(1, 4, 3, 1, query_network=rotate, key_network=rotate, value_network=sl.Delay(1))
    model = build(sl.Serial([sl.Lookahead(ahead), attention]))
    state = model.get_initial_state(2, training=False)[-1]
    assert [bool(jax.tree.leaves(network)) for network in state.networks] == [counts_valid, counts_valid, True]
    x = random_sequence(13)
    whole, stepped = model.layer(x, training=False), sl.step_by_step(model, x, 3)
    assert not sl.testing.first_difference(whole, stepped)


def test_nothing_waits_where_nobody_looks_ahead():
    states = [build(SelfAttention(1, 4, 3, n)).get_initial_state(2, training=False) for n in (0, 1)]
    assert [bool(jax.tree.leaves(state.queries)) for state in states] == [False, True]
