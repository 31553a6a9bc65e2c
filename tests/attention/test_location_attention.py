"""Attention that weighs the source itself, against loops over time in float64, and what only it promises."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from seqlayers.testing import random_values

SOURCE_TIME, CHANNELS = 7, 3
LAYERS = {
    'monotonic mixture': sl.GmmAttention('text', 2, 6, 3, monotonic=True, init_offset_bias=-0.5, init_scale_bias=0.3),
    'limited mixture': sl.GmmAttention('text', 2, 6, 3, monotonic=True, max_offset=0.7),
    'free mixture': sl.GmmAttention('text', 2, 6, 3, monotonic=False, init_offset_bias=2.0),
    'additive': sl.AdditiveAttention('text', 2, 5),
    'location sensitive': sl.LocationSensitiveAttention('text', 2, 5, location_filters=3, location_kernel_size=5),
    'dynamic convolution': sl.DynamicConvolutionAttention('text', 6, 3, 4, kernel_size=5, max_forward_step=3),
}
REMEMBER = [name for name in LAYERS if name not in ('free mixture', 'additive')]
MASK = np.array([[1, 1, 0, 0, 1, 1, 0, 1, 1], [0, 1, 1, 1, 1, 0, 0, 1, 0]], bool)
SOURCE_MASK = np.array([[1, 1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 1, 0, 0]], bool)

each_layer = pytest.mark.parametrize('name', LAYERS)


@pytest.fixture(scope='module')
def text() -> sl.Sequence:
    values = random_values(sl.ChannelSpec((CHANNELS,)), SOURCE_MASK.shape, seed=3)
    return sl.Sequence(values, jnp.asarray(SOURCE_MASK)).mask_invalid(jnp.nan)


@pytest.fixture(scope='module')
def x() -> sl.Sequence:
    return sl.Sequence(random_values(sl.ChannelSpec((4,)), MASK.shape, seed=4), jnp.asarray(MASK))


def build(name, text, dtype='float32'):
    """With all parameters random, so that none is hidden by a zero; small, so that no Gaussian is a needle."""
    model = LAYERS[name].build(sl.ChannelSpec((4,), dtype), rngs=0, constants={'text': text})
    leaves, structure = jax.tree.flatten(model)
    draw = np.random.default_rng(1)
    return jax.tree.unflatten(structure, [jnp.asarray(draw.normal(0, 0.5, a.shape), a.dtype) for a in leaves])


def run(model, x, text):
    return jax.jit(lambda x, text: model.layer_with_emits(x, training=False, constants={'text': text}))(x, text)


# --- by definition, one item at a time ---------------------------------------------------------------------
def array(parameter):
    return np.asarray(parameter[...], np.float64)


def softmax(logits, mask):
    weights = np.where(mask, np.exp(logits - logits[mask].max()), 0)
    return weights / weights.sum()


def softplus(x):
    return np.logaddexp(x, 0)


def mixture(model, x, valid, source, mask):
    hidden_kernel, kernel, bias = array(model.hidden.kernel), array(model.output.kernel), array(model.output.bias)
    mean, everything = np.zeros(bias.shape[:2]), []
    for now, is_valid in zip(x, valid, strict=True):
        hidden = np.maximum(np.einsum('c,cnh->nh', now, hidden_kernel), 0)
        prior, offset, scale = np.moveaxis(np.einsum('nh,nhmk->nmk', hidden, kernel) + bias, -1, 0)
        offset = offset + model.init_offset_bias
        step = softplus(offset) - (softplus(offset - model.max_offset) if model.max_offset > 0 else 0)
        looking_at = mean + step if model.monotonic else step
        mean = looking_at if is_valid else mean
        weights = np.zeros((len(prior), len(source)))
        for n, m, j in np.ndindex(*prior.shape, len(source)):
            deviation = softplus(scale[n, m] + model.init_scale_bias)
            density = math.exp(-(((j - looking_at[n, m]) / deviation) ** 2) / 2) / (deviation * math.sqrt(2 * math.pi))
            weights[n, j] += np.exp(prior[n, m]) / np.exp(prior[n]).sum() * density * mask[j]
        everything.append(weights)
    return np.stack(everything)


def additive(model, x, valid, source, mask):
    query, key, bias = map(array, (model.query_projection.kernel, *_key_projection(model)))
    v, everything = array(model.v), []
    for now in x:
        logits = [[v[n] @ np.tanh(now @ query[:, n] + s @ key[:, n] + bias[n]) for s in source] for n in range(len(v))]
        everything.append([softmax(np.array(row), mask) for row in logits])
    return np.array(everything)


def location_sensitive(model, x, valid, source, mask):
    query, key, bias = map(array, (model.query_projection.kernel, *_key_projection(model)))
    v, kernel, projection = array(model.v), array(model.location_kernel), array(model.location_projection)
    size, half = len(kernel), len(kernel) // 2
    before, everything = np.zeros((len(v), 2, len(source))), []
    for now, is_valid in zip(x, valid, strict=True):
        weights = []
        for n in range(len(v)):
            padded, logits = np.pad(before[n], ((0, 0), (half, half))), []
            for j in range(len(source)):
                features = np.einsum('ks,skf->f', padded[:, j : j + size], kernel[:, :, n])
                hidden = now @ query[:, n] + source[j] @ key[:, n] + bias[n] + features @ projection[n]
                logits.append(v[n] @ np.tanh(hidden))
            weights.append(softmax(np.array(logits), mask))
        everything.append(weights)
        if is_valid:
            before = np.stack([weights, before[:, 1] + weights], axis=1)
    return np.array(everything)


def dynamic_convolution(model, x, valid, source, mask):
    static, to_static, to_dynamic = map(array, (model.static_kernel, model.static_projection, model.dynamic_projection))
    kernel, hidden_bias = array(model.filter_hidden.kernel), array(model.filter_hidden.bias)
    v, bias, output = array(model.v), array(model.bias), array(model.filter_output.kernel)
    half, ahead = len(static) // 2, model.max_forward_step
    prior = beta_binomial(ahead, 0.1, 0.9)
    before, everything = np.eye(len(source))[0], []
    for now, is_valid in zip(x, valid, strict=True):
        dynamic = np.einsum('u,ukf->kf', np.tanh(now @ kernel + hidden_bias), output)
        around, logits = np.pad(before, half), []
        for j in range(len(source)):
            near = around[j : j + len(static)]
            moved = sum(prior[k] * before[j - k] for k in range(ahead + 1) if j >= k)
            hidden = (near @ static) @ to_static + (near @ dynamic) @ to_dynamic + bias
            logits.append(v @ np.tanh(hidden) + math.log(max(moved, 1e-6)))
        weights = softmax(np.array(logits), mask)
        everything.append([weights])
        before = weights if is_valid else before
    return np.array(everything)


def beta_binomial(n, alpha, beta):
    """The chance of k whites in n draws from an urn, each putting back one more of its colour."""
    chances = []
    for k in range(n + 1):
        white = math.prod(alpha + i for i in range(k))
        black = math.prod(beta + i for i in range(n - k))
        chances.append(math.comb(n, k) * white * black / math.prod(alpha + beta + i for i in range(n)))
    return chances


def _key_projection(model):
    return model.source_projection.kernel, model.source_projection.bias


LOOPS = {
    'additive': additive,
    'location sensitive': location_sensitive,
    'dynamic convolution': dynamic_convolution,
}


@each_layer
def test_against_a_loop(name, x, text):
    model = build(name, text)
    y, emits = run(model, x, text)
    weights = emits.probabilities_by_source['text']
    values, loop = np.asarray(text.mask_invalid().values, np.float64), LOOPS.get(name, mixture)
    for item in range(len(MASK)):
        expected = loop(model, np.asarray(x.values[item], np.float64), MASK[item], values[item], SOURCE_MASK[item])
        valid = MASK[item]
        np.testing.assert_allclose(weights.values[item][valid], expected[valid], atol=2e-6)
        average = np.einsum('tns,sc->tnc', expected, values[item])
        np.testing.assert_allclose(y.values[item][valid], average[valid], atol=1e-5)


def test_prior_moves_one_timestep_on_average():
    layer = sl.DynamicConvolutionAttention('text', 4)
    np.testing.assert_allclose(layer._prior(), beta_binomial(10, 0.1, 0.9), rtol=1e-12)
    assert layer._prior() @ np.arange(11) == pytest.approx(1)


def test_mixture_of_the_published_example():
    """Published values, divided by 2 pi variance: it multiplies where it should divide."""
    layer = sl.GmmAttention('text', 1, 4, 1, monotonic=True, init_offset_bias=2.0)
    text = sl.Sequence.from_values(jnp.eye(5)[None])
    model = layer.build(sl.ChannelSpec((2,)), rngs=0, constants={'text': text})
    model = jax.tree.map(jnp.zeros_like, model)
    y, _ = run(model, sl.Sequence.from_values(jnp.ones((1, 2, 2))), text)
    published = np.array([0.015679, 0.463379, 1.708575, 0.785967, 0.045107])
    np.testing.assert_allclose(y.values[0, 0, 0], published / (2 * math.pi * math.log(2) ** 2), atol=1e-6)
    assert y.values[0, 1, 0].argmax() == 4  # the second mean is 4.25


# --- what is remembered ------------------------------------------------------------------------------------
@pytest.mark.parametrize('name', REMEMBER)
def test_invalid_timesteps_leave_the_alignment(name, x, text):
    model = build(name, text)
    state = model.get_initial_state(2, training=False, constants={'text': text})
    invalid = x.replace(mask=jnp.zeros_like(x.mask)).mask_invalid(jnp.nan)
    _, after = model.step(invalid, state, training=False)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, after, state))
    _, after = model.step(x, state, training=False)
    assert not np.array_equal(after.alignment, state.alignment)


@each_layer
def test_the_state_holds_the_source(name, x, text):
    """Steps need no constants, and a donated state does not take the user's source away."""
    model = build(name, text)
    source = text.mask_invalid()
    y, _ = run(model, x, source)
    state = model.get_initial_state(2, training=False, constants={'text': source})
    step = jax.jit(lambda x, state: model.step(x, state, training=False), donate_argnums=1)
    stepped, _ = step(x, state)
    np.testing.assert_allclose(stepped.mask_invalid().values, y.mask_invalid().values, atol=1e-6)
    np.testing.assert_array_equal(source.values[0], text.values[0])


@each_layer
@pytest.mark.parametrize('source_dtype', ['bfloat16', 'float32'])
def test_bfloat16(name, source_dtype, x, text):
    text = text.astype(source_dtype)
    model = build(name, text, dtype='bfloat16')
    x = x.astype('bfloat16')
    y, emits = run(model, x, text)
    assert y.dtype == source_dtype
    assert emits.probabilities_by_source['text'].dtype == 'float32'
    stepped = sl.step_by_step(model, x, training=False, constants={'text': text})
    assert not sl.testing.first_difference(y, stepped)


@each_layer
def test_a_source_without_timesteps_gives_zeros(name, x, text):
    text = text[:, :0]
    y, _ = run(build(name, text), x, text)
    assert not y.values.any()


# --- errors ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    'declare, message',
    [
        (lambda: sl.GmmAttention('text', 2, 3, 0, True), 'GmmAttention: num_components must be at least 1, got 0'),
        (
            lambda: sl.AdditiveAttention('', 2, 3),
            "AdditiveAttention: source_name must be the name of a constant, got ''",
        ),
        (lambda: sl.LocationSensitiveAttention('text', 2, 3, location_filters=0), 'location_filters must be at least'),
        (lambda: sl.DynamicConvolutionAttention('text', 2, kernel_size=4), 'kernel_size must be odd, got 4'),
        (lambda: sl.DynamicConvolutionAttention('text', 2, prior_alpha=0), 'got 10, 0 and 0.9'),
    ],
)
def test_wrong_fields(declare, message):
    with pytest.raises(sl.LayerError, match=message):
        declare()


def test_wrong_inputs(x, text):
    layer = LAYERS['additive']
    with pytest.raises(sl.LayerError, match=r"constants\['text'\], a Sequence .* is not there"):
        layer.build(x.channel_spec, rngs=0)
    with pytest.raises(sl.LayerError, match='takes one channel axis, got channels \\(2, 3\\)'):
        layer.build(sl.ChannelSpec((2, 3)), rngs=0, constants={'text': text})
    model = build('additive', text)
    with pytest.raises(sl.LayerError, match=r'built for a source of .*\(3,\).* has ChannelSpec\(\(2,\)'):
        model.layer(x, training=False, constants={'text': text[:, :, :2]})
