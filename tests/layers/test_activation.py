import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl


def apply(layer, values, mask=None, seed=0):
    """`layer` of masked values `(batch, time, *channels)`."""
    values = jnp.asarray(values)
    mask = jnp.ones(values.shape[:2], bool) if mask is None else jnp.asarray(mask)
    x = sl.Sequence(values, mask).mask_invalid()
    return layer.build(x.channel_spec, rngs=seed).layer(x, training=False)


ACTIVATIONS = [
    sl.Abs(),
    sl.Cast('bfloat16'),
    sl.Elu(),
    sl.Exp(),
    sl.Gelu(),
    sl.LeakyRelu(),
    sl.Log(),
    sl.Power(0.5),
    sl.Power(0.0),
    sl.Power(-1.0),
    sl.PRelu(),
    sl.Relu(),
    sl.Sigmoid(),
    sl.Snake(separate_beta=True),
    sl.Softmax(),
    sl.Softplus(),
    sl.Swish(),
    sl.Tanh(),
    sl.GatedUnit(None, None),
    sl.GatedLinearUnit(),
    sl.Scale(2.0),
    sl.Add(1.0),
    sl.Maximum(1.0),
    sl.Minimum(-1.0),
    sl.Mod(2.0),
    sl.Affine(),
    sl.Affine(use_bias=False),
]


@pytest.mark.parametrize('layer', ACTIVATIONS, ids=repr)
def test_what_calls_itself_masked_is_zero_where_invalid(layer):
    mask = [[True, False, True, False]]
    y = apply(layer, np.full((1, 4, 2), 0.5, np.float32), mask)
    is_zero = not np.asarray(y.values, np.float32)[~np.asarray(mask)].any()
    keeps_zero = {sl.Exp, sl.Sigmoid, sl.Softmax, sl.Softplus, sl.Log, sl.Add, sl.Maximum, sl.Minimum}
    assert is_zero or not isinstance(y, sl.MaskedSequence)
    if type(layer) not in keeps_zero | {sl.GatedUnit, sl.GatedLinearUnit, sl.Affine, sl.Power}:
        assert isinstance(y, sl.MaskedSequence)


def test_snake():
    y = apply(sl.Snake(separate_beta=False), [[[0.0], [1.0], [-2.0]]])
    np.testing.assert_allclose(y.values[0, :, 0], [0, 1.708073, -1.173178], atol=1e-6)
    assert apply(sl.Snake(separate_beta=False), jnp.ones((1, 1, 2), jnp.bfloat16)).dtype == jnp.bfloat16


def test_prelu_learns_the_slope_of_negative_values():
    x = sl.Sequence.from_values(jnp.array([[[-2.0], [3.0]]]))
    model = sl.PRelu(0.25).build(x.channel_spec, rngs=0)
    assert model.layer(x, training=False).values[0, :, 0].tolist() == [-0.5, 3.0]
    gradient = jax.grad(lambda m: m.layer(x, training=False).values.sum())(model)
    assert gradient.negative_slope[...] == -2.0


@pytest.mark.parametrize(('axis', 'channels'), [(-2, (3,)), (-3, (3,)), (0, (3,)), (1, (3,)), (3, (3,)), (-1, ())])
def test_softmax_only_over_channels(axis, channels):
    with pytest.raises(sl.LayerError, match=rf'Softmax.build: axis {axis} must name axes of the channels'):
        sl.Softmax(axis).build(sl.ChannelSpec(channels), rngs=0)


def test_softmax_over_any_channel_axis():
    values = np.random.default_rng(0).standard_normal((1, 2, 3, 4)).astype(np.float32)
    for axis in (2, 3, -1, -2):
        np.testing.assert_allclose(apply(sl.Softmax(axis), values).values.sum(axis), 1, atol=1e-6)


def test_gated_units_take_features_first():
    y = apply(sl.GatedUnit(jnp.negative, jnp.square), [[[1.0, 2.0, 3.0, 4.0]]])
    assert y.values.tolist() == [[[-9.0, -32.0]]]
    with pytest.raises(sl.LayerError, match=r'halves the last channel axis: it must be even, got channels \(3,\)'):
        sl.GatedTanhUnit().build(sl.ChannelSpec((3,)), rngs=0)


def test_constants_have_the_dtype_of_the_input():
    assert apply(sl.Scale(2.5), [[3]]).values.tolist() == [[6]]
    assert apply(sl.Mod(3), [[-1, 4]]).values.tolist() == [[2, 1]]
    assert apply(sl.Maximum(jnp.float32(0.5)), jnp.zeros((1, 1), jnp.bfloat16)).dtype == jnp.bfloat16


def test_constants_broadcast_against_channels_only():
    y = apply(sl.Add(np.arange(3.0)), np.zeros((1, 1, 2, 1), np.float32))
    assert y.values.tolist() == [[[[0.0, 1.0, 2.0]] * 2]]
    for constant in ([1.0, 2.0], np.ones((1, 3))):
        with pytest.raises(sl.LayerError, match=r'must broadcast against channels \(3,\) and add no axis'):
            sl.Add(constant).build(sl.ChannelSpec((3,)), rngs=0)
    with pytest.raises(sl.LayerError, match=r'parameters of shape \(2,\) must broadcast'):
        sl.Affine(shape=(2,)).build(sl.ChannelSpec((3,)), rngs=0)


def test_declarations_with_arrays_are_equal_by_value():
    assert sl.Scale(np.ones(3)) == sl.Scale(np.ones(3)) != sl.Scale(np.zeros(3))


def test_affine_scales_first():
    layer = sl.Affine(scale_init=jax.nn.initializers.constant(2), bias_init=jax.nn.initializers.constant(3))
    assert apply(layer, [[5.0]]).values.tolist() == [[13.0]]
