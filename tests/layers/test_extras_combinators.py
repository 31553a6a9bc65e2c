"""Skip, Zoneout and Autoregressive against loops in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl

DRAW = np.random.default_rng(0)


def build(layer, channels=(4,), dtype='float32'):
    return layer.build(sl.ChannelSpec(channels, dtype), rngs=0)


def sequence(*shape, mask=None):
    values = jnp.asarray(DRAW.standard_normal(shape), jnp.float32)
    return sl.Sequence(values, jnp.ones(shape[:2], bool) if mask is None else jnp.asarray(mask, bool))


# --- Skip ---------------------------------------------------------------------------------------------------------


def test_skip_joins_input_and_output():
    x = sequence(1, 5, 2, 3)
    model = build(sl.Skip([sl.Lookahead(1), sl.Scale(10.0)]), (2, 3))
    y = model.layer(x, training=False)
    np.testing.assert_allclose(y.values, np.concatenate([x.values[:, :-1], 10 * x.values[:, 1:]], axis=2))
    np.testing.assert_array_equal(sl.step_by_step(model, x).values, y.values)
    assert list(model.layer_with_emits(x, training=False)[1]) == ['layers_0', 'layers_1']


def test_errors_of_skip():
    with pytest.raises(sl.LayerError, match='Skip: the layers must keep the rate, their output ratio is 1/2'):
        sl.Skip([sl.Downsample1D(2)])
    with pytest.raises(sl.LayerError, match=r'cannot join channels \(2, 4\) and \(2, 3\) on the first axis'):
        build(sl.Skip([sl.Dense(3)]), (2, 4))
    with pytest.raises(sl.LayerError, match=r'cannot join channels \(\) and \(\)'):
        build(sl.Skip([]), ())


# --- Serial of built layers ------------------------------------------------------------------------------------------


def test_serial_of_built_layers():
    """What is published as `SerialModules`: the layers are used as they are, and stay their owner's."""
    first, second = build(sl.Conv1D(3, 3, padding='same')), build(sl.LSTM(2), (3,))
    model = build(sl.Serial([first, second]))
    assert model.layers == (first, second)
    x = sequence(2, 7, 4)
    y = second.layer(first.layer(x, training=False), training=False)
    np.testing.assert_array_equal(model.layer(x, training=False).values, y.values)
    np.testing.assert_allclose(sl.step_by_step(model, x).values, y.values, atol=1e-6)
    second.bias[...] = second.bias[...] + 1.0
    assert (model.layer(x, training=False).values != y.values).all()
    with pytest.raises(sl.LayerError, match='is built already, for'):
        build(sl.Serial([second, first]))


# --- Zoneout ------------------------------------------------------------------------------------------------------


def cell(model, x, state):
    """One timestep of an LSTM, by the layer."""
    return model.child_layer.step(x, state, training=False)


def test_zoneout_mixes_the_state():
    x = sequence(2, 6, 4, mask=[[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 1, 0]])
    model = build(sl.Zoneout(sl.LSTM(3), rate=0.25))
    state = model.child_layer.get_initial_state(2, training=False)
    y = model.layer(x, training=False)
    for t in range(6):
        expected, new = cell(model, x[:, t : t + 1], state)
        np.testing.assert_allclose(y.values[:, t : t + 1], expected.values, atol=1e-6)
        state = jax.tree.map(lambda old, new: 0.25 * old + 0.75 * new, state, new)


def test_zoneout_in_training_keeps_or_takes_each_unit():
    x, key = sequence(2, 9, 4), jax.random.key(0)
    model = build(sl.Zoneout(sl.LSTM(16), rate=0.25))
    state = model.get_initial_state(2, training=True)
    kept = []
    for t in range(9):
        _, expected = cell(model, x[:, t : t + 1], state[0])
        _, new = model.step(x[:, t : t + 1], state, training=True, rng=key)
        for old, taken, got in zip(state[0], expected, new[0], strict=True):
            kept.append(np.asarray(got == old))
            np.testing.assert_allclose(np.where(kept[-1], taken, got), taken, atol=1e-6)
        state = new
    assert abs(np.mean(kept) - 0.25) < 0.06
    assert len({k.tobytes() for k in kept}) == 18  # by unit, by timestep


@pytest.mark.parametrize('training', [False, True])
def test_zoneout_of_rate_zero_is_the_layer(training):
    x = sequence(2, 6, 4)
    model = build(sl.Zoneout(sl.LSTM(3)))
    y = model.layer(x, training=training, rng=jax.random.key(0))
    np.testing.assert_allclose(y.values, model.child_layer.layer(x, training=False).values, atol=1e-6)


def test_errors_of_zoneout():
    with pytest.raises(sl.LayerError, match='rate is a probability from 0 to 1, got -1'):
        sl.Zoneout(sl.LSTM(3), rate=-1)
    with pytest.raises(sl.LayerError, match=r'takes a recurrent layer, such as LSTM, .* got Dense\(3\)'):
        sl.Zoneout(sl.Dense(3), rate=0.1)
    with pytest.raises(sl.LayerError, match='got no key'):
        build(sl.Zoneout(sl.LSTM(3), rate=0.1)).layer(sequence(1, 2, 4), training=True)


# --- Autoregressive -----------------------------------------------------------------------------------------------


def test_the_previous_output_is_fed_back():
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 1, 1]], bool)
    x = sequence(2, 5, 4, mask=mask)
    model = build(sl.Autoregressive(sl.Dense(3, activation=jnp.tanh), feedback_layer=sl.Scale(0.5)))
    kernel, bias = model.child_layer.kernel[...], model.child_layer.bias[...]
    assert kernel.shape == (7, 3)
    y, last = model.layer(x, training=False), np.zeros((2, 3))
    for t in range(5):
        expected = np.tanh(np.concatenate([x.values[:, t], last / 2], -1) @ kernel + bias)
        np.testing.assert_allclose(y.values[:, t], expected, atol=1e-6)
        last = np.where(mask[:, t, None], expected, 0)  # what is invalid is fed back as zeros


def test_feedback_of_whole_blocks_at_another_rate():
    """The rate is halved inside; each output is fed back twice, on both timesteps of the next block."""
    x = sl.Sequence.from_values(jnp.arange(1.0, 6).reshape(1, 5, 1))
    inner = sl.Serial([sl.Sum(-1, keepdims=True), sl.StackFrames(2, 'semicausal'), sl.Sum((2, 3)), sl.ExpandDims(0)])
    model = build(sl.Autoregressive(inner, feedback_layer=sl.Upsample1D(2)), (1,))
    assert (model.block_size, model.output_ratio) == (2, 1 / 2)
    y = model.layer(x, training=False)
    assert y.values.ravel().tolist() == [3, 3 + 4 + 2 * 3, 5 + 0 + 13 + 0]  # the last block has one timestep
    np.testing.assert_array_equal(y.mask, [[True, True, True]])


def test_as_long_as_the_layer_alone():
    for layer, expected in [(sl.Blockwise(sl.Dense(2), 4), 5), (sl.Serial([sl.Delay(2), sl.Dense(2)]), 7)]:
        y = build(sl.Autoregressive(layer)).layer(sequence(1, 5, 4), training=False)
        assert y.shape == (1, expected, 2)


def test_emits_have_an_axis_of_blocks():
    model = build(sl.Autoregressive(sl.Serial([sl.Dense(2), sl.Emit(name='tap')])))
    x = sequence(3, 5, 4)
    y, emits = model.layer_with_emits(x, training=False)
    assert emits['tap'].shape == (5, 3, 1, 2)
    np.testing.assert_array_equal(emits['tap'].values[:, :, 0].swapaxes(0, 1), y.values)


class AddSide(sl.Stateless):
    """Adds `constants['side']`, timestep by timestep."""

    def streamed_constants(self, constants):
        return {'side'}

    def layer(self, x, *, training, constants=None):
        return sl.Sequence(x.values + constants['side'].values, x.mask & constants['side'].mask)


def test_constants_stream_through_the_loop():
    side = sequence(2, 6, 2, mask=[[1, 1, 1, 0, 1, 1], [1, 1, 1, 1, 0, 0]])
    model = sl.Autoregressive(sl.Serial([sl.Dense(2), AddSide()])).build(
        sl.ChannelSpec((4,)), rngs=0, constants={'side': side}
    )
    x = sequence(2, 6, 4)
    report = sl.testing.check_contract(model, x, constants={'side': side}, clauses=['layer equals step', 'masks'])
    report.raise_if_failed()


def test_a_built_layer_in_the_loop():
    dense = build(sl.Dense(2), (6,))
    assert build(sl.Autoregressive(dense)).child_layer is dense


@pytest.mark.parametrize(
    ('layer', 'channels', 'message'),
    [
        (lambda: sl.Autoregressive(sl.Lookahead(1)), (4,), 'child_layer must step without output latency'),
        (lambda: sl.Autoregressive(sl.ReverseSequence()), (4,), '(?s)child_layer must step .*needs the whole sequence'),
        (lambda: sl.Autoregressive(sl.Dense(2), feedback_layer=sl.Upsample1D(2)), (4,), 'must be 1, not 2'),
        (lambda: sl.Autoregressive(sl.Identity()), (4,), 'the output of the layer must not depend on the number'),
        (lambda: sl.Autoregressive(sl.Dense(2)), (3, 4), r'cannot join feedback ChannelSpec\(\(3, 2\), float32\)'),
        (lambda: sl.Autoregressive(sl.Dense(2)), (), r'joins feedback to the first channel axis and got channels \(\)'),
        (
            lambda: sl.Autoregressive(sl.Dense(2), feedback_layer=sl.Cast('bfloat16')),
            (4,),
            r'cannot join feedback ChannelSpec\(\(2,\), bfloat16\)',
        ),
    ],
)
def test_errors_of_autoregressive(layer, channels, message):
    with pytest.raises(sl.LayerError, match=message):
        build(layer(), channels)
