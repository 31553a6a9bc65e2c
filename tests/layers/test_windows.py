"""The windows of convolution, pooling and framing, against NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import seqlayers as sl
from seqlayers.framing import frames, overlap_and_add
from seqlayers.layers.ring import SLACK
from seqlayers.padding import PADDING_MODES

# Sizes with and without a common divisor, shorter and longer than the step.
SIZES = [(1, 1), (1, 3), (4, 2), (5, 2), (6, 4), (2, 5), (7, 7)]


@pytest.mark.parametrize('channels', [(), (2,)])
@pytest.mark.parametrize('time', [0, 4, 23])
def test_frames(time, channels):
    values = np.random.default_rng(0).normal(size=(2, time, *channels)).astype(np.float32)
    for (length, step), dilation in itertools.product(SIZES, [1, 2]):
        span = (length - 1) * dilation + 1
        found = jax.jit(frames, static_argnums=(1, 2, 3))(values, length, step, dilation)
        if time < span:
            assert found.shape == (2, 0, length, *channels)
        else:
            windows = np.moveaxis(sliding_window_view(values, span, axis=1), -1, 2)
            np.testing.assert_array_equal(found, windows[:, ::step, ::dilation])


@pytest.mark.parametrize('channels', [(), (2,)])
@pytest.mark.parametrize('count', [0, 1, 6])
def test_overlap_and_add(count, channels):
    for length, step in SIZES:
        pieces = np.random.default_rng(0).integers(0, 100, (2, count, length, *channels))
        total = np.zeros((2, max(0, (count - 1) * step + length), *channels), int)
        for i in range(count):
            total[:, i * step : i * step + length] += pieces[:, i]
        found = jax.jit(overlap_and_add, static_argnums=1)(pieces, step)
        np.testing.assert_array_equal(found, total)


# For the input mask 11111000 the output masks of (kernel size, stride, dilation), by padding.
COLUMNS = [
    'valid',
    'same',
    'causal_valid',
    'reverse_causal_valid',
    'causal',
    'reverse_causal',
    'semicausal',
    'semicausal_full',
]
MASKS = {
    (3, 1, 1): '111000 11111000 11111000 11100000 11111000 11111000 11111000 1111111000',
    (3, 2, 1): '110 1110 1110 1100 1110 1110 1110 11100',
    (4, 2, 1): '100 1110 1110 1000 1110 1110 1110 11110',
    (2, 3, 1): '110 110 110 110 110 110 110 110',
    (3, 1, 2): '1000 11111000 11111000 10000000 11111000 11111000 11111000 111111111000',
}


@pytest.mark.parametrize('window', MASKS)
def test_masks(window):
    assert set(COLUMNS) == set(PADDING_MODES)
    kernel_size, strides, dilation_rate = window
    x = sl.Sequence.from_lengths(jnp.ones((1, 8)), [5])
    for padding, mask in zip(COLUMNS, MASKS[window].split(), strict=True):
        layer = sl.MaxPooling1D(kernel_size, strides, dilation_rate, padding).build(x.channel_spec, rngs=0)
        y = layer.layer(x, training=False)
        assert ''.join(map(str, y.mask[0].astype(int))) == mask, padding


def test_causal_valid_tells_void_from_invalid():
    """Behind a look-ahead only the void output is masked; a gap of the data spoils the next one too."""
    causal = sl.Conv1D(1, 2, padding='causal_valid')
    model = sl.Serial([sl.Lookahead(1), causal]).build(sl.ChannelSpec((1,)), rngs=0)
    x = sl.Sequence.from_values(jnp.arange(4.0).reshape(1, 4, 1))
    y, _ = model.step(x, model.get_initial_state(1, training=False), training=False)
    assert y.mask.tolist() == [[False, True, True, True]]
    alone = causal.build(x.channel_spec, rngs=0)
    gap = x.replace(mask=jnp.array([[False, True, True, True]]))
    y, _ = alone.step(gap, alone.get_initial_state(1, training=False), training=False)
    assert y.mask.tolist() == [[False, False, True, True]]


@pytest.mark.parametrize('padding', PADDING_MODES)
def test_dilated_windows_in_blocks_around_the_slack_of_the_ring(padding):
    layer = sl.Conv1D(2, 3, strides=2, dilation_rate=5, padding=padding)
    x = sl.testing.random_sequence(sl.ChannelSpec((2,)), 4 * SLACK)
    model = layer.build(x.channel_spec, rngs=0)
    expected = sl.step_by_step(model, x)
    for block in (SLACK, SLACK + 2, 4 * SLACK):
        difference = jnp.abs(sl.step_by_step(model, x, block_size=block).values - expected.values).max()
        assert difference < 1e-6


def test_a_row_of_a_dilated_window_can_rest_and_start_anew():
    model = sl.Conv1D(2, 3, dilation_rate=3, padding='causal').build(sl.ChannelSpec((2,)), rngs=0)
    x = sl.Sequence.from_values(jax.random.normal(jax.random.key(0), (2, 20, 2)))
    step = jax.jit(lambda x, state: model.step(x, state, training=False))
    fresh = state = model.get_initial_state(2, training=False)

    def choose(row, a, b):
        """The state in which `row` is that of `a`, the other that of `b`."""
        return jax.tree.map(lambda a, b: b.at[row].set(a[row]), a, b)

    outputs = []
    for t in range(20):
        y, after = step(x[:, t : t + 1], state)
        outputs.append(y.values[1])
        state = choose(0, state, after) if t < 7 else after  # row 0 rests, then starts 7 steps late
    np.testing.assert_allclose(jnp.concatenate(outputs), model.layer(x, training=False).values[1], atol=1e-6)
    late = choose(0, fresh, state)  # row 0 starts anew
    y, _ = step(x[:, :1], late)
    np.testing.assert_allclose(y.values[0], model.layer(x[:, :1], training=False).values[0], atol=1e-6)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (
            lambda: sl.Conv1D(2, 3, padding='casual'),
            r"Conv1D\(2, kernel_size=3, padding='casual'\): padding must be",
        ),
        (lambda: sl.Conv1D(2, 0), 'kernel_size must be at least 1; got 0'),
        (lambda: sl.Conv1D(2, 3, padding=(1, 2)), r'must sum to 2'),
        (lambda: sl.Conv2D(2, (3, 3, 3)), 'one for each of 2 axes'),
        (lambda: sl.Conv3D(2, 3, spatial_padding=('same', 'full')), "got 'full'"),
        (lambda: sl.Conv1DTranspose(2, 3, padding='reverse_causal'), 'padding must be one of'),
        (lambda: sl.Frame(3, 0), 'stride must be at least 1; got 0'),
        (lambda: sl.OverlapAdd(2, 3), 'frame_length must be at least frame_step'),
        (lambda: sl.Downsample1D(0), 'rate must be at least 1'),
        (lambda: sl.Upsample2D((1, 2, 3)), 'rate must be one or two numbers'),
        (lambda: sl.RFFT(0), 'fft_length must be at least 1'),
        (lambda: sl.FFT(padding='left'), "padding must be 'right' or 'center'"),
        (lambda: sl.LinearToMelSpectrogram(3, 8000, 100.0, 5000.0), 'The edges must be'),
        (lambda: sl.SpectralWeightNormalization(0), 'n_power_iteration must be at least 1'),
    ],
)
def test_errors_of_declarations(make, message):
    with pytest.raises(sl.LayerError, match=message):
        make()


@pytest.mark.parametrize(
    ('layer', 'spec', 'message'),
    [
        (sl.Conv1D(2, 3), sl.ChannelSpec(()), r'takes channels \(in\), got \(\)'),
        (sl.Conv2D(2, 3), sl.ChannelSpec((4,)), r'takes channels \(width, in\), got \(4,\)'),
        (sl.Conv1D(2, 3, groups=2), sl.ChannelSpec((3,)), 'groups=2 must divide'),
        (
            sl.Conv1D(2, 3, use_weight_norm=True, kernel_constraint=sl.L2WeightNormalization()),
            sl.ChannelSpec((3,)),
            'not both',
        ),
        (sl.MaxPooling1D(2), sl.ChannelSpec((), 'complex64'), 'pools real numbers'),
        (sl.MaxPooling3D(2), sl.ChannelSpec((4,)), 'pools 2 spatial axes'),
        (sl.OverlapAdd(3, 2), sl.ChannelSpec((4,)), r'takes channels \(3, ...\)'),
        (sl.Window(1), sl.ChannelSpec((4,)), 'axis 1 must name axes of the channels'),
        (sl.RFFT(), sl.ChannelSpec((4,), 'complex64'), 'transforms real values'),
        (sl.IRFFT(), sl.ChannelSpec((4,)), 'transforms complex values'),
        (sl.IFFT(8), sl.ChannelSpec((4,), 'complex64'), 'inverts an FFT of length 8 with 8 values, got 4'),
        (sl.LinearToMelSpectrogram(3, 8000, 0.0, 4000.0), sl.ChannelSpec(()), 'last channel axis'),
        (sl.Upsample2D(2), sl.ChannelSpec((4,)), r'takes channels \(width, channels\)'),
    ],
)
def test_errors_of_building(layer, spec, message):
    with pytest.raises(sl.LayerError, match=message):
        sl.Serial([layer]).build(spec, rngs=0)
