import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from seqlayers import signal


@pytest.mark.parametrize(
    ('window', 'length', 'values'),
    [
        (signal.hann_window, 1, [1]),
        (signal.hann_window, 4, [0, 0.5, 1, 0.5]),
        (signal.hann_window, 5, [0, 0.5, 1, 0.5, 0]),
        (signal.hann_window, 6, [0, 0.25, 0.75, 1, 0.75, 0.25]),
        (signal.hamming_window, 4, [0.08, 0.54, 1, 0.54]),
        (signal.InverseSTFTWindow(2), 4, [0, 1, 1, 1]),
        (signal.InverseSTFTWindow(3), 8, [0, 0.14042, 0.51096, 0.87226, 0.95887, 0.87226, 0.51096, 0.14042]),
    ],
)
def test_windows(window, length, values):
    np.testing.assert_allclose(window(length), values, atol=1e-5)


@pytest.mark.parametrize('length', [64, 65])
@pytest.mark.parametrize(
    ('window', 'reference'), [(signal.hann_window, np.hanning), (signal.hamming_window, np.hamming)]
)
def test_windows_against_numpy(window, reference, length):
    np.testing.assert_allclose(window(length, periodic=False), reference(length), atol=1e-6)
    periodic = reference(length + 1)[:-1] if length % 2 == 0 else reference(length)
    np.testing.assert_allclose(window(length), periodic, atol=1e-6)


def test_inverse_window_makes_overlapping_copies_add_to_one():
    length, step = 50, 15
    product = signal.hann_window(length) * signal.InverseSTFTWindow(step)(length)
    total = np.zeros(10 * step)
    for start in range(-length, 10 * step, 1):
        if start % step == 0:
            inside = np.arange(max(start, 0), min(start + length, 10 * step))
            total[inside] += product[inside - start]
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_window_table():
    assert signal.window_table(None, 3).tolist() == [1, 1, 1]
    assert signal.window_table(jnp.hanning, 3).tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match=r'window_fn\(3\) must return'):
        signal.window_table(lambda n: np.ones(n + 1), 3)


def test_mel_matrix():
    matrix = signal.linear_to_mel_weight_matrix(4, 9, 8000, 125, 3800)
    assert matrix.shape == (9, 4)
    known = {
        0: [0, 0, 0, 0],
        1: [0.89565, 0.10435, 0, 0],
        2: [0, 0.86908, 0.13092, 0],
        4: [0, 0, 0.50557, 0.49443],
        7: [0, 0, 0, 0.20334],
        8: [0, 0, 0, 0],
    }
    for row, values in known.items():
        np.testing.assert_allclose(matrix[row], values, atol=1e-5)


@pytest.mark.parametrize(
    'arguments',
    [
        (0, 9, 8000, 125, 3800),
        (4, 9, 0, 125, 3800),
        (4, 9, 8000, -1, 3800),
        (4, 9, 8000, 200, 100),
        (4, 9, 8000, 0, 4001),
    ],
)
def test_mel_matrix_errors(arguments):
    with pytest.raises(ValueError, match='must be'):
        signal.linear_to_mel_weight_matrix(*arguments)


@pytest.mark.parametrize('length', [64, 65])
@pytest.mark.parametrize('name', ['hann', 'hamming', 'blackman', ('kaiser', 8.6), 8.6])
def test_windows_by_name(name, length):
    periodic = length % 2 == 0
    expected = scipy.signal.get_window(name, length, fftbins=periodic)
    np.testing.assert_allclose(signal.get_window(name, length), expected, atol=1e-6)
    np.testing.assert_allclose(
        signal.get_window_fn(name)(length, periodic=False),
        scipy.signal.get_window(name, length, fftbins=False),
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ('length', 'step', 'mode', 'frames'),
    [
        (2, 1, 'causal', ['01', '12', '23', '34', '45']),
        (2, 2, 'causal', ['01', '23', '45']),
        (2, 3, 'causal', ['01', '34']),
        (2, 3, 'same', ['12', '45']),
        (7, 1, 'valid', []),
    ],
)
def test_frame(length, step, mode, frames):
    x = jnp.arange(1, 6)
    expected = np.array([list(map(int, frame)) for frame in frames]).reshape(-1, length)
    assert np.array_equal(signal.frame(x, length, step, pad_mode=mode), expected)
    inner = signal.frame(jnp.stack([x, -x], 1)[None], length, step, axis=1, pad_mode=mode)
    assert np.array_equal(inner, np.stack([expected, -expected], -1)[None])


@pytest.mark.parametrize(('length', 'total'), [(2, '12045'), (3, '123450'), (4, '1238500')])
def test_overlap_and_add(length, total):
    frames = signal.frame(jnp.arange(1, 6), length, 3)
    expected = list(map(int, total))[: (len(frames) - 1) * 3 + length]
    assert signal.overlap_and_add(frames, 3).tolist() == expected
    outer = jnp.stack([frames, 2 * frames])[None]
    assert np.array_equal(signal.overlap_and_add(outer, 3), np.outer([1, 2], expected)[None])


def test_frame_errors():
    with pytest.raises(ValueError, match='kernel_size'):
        signal.frame(jnp.arange(5), 0, 1)
    with pytest.raises(ValueError, match='padding'):
        signal.frame(jnp.arange(5), 2, 1, pad_mode='sideways')
