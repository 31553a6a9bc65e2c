"""Known defects of the published library, part one: when a stream starts and ends, and how long it is.

The numbers are those of our list of them. Each docstring says what is wrong there, the test what is right.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from seqlayers.padding import PADDING_MODES, TRANSPOSED_PADDING_MODES
from tests.defects.helpers import assert_gives, bits, build, conv, line, run, shown, steps, transposed, whole

X = [3.0, 1, 4, 1, 5, 9, 2]


# By definition: a sequence is a list of its values, None where it is invalid or not there.


def window(x, size, stride, left, needs_all):
    """Sums of windows; valid if the input at position `left` of the window is, or if all of them are."""
    spots = [range(i - left, i - left + size) for i in range(0, len(x), stride)]
    taps = [[x[t] if 0 <= t < len(x) else None for t in spot] for spot in spots]
    valid = [None not in tap if needs_all else tap[left] is not None for tap in taps]
    return [sum(v or 0 for v in tap) if ok else None for tap, ok in zip(taps, valid, strict=True)]


def spread(x, size, stride):
    """The sum of inputs, each repeated `size` times from its place on."""
    sums = [
        sum(v for i, v in enumerate(x) if v is not None and 0 <= o - i * stride < size) for o in range(len(x) * stride)
    ]
    return [None if x[o // stride] is None else sums[o] for o in range(len(sums))]


def overlap(x, size, stride):
    """Frames of valid inputs only, added up again where they came from."""
    frames = [i for i in range(0, len(x), stride) if None not in x[i : i + size] and i + size <= len(x)]
    return [
        sum(x[o] for i in frames if i <= o < i + size) if o // stride * stride in frames else None
        for o in range(len(x))
    ]


def normalized(x):
    """Less the mean so far, over the root of the mean square deviation so far."""
    y, seen, squares = [], [], []
    for v in x:
        if v is not None:
            seen.append(v)
            squares.append((v - np.mean(seen)) ** 2)
        y.append(None if v is None else (v - np.mean(seen)) / np.sqrt(np.mean(squares) + 1e-3))
    return y


@pytest.mark.parametrize(
    ('size', 'stride', 'layer_mask', 'step_mask'),
    [(3, 1, '1100', '001100'), (4, 2, '1110', '011100'), (5, 3, '1110', '011100')],
)
def test_q2_startup_outputs_of_reverse_causal_valid_are_invalid(size, stride, layer_mask, step_mask):
    """The published buffer starts as valid, so that steps begin with garbage that says it is valid."""
    x = line(np.arange(4 * stride))
    model = build(conv(size, strides=stride, padding='reverse_causal_valid'), x)
    assert shown(whole(model, x).mask) == layer_mask
    assert shown(steps(model, x).mask) == step_mask
    frame = build(sl.Frame(size, stride, padding=(0, size - 1)), x)
    assert shown(steps(frame, x).mask).startswith('0' * frame.output_latency + '1')


AHEAD = conv(3, padding='reverse_causal_valid')


@pytest.mark.parametrize(
    ('layers', 'by_definition'),
    [
        ([AHEAD, conv(2, padding='causal')], lambda x: window(window(x, 3, 1, 0, True), 2, 1, 1, False)),
        ([AHEAD, transposed(3, strides=2, padding='causal')], lambda x: spread(window(x, 3, 1, 0, True), 3, 2)),
        (
            [AHEAD, conv(3, strides=2, padding='semicausal')],
            lambda x: window(window(x, 3, 1, 0, True), 3, 2, 1, False),
        ),
        (
            [AHEAD, sl.GroupNormalization(1, epsilon=1e-3, cumulative=True)],
            lambda x: normalized(window(x, 3, 1, 0, True)),
        ),
        (
            [sl.AveragePooling1D(2, padding='reverse_causal_valid'), sl.Scale(2.0), conv(3, padding='causal')],
            lambda x: window(window(x, 2, 1, 0, True), 3, 1, 2, False),
        ),
        ([sl.Frame(4, 2), sl.OverlapAdd(4, 2, padding='causal')], lambda x: overlap(x, 4, 2)),
    ],
    ids=['causal', 'transposed', 'strided', 'normalization', 'pooling', 'frames'],
)
@pytest.mark.parametrize('mask', ['1111111', '1101110'])
def test_q2_and_do_not_leak_into_later_layers(layers, by_definition, mask):
    """Such garbage changes what a causal layer behind it gives, in steps only."""
    expected = by_definition([v if ok else None for v, ok in zip(X, bits(mask), strict=True)])
    assert_gives(sl.Serial(layers), line(X, mask), expected, ''.join('01'[v is not None] for v in expected))


def test_q2_stft_and_its_inverse_stream_and_reconstruct():
    """With the default padding of the STFT, the published pair is not the same in steps."""
    values = np.random.default_rng(0).standard_normal(23)
    hann = 0.5 - 0.5 * np.cos(np.pi / 4 * np.arange(8))
    expected = values[:16].copy()  # the last whole frame begins at 12
    expected[:4] *= hann[:4] ** 2 / (hann[:4] ** 2 + hann[4:] ** 2)  # no frame before the first overlaps with it
    pair = sl.Serial([sl.STFT(8, 4, 8), sl.InverseSTFT(8, 4, 8, window_fn=sl.signal.InverseSTFTWindow(4))])
    assert pair.output_latency == 4
    x = sl.Sequence(np.asarray(values[None], np.float32), np.ones((1, 23), bool))
    assert_gives(pair, x, expected)
    sl.testing.check_contract(build(pair, x), x, clauses=['start', 'end', 'padding invariance']).raise_if_failed()


@pytest.mark.parametrize(('time', 'size', 'stride'), [(5, 4, 2), (35, 3, 2), (6, 7, 2), (5, 3, 1)])
def test_q3_an_item_that_fills_the_array_ends_like_a_padded_one(time, size, stride):
    """In a published transposed convolution with padding 'valid' the outputs after the last input's are valid for an
    item that fills the array, and invalid when the same item is padded."""
    x = line(np.arange(1.0, time + 1))
    frames = x.replace(values=np.tile(x.values, (1, 1, size)))
    pairs = (transposed(size, strides=stride), x), (sl.OverlapAdd(size, stride, padding='valid'), frames)
    expected = [sum(i + 1 for i in range(time) if 0 <= o - i * stride < size) for o in range(time * stride)]
    for layer, item in pairs:
        for extra in (0, 3):
            assert_gives(layer, item.pad_time(0, extra), expected)


@pytest.mark.parametrize('extra', range(4))
@pytest.mark.parametrize(
    ('padding', 'length', 'mask'),
    [('causal', 7, '110'), ('causal', 6, '11'), ('causal_valid', 7, '100'), ('causal_valid', 6, '11')],
)
def test_q5_each_item_is_mirrored_about_its_own_end(extra, padding, length, mask):
    """The published Bidirectional mirrors the array, so with strides its result depends on how far it is padded."""
    child = conv(3, strides=3, padding=padding)
    y = run(sl.Bidirectional(child, child, combination='add'), line(X[:length]).pad_time(0, extra))
    x = dict(enumerate(X[:length]))
    expected = [sum(x.get(3 * o + j, 0) for j in (-2, -1, 0, 2, 3, 4)) for o in range(len(mask))]
    assert shown(y.mask).rstrip('0') == mask.rstrip('0')
    np.testing.assert_allclose(y.values[0, : len(mask), 0][bits(mask)], np.array(expected)[bits(mask)])


@pytest.mark.parametrize(('size', 'stride'), [(5, 2), (3, 2), (7, 2), (4, 4), (2, 3), (3, 1)])
def test_q9_semicausal_full_has_one_block_of_outputs_for_each_input(size, stride):
    """The published transposed convolution drops stride - 1 outputs whatever the overlap is, its mask is that of other
    outputs or of another length, and its overlap-add ends early."""
    x = line([2.0, 7, 1, 8, 2], '11100')
    full = np.zeros(5 * stride + max(size - stride, 0))
    for i, value in enumerate([2.0, 7, 1]):
        full[i * stride : i * stride + size] += value
    expected = full[max(size - stride, 0) :][: 5 * stride]
    layers = [transposed(size, strides=stride, padding='semicausal_full')]
    layers += [sl.OverlapAdd(size, stride, padding='semicausal_full')] if size >= stride else []
    for layer in layers:
        item = x if isinstance(layer, sl.Conv1DTranspose) else x.replace(values=np.tile(x.values, (1, 1, size)))
        y = run(layer, item)
        assert y.shape[1] == 5 * stride
        assert shown(y.mask) == '1' * 3 * stride + '0' * 2 * stride
        np.testing.assert_allclose(y.values.ravel()[: 3 * stride], expected[: 3 * stride])


@pytest.mark.parametrize(('size', 'stride'), [(4, 2), (2, 3)])
def test_q9_in_space_the_declared_shape_is_the_real_one(size, stride):
    layer = sl.Conv2DTranspose(1, (1, size), (1, stride), spatial_padding='semicausal_full', use_bias=False)
    x = sl.Sequence.from_values(jnp.ones((1, 2, 5, 1)))
    model = build(layer, x)
    assert model.output_spec.shape == model.layer(x, training=False).channel_shape == (5 * stride, 1)


def test_q11_lookahead_counts_timesteps():
    """In steps the published layer drops the first valid timesteps, in `layer` the first timesteps."""
    assert_gives(sl.Lookahead(1), line(X, '0110111'), X[1:], '110111')
    assert_gives(sl.Serial([sl.Delay(2), sl.Lookahead(3)]), line(X, '0111011'), X[1:], '111011')


@pytest.mark.parametrize(
    ('upstream', 'seen'),
    [
        (conv(2, padding='reverse_causal'), lambda x: [a + b for a, b in zip(x, [*x[1:], 0], strict=True)]),
        (sl.Delay(2, delay_layer_output=False), lambda x: x),
        (sl.Lookahead(1), lambda x: x[1:]),
    ],
)
@pytest.mark.parametrize('time', [1, 2, 5])
def test_q11_causal_valid_tells_what_is_not_there_yet_from_what_is_invalid(upstream, seen, time):
    """The published layer takes outputs before the first real one for invalid, and so its own first outputs too."""
    x = seen(X[:time])
    sums = [v + (x[t - 1] if t else 0) for t, v in enumerate(x)]
    assert_gives(sl.Serial([upstream, conv(2, padding='causal_valid')]), line(X[:time]), sums)


def test_q23_the_delay_that_a_downsampling_needs_is_inserted():
    """The published library refuses this chain: its user has to find out where to put which delay."""
    chain = sl.Serial([conv(3, padding='reverse_causal'), sl.Downsample1D(3)])
    assert chain.output_latency == 1
    assert_gives(chain, line(X), [3 + 1 + 4, 1 + 5 + 9, 2])


def test_q24_an_output_of_a_dilated_same_window_may_not_read_its_own_timestep():
    """Kept as published, because padding depends on the span of the kernel only; here the taps are at -1 and 2.

    An average over valid timesteps only is then 0 where both are invalid, and not 0 / 0."""
    layer = conv(2, dilation_rate=3, padding='same')
    assert layer.receptive_field == (-1, 2)
    assert [t in layer.timing.deps(0) for t in range(-2, 4)] == [False, True, False, False, True, False]
    assert_gives(layer, line(X), [4, 3 + 1, 1 + 5, 4 + 9, 1 + 2, 5, 9])
    average = sl.AveragePooling1D(2, dilation_rate=3, padding='same', masked_average=True)
    assert_gives(average, line(X, '0010000'), [0, 0, 0], '001')
    assert_gives(average, line(X, '1110110'), [4, 3, (1 + 5) / 2, 0, 0, 5], '111011')


EMPTY = [
    *((conv(3, strides=2, padding=padding), 0) for padding in PADDING_MODES if padding != 'semicausal_full'),
    (conv(4, strides=2, padding='semicausal_full'), 1),
    *((transposed(5, strides=2, padding=padding), 3 * (padding == 'valid')) for padding in TRANSPOSED_PADDING_MODES),
    (sl.MaxPooling1D(3, padding='causal'), 0),
    (sl.Frame(3, 2), 0),
    (sl.Delay(2), 2),
    (sl.Lookahead(2), 0),
    (sl.Lookahead(2, preserve_length_in_layer=True), 0),
    (sl.GroupNormalization(1, cumulative=True), 0),
    (sl.Serial([sl.Lookahead(1), sl.Downsample1D(2), sl.Upsample1D(3)]), 0),
    (sl.Residual([sl.Delay(2), sl.Lookahead(3)]), 0),
    (sl.Bidirectional(conv(2, padding='causal'), conv(2, strides=1, padding='causal')), 0),
]


@pytest.mark.parametrize(('layer', 'length'), EMPTY, ids=repr)
def test_q26_no_timesteps_are_an_input_too(layer, length):
    """Several published layers and the loop over steps raise on them."""
    x = line([])
    model = build(layer, x)
    y = whole(model, x)
    assert shown(y.mask) == '0' * length and y.channel_spec == model.output_spec
    if model.supports_step:
        state = model.get_initial_state(1, training=False)
        nothing, after = model.step(x, state, training=False)
        assert nothing.shape == (1, 0, *model.output_spec.shape)
        jax.tree.map(np.testing.assert_array_equal, after, state)
        assert shown(sl.step_by_step(model, x).mask) == '0' * length
