import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqlayers as sl


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def random_weights(model, seed=0):
    """The model with all weights drawn anew, biases too."""
    draw = np.random.default_rng(seed)
    for variable in jax.tree.leaves(model, is_leaf=lambda v: isinstance(v, nnx.Param)):
        variable.set_value(jnp.asarray(draw.standard_normal(variable.shape), variable.dtype))
    return model


def test_lstm_by_hand():
    model = sl.LSTM(2).build(sl.ChannelSpec((2,)), rngs=0)
    assert model.bias[...].tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    model.kernel.set_value(jnp.full((2, 8), 0.1))
    model.recurrent_kernel.set_value(jnp.full((2, 8), 0.2))
    y = model.layer(sl.Sequence.from_values(jnp.ones((1, 3, 2))), training=False).values
    np.testing.assert_allclose(y[0], np.outer([0.059437, 0.112979, 0.160828], [1, 1]), atol=1e-6)


@pytest.mark.parametrize('use_bias', [True, False])
def test_gru_by_definition(use_bias):
    units, x = 3, np.random.default_rng(1).standard_normal((2, 6, 4))
    model = random_weights(sl.GRU(units, use_bias=use_bias).build(sl.ChannelSpec((4,)), rngs=0))
    w, u = np.float64(model.kernel[...]), np.float64(model.recurrent_kernel[...])
    b, d = (np.float64(v[...]) for v in (model.bias, model.recurrent_bias)) if use_bias else (0, 0)
    h, outputs = np.zeros((2, units)), []
    for t in range(x.shape[1]):
        xz, xr, xn = np.split(x[:, t] @ w + b, 3, -1)
        hz, hr, hn = np.split(h @ u + d, 3, -1)
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        h = z * h + (1 - z) * np.tanh(xn + r * hn)
        outputs.append(h)
    y = model.layer(sl.Sequence.from_values(jnp.asarray(x, jnp.float32)), training=False)
    np.testing.assert_allclose(y.values, np.stack(outputs, 1), atol=1e-5)


@pytest.mark.parametrize('layer', [sl.LSTM(3), sl.GRU(3)], ids=repr)
def test_invalid_timesteps_leave_no_trace(layer):
    """Outputs at valid timesteps are those of the sequence without the others."""
    model = random_weights(layer.build(sl.ChannelSpec((2,)), rngs=0))
    values = jnp.asarray(np.random.default_rng(0).standard_normal((1, 7, 2)), jnp.float32)
    mask = np.array([[False, True, False, False, True, True, False]])
    gappy = sl.Sequence(jnp.where(mask[..., None], values, jnp.nan), jnp.asarray(mask))
    dense = sl.Sequence.from_values(values[:, mask[0]])
    run = jax.jit(lambda x: model.layer(x, training=False).values)
    np.testing.assert_allclose(run(gappy)[:, mask[0]], run(dense), atol=1e-6)


@pytest.mark.parametrize('layer', [sl.LSTM(3), sl.GRU(3)], ids=repr)
def test_activations(layer):
    """With the identity for both, everything is linear or a product: doubling tanh's slope shows."""
    spec = sl.ChannelSpec((2,))
    model = random_weights(layer.build(spec, rngs=0))
    other = random_weights(layer.replace(activation=jnp.sin).build(spec, rngs=0))
    third = random_weights(layer.replace(recurrent_activation=jax.nn.hard_sigmoid).build(spec, rngs=0))
    x = sl.Sequence.from_values(jnp.ones((1, 3, 2)))
    ys = [m.layer(x, training=False).values for m in (model, other, third)]
    assert not np.allclose(ys[0], ys[1]) and not np.allclose(ys[0], ys[2])


def test_recurrent_kernels_are_orthogonal():
    for layer in (sl.LSTM(4), sl.GRU(4)):
        kernel = layer.build(sl.ChannelSpec((2,)), rngs=0).recurrent_kernel[...]
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(4), atol=1e-5)


def test_the_state_has_the_compute_dtype():
    for layer in (sl.LSTM(3, compute_dtype='bfloat16'), sl.GRU(3, compute_dtype='bfloat16')):
        model = layer.build(sl.ChannelSpec((2,)), rngs=0)
        assert model.output_spec == sl.ChannelSpec((3,), 'bfloat16')
        state = model.get_initial_state(5, training=False)
        assert all((a.shape, a.dtype) == ((5, 3), jnp.bfloat16) for a in jax.tree.leaves(state))


def test_fields_are_in_the_published_order():
    declared = 'units compute_dtype param_dtype precision activation recurrent_activation use_bias kernel_init'
    declared += ' kernel_sharding recurrent_kernel_init recurrent_kernel_sharding bias_init bias_sharding'
    for layer in (sl.LSTM(1), sl.GRU(1)):
        assert [name for name in layer.field_values() if name != 'name'] == declared.split()


def test_errors():
    with pytest.raises(sl.LayerError, match=r'LSTM.build: takes vectors and got channels \(2, 3\)'):
        sl.LSTM(3).build(sl.ChannelSpec((2, 3)), rngs=0)
