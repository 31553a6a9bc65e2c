"""Exercises of lesson 02: a convolution that goes on where it stopped, and which functions must."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .exercise import Exercise
from .pictures import Row, compared, number, plot_rows

CASES = 40


class StreamConv(Exercise):
    """A causal convolution, chunk by chunk: a list of outputs for a list of chunks."""

    def cases(self) -> list[tuple]:
        """Splits of 1 to 8 first: one idea each. Then random ones, chunks of one sample included."""
        small = ((4, 4), (1, 1, 1)), ((3, 5), (1, 2, 4)), ((1,) * 8, (1, 1, 1)), ((2, 1, 1, 3, 1), (1, 1, 1))
        cases = [(_split(np.arange(1.0, 9), sizes), np.array(kernel, float)) for sizes, kernel in small]
        draw = np.random.default_rng(0)
        for _ in range(CASES - len(cases)):
            sizes = draw.integers(1, 6, draw.integers(1, 7))
            values = draw.integers(-9, 10, sizes.sum()).astype(float)
            cases.append((_split(values, sizes), draw.integers(-3, 4, draw.integers(2, 6)).astype(float)))
        return cases

    def answer(self, chunks: list, kernel: np.ndarray) -> list[np.ndarray]:
        """The whole signal at once, output by output; then cut as the chunks are."""
        x = np.concatenate(chunks)
        taps = range(len(kernel))
        y = np.array([sum(kernel[k] * x[t - k] for k in taps if t >= k) for t in range(len(x))])
        return _split(y, [len(chunk) for chunk in chunks])

    def difference(self, target: list, yours: Any) -> str | None:
        if not isinstance(yours, list | tuple):
            return f'the result is a {type(yours).__name__}, not a list with one array for each chunk'
        if len(target) != len(yours):
            return f'{len(yours)} arrays for {len(target)} chunks'
        start = 0
        for i, (wanted, got) in enumerate(zip(target, map(np.asarray, yours), strict=True)):
            if got.shape != wanted.shape:
                return f'chunk {i} has {len(wanted)} samples and gives {got.size} outputs'
            wrong = np.flatnonzero(~np.isclose(wanted, got, equal_nan=True))
            if len(wrong):
                place = wrong[0]
                return f'output {start + place} is {number(got[place])}, not {number(wanted[place])}'
            start += len(wanted)
        return None

    def facts(self, case: tuple, target: Any, yours: Any) -> dict[str, Any]:
        return {'old': len(case[1]) - 1}

    def mistakes(self):
        yield (
            'right for chunks >= {old}; for chunks of 1 your buffer shrank: keep the last {old} of buffer *and* chunk',
            _shrinking,
        )
        yield 'tap k meets the sample k steps ago: your kernel is the wrong way round', self._turned_around
        yield 'before the first sample there are zeros: start with a buffer of {old} of them', _without_zeros
        yield (
            'one output too many per chunk: the first window already contains new sample 0, so k-1 = {old} '
            'old ones are enough',
            _one_too_many,
        )
        yield 'you start each chunk anew: its first {old} windows reach back into the chunk before', _anew

    def _turned_around(self, chunks: list, kernel: np.ndarray) -> list[np.ndarray]:
        return self.answer(chunks, kernel[::-1])

    def picture(self, case: tuple, target: list, yours: list, title: str):
        chunks, _ = case
        yours = yours if isinstance(yours, list | tuple) else []
        x, wanted, got = (np.concatenate([np.zeros(0), *map(np.ravel, v)]) for v in (chunks, target, yours))
        rows = Row('input', [number(v) for v in x], ['lane'] * len(x)), *compared(wanted, got)
        breaks = np.cumsum([len(chunk) for chunk in chunks])[:-1]
        return plot_rows(rows, title, 'Dashed lines: a new chunk begins.', breaks=breaks)


class NeedsState(Exercise):
    """Which functions over time go wrong when they are called chunk by chunk?"""

    def cases(self) -> list[tuple]:
        """The five of the lesson; then some of all, under names that say nothing."""
        first = ('gelu', '3-tap sum', 'cumulative sum', 'time reversal', 'dense')
        cases = [({name: FUNCTIONS[name] for name in first},)]
        draw = np.random.default_rng(0)
        for _ in range(CASES - 1):
            chosen = draw.choice(list(FUNCTIONS), draw.integers(1, 6), replace=False)
            cases.append(({f'f{i}': FUNCTIONS[name] for i, name in enumerate(chosen)},))
        return cases

    def answer(self, functions: Mapping[str, Callable]) -> set[str]:
        """Cuts a signal at every place."""
        return {name for name, fn in functions.items() if _depends_on_cuts(fn)}

    def difference(self, target: set, yours: Any) -> str | None:
        if not isinstance(yours, set):
            return f'the result is a {type(yours).__name__}, not a set of names'
        if missing := sorted(target - yours):
            return f'{", ".join(missing)} missing'
        if extra := sorted(yours - target):
            return f'{", ".join(extra)} does not belong'
        return None

    def idea(self, case: tuple, target: set, yours: Any) -> str | None:
        (functions,) = case
        if not isinstance(yours, set):
            return None
        if not yours <= set(functions):
            return 'there is no such function in this case: decide by a test, not by its name'
        if yours == set(functions) - target:
            return 'these are the ones that may be called chunk by chunk: the others need a state'
        reversals = {name for name in functions if functions[name] is FUNCTIONS['time reversal']}
        if reversals & (target - yours):
            return 'reversal is wrong already for two chunks, and no finite state mends it'
        if target - yours:
            return 'cut a signal in two, call the function on both parts, and compare with the whole'
        return 'it looks at one timestep at a time, so a cut changes only rounding: compare with np.allclose'

    def picture(self, case: tuple, target: set, yours: Any, title: str):
        """Each function on a signal in two parts; what the cut changed is marked."""
        (functions,) = case
        x, cut = _signal(6), 3
        rows = []
        for name, fn in functions.items():
            whole, parts = (np.ravel(v[:, 0]) for v in (fn(x), _in_parts(fn, x, cut)))
            changed = ~np.isclose(whole, parts)
            verdicts = [name in answer for answer in (target, yours if isinstance(yours, set) else ())]
            mark = 'fed' if verdicts[0] == verdicts[1] else 'first'
            beside = [('yes' if v else 'no', m) for v, m in zip(verdicts, ('valid', mark), strict=True)]
            marks = np.where(changed, 'differs', 'valid').tolist()
            rows.append(Row(name, [number(v) for v in parts], marks, beside))
        subtitle = 'Outputs in two parts, cut at the dashed line. Framed: not what the whole signal gives.'
        return plot_rows(rows, title, subtitle, ('target', 'yours'), breaks=(cut,))


# Functions of a signal `[time, 2]`. The first four look at one timestep at a time. Any cut of a random signal
# shows that the others do not.
_WEIGHTS = np.array([[0.7, -1.3], [0.4, 0.9]])
FUNCTIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    'gelu': lambda x: x / (1 + np.exp(-1.702 * x)),  # in its sigmoid form
    'dense': lambda x: x @ _WEIGHTS,
    'absolute value': np.abs,
    'channel mean removed': lambda x: x - x.mean(1, keepdims=True),
    '3-tap sum': lambda x: _windows(x, 3).sum(-1),
    'step up or down': lambda x: _windows(x, 2) @ [-1, 1],
    'cumulative sum': lambda x: np.cumsum(x, axis=0),
    'mean so far': lambda x: np.cumsum(x, axis=0) / np.arange(1, len(x) + 1)[:, None],
    'time reversal': lambda x: x[::-1],
    'time mean removed': lambda x: x - x.mean(0),
}


def _windows(x: np.ndarray, size: int) -> np.ndarray:
    """The last `size` values at each timestep `[time, 2, size]`; zeros before the start."""
    padded = np.pad(x, ((size - 1, 0), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, size, axis=0)


def _signal(time: int) -> np.ndarray:
    """Distinct numbers, up and down, so that no cut goes unnoticed."""
    return np.stack([np.arange(time) % 3 * 2.0 + 1 - np.arange(time) % 2, np.arange(time) % 4 - 1.5], 1)


def _in_parts(fn: Callable, x: np.ndarray, cut: int) -> np.ndarray:
    return np.concatenate([fn(x[:cut]), fn(x[cut:])])


def _depends_on_cuts(fn: Callable) -> bool:
    x = _signal(7)
    return any(not np.allclose(fn(x), _in_parts(fn, x, cut)) for cut in range(1, len(x)))


def _split(values: np.ndarray, sizes: Any) -> list[np.ndarray]:
    return np.split(values, np.cumsum(sizes)[:-1])


# Common wrong ways to stream a convolution.
def _anew(chunks: list, kernel: np.ndarray) -> list[np.ndarray]:
    return [np.convolve(chunk, kernel)[: len(chunk)] for chunk in chunks]


def _one_too_many(chunks: list, kernel: np.ndarray) -> list[np.ndarray]:
    return _stream(chunks, kernel, np.zeros(len(kernel)), lambda known, chunk: known[-len(kernel) :])


def _without_zeros(chunks: list, kernel: np.ndarray) -> list[np.ndarray]:
    return _stream(chunks, kernel, np.zeros(0), lambda known, chunk: known[1 - len(kernel) :])


def _shrinking(chunks: list, kernel: np.ndarray) -> list[np.ndarray]:
    return _stream(chunks, kernel, np.zeros(len(kernel) - 1), lambda known, chunk: chunk[1 - len(kernel) :])


def _stream(chunks: list, kernel: np.ndarray, buffer: np.ndarray, keep: Callable) -> list[np.ndarray]:
    """With a buffer that becomes `keep(buffer and chunk, chunk)` after each chunk."""
    outputs = []
    for chunk in chunks:
        known = np.concatenate([buffer, chunk])
        outputs.append(np.convolve(known, kernel, 'valid'))
        buffer = keep(known, chunk)
    return outputs


stream_conv = StreamConv()
needs_state = NeedsState()
