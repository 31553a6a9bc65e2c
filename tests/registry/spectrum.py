import seqlayers as sl
from tests.registry.case import Case

CASES = [
    Case(sl.Window(2), channels=(4, 3)),
    Case(sl.Window(-1, sl.signal.hamming_window), channels=(5,), dtype='complex64'),
    Case(sl.Window(-1, None), channels=(4,)),
    *(
        Case(transform(length, axis=axis, padding=padding), channels=(6, 5), dtype=dtype)
        for transform, dtype in [(sl.FFT, 'complex64'), (sl.RFFT, 'float32')]
        for length, axis, padding in [
            (None, -1, 'right'),
            (8, 2, 'center'),
            (4, -2, 'center'),
            (4, 3, 'right'),
        ]
    ),
    Case(sl.FFT(8), channels=(6,)),
    Case(sl.RFFT(), channels=(6,), dtype='bfloat16'),
    Case(sl.IFFT(), channels=(6,), dtype='complex64'),
    Case(sl.IFFT(8, frame_length=5, axis=2, padding='center'), channels=(8, 2), dtype='complex64'),
    Case(sl.IRFFT(), channels=(4,), dtype='complex64'),
    Case(sl.IRFFT(7, frame_length=9, axis=2, padding='center'), channels=(4, 2), dtype='complex64'),
    Case(sl.STFT(8, 4, 8, time_padding='causal'), channels=(2,)),
    Case(sl.STFT(8, 3, 5, fft_padding='center', output_magnitude=True), channels=()),
    Case(sl.STFT(6, 3, 8, window_fn=None, time_padding='same', output_magnitude=True), channels=()),
    Case(sl.STFT(6, 3, 8, time_padding='causal_valid', output_magnitude=True), channels=()),
    Case(sl.STFT(6, 4, 8, time_padding=(2, 3), output_magnitude=True), channels=()),
    Case(sl.InverseSTFT(8, 4, 8), channels=(5,), dtype='complex64'),
    Case(
        sl.InverseSTFT(6, 2, 4, time_padding='valid', fft_padding='center'),
        channels=(3, 2),
        dtype='complex64',
    ),
    Case(sl.InverseSTFT(8, 3, 7, None, time_padding='semicausal_full'), channels=(4,), dtype='complex64'),
    Case(sl.InverseSTFT(8, 2, 8, sl.signal.InverseSTFTWindow(2)), channels=(5,), dtype='complex64'),
    Case(sl.LinearToMelSpectrogram(3, 8000, 100.0, 3800.0), channels=(9,)),
    Case(sl.LinearToMelSpectrogram(3, 8000.0, 0.0, 4000.0), channels=(2, 9)),
]
