"""Exercises of lesson 07: a score that leaks, the mask behind a stride, and a logarithm with a safe gradient."""

import itertools
from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import seqlayers as sl

from .exercise import Exercise
from .pictures import Row, compared, number, plot_rows, sequence_row

CASES = 40
TIME = 8
READ = 'Plain cells are valid, crossed cells are invalid.'


def random_masks(count: int) -> list[np.ndarray]:
    """Masks `[6, TIME]` that hold one of every kind: full, prefix, gaps, leading gap, a gap late, empty."""
    return [sl.testing.mask_battery(TIME, seed) for seed in range(count)]


class Repair(Exercise):
    """The score of each clip, whatever stands beside it or behind it."""

    LEAKS = (
        'the mean reads or counts padding',
        'windows read what the padding became when the mean was taken away',
        'the sum takes in outputs of padding',
        'you divide by the length of the rectangle',
    )

    def cases(self) -> list[tuple]:
        """A clip beside a longer one, one idea a case, then every kind of mask, with NaN where nothing is valid."""
        small = [
            _scalars([[1, 2, 6, 0, 0, 0], [5, 1, 4, 1, 3, 2]], [[1, 1, 1, 0, 0, 0], [1] * 6]),
            _scalars([[1, 2, 6, 9, 9, 9]], [[1, 1, 1, 0, 0, 0]]),
            _scalars([[1, 2, 6, np.nan]], [[1, 1, 1, 0]]),
            _scalars([[1, 9, 6, 2]], [[1, 0, 1, 1]]),
        ]
        random = (
            sl.testing.random_sequence(sl.ChannelSpec(()), TIME, seed, masks)
            for seed, masks in enumerate(random_masks(CASES - len(small)))
        )
        return [(jax.tree.map(np.asarray, x),) for x in (*small, *map(sl.testing.poison, random))]

    def answer(self, x: sl.Sequence) -> np.ndarray:
        """Item by item and window by window: an invalid timestep is left out of every sum."""
        return np.array([_score_of_one(*clip) for clip in zip(x.values, x.mask, strict=True)])

    def difference(self, target: Any, yours: Any) -> str | None:
        target, yours = np.asarray(target), np.asarray(yours)
        if target.shape != yours.shape:
            return f'the result has the shape {yours.shape}, not {target.shape}: one number for each item'
        wrong = np.flatnonzero(~np.isclose(target, yours, rtol=1e-3, atol=1e-4, equal_nan=True))
        return f'item {wrong[0]} is {number(yours[wrong[0]])}, not {number(target[wrong[0]])}' if len(wrong) else None

    def idea(self, case: tuple, target: Any, yours: Any) -> str | None:
        """Which leaks are left: one of the ways to mend only some of them."""
        (x,) = case
        with np.errstate(all='ignore'):
            if self.difference(_score_by_product(x), yours) is None:
                return 'NaN times 0 is NaN: select with np.where or mask_invalid(), do not multiply'
            # The fewest leaks first: where padding is zero, one more may not show.
            for mended in sorted(itertools.product((True, False), repeat=4), key=sum, reverse=True):
                if not all(mended) and self.difference(_score(x, *mended), yours) is None:
                    left = [leak for leak, is_mended in zip(self.LEAKS, mended, strict=True) if not is_mended]
                    return f'{len(left)} of 4 left: add-a-neighbour fails. {"; ".join(left)}'
            if self.difference(np.where(x.mask.any(1), target, np.nan), yours) is None:
                return 'no timestep is valid: you divide 0 by 0. The answer here is 0'
        return None

    def picture(self, case: tuple, target: Any, yours: Any, title: str):
        (x,) = case
        yours = np.resize(np.asarray(yours, float), len(target)) if np.size(yours) else np.full(len(target), np.nan)
        rows = []
        for item, (values, mask) in enumerate(zip(x.values, x.mask, strict=True)):
            agrees = np.isclose(target[item], yours[item], rtol=1e-3, atol=1e-4)
            beside = (number(target[item]), 'valid'), (number(yours[item]), 'fed' if agrees else 'first')
            rows.append(sequence_row(f'item {item}', values, mask, beside))
        return plot_rows(rows, title, READ, ('target', 'yours'))


class StrideMask(Exercise):
    """The mask behind a stride: output i belongs to input i * s."""

    def cases(self) -> list[tuple]:
        small = [
            ([[1, 1, 1, 1, 1]], 2),
            ([[1, 1, 1, 1, 1, 0, 0, 0]], 2),
            ([[1, 1, 1, 1, 1, 1, 1]], 3),
            ([[1, 0, 1, 1, 0, 1, 1, 1]], 2),
            ([[0, 1, 1, 1, 1, 1, 1, 0]], 2),
        ]
        cases = [(np.array(mask, bool), stride) for mask, stride in small]
        return cases + [(mask, 1 + seed % 4) for seed, mask in enumerate(random_masks(CASES - len(cases)))]

    def answer(self, mask: np.ndarray, stride: int) -> np.ndarray:
        return np.array([[clip[i] for i in range(0, len(clip), stride)] for clip in mask])

    def difference(self, target: np.ndarray, yours: Any) -> str | None:
        yours = np.asarray(yours)
        if target.shape != yours.shape:
            return f'the mask has the shape {yours.shape}, not {target.shape}'
        wrong = np.argwhere(target != yours)
        if not len(wrong):
            return None
        item, time = wrong[0]
        words = 'valid', 'invalid'
        return f'item {item}: output {time} is {words[bool(target[item, time])]}, not {words[not target[item, time]]}'

    def facts(self, case: tuple, target: np.ndarray, yours: Any) -> dict[str, Any]:
        mask, stride = case
        yours = np.asarray(yours)
        item, output = np.argwhere(target != yours)[0] if target.shape == yours.shape else (0, target.shape[1] - 1)
        start = output * stride
        valid = 'valid' if mask[item, start] else 'invalid'
        return {'length': mask[item].sum(), 's': stride, 'output': output, 'start': start, 'valid': valid}

    def mistakes(self):
        yield (
            'a rectangle of whole strides: the last output starts at input {start}, and it is missing',
            lambda mask, s: mask[:, : mask.shape[1] // s * s : s],
        )
        yield (
            'right for clips that start at 0 without gaps: output {output} starts at input {start}, which is {valid}',
            lambda mask, s: _prefix(-(-mask.sum(1) // s), -(-mask.shape[1] // s)),
        )
        yield (
            'you ask whether any input of the stride is valid; one decides: input {start}, which is {valid}',
            lambda mask, s: _by_stride(mask, s).any(-1),
        )
        yield (
            'you ask whether all inputs of the stride are valid; one decides: input {start}, which is {valid}',
            lambda mask, s: _by_stride(mask, s).all(-1),
        )
        yield (
            'length {length}, stride {s}: output {output} starts at input {start}, which is {valid}',
            lambda mask, s: _prefix(mask.sum(1) // s, -(-mask.shape[1] // s)),
        )

    def picture(self, case: tuple, target: np.ndarray, yours: Any, title: str):
        """Each output under the input that decides it."""
        mask, stride = case
        yours = np.asarray(yours) if np.ndim(yours) == 2 else np.zeros((len(mask), 0), bool)
        rows = []
        for item, (clip, wanted) in enumerate(zip(mask, target, strict=True)):
            rows.append(_mask_row(f'item {item}', clip))
            rows.append(_mask_row('    target', wanted, stride))
            mine = yours[item] if item < len(yours) else np.zeros(0, bool)
            wrong = [i >= len(wanted) or valid != wanted[i] for i, valid in enumerate(mine)]
            rows.append(_mask_row('    yours', mine, stride, wrong))
        subtitle = f'Stride {stride}: an output stands under its input. T is valid; F, crossed, is invalid.'
        return plot_rows(rows, title, subtitle)


class SafeLog(Exercise):
    """The logarithm of what is valid, 0 elsewhere, and no NaN in the gradient of its sum."""

    def cases(self) -> list[tuple]:
        small = [([4, 0], [1, 0]), ([4, 2, 0, 8], [1, 1, 0, 1]), ([4, np.nan], [1, 0]), ([0.001, 5], [1, 0])]
        cases = [(jnp.array(values, jnp.float32), jnp.array(mask, bool)) for values, mask in small]
        masks = itertools.chain.from_iterable(random_masks(CASES // 6))
        for seed, mask in enumerate(itertools.islice(masks, CASES - len(cases))):
            draw = np.random.default_rng(seed)
            hidden = draw.choice([0, -1, np.nan, np.inf], TIME)
            cases.append((jnp.array(np.where(mask, draw.uniform(0.1, 9, TIME), hidden), jnp.float32), jnp.array(mask)))
        return cases

    def __call__(self, fn: Callable):
        return super().__call__(_with_gradient(fn))

    def answer(self, x: Any, mask: Any) -> tuple[np.ndarray, np.ndarray]:
        values, mask = np.asarray(x), np.asarray(mask)
        result = np.zeros((2, len(values)))
        result[:, mask] = np.log(values[mask]), 1 / values[mask]
        return result[0], result[1]

    def difference(self, target: tuple, yours: tuple) -> str | None:
        for name, wanted, got in zip(('value', 'gradient'), target, yours, strict=True):
            if wanted.shape != np.shape(got):
                return f'the result has the shape {np.shape(got)}, not {wanted.shape}'
            wrong = np.flatnonzero(~np.isclose(wanted, got, rtol=1e-4, atol=1e-5, equal_nan=True))
            if len(wrong):
                t = wrong[0]
                return f'the {name} at timestep {t} is {number(got[t])}, not {number(wanted[t])}'
        return None

    def mistakes(self):
        yield (
            'the value is right, the gradient is 0 * inf = NaN: choose a safe *input* first, then the output',
            _with_gradient(lambda x, mask: jnp.where(mask, jnp.log(x), 0)),
        )
        yield (
            '0 times -inf is NaN: a mask selects, it does not multiply',
            _with_gradient(lambda x, mask: mask.astype(x.dtype) * jnp.log(x)),
        )
        yield (
            'the input is safe now; choose the output too, as an invalid timestep gives 0',
            _with_gradient(lambda x, mask: jnp.log(jnp.where(mask, x, 1e-6))),
        )

    def idea(self, case: tuple, target: tuple, yours: tuple) -> str | None:
        found = super().idea(case, target, yours)
        (_, mask), (values, _) = case, yours
        if found is None and np.shape(values) == mask.shape and np.any(np.abs(values - target[0])[mask] > 1e-4):
            return 'a number added for safety moves the valid values too: it is not needed where the mask is True'
        return found

    def picture(self, case: tuple, target: tuple, yours: tuple, title: str):
        x, mask = (np.asarray(a) for a in case)
        rows = [sequence_row('x', x, mask)]
        for name, wanted, got in zip(('value', 'gradient'), target, yours, strict=True):
            pair = compared(wanted, np.ravel(got))
            rows += [row._replace(name=f'{name}, {row.name}') for row in pair]
        return plot_rows(rows, title, READ)


def _with_gradient(fn: Callable) -> Callable:
    """`fn` with the gradient of the sum of its result by its first argument, as arrays."""

    @wraps(fn)
    def both(x: jax.Array, mask: jax.Array) -> tuple[np.ndarray, np.ndarray]:
        total, back = jax.vjp(lambda x: fn(x, mask), x)
        return np.asarray(total), np.asarray(back(jnp.ones_like(total))[0])

    return both


def _scalars(values: list, mask: list) -> sl.Sequence:
    return sl.Sequence(np.asarray(values, np.float32), np.asarray(mask, bool))


def _score_of_one(values: np.ndarray, mask: np.ndarray) -> float:
    times = np.flatnonzero(mask)
    if not len(times):
        return 0.0
    centred = {t: values[t] - values[times].mean() for t in times}
    return sum(sum(centred.get(t + k, 0) for k in (-1, 0, 1)) ** 2 for t in times) / len(times)


def _score(x: sl.Sequence, mean: bool, window: bool, total: bool, count: bool) -> np.ndarray:
    """The lesson's score with some of its four leaks mended."""
    values, mask, time = x.values, x.mask, x.shape[1]
    valid = np.maximum(mask.sum(1), 1)
    average = np.where(mask, values, 0).sum(1) / valid if mean else values.mean(1)
    centred = values - average[:, None]
    windows = _windows(np.where(mask, centred, 0) if window else centred)
    energy = windows**2
    sums = np.where(mask, energy, 0).sum(1) if total else energy.sum(1)
    return sums / (valid if count else time)


def _score_by_product(x: sl.Sequence) -> np.ndarray:
    valid = np.maximum(x.mask.sum(1), 1)
    centred = (x.values - (x.values * x.mask).sum(1, keepdims=True) / valid[:, None]) * x.mask
    return (_windows(centred) ** 2 * x.mask).sum(1) / valid


def _windows(values: Any) -> np.ndarray:
    """The sum of each timestep and its two neighbours."""
    padded = np.pad(values, ((0, 0), (1, 1)))
    return padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]


def _prefix(lengths: np.ndarray, time: int) -> np.ndarray:
    return np.arange(time) < lengths[:, None]


def _by_stride(mask: np.ndarray, stride: int) -> np.ndarray:
    """`[items, outputs, stride]`; the last one is filled up with its own first entry."""
    outputs = -(-mask.shape[1] // stride)
    padded = np.pad(mask, ((0, 0), (0, outputs * stride - mask.shape[1])), mode='edge')
    return padded.reshape(len(mask), outputs, stride)


def _mask_row(name: str, mask: np.ndarray, stride: int = 1, wrong: Any = False) -> Row:
    """A mask whose entries stand `stride` cells apart; those that are wrong are marked."""
    cells = max(0, (len(mask) - 1) * stride + 1)
    labels, marks = [''] * cells, ['lane'] * cells
    labels[::stride] = ['T' if valid else 'F' for valid in mask]
    marks[::stride] = np.select([np.broadcast_to(wrong, mask.shape), mask], ['first', 'valid'], 'invalid').tolist()
    return Row(name, labels, marks)


repair = Repair()
stride_mask = StrideMask()
safe_log = SafeLog()
