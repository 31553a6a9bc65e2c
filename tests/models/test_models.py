"""What the models promise: their numbers of time, their size, and that they write step by step what they score."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from seqlayers import models
from seqlayers.testing import random_values

IDS = sl.ChannelSpec((), 'int32')


def ids(time, batch=2, vocabulary=11):
    return sl.Sequence.from_values(random_values(IDS, (batch, time), high=vocabulary))


def vectors(time, channels=3, seed=0):
    return sl.Sequence.from_values(random_values(sl.ChannelSpec((channels,)), (2, time), seed=seed))


def build(declaration, spec=IDS, **constants):
    return declaration.build(spec, rngs=0, constants=constants)


def size(model):
    return sum(leaf.size for leaf in jax.tree.leaves(model))


def state_bytes(model, **limits):
    state = jax.eval_shape(lambda: model.get_initial_state(1, training=False, **limits))
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def assert_same(a, b):
    assert not (difference := sl.testing.first_difference(a, b)), difference


# --- time ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    'model, block, ratio, latencies, field',
    [
        (models.transformer(11, num_layers=3, past=16), 1, 1, (0, 0), (-48, 0)),
        (models.transformer(past=-1), 1, 1, (0, 0), (-math.inf, 0)),
        (models.conformer(), 4, Fraction(1, 4), (8, 2), (-4 * 2 * (32 + 8) - 3, 11)),
        (models.conformer(num_layers=3, past=5, kernel_size=3, look_ahead=0), 4, Fraction(1, 4), (0, 0), (-87, 3)),
        (models.wavenet(), 1, 1, (0, 0), (-63, 0)),
        (models.wavenet(kernel_size=3, dilations=[1, 3], num_stacks=2), 1, 1, (0, 0), (-18, 0)),
        (models.mamba(), 1, 1, (0, 0), (-math.inf, 0)),
        (models.encoder_decoder(11, past=16), 1, 1, (0, 0), (-32, 0)),
        (models.encoder_decoder(11, past=16, streaming=True, look_ahead=3), 1, 1, (3, 3), (-32, 0)),
    ],
)
def test_timing(model, block, ratio, latencies, field):
    assert (model.block_size, model.output_ratio) == (block, ratio)
    assert (model.input_latency, model.output_latency) == latencies
    assert model.receptive_field == field


def test_a_conformer_looks_two_frames_ahead_and_no_further():
    model = build(models.conformer(width=8, num_heads=2, past=3, kernel_size=3, ffn_width=8), sl.ChannelSpec((3,)))
    x, frame = vectors(40), 4

    def output(values):
        return model.layer(x.replace(values=values), training=False).values[:, frame].sum()

    used = np.abs(jax.jit(jax.grad(output))(x.values)).sum((0, 2)) > 0
    first, last = model.receptive_field
    assert np.flatnonzero(used).max() == 4 * frame + 4 * 2 + 3 == 4 * frame + last
    assert np.flatnonzero(used).min() == max(0, 4 * frame + first)


# --- size ----------------------------------------------------------------------------------------------------
def test_size_of_a_transformer():
    w, heads, kv_heads, units, ffn, layers, vocabulary = 8, 4, 2, 2, 20, 3, 11
    model = build(
        models.transformer(
            vocabulary, width=w, num_heads=heads, num_kv_heads=kv_heads, ffn_width=ffn, num_layers=layers
        )
    )
    attention = w * heads * units + 2 * w * kv_heads * units + heads * units * w
    block = 2 * w + attention + w * 2 * ffn + ffn * w
    assert size(model) == vocabulary * w + layers * block + w


def test_size_of_a_conformer():
    w, kernel, layers, features = 8, 5, 3, 6
    model = build(
        models.conformer(width=w, num_heads=2, kernel_size=kernel, num_layers=layers), sl.ChannelSpec((features,))
    )
    frontend = 3 * features * w + w + 3 * w * w + w
    feed_forward = w + w * 4 * w + 4 * w + 4 * w * w + w
    convolution = w + w * 2 * w + 2 * w + kernel * w + w + w + w * w + w
    block = 2 * feed_forward + w + 4 * w * w + convolution + w
    assert size(model) == frontend + layers * block


def test_size_of_a_wavenet():
    w, skip, features, outputs = 3, 4, 2, 7
    model = build(
        models.wavenet(outputs, width=w, skip_width=skip, dilations=[1, 2, 4], num_stacks=2),
        sl.ChannelSpec((features,)),
    )
    block = 2 * w * 2 * w + 2 * w + w * (w + skip) + w + skip
    start, end = 2 * features * (w + skip) + w + skip, skip * skip + skip + skip * outputs + outputs
    assert size(model) == start + 6 * block + end


def test_size_of_a_mamba():
    w, heads, state, layers, kernel, vocabulary = 8, 4, 3, 2, 4, 11
    model = build(models.mamba(vocabulary, width=w, num_heads=heads, state_size=state, num_layers=layers))
    inner, convolved = 2 * w, 2 * w + 2 * state
    inputs = w * convolved + kernel * convolved + convolved + w * heads + w * inner
    block = w + inputs + 3 * heads + inner + inner * w
    assert size(model) == vocabulary * w + layers * block + w


def test_size_of_an_encoder_decoder():
    w, layers, vocabulary, features = 8, 2, 11, 3
    model = build(models.encoder_decoder(vocabulary, width=w, num_layers=layers), source=vectors(5, features))
    attention, feed_forward = w + 4 * w * w, w + 3 * w * 4 * w
    encoder = features * w + w + layers * (attention + feed_forward) + w
    decoder = vocabulary * w + layers * (2 * attention + feed_forward) + w
    assert size(model) == encoder + decoder


# --- writing step by step ---------------------------------------------------------------------------------------
@pytest.mark.parametrize('past', [5, -1])
def test_a_prompt_at_once_and_then_single_tokens(past):
    model, x = build(models.transformer(11, width=8, num_heads=2, past=past)), ids(12)
    whole = model.layer(x, training=False)
    state = model.get_initial_state(2, training=False, max_length=12)
    step = jax.jit(lambda x, state: model.step(x, state, training=False))
    outputs = []
    for start, stop in [(0, 7), *((t, t + 1) for t in range(7, 12))]:
        y, state = step(x[:, start:stop], state)
        outputs.append(y)
    assert_same(whole, sl.Sequence.concatenate_sequences(outputs))


@pytest.mark.parametrize('name', ['transformer', 'mamba'])
def test_sampled_text_has_the_probabilities_that_it_was_sampled_with(name):
    declare = {'transformer': models.transformer, 'mamba': models.mamba}[name]
    model, length = build(declare(11, width=8, num_heads=2)), 9
    state = model.get_initial_state(2, training=False)

    @jax.jit
    def write(state):
        def token(carry, key):
            last, state = carry
            logits, state = model.step(last, state, training=False)
            sampled = jax.random.categorical(key, logits.values)
            return (sl.Sequence.from_values(sampled), state), (sampled[:, 0], logits.values[:, 0])

        start = sl.Sequence.from_values(jnp.zeros((2, 1), jnp.int32))
        return jax.lax.scan(token, (start, state), jax.random.split(jax.random.key(0), length))[1]

    text, logits = (a.swapaxes(0, 1) for a in write(state))
    assert len(np.unique(text)) > 2
    read = jnp.concatenate([jnp.zeros((2, 1), jnp.int32), text[:, :-1]], axis=1)
    scored = model.layer(sl.Sequence.from_values(read), training=False)
    np.testing.assert_allclose(jax.nn.softmax(scored.values), jax.nn.softmax(logits), atol=1e-6)


def test_dropout_is_the_same_in_steps():
    model = build(models.conformer(width=8, num_heads=2, num_layers=1, past=3, dropout=0.3), sl.ChannelSpec((3,)))
    x, rng = vectors(24), jax.random.key(3)
    y = jax.jit(lambda x: model.layer(x, training=True, rng=rng))(x)
    assert_same(y, jax.jit(lambda x: sl.step_by_step(model, x, training=True, rng=rng))(x))
    assert sl.testing.first_difference(y, model.layer(x, training=False))


# --- memory -----------------------------------------------------------------------------------------------------
def test_state_of_a_mamba_is_that_of_its_formula_however_long_the_stream():
    w, heads, state, kernel, layers = 8, 4, 3, 4, 2
    model = build(models.mamba(11, width=w, num_heads=heads, state_size=state, num_layers=layers))
    inner = 2 * w
    remembered = 4 * heads * state * (inner // heads)
    recent = (kernel - 1) * (4 * (inner + 2 * state) + 1)  # and a byte of mask
    assert state_bytes(model) == state_bytes(model, max_length=10**6) == layers * (remembered + recent)


def test_state_of_a_transformer_grows_only_without_a_window():
    window, endless = (build(models.transformer(11, width=8, past=past)) for past in (16, -1))
    assert state_bytes(window, max_length=100) == state_bytes(window, max_length=10**6)
    grown = state_bytes(endless, max_length=200) - state_bytes(endless, max_length=100)
    assert grown == 100 * 2 * (2 * 4 * 8 + 4)  # two layers: keys, values, and the time of each


# --- structure --------------------------------------------------------------------------------------------------
def test_wavenet_against_its_definition():
    w, skip = 3, 4
    model = build(models.wavenet(5, width=w, skip_width=skip, dilations=[1, 2], num_stacks=1), sl.ChannelSpec((2,)))
    leaves, structure = jax.tree.flatten(model)
    draw = np.random.default_rng(0)
    leaves = [jnp.asarray(draw.normal(0, 0.5, leaf.shape), leaf.dtype) for leaf in leaves]
    model, x = jax.tree.unflatten(structure, leaves), vectors(9, 2)
    start, stacks, *_ = model.layers
    hidden, output = model.layers[4], model.layers[6]

    def convolve(values, layer, dilation, index=...):
        kernel, bias = layer.kernel[index], layer.bias[index]
        padded = np.pad(values, ((dilation, 0), (0, 0)))
        return padded[:-dilation] @ kernel[0] + padded[dilation:] @ kernel[1] + bias

    y = model.layer(x, training=False)
    for item in range(2):
        carried = convolve(np.asarray(x.values[item]), start, 1)
        residual, skips = carried[:, :w], carried[:, w:]
        for dilation, block in zip([1, 2], stacks.child_layer.layers, strict=True):
            _, convolution, _, dense = block.layers
            z = convolve(residual, convolution, dilation, index=0)
            z = np.tanh(z[:, :w]) / (1 + np.exp(-z[:, w:]))
            added = z @ dense.kernel[0] + dense.bias[0]
            residual, skips = residual + added[:, :w], skips + added[:, w:]
        z = np.maximum(np.maximum(skips, 0) @ hidden.kernel[...] + hidden.bias[...], 0)
        np.testing.assert_allclose(y.values[item], z @ output.kernel[...] + output.bias[...], atol=1e-5)


@pytest.mark.parametrize('options', [{}, {'streaming': True}, {'streaming': True, 'look_ahead': 2}], ids=str)
def test_encoder_decoder_in_steps(options):
    source = vectors(9).replace(mask=jnp.arange(9) < jnp.array([[9], [6]]))
    declaration = models.encoder_decoder(11, width=8, num_heads=2, past=4, **options)
    model, x = build(declaration, source=source), ids(9)
    constants = {'source': source}
    y = jax.jit(lambda x: model.layer(x, training=False, constants=constants))(x)
    assert_same(y, jax.jit(lambda x: sl.step_by_step(model, x, constants=constants))(x))


def test_a_whole_source_is_encoded_once():
    source, x = vectors(5), ids(3)
    declaration = models.encoder_decoder(11, source_vocabulary=7, source_name='text', width=8, num_heads=2)
    text = ids(5, vocabulary=7)
    model = build(declaration, text=text)
    y = jax.jit(lambda x: model.layer(x, training=False, constants={'text': text}))(x)
    state = jax.jit(lambda: model.get_initial_state(2, training=False, constants={'text': text}))()
    assert_same(y, jax.jit(lambda x: model.step(x, state, training=False)[0])(x))
    with pytest.raises(sl.LayerError, match=r"reads constants\['text'\]"):
        model.layer(x, training=False, constants={'source': source})


def test_a_streaming_decoder_sees_its_look_ahead_of_the_source_and_no_more():
    source, x, t = vectors(9), ids(9), 4
    declaration = models.encoder_decoder(11, width=8, num_heads=2, num_layers=1, past=2, streaming=True, look_ahead=2)
    model = build(declaration, source=source)

    def output(values):
        constants = {'source': source.replace(values=values)}
        return jnp.square(model.layer(x, training=False, constants=constants).values[:, t]).sum()

    used = np.abs(jax.jit(jax.grad(output))(source.values)).sum((0, 2)) > 0
    # By attention from t - 2 to t + 2; the encoder's block looks two further back.
    np.testing.assert_array_equal(np.flatnonzero(used), np.arange(t - 4, t + 3))


# --- errors -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    'declare, message',
    [
        (lambda: models.transformer(width=10, num_heads=4), 'must divide the width 10, got num_heads=4'),
        (lambda: models.conformer(num_layers=0), 'num_layers must be at least 1, got 0'),
        (lambda: models.encoder_decoder(5, look_ahead=2), 'look_ahead=2 is for streaming=True'),
        (
            lambda: models.EncoderDecoder(
                sl.Lookahead(1), sl.StreamingDotProductAttention('source/encoded', 1, 2, max_past_horizon=3)
            ),
            'EncoderDecoder: .* output ratio 1, block size 1 and output latency 1',
        ),
    ],
)
def test_wrong_sizes(declare, message):
    with pytest.raises(sl.LayerError, match=message):
        declare()


def test_a_source_that_is_no_sequence():
    with pytest.raises(sl.LayerError, match=r"constants\['source'\] must be a Sequence, got ArrayImpl"):
        build(models.encoder_decoder(5), source=jnp.ones((2, 5, 3)))
