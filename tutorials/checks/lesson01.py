"""Exercises of lesson 01: numbers that summarise a sequence, and one that no function can find."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import seqlayers as sl

from .exercise import Exercise
from .pictures import Row, number, plot_rows, sequence_row

CASES = 40
TIME = 8
READ = 'Plain cells are valid, crossed cells are invalid.'


class Summary(Exercise):
    """A function from a sequence to one number for each item and channel; 0 where nothing is valid."""

    def cases(self) -> list[tuple]:
        """One idea a case at first; then every kind of mask at once, with NaN where nothing is valid.

        In NumPy arrays: XLA may compile a product with a mask to a selection, and so hide the NaN it should
        leave.
        """
        small = [
            _sequence([[3, 0, -2, 5], [4, 4, 0, 0]], [[1, 1, 1, 1], [1, 1, 0, 0]]),
            _sequence([[3, 0, -2, 5], [4, 4, 9, 9]], [[1, 1, 1, 1], [1, 1, 0, 0]]),
            _sequence([[4, 2, np.nan, np.nan]], [[1, 1, 0, 0]]),
            _sequence([[4, 8, 2, 9]], [[1, 0, 1, 0]]),
            _sequence([[9, 4, 2, 9]], [[0, 1, 1, 0]]),
            _sequence([[1, 2], [9, 9]], [[1, 1], [0, 0]]),
        ]
        spec = sl.ChannelSpec((2,))
        random = (sl.testing.random_sequence(spec, TIME, seed) for seed in range(CASES - len(small)))
        return [(jax.tree.map(np.asarray, x),) for x in (*small, *map(sl.testing.poison, random))]

    def difference(self, target: Any, yours: Any) -> str | None:
        target, yours = np.asarray(target), np.asarray(yours)
        if target.shape != yours.shape:
            return f'the result has the shape {yours.shape}, not {target.shape} (items, channels)'
        wrong = np.argwhere(_differ(target, yours))
        if not len(wrong):
            return None
        place = tuple(wrong[0])
        return f'item {place[0]} is {number(yours[place])}, not {number(target[place])}'

    def facts(self, case: tuple, target: Any, yours: Any) -> dict[str, Any]:
        item = int(_differ(target, yours).any(-1).argmax())
        mask = np.asarray(case[0].mask[item]).astype(int)
        last = int(np.flatnonzero(mask)[-1]) if mask.any() else None
        return {'time': len(mask), 'valid': mask.sum(), 'mask': ' '.join(map(str, mask)), 'last': last}

    def picture(self, case: tuple, target: Any, yours: Any, title: str):
        """Each item with the channel that differs."""
        (x,) = case
        target, yours = np.asarray(target), np.asarray(yours)
        yours = yours if yours.shape == target.shape else np.full(target.shape, np.nan)
        wrong = _differ(target, yours)
        rows = []
        for item, mask in enumerate(np.asarray(x.mask)):
            channel = int(wrong[item].argmax())
            mark = 'first' if wrong[item].any() else 'fed'
            beside = (number(target[item, channel]), 'valid'), (number(yours[item, channel]), mark)
            rows.append(sequence_row(f'item {item}', np.asarray(x.values)[item, :, channel], mask, beside))
        return plot_rows(rows, title, READ, ('target', 'yours'))


class MaskedMean(Summary):
    """The mean of the valid timesteps."""

    def answer(self, x: sl.Sequence) -> np.ndarray:
        return _by_item(x, lambda valid: valid.mean(0))

    def mistakes(self):
        yield 'no timestep is valid: you divide 0 by 0. The answer here is 0', lambda x: _sum(x) / _count(x)
        yield (
            'the mask is {mask}. lengths() is {valid}, but they are not the first {valid} timesteps',
            lambda x: _mean(x, (np.arange(x.shape[1]) < _count(x))[..., None]),
        )
        yield (
            'NaN times 0 is NaN: select with jnp.where or mask_invalid(), do not multiply',
            lambda x: (x.values * x.expanded_mask()).sum(1) / np.maximum(_count(x), 1),
        )
        yield 'you count the values of invalid timesteps', lambda x: x.values.sum(1) / _count(x)
        yield 'a zero in the data is data: ask the mask, not the value', lambda x: _mean(x, x.values != 0)
        yield 'you divide by {time} timesteps, {valid} exist', lambda x: _sum(x) / x.shape[1]


class LastValid(Summary):
    """The value of the last valid timestep."""

    def answer(self, x: sl.Sequence) -> np.ndarray:
        return _by_item(x, lambda valid: valid[-1])

    def mistakes(self):
        yield (
            'no timestep is valid, so there is none to take. The answer here is 0',
            lambda x: _take(x, x.shape[1] - 1 - np.argmax(x.mask[:, ::-1], axis=1)),
        )
        yield (
            'right for clips that start at 0 without gaps. Mask {mask}: lengths() is {valid}, the last valid '
            'step has index {last}',
            lambda x: _take(x, x.lengths() - 1),
        )
        yield 'that is the end of the rectangle, not of the clip', lambda x: x.values[:, -1]


class RealLength(Exercise):
    """How many timesteps of a clip are real, from its values alone: nobody can know."""

    values = (4.0, 4.0, 0.0, 0.0)
    lengths = (2, 4)

    def cases(self) -> list[tuple]:
        return [(np.array(self.values),)]

    def answer(self, values: np.ndarray) -> None:
        return None

    def difference(self, target: None, yours: Any) -> str | None:
        return None if yours is None else f'you say {yours}'

    def idea(self, case: tuple, target: None, yours: Any) -> str:
        return (
            '4 4 0 0 are the values of two clips. One has 2 samples and then padding, the other has 4 and '
            'ends in silence. The values are the same, so you say the same for both: one of them is wrong'
        )

    def praise(self, cases: list[tuple]) -> str:
        return 'ok: it cannot be done, and to say so is the right answer'

    def picture(self, case: tuple, target: None, yours: Any, title: str):
        rows = []
        for name, length in zip(('a short clip', 'a clip with silence'), self.lengths, strict=True):
            mark = 'fed' if yours in (None, length) else 'first'
            beside = (str(length), 'valid'), (str(yours), mark)
            rows.append(sequence_row(name, self.values, np.arange(4) < length, beside))
            rows.append(Row('    its values', [number(v) for v in self.values], ['lane'] * 4))
        title = 'The same values, two real lengths'
        return plot_rows(rows, title, READ, ('real length', 'yours'))


def _sequence(values: list, mask: list) -> sl.Sequence:
    """A small case, of one channel."""
    return sl.Sequence(np.asarray(values, np.float32)[..., None], np.asarray(mask, bool))


def _differ(target: Any, yours: Any) -> np.ndarray:
    """bool `[items, channels]`. NaN equals NaN, so that wrong answers can be told apart."""
    return ~np.isclose(target, yours, rtol=1e-4, atol=1e-5, equal_nan=True)


def _by_item(x: sl.Sequence, summary: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The plain way: item by item, with the valid timesteps cut out."""
    pairs = zip(np.asarray(x.values), np.asarray(x.mask), strict=True)
    return np.stack([summary(v[m]) if m.any() else np.zeros(v.shape[1:], v.dtype) for v, m in pairs])


def _sum(x: sl.Sequence) -> np.ndarray:
    return x.mask_invalid().values.sum(1)


def _count(x: sl.Sequence) -> np.ndarray:
    return x.lengths()[:, None]


def _mean(x: sl.Sequence, chosen: np.ndarray) -> np.ndarray:
    return np.where(chosen, x.values, 0).sum(1) / np.maximum(chosen.sum(1), 1)


def _take(x: sl.Sequence, index: np.ndarray) -> np.ndarray:
    return x.values[np.arange(x.shape[0]), index]


masked_mean = MaskedMean()
last_valid = LastValid()
real_length = RealLength()
