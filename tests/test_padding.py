"""The padding table against published numbers, and its windows against the simulator of streams."""

from fractions import Fraction

import numpy as np
import pytest

from seqlayers.padding import (
    PADDING_MODES,
    TRANSPOSED_PADDING_MODES,
    TransposedWindow,
    Window,
    output_length,
    pads,
    transposed_window,
    validate_padding,
    window,
)
from tests.stream_contract import check, check_end, masks
from tests.streams import Convolution, Transposed, garbage

SIZES = [(k, s, d) for k in (1, 2, 3, 5) for s in (1, 2, 3, 4) for d in (1, 3)]  # kernel, stride, dilation


def bits(text):
    return np.array([c == '1' for c in text])


def text(mask):
    return ''.join('01'[m] for m in mask.astype(int))


# The table.


@pytest.mark.parametrize(
    'padding, left_right',
    [
        ('valid', (0, 0)),
        ('same', (2, 2)),
        ('causal', (4, 0)),
        ('causal_valid', (4, 0)),
        ('reverse_causal', (0, 4)),
        ('reverse_causal_valid', (0, 4)),
        ('semicausal', (2, 2)),
        ('semicausal_full', (2, 4)),
        ((1, 7), (1, 7)),
    ],
)
def test_pads(padding, left_right):
    assert pads(padding, 3, 3, 2) == left_right  # the kernel spans 5


def test_same_pads_the_odd_one_on_the_right():
    assert pads('same', 4) == (1, 2)


def test_semicausal_with_a_stride_beyond_the_kernel():
    assert pads('semicausal', 2, 5) == (0, 1)
    assert pads('semicausal_full', 2, 5) == (0, 1)


@pytest.mark.parametrize('k, s, d', SIZES)
def test_output_length(k, s, d):
    span = (k - 1) * d
    for length in range(8):
        count = {mode: output_length(length, mode, k, s, d) for mode in PADDING_MODES}
        assert count.pop('valid') == -(-max(0, length - span) // s)
        assert count.pop('semicausal_full') == -(-(length + max(span + 1 - s, 0)) // s)
        assert set(count.values()) == {-(-length // s)}


def test_output_length_of_explicit_pads():
    assert output_length(5, (2, 3), kernel_size=3, stride=2) == 4
    assert output_length(1, (0, 0), kernel_size=3) == 0


@pytest.mark.parametrize(
    'padding, allow_explicit',
    [('casual', 1), ((1, 2), 0), ((1, -1), 1), ((1,), 1), ((1, 2, 3), 1), ((1.0, 2), 1), (3, 1), (None, 1)],
)
def test_unknown_padding(padding, allow_explicit):
    with pytest.raises(ValueError, match=r"padding must be one of 'valid', 'same', .*; got "):
        validate_padding(padding, allow_explicit=allow_explicit)


def test_valid_padding():
    assert [validate_padding(mode) for mode in PADDING_MODES] == list(PADDING_MODES)
    assert validate_padding((1, 2), allow_explicit=True) == (1, 2)
    with pytest.raises(ValueError, match="'semicausal_full'; got 'reverse_causal'"):
        validate_padding('reverse_causal', TRANSPOSED_PADDING_MODES)


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda: window(3, 1, 1, (1, 0)), r'must sum to 2, .* got \(1, 0\)'),
        (lambda: window(0, 1, 1, 'same'), 'kernel_size must be at least 1; got 0'),
        (lambda: window(3, -1, 1, 'same'), 'stride must be at least 1; got -1'),
        (lambda: window(3, 1, 0, 'same'), 'dilation must be at least 1; got 0'),
        (lambda: window(3, 1, 1, 'full'), "got 'full'"),
        (lambda: transposed_window(3, 1, 1, 'causal_valid'), "got 'causal_valid'"),
        (lambda: transposed_window(3, 1, 1, (1, 1)), r'got \(1, 1\)'),
        (lambda: transposed_window(3, 0, 1, 'causal'), 'stride must be at least 1; got 0'),
    ],
)
def test_impossible_windows(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Windows: published numbers.


@pytest.mark.parametrize(
    'k, s, causal, semicausal, reverse_causal, same',
    [
        # fields; for semicausal also the buffer; for reverse_causal input latency, output latency, buffer
        (2, 1, (-1, 0), ((-1, 0), 1), (1, 1, 1), (0, 1)),
        (2, 2, (-1, 0), ((0, 1), 0), (1, 0, 0), (0, 1)),
        (3, 2, (-2, 0), ((-1, 1), 1), (2, 1, 2), (-1, 1)),
        (4, 3, (-3, 0), ((-1, 2), 1), (3, 1, 3), (-1, 2)),
        (7, 2, (-6, 0), ((-5, 1), 5), (6, 3, 6), (-3, 3)),
        (7, 3, (-6, 0), ((-4, 2), 4), (6, 2, 6), (-3, 3)),
    ],
)
def test_published_numbers(k, s, causal, semicausal, reverse_causal, same):
    w = {mode: window(k, s, 1, mode) for mode in PADDING_MODES}
    assert w['causal'].timing.receptive_field == w['causal_valid'].timing.receptive_field == causal
    assert (w['semicausal'].timing.receptive_field, w['semicausal'].buffer) == semicausal
    for mode in ('reverse_causal', 'reverse_causal_valid'):
        assert (w[mode].input_latency, w[mode].latency, w[mode].buffer) == reverse_causal
        assert w[mode].timing.receptive_field == (0, k - 1)
    assert w['same'].timing.receptive_field == same
    for mode in ('causal', 'causal_valid', 'semicausal'):
        assert (w[mode].timing.input_latency, w[mode].timing.output_latency) == (0, 0)
    assert all(v.timing.block_size == v.timing.align == s for v in w.values())
    assert all(v.timing.output_ratio == Fraction(1, s) for v in w.values())


@pytest.mark.parametrize('k, s, d', SIZES)
def test_published_buffers(k, s, d):
    span = (k - 1) * d
    buffers = {mode: window(k, s, d, mode).buffer for mode in PADDING_MODES}
    assert buffers['causal'] == buffers['causal_valid'] == span
    assert buffers['semicausal'] == max(span + 1 - s, 0)
    assert buffers['reverse_causal'] == buffers['reverse_causal_valid'] == span // s * s
    for right in range(span + 1):
        assert window(k, s, d, (span - right, right)).buffer == span - right % s


def test_explicit_padding_of_a_frame():
    frame = window(5, 2, 1, (1, 3))
    assert (frame.input_latency, frame.latency, frame.buffer) == (3, 1, 3)


def test_the_latencies_that_the_published_library_lacks():
    same, valid, full = (window(5, 2, 1, mode) for mode in ('same', 'valid', 'semicausal_full'))
    assert (same.input_latency, same.latency) == (2, 1)
    assert (valid.input_latency, valid.latency) == (0, 2)
    assert (full.input_latency, full.latency) == (3, 0)


MASKS = """
(3,1,1) 111000 11111000 11111000 11100000 11111000 11111000 11111000 1111111000
(3,2,1) 110    1110     1110     1100     1110     1110     1110     11100
(4,2,1) 100    1110     1110     1000     1110     1110     1110     11110
(2,3,1) 110    110      110      110      110      110      110      110
(3,1,2) 1000   11111000 11111000 10000000 11111000 11111000 11111000 111111111000
"""
MASK_MODES = ['valid', 'same', 'causal_valid', 'reverse_causal_valid']
MASK_MODES += ['causal', 'reverse_causal', 'semicausal', 'semicausal_full']


@pytest.mark.parametrize('row', MASKS.strip().splitlines())
def test_published_masks(row):
    size, *expected = row.split()
    k, s, d = map(int, size.strip('()').split(','))
    x = garbage(8), bits('11111000')
    assert [text(Convolution(k, s, d, mode).layer(x)[1]) for mode in MASK_MODES] == expected


def test_left_padding_is_valid_in_causal_valid_only():
    x = garbage(6), bits('011011')
    assert text(Convolution(2, 1, 1, 'causal').layer(x)[1]) == '011011'
    assert text(Convolution(2, 1, 1, 'causal_valid').layer(x)[1]) == '001001'
    assert {mode for mode in PADDING_MODES if window(2, 1, 1, mode).buffer_mask} == {'causal_valid'}
    assert {mode for mode in PADDING_MODES if window(2, 1, 1, mode).told_offset} == {'causal_valid'}


# Windows: streams.


@pytest.mark.parametrize('padding', [*PADDING_MODES, 'explicit'])
def test_windows_stream(padding):
    rng = np.random.default_rng(1)
    for k, s, d in SIZES:
        span = (k - 1) * d
        left = int(rng.integers(span + 1))
        check(Convolution(k, s, d, (left, span - left) if padding == 'explicit' else padding), rng, (0, 3, 8))


@pytest.mark.parametrize('padding', ['valid', 'same', 'causal'])
def test_transposed_windows_stream(padding):
    rng = np.random.default_rng(2)
    for k, s, d in SIZES:
        check(Transposed(k, s, d, padding), rng, (0, 3, 6))


def test_end_of_semicausal_full_transposed():
    for k, s, d in SIZES:
        for mask in masks(5, np.random.default_rng(k)):
            check_end(Transposed(k, s, d, 'semicausal_full'), (garbage(5), mask))


# Transposed windows: published numbers.


@pytest.mark.parametrize(
    'k, s, valid, same, causal',
    [
        (1, 2, (0, 1), (0, 1), (0, 1)),
        (2, 1, (1, 1), (1, 0), (1, 0)),
        (3, 2, (2, 2), (2, 1), (2, 1)),
        (5, 2, (4, 4), (3, 2), (4, 1)),
        (5, 3, (4, 4), (3, 3), (4, 2)),
    ],
)
def test_published_transposed_pads(k, s, valid, same, causal):
    found = [transposed_window(k, s, 1, mode) for mode in ('valid', 'same', 'causal')]
    assert [(w.left, w.right) for w in found] == [valid, same, causal]


@pytest.mark.parametrize('k, s, d', SIZES)
@pytest.mark.parametrize('padding', TRANSPOSED_PADDING_MODES)
def test_transposed_length(padding, k, s, d):
    w = TransposedWindow(k, s, d, padding)
    assert w.output_length(4) == 4 * s + (w.overlap if padding == 'valid' else 0)
    spread = 3 * s + 1  # four inputs with s - 1 zeros between them
    assert w.left + spread + w.right - (w.effective - 1) == w.output_length(4)


@pytest.mark.parametrize(
    'padding, k, s, table',
    [
        ('causal', 1, 2, {0: (0, 0), 1: None}),
        ('causal', 3, 2, {0: (-1, 0), 1: (0, 0)}),
        ('causal', 5, 2, {0: (-2, 0), 1: (-1, 0)}),
        ('causal', 5, 3, {0: (-1, 0), 1: (-1, 0), 2: (0, 0)}),
        ('same', 5, 2, {0: (-1, 0), 1: (-1, 1)}),
        ('same', 5, 3, {0: (-1, 0), 1: (0, 0), 2: (0, 1)}),
        ('causal', 3, 4, {0: (0, 0), 1: (0, 0), 2: (0, 0), 3: None}),
        ('semicausal_full', 4, 2, {0: (0, 1), 1: (0, 1)}),
        ('semicausal_full', 5, 2, {0: (0, 1), 1: (0, 2)}),
    ],
)
def test_published_transposed_fields(padding, k, s, table):
    assert transposed_window(k, s, 1, padding).timing.receptive_field_per_step == table


def test_transposed_latency():
    same, dilated = transposed_window(5, 2, 1, 'same'), transposed_window(3, 2, 3, 'same')
    assert (same.latency, same.input_latency) == (1, 1)
    assert (dilated.latency, dilated.input_latency) == (2, 1)
    for mode in ('valid', 'causal'):
        timing = transposed_window(5, 2, 1, mode).timing
        assert (timing.input_latency, timing.output_latency, timing.block_size) == (0, 0, 1)
    assert transposed_window(5, 2, 1, 'semicausal_full').timing.output_latency == 3


@pytest.mark.parametrize(
    'k, s, padding, expected',
    [
        (3, 1, 'valid', '1110000'),
        (3, 2, 'valid', '11111100000'),
        (4, 2, 'valid', '111111000000'),
        (4, 2, 'causal', '1111110000'),
        (4, 2, 'same', '1111110000'),
        (2, 3, 'valid', '111111111000000'),
    ],
)
def test_published_transposed_masks(k, s, padding, expected):
    x = garbage(5), bits('11100')
    assert text(Transposed(k, s, 1, padding).layer(x)[1]) == expected


@pytest.mark.parametrize('k, s, d', SIZES)
def test_semicausal_full_is_the_transpose_of_itself(k, s, d):
    forward = Window(k, s, d, 'semicausal_full').timing
    backward = TransposedWindow(k, s, d, 'semicausal_full').timing
    for i in range(6):
        for o in range(20):
            assert (i in backward.deps(o)) == (o in forward.deps(i))
