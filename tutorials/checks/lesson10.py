"""Exercises of lesson 10: a condition at given times, a condition that waits, and emits in their own time."""

from collections.abc import Callable
from typing import Any

import numpy as np

import seqlayers as sl

from .exercise import Exercise
from .pictures import Row, compared, number, plot_rows, sequence_row

CASES = 40


class ConditionAt(Exercise):
    """The timesteps of a condition at absolute times, some of which it does not have."""

    def cases(self) -> list[tuple]:
        """Before the start first, then past the end, then a gap; later ones are random and poisoned."""
        c = _sequence(np.arange(10, 70, 10), np.ones(6))
        cases = [
            (c, np.array([-1, 0, 1])),
            (c, np.array([4, 5, 6])),
            (_sequence([10, 20, 30, 40], [1, 0, 1, 1]), np.array([0, 1, 2])),
        ]
        draw = np.random.default_rng(0)
        for seed in range((CASES - len(cases) + 1) // 2):
            x = sl.testing.poison(sl.testing.random_sequence(sl.ChannelSpec(()), 8, seed))
            for item in draw.choice(x.shape[0], 2, replace=False):
                first, count = draw.integers((-4, 1), (10, 6))
                cases.append((_sequence(x.values[item], x.mask[item]), np.arange(first, first + count)))
        return cases[:CASES]

    def answer(self, c: sl.Sequence, t: np.ndarray) -> sl.Sequence:
        """Time by time."""
        values, mask = np.asarray(c.values)[0], np.asarray(c.mask)[0]
        found = [(values[i], mask[i]) if 0 <= i < len(values) else (0, False) for i in t]
        return _sequence(*zip(*found, strict=True))

    def difference(self, target: sl.Sequence, yours: Any) -> str | None:
        if not isinstance(yours, sl.Sequence):
            return f'the result is a {type(yours).__name__}, not a Sequence'
        if yours.shape != target.shape:
            return f'the result has the shape {yours.shape}, not {target.shape}'
        wanted, mask = np.asarray(target.mask)[0], np.asarray(yours.mask)[0]
        values, target_values = np.asarray(yours.values)[0], np.asarray(target.values)[0]
        for i in range(len(wanted)):
            if mask[i] != wanted[i]:
                return f'entry {i} is {number(values[i])} and {"valid" if mask[i] else "invalid"}'
            if wanted[i] and values[i] != target_values[i]:
                return f'entry {i} is {number(values[i])}, not {number(target_values[i])}'
        return None

    def facts(self, case: tuple, target: Any, yours: Any) -> dict[str, Any]:
        c, t = case
        return {'t': t[0], 'last': number(np.asarray(c.values)[0, t[0]]) if -c.shape[1] <= t[0] < 0 else ''}

    def mistakes(self):
        def picked(index: Callable, exists: Callable) -> Callable:
            def at(c: sl.Sequence, t: np.ndarray) -> sl.Sequence:
                values, mask = np.asarray(c.values)[0], np.asarray(c.mask)[0]
                time = len(values)
                return _sequence(values[index(t, time)], exists(mask[index(t, time)], t, time))

            return at

        def wrapped(t, time):
            return np.where(t < 0, np.maximum(t + time, 0), np.minimum(t, time - 1))

        def clipped(t, time):
            return np.clip(t, 0, time - 1)

        def inside(t, time):
            return (t >= 0) & (t < time)

        yield (
            'c has a mask too: a time that it has may be invalid in it',
            picked(clipped, lambda mask, t, time: inside(t, time)),
        )
        yield (
            'the start is tested and the end is not: after the end the value is stale. Keep it, but say invalid',
            picked(clipped, lambda mask, t, time: mask & (t >= 0)),
        )
        yield (
            't = {t} gave {last}, the last entry: a negative index counts from the end',
            picked(wrapped, lambda mask, t, time: mask),
        )
        yield (
            'clipped, and not tested: before the start there is nothing, and after the end the value is stale. Keep '
            'it, but say invalid',
            picked(clipped, lambda mask, t, time: mask),
        )

    def picture(self, case: tuple, target: sl.Sequence, yours: Any, title: str):
        c, t = case
        fits = isinstance(yours, sl.Sequence) and yours.shape == target.shape
        rows = [_row('c', c), Row('t', [number(i) for i in t], ['lane'] * len(t)), _row('target', target)]
        row = _row('yours', yours if fits else target[:, :0])
        marks = [
            'first' if self.difference(target[:, i : i + 1], yours[:, i : i + 1]) else own
            for i, own in enumerate(row.marks)
        ]
        rows.append(row._replace(marks=marks))
        return plot_rows(rows, title, 'c by its own times; below, entry by entry. Crossed cells are invalid.')


class DelayCondition(Exercise):
    """A condition in blocks, `offset` timesteps late: a list of blocks of the same lengths."""

    def cases(self) -> list[tuple]:
        small = [([3, 3], 1), ([2, 4], 2), ([1, 1, 1, 1, 1], 2), ([4, 2], 0), ([1, 3, 1], 4)]
        cases = [(_split(10 * np.arange(1, sum(sizes) + 1), sizes), offset) for sizes, offset in small]
        draw = np.random.default_rng(0)
        for _ in range(CASES - len(cases)):
            sizes = draw.integers(1, 6, draw.integers(1, 6))
            cases.append((_split(draw.integers(1, 99, sizes.sum()), sizes), int(draw.integers(0, 6))))
        return cases

    def answer(self, blocks: list, offset: int) -> list[np.ndarray]:
        """All at once, then cut as the blocks are. What is void is NaN: there anything may stand."""
        late = np.concatenate([np.full(offset, np.nan), *blocks])
        sizes = [len(block) for block in blocks]
        return _split(late[: sum(sizes)], sizes)

    def difference(self, target: list, yours: Any) -> str | None:
        if not isinstance(yours, list | tuple):
            return f'the result is a {type(yours).__name__}, not a list with one array for each block'
        if len(yours) != len(target):
            return f'{len(yours)} arrays for {len(target)} blocks'
        start = 0
        for i, (wanted, got) in enumerate(zip(target, map(np.asarray, yours), strict=True)):
            if got.shape != wanted.shape:
                return f'block {i} has {len(wanted)} timesteps, and {got.size} come out'
            wrong = np.flatnonzero(~np.isnan(wanted) & (wanted != got))
            if len(wrong):
                return f'step {start + wrong[0]} has {number(got[wrong[0]])}, not {number(wanted[wrong[0]])}'
            start += len(wanted)
        return None

    def facts(self, case: tuple, target: Any, yours: Any) -> dict[str, Any]:
        return {'offset': case[1]}

    def mistakes(self):
        earlier = 'you moved it earlier; the *input* is late, so the condition must wait'
        yield earlier, lambda blocks, offset: [block[offset:] for block in blocks]
        yield earlier, _earlier
        yield 'nothing waits: the input is {offset} late, so the condition must be', lambda blocks, offset: blocks
        yield (
            'right for blocks >= {offset}; of a shorter block your queue shrank: keep the last {offset} of queue *and* '
            'block',
            _shrinking,
        )
        yield (
            'each block began with an empty queue: what waited at its end was thrown away. Hand it on',
            lambda blocks, offset: [np.append(np.zeros(offset), block)[: len(block)] for block in blocks],
        )

    def picture(self, case: tuple, target: list, yours: Any, title: str):
        blocks, offset = case
        yours = yours if isinstance(yours, list | tuple) else []
        c, wanted, got = (np.concatenate([np.zeros(0), *map(np.ravel, v)]) for v in (blocks, target, yours))
        filled = np.where(np.isnan(wanted), got[: len(wanted)], wanted) if len(got) >= len(wanted) else wanted
        rows = [Row('comes in', [number(v) for v in c], ['lane'] * len(c)), *compared(filled, got)]
        rows[1:] = [_voided(row, offset) for row in rows[1:]]
        breaks = np.cumsum([len(block) for block in blocks])[:-1]
        return plot_rows(rows, title, 'Dashed cells are void. Dashed lines: a new block begins.', breaks=breaks)


def _voided(row: Row, offset: int) -> Row:
    """The row with its first cells void."""
    void = min(offset, len(row.marks))
    return row._replace(labels=[''] * void + list(row.labels[void:]), marks=['void'] * void + list(row.marks[void:]))


class AlignEmits(Exercise):
    """What the steps emitted, as one array in the time of the data."""

    def cases(self) -> list[tuple]:
        """Emits of blocks `[n, 2]`; negative rows belong to void steps, and those of 99 to the flush."""
        small = [([2, 2, 2, 2], 2, 6), ([3, 3, 3], 1, 7), ([4, 4], 0, 8), ([1] * 6, 3, 3)]
        draw = np.random.default_rng(0)
        for _ in range(CASES - len(small)):
            block, latency, time = (int(n) for n in draw.integers((1, 0, 1), (5, 5, 12)))
            small.append(([block] * -(-(time + latency) // block), latency, time))
        return [(_split(_emitted(sum(sizes), latency, time), sizes), latency, time) for sizes, latency, time in small]

    def answer(self, emits: list, latency: int, time: int) -> np.ndarray:
        """Row by row: that of step n belongs to the time n - latency."""
        rows = dict(enumerate((row for block in emits for row in block), start=-latency))
        return np.array([rows[t] for t in range(time)])

    def difference(self, target: np.ndarray, yours: Any) -> str | None:
        yours = np.asarray(yours)
        if yours.ndim != 2:
            return f'the result has the shape {yours.shape}, not {target.shape}'
        same = yours[: len(target)] == target[: len(yours)]
        wrong = np.flatnonzero(~same.all(1))
        if len(wrong):
            t = wrong[0]
            return f'row {t} is {number(yours[t, 0])}, not {number(target[t, 0])}'
        return None if len(yours) == len(target) else f'{len(yours)} rows, not {len(target)}'

    def facts(self, case: tuple, target: Any, yours: Any) -> dict[str, Any]:
        return {'latency': case[1], 'time': case[2]}

    def mistakes(self):
        yield (
            'each block lost its first {latency} rows: only the first {latency} of the whole stream are void',
            lambda emits, latency, time: np.concatenate([block[latency:] for block in emits])[:time],
        )
        yield (
            'row 0 belongs to a void step: drop the first {latency}, once',
            lambda emits, latency, time: np.concatenate(emits)[:time],
        )
        yield (
            'row 0 belongs to a void step: drop the first {latency}, once',
            lambda emits, latency, time: np.concatenate(emits),
        )
        yield (
            'row 0 belongs to a void step: you dropped at the end, where the last results are',
            lambda emits, latency, time: np.concatenate(emits)[: len(np.concatenate(emits)) - latency],
        )
        yield (
            'the last rows belong to the flush: {time} belong to the data',
            lambda emits, latency, time: np.concatenate(emits)[latency:],
        )

    def picture(self, case: tuple, target: np.ndarray, yours: Any, title: str):
        emits, latency, time = case
        yours = np.asarray(yours)
        got = yours[:, 0] if yours.ndim == 2 and yours.size else []
        came = np.concatenate(emits)[:, 0]
        marks = ['void'] * latency + ['lane'] * time + ['invalid'] * (len(came) - latency - time)
        rows = [Row('emitted', [number(v) for v in came], marks), *compared(target[:, 0], got)]
        what = 'The first channel, row by row. Dashed cells: void steps. Crossed: what the flush emits.'
        return plot_rows(rows, title, what, breaks=np.cumsum([len(block) for block in emits])[:-1])


def _emitted(rows: int, latency: int, time: int) -> np.ndarray:
    """Channel 0 tells the time of each row, from 10 on; void rows are negative, those of the flush 99."""
    times = np.arange(rows) - latency
    first = np.select([times < 0, times < time], [times, times + 10], 99)
    return np.stack([first, first + 0.5], 1)


def _earlier(blocks: list, offset: int) -> list[np.ndarray]:
    c = np.concatenate(blocks)
    return _split(np.append(c[offset:], np.zeros(min(offset, len(c)))), [len(block) for block in blocks])


def _shrinking(blocks: list, offset: int) -> list[np.ndarray]:
    queue, late = np.zeros(offset), []
    for block in blocks:
        late.append(np.append(queue, block)[: len(block)])
        queue = block[len(block) - offset :] if offset else block[:0]
    return late


def _split(values: np.ndarray, sizes: Any) -> list[np.ndarray]:
    return np.split(np.asarray(values, float), np.cumsum(sizes)[:-1])


def _sequence(values: Any, mask: Any) -> sl.Sequence:
    return sl.Sequence(np.asarray(values, np.float32)[None], np.asarray(mask, bool)[None])


def _row(name: str, x: sl.Sequence) -> Row:
    return sequence_row(name, np.asarray(x.values)[0], np.asarray(x.mask)[0])


condition_at = ConditionAt()
delay_condition = DelayCondition()
align_emits = AlignEmits()
