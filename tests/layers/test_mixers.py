"""The linear-time mixers against loops over time in float64, and what only they promise."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from seqlayers.interop import to_published
from seqlayers.layers.state_space import _legs
from seqlayers.streaming.step_by_step import scan_steps
from tests.layers.test_recurrent import random_weights, sigmoid

# Each with the channels of its input.
LAYERS = {
    'RGLRU': (sl.RGLRU(4, num_heads=2), 4),
    'complex RGLRU': (sl.RGLRU(4, num_heads=2, only_real=False), 4),
    'DiagonalStateSpace': (sl.DiagonalStateSpace(4), 3),
    'SelectiveStateSpace': (sl.SelectiveStateSpace(4, 2, state_size=3, num_groups=2, chunk_size=4), 24),
    **{decay: (sl.GatedLinearAttention(2, 3, decay=decay, chunk_size=4), 5) for decay in ('fixed', 'head', 'unit')},
}
# As many valid timesteps in both items.
MASK = np.array([[0, 0, 1, 0, 0, 1, 1, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]], bool)

each_layer = pytest.mark.parametrize('name', LAYERS)


def built(name, dtype='float32', **changes):
    layer, channels = LAYERS[name]
    return layer.replace(**changes).build(sl.ChannelSpec((channels,), dtype), rngs=1)


def inputs(name, shape=MASK.shape, seed=0):
    return np.random.default_rng(seed).standard_normal((*shape, LAYERS[name][1])).astype(np.float32)


def run(model, values, mask=None):
    x = sl.Sequence.from_values(jnp.asarray(values))
    x = x if mask is None else sl.Sequence(x.values, jnp.asarray(mask))
    return jax.jit(lambda x: model.layer(x, training=False).values)(x)


def softplus(x):
    return np.logaddexp(x, 0)


def float64(*parameters):
    return [np.asarray(p[...], np.float64) for p in parameters]


# --- by definition: one item, every timestep valid -----------------------------------------------------------


def rglru_loop(model, x):
    heads, size = model.num_heads, model.units // model.num_heads

    def gate(x, gate):
        kernel, bias = float64(gate.kernel, gate.bias)
        blocks = [x[i * size : (i + 1) * size] @ kernel[i] + bias[i] for i in range(heads)]
        return sigmoid(np.concatenate(blocks))

    (a_param,), width, h, outputs = float64(model.a_param), model.a_param.size, 0, []
    angle = 0 if model.only_real else float64(model.a_imag_param)[0]
    for t, now in enumerate(x):
        r, i = gate(now, model.a_gate), gate(now, model.input_gate)
        radius = np.exp(-8 * r * softplus(a_param))
        value = now if model.only_real else now[:width] + 1j * now[width:]
        h = radius * np.exp(1j * angle * r) * h + (np.sqrt(1 - radius**2) if t else 1) * i * value
        outputs.append(h.real if model.only_real else np.concatenate([h.real, h.imag]))
    return np.stack(outputs)


def diagonal_state_space_loop(model, x):
    log_decay, frequency, log_step, b, c, skip = float64(
        model.log_decay, model.frequency, model.log_step, model.input_kernel, model.output_kernel, model.skip
    )
    eigenvalues, half = -np.exp(log_decay) + 1j * frequency, len(frequency)
    decay = np.exp(eigenvalues * np.exp(log_step))
    b, h, outputs = b[:, :half] + 1j * b[:, half:], 0, []
    for now in x:
        h = decay * h + (decay - 1) / eigenvalues * (now @ b)
        outputs.append(np.concatenate([h.real, h.imag]) @ c + skip * now)
    return np.stack(outputs)


def selective_state_space_loop(model, x):
    heads, units, size, groups = model.num_heads, model.units_per_head, model.state_size, model.num_groups
    a_log, dt_bias, skip = float64(model.a_log, model.dt_bias, model.skip)
    state, outputs = np.zeros((heads, size, units)), []
    for now in x:
        values, write, read, dt = np.split(now, np.cumsum([heads * units, groups * size, groups * size]))
        values, dt, y = values.reshape(heads, units), softplus(dt + dt_bias), []
        write, read = write.reshape(groups, size), read.reshape(groups, size)
        for i in range(heads):
            group = i // (heads // groups)
            state[i] = np.exp(-np.exp(a_log[i]) * dt[i]) * state[i] + np.outer(write[group], dt[i] * values[i])
            y.append(read[group] @ state[i] + skip[i] * values[i])
        outputs.append(np.concatenate(y))
    return np.stack(outputs)


def linear_attention_loop(model, x):
    heads, units = model.num_heads, model.units_per_head
    (kernel,) = float64(model.kernel)
    state, outputs = np.zeros((heads, units, units)), []
    for now in x:
        queries, keys, values = np.einsum('i,ijhu->jhu', now, kernel)
        if model.decay == 'fixed':
            decay = np.array([[1 - 2.0**-5], [1 - 2.0**-6]])
        else:
            decay_kernel, bias = float64(model.decay_kernel, model.decay_bias)
            decay = sigmoid(np.einsum('i,ihu->hu', now, decay_kernel) + bias) ** (1 / model.decay_temperature)
        state = decay[..., None] * state + keys[:, :, None] * values[:, None]
        outputs.append(np.einsum('hk,hkv->hv', queries, state) / np.sqrt(units))
    return np.stack(outputs)


LOOPS = {
    sl.RGLRU: rglru_loop,
    sl.DiagonalStateSpace: diagonal_state_space_loop,
    sl.SelectiveStateSpace: selective_state_space_loop,
    sl.GatedLinearAttention: linear_attention_loop,
}


@each_layer
def test_by_definition(name):
    model, x = random_weights(built(name)), inputs(name, (1, 11))
    expected = LOOPS[type(model)](model, x[0].astype(np.float64))
    np.testing.assert_allclose(run(model, x)[0], expected, atol=1e-5 * np.abs(expected).max())


def test_rglru_by_hand():
    model = sl.RGLRU(2, num_heads=1).build(sl.ChannelSpec((2,)), rngs=0)
    for parameter in (model.a_param, model.a_gate.kernel, model.input_gate.kernel):
        parameter.set_value(jnp.zeros(parameter.shape))
    y = run(model, np.ones((1, 3, 2), np.float32))
    np.testing.assert_allclose(y[0], np.outer([0.5, 0.530272, 0.532165], [1, 1]), atol=1e-6)


# --- masks, state, numbers -------------------------------------------------------------------------------------


@each_layer
def test_invalid_timesteps_leave_no_trace(name):
    """Outputs at valid timesteps are those of the item alone, without the others: before, between or behind."""
    model, values = random_weights(built(name)), inputs(name)
    gappy = run(model, np.where(MASK[..., None], values, np.nan), MASK)
    alone = run(model, values[MASK].reshape(2, 6, -1))
    np.testing.assert_allclose(gappy[MASK], alone.reshape(12, *alone.shape[2:]), atol=1e-5 * np.abs(alone).max())


@each_layer
def test_a_long_block_and_then_single_timesteps(name):
    model = random_weights(built(name))
    x = sl.Sequence(jnp.asarray(inputs(name)), jnp.asarray(MASK))

    @jax.jit
    def compute(x):
        state = model.get_initial_state(len(MASK), training=False)
        first, state = model.step(x[:, :7], state, training=False)
        rest, _ = scan_steps(model, x[:, 7:], state, 1, training=False)
        return model.layer(x, training=False), first.concatenate(rest)

    assert not sl.testing.first_difference(*compute(x))


@each_layer
def test_the_state_of_half_precision_is_float32(name):
    model = built(name, 'bfloat16', param_dtype='bfloat16')
    assert model.output_spec.dtype == jnp.bfloat16
    state = model.get_initial_state(5, training=False)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state)} <= {'float32', 'bool'}
    assert {leaf.shape[0] for leaf in jax.tree.leaves(state)} == {5}


@each_layer
def test_gradients_are_finite(name):
    """With NaN in the padding, for gates that are open, half open and shut."""
    model, values = built(name), inputs(name)

    @jax.jit
    def gradients(values):
        def loss(model, values):
            y = model.layer(sl.Sequence(values, jnp.asarray(MASK)), training=False)
            return y.mask_invalid().values.sum()

        return jax.grad(loss, argnums=(0, 1))(model, values)

    for scale in (0, 1, 100):
        by_model, by_values = gradients(np.where(MASK[..., None], scale * values, np.nan))
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(by_model))
        assert jnp.isfinite(by_values[MASK]).all()


def test_a_state_space_remembers_thousands_of_timesteps():
    layer = sl.DiagonalStateSpace(8, min_step=0.001, max_step=0.001)
    model = layer.build(sl.ChannelSpec((1,)), rngs=0)
    x = np.random.default_rng(0).standard_normal((1, 3000, 1)).astype(np.float32)
    expected = diagonal_state_space_loop(model, x[0].astype(np.float64))
    np.testing.assert_allclose(run(model, x)[0], expected, atol=2e-5 * np.abs(expected).max())
    impulse = np.zeros_like(x)
    impulse[0, 0] = 1
    response = np.abs(run(model, impulse)[0, 1:, 0])
    assert response[1500:].max() > 0.1 * response.max()


# --- what they start from ---------------------------------------------------------------------------------------


def test_initial_decays():
    rglru = sl.RGLRU(512, num_heads=1, min_rad=0.5, only_real=False).build(sl.ChannelSpec((512,)), rngs=0)
    radius = np.exp(-softplus(*float64(rglru.a_param)))
    assert 0.5 <= radius.min() < 0.55 and 0.99 < radius.max() <= 0.9991
    np.testing.assert_allclose(np.mean(radius**2), (0.5**2 + 0.999**2) / 2, atol=0.05)  # evenly over the area
    (angle,) = float64(rglru.a_imag_param)
    assert angle.min() >= 0 and 0.09 * np.pi < angle.max() <= 0.1 * np.pi


def test_initial_steps():
    spec = sl.ChannelSpec((5 * 64,))
    selective = sl.SelectiveStateSpace(64, 1, state_size=96, min_step=0.01, max_step=0.2).build(spec, rngs=0)
    diagonal = sl.DiagonalStateSpace(128, min_step=0.01, max_step=0.2).build(spec, rngs=0)
    for steps in (softplus(*float64(selective.dt_bias)), np.exp(*float64(diagonal.log_step))):
        assert 0.0099 < steps.min() < 0.015 and 0.15 < steps.max() < 0.2001
        np.testing.assert_allclose(np.median(steps), np.sqrt(0.01 * 0.2), rtol=0.4)
    rates = np.exp(*float64(selective.a_log))
    assert 1 <= rates.min() < 2 and 15 < rates.max() <= 16


def test_initial_frequencies():
    """'legs': the eigenvalues of the HiPPO-LegS matrix after its low-rank part is added back."""
    n = np.arange(10)
    roots = np.sqrt(2 * n + 1)
    hippo = -np.tril(np.outer(roots, roots), -1) - np.diag(n + 1)
    normal = hippo + np.outer(roots, roots) / 2
    eigenvalues = np.linalg.eigvals(normal)
    np.testing.assert_allclose(eigenvalues.real, -0.5, atol=1e-9)
    np.testing.assert_allclose(_legs(10), np.sort(eigenvalues.imag)[5:], atol=1e-9)
    linear = sl.DiagonalStateSpace(6, frequencies='linear').build(sl.ChannelSpec((1,)), rngs=0)
    np.testing.assert_allclose(linear.frequency[...], [0, np.pi, 2 * np.pi], rtol=1e-6)
    np.testing.assert_allclose(-np.exp(linear.log_decay[...]), -0.5, rtol=1e-6)


# --- the published layer ----------------------------------------------------------------------------------------


def test_rglru_fields_and_parameters_are_the_published_ones():
    declared = 'units num_heads scan_type scan_sharding only_real min_rad a_sharding gate_kernel_variance_scale'
    declared += ' gate_kernel_sharding gate_bias_sharding compute_dtype param_dtype name'
    assert list(sl.RGLRU(2, 1).field_values()) == declared.split()
    gate = {'kernel': (2, 4, 2), 'bias': (2, 2)}
    model = sl.RGLRU(8, num_heads=2, only_real=False).build(sl.ChannelSpec((8,)), rngs=0)
    shapes = jax.tree.map(jnp.shape, to_published(model)['params'])
    assert shapes == {'a_param': (4,), 'a_imag_param': (4,), 'input_gate': gate, 'a_gate': gate}


def test_the_slope_of_the_input_scale_is_bounded():
    """Where nothing decays the scale is sqrt(0), of infinite slope; the published bound is 1000."""
    model = sl.RGLRU(1, num_heads=1).build(sl.ChannelSpec((1,)), rngs=0)
    model.a_param.set_value(jnp.full((1,), -30.0))
    x = sl.Sequence.from_values(jnp.ones((1, 2, 1)))

    def loss(model):
        return model.layer(x, training=False).values[0, 1, 0]

    gate, r = (sigmoid(g.kernel[0, 0, 0].item() + g.bias[0, 0].item()) for g in (model.input_gate, model.a_gate))
    slope = 8 * r * sigmoid(-30.0)  # of -log(a) by a_param
    expected = gate * (2 * slope * 1000 - slope)  # by the scale, and by a itself
    np.testing.assert_allclose(jax.grad(loss)(model).a_param[...].item(), expected, rtol=1e-3)


# --- compositions and errors ------------------------------------------------------------------------------------


def test_a_mamba_block_streams():
    heads, units, size = 2, 4, 3
    inner = heads * units
    xbc = [sl.Dense(inner + 2 * size), sl.DepthwiseConv1D(4, padding='causal', activation=jax.nn.silu)]
    core = [
        sl.Parallel([sl.Serial(xbc), sl.Dense(heads)], 'concat'),
        sl.SelectiveStateSpace(heads, units, size, chunk_size=4),
    ]
    gated = sl.Parallel([sl.Serial(core), sl.Dense(inner, activation=jax.nn.silu)], 'product')
    block = sl.Residual([sl.RMSNormalization(), gated, sl.RMSNormalization(), sl.Dense(6)])
    spec = sl.ChannelSpec((6,))
    model, x = sl.Serial([block, block]).build(spec, rngs=0), sl.testing.random_sequence(spec, 11)
    whole = jax.jit(partial(model.layer, training=False))(x)
    stepped = jax.jit(partial(sl.step_by_step, model))(x)
    assert not sl.testing.first_difference(whole, stepped)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: sl.RGLRU(4, 1, scan_type='pallas'), "RGLRU: scan_type must be one of auto, .*; got 'pallas'"),
        (lambda: sl.RGLRU(3, 1, only_real=False), 'units must be even; got 3'),
        (
            lambda: sl.RGLRU(4, 1, only_real=False, min_rad=0.999),
            'min_rad must be at least 0 and below 0.999, got 0.999',
        ),
        (lambda: sl.RGLRU(4, 3), 'num_heads must divide the width 4, got 3'),
        (lambda: sl.RGLRU(4, 4, only_real=False), 'num_heads must divide the width 2, got 4'),
        (lambda: sl.DiagonalStateSpace(3), 'DiagonalStateSpace: state_size must be even and positive, got 3'),
        (lambda: sl.DiagonalStateSpace(4, 'hippo'), "frequencies must be one of legs, linear; got 'hippo'"),
        (lambda: sl.DiagonalStateSpace(4, min_step=0.2), 'got min_step=0.2 and max_step=0.1'),
        (lambda: sl.SelectiveStateSpace(3, 2, 2, num_groups=2), 'num_groups must divide num_heads=3, got 2'),
        (lambda: sl.SelectiveStateSpace(3, 2, 0), 'SelectiveStateSpace: state_size must be at least 1, got 0'),
        (lambda: sl.SelectiveStateSpace(3, 2, 2, min_step=0.0), 'SelectiveStateSpace: steps must be 0 < min_step'),
        (lambda: sl.GatedLinearAttention(2, 3, decay='none'), "decay must be one of fixed, head, unit; got 'none'"),
        (lambda: sl.GatedLinearAttention(2, 3, decay_temperature=0), 'decay_temperature must be positive, got 0'),
        (lambda: sl.GatedLinearAttention(2, 3, chunk_size=0), 'chunk_size must be at least 1, got 0'),
        (lambda: sl.GatedLinearAttention(0, 3), 'GatedLinearAttention: num_heads must be at least 1, got 0'),
    ],
)
def test_errors_of_declarations(make, message):
    with pytest.raises(sl.LayerError, match=message):
        make()


@pytest.mark.parametrize(
    ('layer', 'channels', 'message'),
    [
        (sl.RGLRU(4, 1), (5,), r'RGLRU.build: takes channels \(4,\), got \(5,\). Put Dense\(4\)'),
        (sl.SelectiveStateSpace(2, 3, 4), (6,), 'takes 16 channels: x 6, B 4, C 4 and dt 2; got 6. Put Dense'),
        *((layer, (2, 3), r'takes vectors and got channels \(2, 3\)') for layer, _ in LAYERS.values()),
    ],
)
def test_errors_when_built(layer, channels, message):
    with pytest.raises(sl.LayerError, match=message):
        layer.build(sl.ChannelSpec(channels), rngs=0)
