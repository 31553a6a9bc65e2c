"""Layers published for TensorFlow alone, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

import seqlayers as sl

DRAW = np.random.default_rng(0)


def build(layer, channels=(), dtype='float32'):
    return layer.build(sl.ChannelSpec(channels, dtype), rngs=0)


def run(model, x):
    return model.layer(x, training=False)


def sequence(*shape, lengths=None):
    values = jnp.asarray(DRAW.standard_normal(shape), jnp.float32)
    return sl.Sequence.from_values(values) if lengths is None else sl.Sequence.from_lengths(values, lengths)


# --- time rearranged ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('padding', 'frames', 'mask'),
    [('causal_valid', '001 234 5..', '110'), ('causal', '001 234 5..', '110'), ('valid', '123 45.', '10')],
)
def test_stacked_frames(padding, frames, mask):
    x = sl.Sequence.from_lengths(jnp.array([[1, 2, 3, 4, 5, 9, 9]]), [5])
    y = run(build(sl.StackFrames(3, padding), dtype='int32'), x)
    assert ' '.join(''.join(map(str, frame)) for frame in y.values[0].tolist()) == frames.replace('.', '0')
    assert ''.join(map(str, y.mask[0].astype(int))) == mask


@pytest.mark.parametrize(('padding', 'late'), [('semicausal', 0), ('causal_valid', 2)])
def test_unstacking_undoes_stacking(padding, late):
    x = sequence(2, 12, 2, lengths=[12, 9])
    model = sl.Serial([sl.StackFrames(3, padding), sl.UnstackFrames(3)])
    y = run(build(model, (2,)), x)[:, late:]
    assert y.mask.sum() >= 12 + 9 - 2 * 3
    both = y.mask & x.mask[:, : y.shape[1]]
    np.testing.assert_array_equal(y.values[both], x.values[:, : y.shape[1]][both])


def test_errors_of_stacking():
    with pytest.raises(sl.LayerError, match='at least 1; got 0'):
        sl.StackFrames(0)
    with pytest.raises(sl.LayerError, match='padding must be one of'):
        sl.StackFrames(2, 'around')
    with pytest.raises(sl.LayerError, match=r'takes channels \(2, \.\.\.\), got \(3,\)'):
        build(sl.UnstackFrames(2), (3,))


def test_reversed_about_the_last_valid_timestep():
    masks = jnp.array([[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0]], bool)
    x = sl.Sequence(jnp.arange(16).reshape(4, 4), masks)
    y = run(build(sl.ReverseSequence(), dtype='int32'), x)
    assert y.mask.tolist() == masks.tolist()
    assert y.mask_invalid().values.tolist() == [[3, 2, 1, 0], [6, 5, 4, 0], [10, 0, 8, 0], [0, 0, 0, 0]]
    again = run(build(sl.ReverseSequence(), dtype='int32'), y)
    np.testing.assert_array_equal(again.mask_invalid().values, x.mask_invalid().values)


# --- convolutions -------------------------------------------------------------------------------------------------


def correlate(x, kernel):
    """`(time, channels)` with a kernel `(size, channels)` each, all whole windows."""
    return np.stack([np.correlate(a, k, 'valid') for a, k in zip(x.T, kernel.T, strict=True)], -1)


def test_separable_convolution():
    model = build(sl.SeparableConv1D(4, 3, depth_multiplier=2, activation=jnp.tanh), (3,))
    published = sl.interop.to_published(model)['params']
    depthwise, pointwise = published['depthwise']['kernel'], published['pointwise']['kernel']
    assert depthwise.shape == (3, 1, 6) and pointwise.shape == (6, 4) and published['pointwise']['bias'].shape == (4,)
    x = sequence(1, 8, 3)
    inner = correlate(np.repeat(x.values[0], 2, axis=-1), depthwise[:, 0])
    np.testing.assert_allclose(run(model, x).values[0], np.tanh(inner @ pointwise), atol=1e-5)


def test_depthwise_convolution_of_two_axes():
    model = build(sl.DepthwiseConv2D((2, 3), depth_multiplier=2, time_padding='valid', spatial_padding='valid'), (5, 2))
    kernel, x = np.asarray(model.kernel[...]), sequence(1, 6, 5, 2)
    assert kernel.shape == (2, 3, 1, 4)
    expected = np.stack(
        [signal.correlate2d(x.values[0, :, :, c // 2], kernel[:, :, 0, c], 'valid') for c in range(4)], -1
    )
    np.testing.assert_allclose(run(model, x).values[0], expected, atol=1e-5)


def test_lightweight_convolution():
    model = build(sl.NormalizedDepthwiseConv1D(3, num_heads=2), (4,))
    kernel, x = np.exp(np.asarray(model.kernel[...])), sequence(1, 8, 4)
    weights = np.repeat(kernel / kernel.sum(0), 2, axis=1)  # neighbours share a head
    np.testing.assert_allclose(run(model, x).values[0], correlate(np.asarray(x.values[0]), weights), atol=1e-5)
    with pytest.raises(sl.LayerError, match=r'divides one channel axis into 2 heads, got channels \(3,\)'):
        build(sl.NormalizedDepthwiseConv1D(3, num_heads=2), (3,))


@pytest.mark.parametrize(('size', 'cutoff', 'beta'), [(33, 0.5, 8.0), (16, 0.3, 5.0), (1, 0.9, 8.0)])
def test_taps_of_the_sinc_filter(size, cutoff, beta):
    taps = sl.SincFilter1D(size, cutoff, kaiser_beta=beta).taps()
    np.testing.assert_allclose(taps, signal.firwin(size, cutoff, window=('kaiser', beta)), atol=1e-12)


@pytest.mark.parametrize(('frequency', 'gain'), [(0.0, 1.0), (0.3, 1.0), (0.5, 0.5), (0.7, 0.0), (1.0, 0.0)])
def test_sinc_filter_passes_low_frequencies(frequency, gain):
    tone = np.cos(np.pi * frequency * np.arange(200))
    y = run(build(sl.SincFilter1D(65, 0.5, strides=2)), sl.Sequence.from_values(jnp.asarray(tone[None], jnp.float32)))
    np.testing.assert_allclose(y.values[0], gain * tone[32:-32:2], atol=2e-3)


def test_cutoff_out_of_range():
    with pytest.raises(sl.LayerError, match=r'cutoff is above 0 and at most 1, half the rate of the input; got 1\.5'):
        sl.SincFilter1D(9, 1.5)


# --- the others ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('axis', [2, 3])
def test_instance_normalization(axis):
    model = build(sl.InstanceNormalization(axis, epsilon=1e-3), (3, 2))
    assert model.network.scale.shape == (5 - axis,)
    x = sequence(2, 7, 3, 2, lengths=[7, 4])
    for b, length in enumerate([7, 4]):
        valid = np.asarray(x.values[b, :length])
        other = (0, 2) if axis == 2 else (0, 1)  # time, and the channels that do not count
        expected = (valid - valid.mean(other, keepdims=True)) / np.sqrt(valid.var(other, keepdims=True) + 1e-3)
        np.testing.assert_allclose(run(model, x).values[b, :length], expected, atol=1e-5)


@pytest.mark.parametrize(('power', 'floor'), [(1.0, None), (2.0, None), (2.0, 0.5)])
def test_spectrogram(power, floor):
    x = sequence(1, 20)
    frames = np.stack([x.values[0, i : i + 8] for i in (0, 4, 8, 12)]) * sl.signal.hann_window(8)
    expected = np.abs(np.fft.rfft(frames, 16)) ** power
    expected = expected if floor is None else np.log(np.maximum(expected, floor))
    y = run(build(sl.Spectrogram(8, 4, 16, time_padding='valid', power=power, log_floor=floor)), x)
    np.testing.assert_allclose(y.values[0], expected, atol=1e-4)
    with pytest.raises(sl.LayerError, match='log_floor must be above 0, or None for no logarithm; got 0'):
        sl.Spectrogram(8, 4, 8, log_floor=0)


def test_style_tokens():
    model = build(sl.StyleToken(5, num_heads=2, units_per_head=3), (4,))
    published, x = sl.interop.to_published(model)['params'], sequence(1, 6, 4)
    projection, v = published['query_projection'], published['to_logits']['kernel'][:, 0]
    query = np.einsum('ti,inqu->tnqu', x.values[0], projection['kernel']) + projection['bias']
    logits = np.tanh(query + published['style_token_keys'][0]) @ v
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(run(model, x).values[0], weights @ published['style_tokens'], atol=1e-5)


def test_keys_of_style_tokens_start_on_both_sides():
    model = build(sl.StyleToken(50, num_heads=4, units_per_head=46), (4,))
    keys, bound = np.asarray(model.style_token_keys[...]), np.sqrt(6 / (50 + 46))
    assert -bound <= keys.min() < -0.95 * bound and 0.95 * bound < keys.max() <= bound
    assert abs(np.asarray(model.style_tokens[...]).std() * np.sqrt(46) - 1) < 0.05
    bfloat16 = build(sl.StyleToken(3, 1, 2, compute_dtype='bfloat16'), (4,))
    assert bfloat16.output_spec.dtype == jnp.bfloat16  # the published layer declares another dtype


def test_asserted_channels():
    sl.Serial([sl.Dense(3), sl.AssertChannelSpec([3], 'float32')]).build(sl.ChannelSpec((2,)), rngs=0)
    with pytest.raises(
        sl.LayerError, match=r'layers_1 .*: expects channels \(4,\) \(None is any size\) and got \(3,\)'
    ):
        build(sl.Serial([sl.Dense(3), sl.AssertChannelSpec([4])]), (2,))
    with pytest.raises(sl.LayerError, match=r'expects int32 and got float32. Put sl.Cast\(\'int32\'\) before it'):
        build(sl.AssertChannelSpec(dtype='int32'))


def test_dropout_always():
    x, key = sl.Sequence.from_values(jnp.ones((2, 50, 8))), jax.random.key(0)
    model = sl.Dropout(0.5, always=True).build(x.channel_spec, rngs=0)
    y = model.layer(x, training=False, rng=key)
    assert set(np.unique(y.values)) == {0, 2}
    np.testing.assert_array_equal(y.values, model.layer(x, training=True, rng=key).values)
    np.testing.assert_array_equal(y.values, sl.step_by_step(model, x, rng=key).values)
    with pytest.raises(sl.LayerError, match='draws random numbers here and got no key'):
        model.layer(x, training=False)
