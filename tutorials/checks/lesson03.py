"""Exercises of lesson 03: a ring that wraps, the size of a memory, and a mean that waits at invalid timesteps."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import seqlayers as sl

from .exercise import Exercise
from .pictures import Row, compared, number, plot_rows, sequence_row

CASES = 40
SLOTS = 8
STRETCHED = 'dilation 2 stretches 5 taps over 9 timesteps: 8 old ones x 64 x 4 = 2,048 bytes, plus 8 mask bytes'
NEW = 'the newest of the 9 timesteps arrives with the step: 8 old ones are enough'
LEAST = {'Conv1D': 8 * 64 * 4 + 8, 'LSTM': 2 * 64 * 4}
IDEAS = {
    ('Conv1D', 4 * 64 * 4): STRETCHED,
    ('Conv1D', 4 * 64 * 4 + 4): STRETCHED,
    ('Conv1D', 9 * 64 * 4): NEW,
    ('Conv1D', 9 * 64 * 4 + 9): NEW,
    ('Conv1D', 8 * 64 * 4): 'the values are right. A timestep is values and a mask: 8 mask bytes more',
    ('Conv1D', 8 * 64): 'that is a count of numbers; a float32 has 4 bytes. Then add 8 mask bytes',
    ('Conv1D', 16 * 64 * 4 + 16 + 4): 'that is the ring the layer really has. The least is the 8 old timesteps',
    ('LSTM', 64 * 4): 'h and c: an LSTM keeps two vectors of 64',
    ('LSTM', 2 * 64): 'that is a count of numbers; a float32 has 4 bytes',
}


class RingWrite(Exercise):
    """A ring buffer: the entry of time `u` stands in slot `u` modulo the size."""

    def cases(self) -> list[tuple]:
        """The ring of the lesson first. Arrays are read-only, as those of JAX are."""
        cases = [_ring_case(t, n) for t, n in ((6, 3), (9, 2), (8, 8), (0, 1), (7, 1))]
        draw = np.random.default_rng(0)
        for _ in range(CASES - len(cases)):
            cases.append(_ring_case(int(draw.integers(0, 1000)), int(draw.integers(1, SLOTS + 1))))
        return cases

    def answer(self, buf: np.ndarray, new: np.ndarray, t: int) -> np.ndarray:
        """Entry by entry."""
        buf = buf.copy()
        for i, entry in enumerate(new):
            buf[(t + i) % len(buf)] = entry
        return buf

    def difference(self, target: np.ndarray, yours: Any) -> str | None:
        yours = np.asarray(yours)
        if target.shape != yours.shape:
            return f'the result has the shape {yours.shape}, not {target.shape}'
        wrong = np.flatnonzero(target != yours)
        return f'slot {wrong[0]} holds {yours[wrong[0]]}, not {target[wrong[0]]}' if len(wrong) else None

    def facts(self, case: tuple, target: Any, yours: Any) -> dict[str, Any]:
        buf, new, t = case
        size, n = len(buf), len(new)
        start = min(t % size, size - n)
        landed = ' '.join(map(str, range(start, start + n)))
        counted = f'{_COUNTS[n]} entries' if n > 1 else 'one entry'
        return {'t': t, 'size': size, 'slot': t % size, 'counted': counted, 'landed': landed}

    def mistakes(self):
        yield (
            't = {t}: your {counted} landed in slots {landed}; JAX moves an update that does not fit, silently',
            lambda buf, new, t: _put(buf, new, t % len(buf)),
        )
        for wrong in (_one_without_modulo, _two_without_modulo):
            yield 't = {t}: a ring of {size} slots has no slot {t}. Time t belongs in slot t % {size} = {slot}', wrong
        yield (
            't = {t}: what does not fit behind slot {slot} is lost; it goes on at slot 0',
            lambda buf, new, t: _put(buf, new[: len(buf) - t % len(buf)], t % len(buf)),
        )
        yield (
            'you moved every entry. In a ring only the new ones are written, all others stay where they are',
            lambda buf, new, t: np.concatenate([buf, new])[len(new) :],
        )

    def picture(self, case: tuple, target: np.ndarray, yours: Any, title: str):
        buf, new, t = case
        yours = np.ravel(yours)[:SLOTS]
        written = np.isin(np.arange(len(buf)), (t + np.arange(len(new))) % len(buf))
        wanted, got = compared(target, yours, tolerance=0)
        rows = [
            Row('before', [number(v) for v in buf], ['lane'] * len(buf)),
            wanted._replace(marks=np.where(written, 'now', 'valid').tolist()),
            got,
        ]
        what = f'Columns are slots. {" ".join(map(str, new))} arrive at time {t}; blue: where they belong.'
        return plot_rows(rows, title, what)


class StateBytes(Exercise):
    """The least that two layers must keep, in bytes, by thought alone."""

    def cases(self) -> list[tuple]:
        return [()]

    def answer(self) -> dict[str, int]:
        return LEAST

    def difference(self, target: Mapping, yours: Any) -> str | None:
        if not _is_size_of(target, yours):
            return f'the result is {yours!r}, not a dict of whole numbers with the keys {list(target)}'
        wrong = _wrong(target, yours)
        return f'{wrong} keeps {target[wrong]:,} bytes, you say {yours[wrong]:,}' if wrong else None

    def idea(self, case: tuple, target: Mapping, yours: Any) -> str | None:
        if not _is_size_of(target, yours):
            return None
        wrong = _wrong(target, yours)
        return IDEAS.get((wrong, yours[wrong]))

    def praise(self, cases: list[tuple]) -> str:
        return 'ok: ' + ', '.join(f'{name} {size:,} bytes' for name, size in LEAST.items())

    def picture(self, case: tuple, target: Mapping, yours: Any, title: str):
        """The window of the convolution, and the numbers."""
        yours = yours if _is_size_of(target, yours) else {}
        taps = ['now' if t == 8 else 'fed' if t % 2 == 0 else 'valid' for t in range(9)]
        labels = ['tap' if t % 2 == 0 else '' for t in range(9)]
        rows = []
        for name, (cells, words) in {'Conv1D': (taps, labels), 'LSTM': (['valid', 'valid'], ['h', 'c'])}.items():
            said = yours.get(name)
            mark = 'fed' if said == target[name] else 'first'
            beside = (f'{target[name]:,}', 'valid'), ('?' if said is None else f'{said:,}', mark)
            rows.append(Row(name, words, cells, beside))
        what = 'Conv1D: the 9 timesteps of a window, the last one is new. LSTM: two vectors.'
        return plot_rows(rows, title, what, ('target', 'yours'))


class LeakyStep(Exercise):
    """One block of a leaky mean with a = 0.5, that goes on from a state and waits at invalid timesteps."""

    def cases(self) -> list[tuple]:
        small = [
            _block([[4, 4, 0, 0, 0]], [[1, 1, 0, 0, 0]], [0]),
            _block([[4, 4, 4, 4]], [[1, 1, 1, 1]], [8]),
            _block([[4, np.nan, 4]], [[1, 0, 1]], [0]),
            _block([[np.nan, np.nan]], [[0, 0]], [8]),
        ]
        spec = sl.ChannelSpec(())
        draw = np.random.default_rng(0)
        for seed in range(CASES - len(small)):
            x = sl.testing.poison(sl.testing.random_sequence(spec, 8, seed))
            small.append(_block(x.values, x.mask, draw.standard_normal(x.shape[0])))
        return small

    def answer(self, x: sl.Sequence, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Item by item, timestep by timestep."""
        y, last = np.full(x.shape, np.nan), state.astype(float)
        for item, time in np.ndindex(*x.shape):
            if x.mask[item, time]:
                last[item] = (last[item] + x.values[item, time]) / 2
                y[item, time] = last[item]
        return y, last

    def difference(self, target: tuple, yours: Any) -> str | None:
        if not isinstance(yours, tuple | list) or len(yours) != 2:
            return f'the result is a {type(yours).__name__}, not the pair (means, state)'
        means, state = (np.asarray(v) for v in yours)
        for name, wanted, got in (('means', target[0], means), ('state', target[1], state)):
            if wanted.shape != got.shape:
                return f'{name} of the shape {got.shape}, not {wanted.shape}'
        wrong = np.argwhere(~np.isnan(target[0]) & _differ(target[0], means))
        if len(wrong):
            item, time = wrong[0]
            return f'item {item}: mean {time} is {number(means[item, time])}, not {number(target[0][item, time])}'
        wrong = np.flatnonzero(_differ(target[1], state))
        if len(wrong):
            return f'item {wrong[0]}: the state is {number(state[wrong[0]])}, not {number(target[1][wrong[0]])}'
        return None

    def facts(self, case: tuple, target: Any, yours: Any) -> dict[str, Any]:
        n = int((~np.asarray(case[0].mask[0])).sum())
        return {'counted': f'{_COUNTS[n]} invalid steps' if n > 1 else 'one invalid step', 'times': _TIMES.get(n, n)}

    def mistakes(self):
        yield (
            'NaN times 0 is NaN: select with where(mask, new, old), do not multiply',
            _stepwise(lambda old, new, valid: old + valid * (new - old) / 2),
        )
        yield (
            '{counted} halved your baseline {times}; nothing happened in them',
            _stepwise(lambda old, new, valid: (old + np.where(valid, new, 0)) / 2),
        )
        yield (
            'you took the value of an invalid timestep: select with where(mask, new, old)',
            _stepwise(lambda old, new, valid: (old + new) / 2),
        )
        yield (
            'you start each block at 0: begin with the state that you are given',
            lambda x, state: self.answer(x, np.zeros_like(state)),
        )
        yield (
            'you give back the state that you were given: hand on the last mean',
            lambda x, state: (self.answer(x, state)[0], state),
        )

    def picture(self, case: tuple, target: tuple, yours: Any, title: str):
        x, state = case
        shaped = isinstance(yours, tuple | list) and len(yours) == 2 and np.shape(yours[0]) == x.shape
        means, after = yours if shaped else (np.full(x.shape, np.nan), np.full(len(state), np.nan))
        rows = []
        for item, mask in enumerate(np.asarray(x.mask)):
            beside = [(number(target[1][item]), 'valid'), (number(after[item]), 'valid')]
            wanted, got = (sequence_row('', v[item], mask) for v in (target[0], np.asarray(means)))
            beside[1] = (beside[1][0], 'first' if beside[0][0] != beside[1][0] else 'fed')
            wrong = _differ(target[0][item], np.asarray(means)[item]) & mask
            marks = [('differs' if w else m) for w, m in zip(wrong, got.marks, strict=True)]
            rows += [
                sequence_row(f'item {item}', x.values[item], mask, detail=f'state {number(state[item])}'),
                wanted._replace(name='    target', labels=_only(wanted.labels, mask)),
                got._replace(name='    yours', labels=_only(got.labels, mask), marks=marks, beside=beside),
            ]
        return plot_rows(rows, title, 'Crossed cells are invalid: there the mean waits.', ('state', 'yours'))


_COUNTS = ('no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight')
_TIMES = {1: 'once', 2: 'twice', 3: 'three times', 4: 'four times'}


def _ring_case(t: int, n: int) -> tuple[np.ndarray, np.ndarray, int]:
    """A full ring, and `n` new entries that arrive at time `t`."""
    buf, new = np.arange(SLOTS), SLOTS + np.arange(n)
    for array in (buf, new):
        array.setflags(write=False)
    return buf, new, t


def _put(buf: np.ndarray, new: np.ndarray, slot: int) -> np.ndarray:
    """One update in the manner of JAX: one that does not fit is moved."""
    buf, slot = buf.copy(), min(max(slot, 0), len(buf) - len(new))
    buf[slot : slot + len(new)] = new
    return buf


def _one_without_modulo(buf: np.ndarray, new: np.ndarray, t: int) -> np.ndarray:
    return ring_write.answer(buf, new, t) if t < len(buf) else _put(buf, new, t)


def _two_without_modulo(buf: np.ndarray, new: np.ndarray, t: int) -> np.ndarray:
    fits = min(len(new), len(buf) - t)
    return _put(_put(buf, new[:fits], t), new[fits:], 0)


def _stepwise(update: Callable) -> Callable:
    """A leaky mean with a wrong update of its own."""

    def run(x: sl.Sequence, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        means = []
        for value, valid in zip(x.values.T, x.mask.T, strict=True):
            state = update(state, value, valid)
            means.append(state)
        return np.stack(means, 1), state

    return run


def _is_size_of(target: Mapping, yours: Any) -> bool:
    is_alike = isinstance(yours, Mapping) and set(yours) == set(target)
    return is_alike and all(isinstance(size, int) for size in yours.values())


def _wrong(target: Mapping, yours: Mapping) -> str | None:
    return next((name for name in target if target[name] != yours[name]), None)


def _block(values: Any, mask: Any, state: Any) -> tuple[sl.Sequence, np.ndarray]:
    x = sl.Sequence(np.asarray(values, np.float32), np.asarray(mask, bool))
    return x, np.asarray(state, np.float32)


def _differ(target: Any, yours: Any) -> np.ndarray:
    return ~np.isclose(target, yours, rtol=1e-4, atol=1e-5, equal_nan=True)


def _only(labels: Any, mask: Any) -> list[str]:
    return [label if valid else '' for label, valid in zip(labels, mask, strict=True)]


ring_write = RingWrite()
state_bytes = StateBytes()
leaky_step = LeakyStep()
