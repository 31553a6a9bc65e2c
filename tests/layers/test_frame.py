"""Frames, spectra and pooling by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl


def run(layer, x):
    return layer.build(x.channel_spec, rngs=0).layer(x, training=False)


@pytest.mark.parametrize(
    ('paddings', 'expected', 'mask'),
    [
        (['valid'], '123 345 500', '110'),
        (['same', 'semicausal', (1, 1)], '012 234 450 000', '1110'),
        (['causal', 'causal_valid', (2, 0)], '001 123 345 500', '1110'),
        (['reverse_causal', (0, 2)], '123 345 500 000', '1110'),
        (['reverse_causal_valid'], '123 345 500 000', '1100'),
        (['semicausal_full'], '012 234 450 000', '1110'),
    ],
)
def test_frames_of_five_samples_and_two_invalid_ones(paddings, expected, mask):
    x = sl.Sequence.from_lengths(jnp.array([[1, 2, 3, 4, 5, 9, 9]]), [5])
    for padding in paddings:
        y = run(sl.Frame(3, 2, padding), x)
        assert ' '.join(''.join(map(str, frame)) for frame in y.values[0].tolist()) == expected, padding
        assert ''.join(map(str, y.mask[0].astype(int))) == mask, padding


def test_overlap_add_undoes_frame():
    x = sl.Sequence.from_lengths(jnp.arange(1.0, 43).reshape(2, 21), [21, 9])
    windowed = run(sl.Frame(5, 2, 'semicausal_full'), x)
    counts = run(sl.Frame(5, 2, 'semicausal_full'), sl.Sequence(jnp.ones((2, 21)), x.mask))
    y, n = (run(sl.OverlapAdd(5, 2, 'semicausal_full'), s).mask_invalid() for s in (windowed, counts))
    assert y.shape[1] >= 21
    assert y.mask[:, :21][x.mask].all()
    np.testing.assert_allclose((y.values / jnp.maximum(n.values, 1))[:, :21], x.mask_invalid().values, atol=1e-5)
    assert not y.values[:, 21:].any()


def test_stft_by_hand():
    x = sl.Sequence.from_values(jnp.arange(1.0, 9)[None])
    spectrum = run(sl.STFT(4, 2, 4, time_padding='causal'), x)
    expected = [[0.5, 0.5j, -0.5], [4, -2 + 1j, 0], [8, -4 + 1j, 0], [12, -6 + 1j, 0]]
    np.testing.assert_allclose(spectrum.values[0], expected, atol=1e-5)
    magnitude = run(sl.STFT(4, 2, 8, time_padding='semicausal', fft_padding='center', output_magnitude=True), x)
    expected = [[2, 1.84776, 1.41421, 0.76537, 0], [6, 5.16991, 3.16228, 1.12786, 0]]
    np.testing.assert_allclose(magnitude.values[0, :2], expected, atol=1e-5)


def test_receptive_field_of_stft_without_what_the_window_and_the_transform_leave_out():
    assert sl.STFT(8, 3, 8).receptive_field == (1, 7)
    assert sl.STFT(8, 3, 4).receptive_field == (1, 3)
    assert sl.STFT(8, 3, 8, window_fn=jnp.zeros).receptive_field is None
    fields = sl.InverseSTFT(8, 3, 8).receptive_field_per_step
    assert fields == {0: (-2, -1), 1: (-2, 0), 2: (-1, 0)}


@pytest.mark.parametrize('sizes', [(32, 16, 32), (32, 8, 64), (50, 15, 64)])
@pytest.mark.parametrize('paddings', [('semicausal_full', 'semicausal_full'), ('semicausal', 'causal')])
def test_inverse_stft_reconstructs(sizes, paddings):
    length, step, _ = sizes
    rng = np.random.default_rng(0)
    x = sl.Sequence.from_lengths(jnp.asarray(rng.normal(size=(2, 203)), jnp.float32), [203, 120])
    spectrum = run(sl.STFT(*sizes, time_padding=paddings[0]), x)
    window = sl.signal.InverseSTFTWindow(step)
    y = run(sl.InverseSTFT(*sizes, window_fn=window, time_padding=paddings[1]), spectrum)
    late = length - step if paddings[1] == 'causal' else 0
    y = y[:, late : late + 203]
    both = y.mask & x.mask[:, : y.shape[1]]
    assert (both.sum(1) >= jnp.array([203, 120]) - late - step).all()
    np.testing.assert_allclose(y.values[both], x.values[:, : y.shape[1]][both], atol=1e-5)


@pytest.mark.parametrize('length', [31, 32, 33, None])
@pytest.mark.parametrize('padding', ['right', 'center'])
@pytest.mark.parametrize('axis', [-1, -2])
def test_inverse_transforms(length, padding, axis):
    rng = np.random.default_rng(0)
    values = jnp.asarray(rng.normal(size=(2, 3, 32, 32)), jnp.float32)
    x = sl.Sequence.from_values(values)
    fields = {'axis': axis, 'padding': padding}
    cut = run(sl.IRFFT(length or 32, 32, **fields), run(sl.RFFT(length, **fields), x))
    again = run(sl.IRFFT(length or 32, 32, **fields), run(sl.RFFT(length, **fields), cut))
    np.testing.assert_allclose(again.values, cut.values, atol=1e-5)
    assert ((cut.values - values).max() < 1e-5) == (length != 31)
    complex_cut = run(sl.IFFT(length, 32, **fields), run(sl.FFT(length, **fields), x.astype(jnp.complex64)))
    np.testing.assert_allclose(complex_cut.values, cut.values, atol=1e-5)


@pytest.mark.parametrize(
    ('layer', 'expected'),
    [
        (sl.AveragePooling1D(3, padding='causal'), [4 / 3, 8 / 3, 4]),
        (sl.AveragePooling1D(3, padding='causal', masked_average=True), [4, 4, 4]),
        (sl.AveragePooling1D(3, padding='reverse_causal'), [4, 8 / 3, 4 / 3]),
        (sl.AveragePooling1D(3, padding='reverse_causal', masked_average=True), [4, 4, 4]),
        (sl.MaxPooling1D(3, padding='same'), [4, 4, 4]),
        (sl.MinPooling1D(3, padding='same'), [4, 4, 4]),
    ],
)
def test_pooling_of_three_fours_and_an_invalid_one(layer, expected):
    y = run(layer, sl.Sequence.from_lengths(jnp.array([[4.0, 4.0, 4.0, 100.0]]), [3]))
    np.testing.assert_allclose(y.values[0, :3], expected, rtol=1e-6)


@pytest.mark.parametrize('dtype', ['int8', 'int32', 'float32', 'bfloat16'])
def test_pooling_keeps_the_dtype(dtype):
    x = sl.Sequence.from_values(jnp.array([[100, 120, 99]], dtype))
    for layer, expected in [
        (sl.AveragePooling1D(2, padding='valid'), [110, 109 if 'int' in dtype else 109.5]),
        (sl.MaxPooling1D(2, padding='valid'), [120, 120]),
        (sl.MinPooling1D(2, padding='valid'), [100, 99]),
    ]:
        y = run(layer, x)
        assert y.dtype == x.dtype
        assert y.values[0].tolist() == expected
