import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl

NORMALIZATIONS = [sl.LayerNormalization, sl.RMSNormalization]
X = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)


def apply(layer, values):
    x = sl.Sequence.from_values(values)
    return layer.build(x.channel_spec, rngs=0).layer(x, training=False).values


@pytest.mark.parametrize(('axis', 'axes'), [(-1, (3,)), (-2, (2,)), (2, (2,)), ((3, -2), (2, 3)), ([-1], (3,))])
def test_by_definition(axis, axes):
    mean, square = X.mean(axes, keepdims=True), (X**2).mean(axes, keepdims=True)
    wanted = (X - mean) / np.sqrt(X.var(axes, keepdims=True) + 1e-6)
    np.testing.assert_allclose(apply(sl.LayerNormalization(axis), X), wanted, atol=1e-5)
    np.testing.assert_allclose(apply(sl.RMSNormalization(axis), X), X / np.sqrt(square + 1e-6), atol=1e-5)


@pytest.mark.parametrize('layer', NORMALIZATIONS)
def test_parameters_have_the_normalized_axes_in_ascending_order(layer):
    values = layer(axis=(-1, 2), scale_init=lambda key, shape, dtype: jnp.arange(20.0).reshape(shape))
    model = values.build(sl.ChannelSpec((4, 5)), rngs=0)
    assert model.scale.shape == (4, 5)
    y = model.layer(sl.Sequence.from_values(X), training=False).values
    np.testing.assert_allclose(y, apply(layer((2, 3)), X) * np.arange(20).reshape(4, 5), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('layer', NORMALIZATIONS)
@pytest.mark.parametrize(
    ('axis', 'channels'), [(-2, (4,)), (-1, ()), (0, (4,)), (1, (4,)), ((-1, -2), (4,)), (3, (4,))]
)
def test_never_over_time(layer, axis, channels):
    with pytest.raises(sl.LayerError, match='must name axes of the channels'):
        layer(axis).build(sl.ChannelSpec(channels), rngs=0)


@pytest.mark.parametrize('layer', NORMALIZATIONS)
def test_only_floating_values(layer):
    with pytest.raises(sl.LayerError, match='normalizes floating values and got int32'):
        layer().build(sl.ChannelSpec((4,), 'int32'), rngs=0)


@pytest.mark.parametrize('layer', NORMALIZATIONS)
def test_zeros_have_finite_gradients(layer):
    """Many small layers on zero input: without the guard the gradient grows by 1e16 at each."""
    model = sl.Serial([sl.Dense(4, use_bias=False), layer(epsilon=1e-32)] * 10).build(sl.ChannelSpec((4,)), rngs=0)

    def loss(model, values):
        return model.layer(sl.Sequence.from_values(values), training=False).values.sum()

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))(model, jnp.zeros((1, 2, 4)))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
    assert not gradients[1].any()


@pytest.mark.parametrize('layer', [*NORMALIZATIONS, sl.L2Normalize])
@pytest.mark.parametrize('epsilon', [0.0, 1e-60, 1e-40, 1e-38])
def test_zeros_stay_zeros_without_an_epsilon_to_speak_of(layer, epsilon):
    values = jnp.zeros((1, 2, 4)).at[:, 1].set(1e-3 * jnp.arange(4))
    y = apply(layer(epsilon=epsilon), values)
    assert not y[0, 0].any()
    np.testing.assert_allclose(y, apply(layer(epsilon=1e-30), values), rtol=1e-6)


def test_float16_keeps_its_epsilon_and_its_gradient():
    layer = sl.RMSNormalization(epsilon=1e-8, reductions_in_at_least_fp32=False)
    model = layer.build(sl.ChannelSpec((2,), jnp.float16), rngs=0)

    def total(values):
        return (model.layer(sl.Sequence.from_values(values), training=False).values * jnp.array([1, 2])).sum()

    values = jnp.full((1, 1, 2), 0.02, jnp.float16).at[0, 0, 1].set(-0.02)
    np.testing.assert_allclose(total(values), -1, rtol=1e-2)
    np.testing.assert_allclose(jax.grad(total)(values)[0, 0], [75, 75], rtol=2e-2)


@pytest.mark.parametrize('layer', NORMALIZATIONS)
def test_the_guard_is_for_its_own_timestep(layer):
    """A timestep of zeros does not take the gradient from the others."""
    model = layer().build(sl.ChannelSpec((4,)), rngs=0)

    def loss(values):
        return jnp.sin(model.layer(sl.Sequence.from_values(values), training=False).values).sum()

    values = jnp.asarray(X[:1, :, 0, :4])
    alone = jax.grad(loss)(values)
    beside = jax.grad(loss)(values.at[:, 1].set(0))
    assert not beside[:, 1].any() and alone[:, 1].any()
    np.testing.assert_array_equal(beside[:, ::2], alone[:, ::2])


@pytest.mark.parametrize('layer', NORMALIZATIONS)
def test_reductions_in_float32(layer):
    """In bfloat16 a mean of 1000 equal squares is off by more than its own rounding."""
    x = jnp.tile(jnp.array([1.0, 3.0], jnp.bfloat16), (1, 1, 500))
    wanted = apply(layer(), x.astype(jnp.float32))
    exact = apply(layer(), x)
    native = apply(layer(reductions_in_at_least_fp32=False), x)
    assert exact.dtype == native.dtype == jnp.bfloat16
    np.testing.assert_array_equal(exact, wanted.astype(jnp.bfloat16))


@pytest.mark.parametrize('layer', NORMALIZATIONS)
def test_guard_against_excess_precision(layer):
    """The input is rounded to its own dtype, whatever XLA fuses before."""

    def operations(**fields):
        model = layer(**fields).build(sl.ChannelSpec((4,), 'bfloat16'), rngs=0)
        x = sl.Sequence.from_values(jnp.ones((1, 1, 4), jnp.bfloat16))
        return str(jax.make_jaxpr(lambda x: model.layer(x, training=False))(x))

    assert 'reduce_precision[exponent_bits=8 mantissa_bits=7]' in operations(guard_against_excess_precision=True)
    assert 'reduce_precision' not in operations()


def test_bias_follows_the_scale():
    constant = jax.nn.initializers.constant
    layer = sl.LayerNormalization(scale_init=constant(2.0), bias_init=constant(3.0))
    np.testing.assert_allclose(apply(layer, X), apply(sl.LayerNormalization(), X) * 2 + 3, atol=1e-6)
