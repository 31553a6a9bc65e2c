import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from seqlayers import ApplyRotaryPositionalEncoding as Rotary
from seqlayers.layers.sinusoid import sinusoids

GAPS = np.array([[False, True, True, False, True]])


def run(layer: sl.SequenceLayer, x: sl.Sequence, **constants) -> sl.Sequence:
    """What `layer` gives, which must be what steps give."""
    model = layer.build(x.channel_spec, rngs=0, constants=constants)
    y = model.layer(x, training=False, constants=constants)
    assert sl.testing.first_difference(y, sl.step_by_step(model, x, constants=constants)) is None
    return y


def zeros(*shape: int, mask=None) -> sl.Sequence:
    return sl.Sequence(jnp.zeros(shape), np.ones(shape[:2], bool) if mask is None else mask)


# --- sines and cosines ------------------------------------------------------------------------------------


def test_timing_signal_values():
    y = run(sl.AddTimingSignal(), zeros(1, 4, 4)).values[0]
    np.testing.assert_allclose(y[0], [0, 0, 1, 1])
    np.testing.assert_allclose(y[1], [0.841471, 0.0001, 0.540302, 1], atol=1e-6)
    np.testing.assert_allclose(y[3], [0.14112, 0.0003, -0.989992, 1], atol=1e-6)


def test_timescales_go_from_min_to_max():
    y = run(sl.AddTimingSignal(min_timescale=2, max_timescale=8), zeros(1, 2, 5)).values[0, 1]
    np.testing.assert_allclose(y, [np.sin(1 / 2), np.sin(1 / 8), np.cos(1 / 2), np.cos(1 / 8), 0], atol=1e-6)


def test_sinusoids_of_any_positions():
    signal = sinusoids(jnp.array([[-3, 0]]), 2)
    np.testing.assert_allclose(signal, [[[np.sin(-3), np.cos(3)], [0, 1]]], atol=1e-6)
    assert sinusoids(jnp.zeros((2, 3), jnp.bfloat16), 5).dtype == jnp.float32


def test_positions_count_valid_timesteps_or_all():
    signal = np.asarray(sinusoids(jnp.arange(5), 4))
    valid = run(sl.AddTimingSignal(), zeros(1, 5, 4, mask=GAPS))
    np.testing.assert_allclose(valid.values[GAPS], signal[[0, 1, 2]], atol=1e-6)
    layer = sl.AddTimingSignal(only_advance_position_for_valid_timesteps=False)
    np.testing.assert_allclose(run(layer, zeros(1, 5, 4, mask=GAPS)).values[GAPS], signal[[1, 2, 4]], atol=1e-6)


def test_signal_varies_along_the_given_axes():
    y = run(sl.AddTimingSignal(axes=[-1, 0]), zeros(1, 3, 2, 5, 3)).values
    flat = np.asarray(sinusoids(jnp.arange(3), 6)).reshape(1, 3, 2, 1, 3)
    np.testing.assert_allclose(y, np.broadcast_to(flat, y.shape), atol=1e-6)


def test_trainable_scale_is_learned():
    model = sl.AddTimingSignal(trainable_scale=True).build(sl.ChannelSpec((4,)), rngs=0)
    x = zeros(1, 3, 4)
    gradient = jax.grad(lambda m: m.layer(x, training=False).values.sum())(model).scale[...]
    np.testing.assert_allclose(gradient, sinusoids(jnp.arange(3), 4).sum(), rtol=1e-6)


def test_concatenated_signal():
    y = run(sl.ConcatTimingSignal(4), zeros(2, 3, 5, 2))
    np.testing.assert_allclose(y.values[1, :, 3, 2:], sinusoids(jnp.arange(3), 4), atol=1e-6)
    assert not y.values[..., :2].any()


def test_position_embedding_ends():
    model = sl.ConcatPositionEmbedding(timesteps=3, channels=2).build(sl.ChannelSpec(()), rngs=0)
    y = model.layer(zeros(1, 4), training=False).values[0]
    np.testing.assert_array_equal(y[:3, 1:], model.embedding[...])
    np.testing.assert_array_equal(y[3], [0, np.nan, np.nan])


# --- rotation -----------------------------------------------------------------------------------------------


def test_rotation_values():
    x = sl.Sequence.from_values(jnp.tile(jnp.array([1.0, 2.0, 3.0, 4.0]), (1, 3, 1)))
    y = run(Rotary(1e4), x).values[0]
    np.testing.assert_allclose(y[0], [1, 2, 3, 4])
    np.testing.assert_allclose(y[1], [-1.984111, 1.959901, 2.462378, 4.0198], atol=1e-5)
    np.testing.assert_allclose(y[2], [-3.144039, 1.919605, -0.339143, 4.039197], atol=1e-5)


@pytest.mark.parametrize('wavelength', [1e4, 1e5])
def test_inner_products_depend_on_distance(wavelength):
    queries, keys = sl.testing.random_values(sl.ChannelSpec((8,)), (2,), seed=3)
    y = [run(Rotary(wavelength), sl.Sequence.from_values(jnp.tile(v, (1, 9, 1)))).values[0] for v in (queries, keys)]
    products = np.asarray(y[0] @ y[1].T)
    for distance in range(-8, 9):
        np.testing.assert_allclose(np.ptp(np.diagonal(products, distance)), 0, atol=2e-5)


def test_counting_valid_timesteps_is_leaving_out_the_others():
    values = sl.testing.random_values(sl.ChannelSpec((3, 6)), (1, 5))
    y = run(Rotary(1e4), sl.Sequence(values, jnp.asarray(GAPS)))
    dense = run(Rotary(1e4), sl.Sequence.from_values(values[:, GAPS[0]]))
    np.testing.assert_allclose(y.values[GAPS], dense.values[0], atol=1e-6)


def test_given_positions():
    x = sl.Sequence.from_values(sl.testing.random_values(sl.ChannelSpec((4,)), (2, 5)))
    given = Rotary(1e4, only_advance_position_for_valid_timesteps=False, positions_name='where')
    counted = run(Rotary(1e4), x)
    for positions in (np.arange(5)[None], sl.Sequence.from_values(jnp.tile(jnp.arange(5.0), (2, 1)))):
        assert sl.testing.first_difference(counted, run(given, x, where=positions)) is None
    start_again = run(given, x, where=np.array([[0, 1, 0, 1, 2]])).values
    np.testing.assert_allclose(start_again[:, 2:], run(Rotary(1e4), x[:, 2:]).values, atol=1e-6)
    with_gaps = run(given, x, where=sl.Sequence(jnp.zeros((1, 5)), GAPS))
    np.testing.assert_array_equal(with_gaps.mask, np.repeat(GAPS, 2, 0))


def test_given_positions_wait_for_late_data():
    x = sl.Sequence.from_values(sl.testing.random_values(sl.ChannelSpec((4,)), (2, 6)))
    given = Rotary(1e4, only_advance_position_for_valid_timesteps=False, positions_name='where')
    y = run(sl.Serial([sl.Lookahead(1), given]), x, where=10 * jnp.arange(6)[None])
    np.testing.assert_allclose(y.values, run(given, x[:, 1:], where=10 * jnp.arange(5)[None]).values, atol=1e-6)


def test_angles_in_float32():
    x = sl.Sequence.from_values(jnp.ones((1, 300, 2), jnp.bfloat16))
    exact = np.sqrt(2) * np.cos(299 + np.pi / 4)
    y, coarse = (run(Rotary(1e4, positions_in_at_least_fp32=wide), x).values[0, 299, 0] for wide in (True, False))
    assert abs(y - exact) < 0.01 < abs(coarse - exact)  # bfloat16 takes 299 for 300
    assert y.dtype == jnp.bfloat16


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('declare', 'match'),
    [
        (lambda: sl.AddTimingSignal(min_timescale=0), 'timescales must be positive and go up, got min_timescale=0'),
        (lambda: sl.AddTimingSignal(2.0, 1.0), 'min_timescale=2.0 and max_timescale=1.0'),
        (lambda: sl.ConcatTimingSignal(0), 'ConcatTimingSignal: channels must be at least 1, got 0'),
        (lambda: sl.ConcatPositionEmbedding(0, 1), 'timesteps must be at least 1, got 0'),
        (lambda: Rotary(0), 'max_wavelength must be positive, got 0'),
        (lambda: Rotary(1e4, positions_name='p'), 'give only_advance_position_for_valid_timesteps=False'),
    ],
)
def test_wrong_declarations(declare, match):
    with pytest.raises(sl.LayerError, match=match):
        declare()


@pytest.mark.parametrize(
    ('layer', 'spec', 'match'),
    [
        (sl.AddTimingSignal(), sl.ChannelSpec((4,), 'int32'), 'takes floating inputs and got int32'),
        (sl.AddTimingSignal(axes=2), sl.ChannelSpec((3, 4)), r'axes 2 must name axes of the channels \(3, 4\)'),
        (sl.ConcatTimingSignal(), sl.ChannelSpec((4,), 'int32'), 'takes floating inputs'),
        (sl.ConcatPositionEmbedding(3, 2), sl.ChannelSpec((4,), 'int32'), 'takes floating inputs'),
        (Rotary(1e4), sl.ChannelSpec((4,), 'complex64'), 'takes floating inputs and got complex64'),
        (Rotary(1e4), sl.ChannelSpec((2, 3)), r'axis -1 of the channels \(2, 3\) has odd size'),
        (Rotary(1e4, axis=1), sl.ChannelSpec((2,)), 'axis 1 must name axes of the channels'),
    ],
)
def test_wrong_inputs(layer, spec, match):
    with pytest.raises(sl.LayerError, match=match):
        layer.build(spec, rngs=0)


def test_wrong_positions():
    x = zeros(2, 4, 2)
    given = Rotary(1e4, only_advance_position_for_valid_timesteps=False, positions_name='where')
    model = sl.Serial([sl.Downsample1D(2), given]).build(x.channel_spec, rngs=0)
    with pytest.raises(sl.LayerError, match=r"layers_1 .*reads constants\['where'\].*not there \(given: there\)"):
        model.layer(x, training=False, constants={'there': x})
    with pytest.raises(sl.LayerError, match=r'must be positions \(batch, time\), and has the shape \[4\]'):
        model.layer(x, training=False, constants={'where': jnp.arange(4)})
    with pytest.raises(sl.LayerError, match='has 1 timesteps, fewer than the 2 of the data'):
        model.layer(x, training=False, constants={'where': jnp.zeros((1, 1))})
    with pytest.raises(sl.LayerError, match='has a batch of 3 and the input one of 2'):
        model.layer(x, training=False, constants={'where': jnp.zeros((3, 2))})
    state = model.get_initial_state(2, training=False)
    with pytest.raises(sl.LayerError, match=r'come 2 timesteps of input and 4 of the constant.*must keep the rate'):
        model.step(x, state, training=False, constants={'where': jnp.zeros((1, 4))})
