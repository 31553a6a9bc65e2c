import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl

KEY = jax.random.key(0)


def drop(layer, shape=(4, 50, 8), dtype='float32', key=KEY):
    x = sl.Sequence.from_values(jnp.ones(shape, dtype))
    return np.asarray(layer.build(x.channel_spec, rngs=0).layer(x, training=True, rng=key).values)


def test_rate_and_scale():
    y = drop(sl.Dropout(0.3), (10, 100, 10))
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.7], rtol=1e-6)
    assert abs((y == 0).mean() - 0.3) < 0.02


@pytest.mark.parametrize('dtype', ['int32', 'int8', 'bool'])
def test_integers_are_not_scaled(dtype):
    y = drop(sl.Dropout(0.5), dtype=dtype)
    assert y.dtype == dtype and np.unique(y).tolist() == [0, 1]


@pytest.mark.parametrize('dims', [(0,), (1,), (2,), (-1,), (0, 1), (0, 1, 2)])
def test_broadcast_dims_share_a_draw(dims):
    y = drop(sl.Dropout(0.5, broadcast_dims=dims))
    for axis in range(3):
        shared = axis in dims or axis - 3 in dims
        assert (y == y.take([0], axis)).all() == shared


@pytest.mark.parametrize('dtype', ['float32', 'int32', 'bool'])
def test_the_extremes(dtype):
    assert drop(sl.Dropout(0.0), dtype=dtype).all()
    zeros = drop(sl.Dropout(1.0), dtype=dtype)
    assert not zeros.any() and zeros.dtype == dtype


def test_draws_differ_between_places_keys_and_rows():
    two = sl.Serial([sl.Emit(), sl.Dropout(0.5), sl.Emit(name='first')])
    x = sl.Sequence.from_values(jnp.ones((2, 50, 8)))
    model = sl.Parallel([sl.Dropout(0.5), sl.Dropout(0.5), two]).build(x.channel_spec, rngs=0)
    y = np.asarray(model.layer(x, training=True, rng=KEY).values)
    draws = [y[:, :, i] for i in range(3)]
    assert not any((a == b).all() for a, b in zip(draws, draws[1:] + draws[:1], strict=True))
    assert not (draws[0][0] == draws[0][1]).all()
    assert not (y == np.asarray(model.layer(x, training=True, rng=jax.random.key(1)).values)).all()
    assert (y == np.asarray(model.layer(x, training=True, rng=KEY).values)).all()


def test_repetitions_differ():
    scaled = drop(sl.Repeat(sl.Dropout(0.5), 2), (1, 50, 8))
    assert set(np.unique(scaled)) == {0, 4}
    assert abs((scaled == 0).mean() - 0.75) < 0.1  # half of them, were the draws the same


def test_not_in_training_it_is_the_identity():
    x = sl.Sequence.from_values(jnp.ones((1, 4, 2)))
    model = sl.Dropout(0.5).build(x.channel_spec, rngs=0)
    assert model.layer(x, training=False) is x
    assert model.get_initial_state(1, training=False) == ()


def test_other_kinds_of_keys_step_as_well():
    x = sl.Sequence.from_values(jnp.ones((2, 9, 4)))
    model = sl.Dropout(0.5).build(x.channel_spec, rngs=0)
    key = jax.random.key(0, impl='rbg')
    y = model.layer(x, training=True, rng=key)
    assert (sl.step_by_step(model, x, training=True, rng=key).values == y.values).all()


def test_errors():
    with pytest.raises(sl.LayerError, match=r'rate is a probability from 0 to 1, got 1\.5'):
        sl.Dropout(1.5)
    with pytest.raises(sl.LayerError, match=r'broadcast_dims \(3,\) must be axes of an input of rank 3'):
        sl.Dropout(0.5, broadcast_dims=(3,)).build(sl.ChannelSpec((2,)), rngs=0)
    x = sl.Sequence.from_values(jnp.ones((1, 4, 2)))
    model = sl.Serial([sl.Relu(), sl.Dropout(0.5)]).build(x.channel_spec, rngs=0)
    with pytest.raises(sl.LayerError, match=r'^layers_1 \(Dropout\.layer\): draws random numbers here'):
        model.layer(x, training=True)
