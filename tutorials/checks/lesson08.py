"""Exercises of lesson 08: which keys a query sees, how many slots a ring needs, and how to go on after a prompt."""

from collections.abc import Callable
from typing import Any

import numpy as np

import seqlayers as sl

from .attention_ring import read_ring
from .exercise import Exercise
from .lesson04 import WholeNumber
from .pictures import Row, compared, plot_rows

CASES = 40
RING = 8  # slots in the cases of `visible`


class Visible(Exercise):
    """The band mask, from stored times: bool `[queries, keys]`."""

    def cases(self) -> list[tuple]:
        """In order of time first, then with invalid keys, then in a ring that has wrapped."""
        everyone = np.ones(RING, bool)
        cases = [
            (np.array([2]), np.arange(4), 0, 0, everyone[:4]),
            (np.array([3, 4]), np.arange(RING), 2, 1, everyone),
            (np.array([4, 5]), np.arange(RING), 3, 0, np.arange(RING) != 3),
            (np.array([8, 9]), np.array([8, 9, 2, 3, 4, 5, 6, 7]), 3, 0, everyone),
            (np.array([1]), np.array([0, 1, -7, -6, -5, -4, -3, -2]), 4, 1, np.arange(RING) < 2),
        ]
        draw = np.random.default_rng(0)
        for i in range(CASES - len(cases)):
            newest, queries = int(draw.integers(1, 30)), int(draw.integers(1, 4))
            times = np.arange(newest - RING + 1, newest + 1)
            valid = (draw.random(RING) < (0, 0.7, 1)[i % 3]) & (times >= 0)
            slots = np.argsort(times % RING)  # where each time lies in the ring
            past, future = (int(n) for n in draw.integers(0, 5, 2))
            last = newest - future
            cases.append((np.arange(last - queries + 1, last + 1), times[slots], past, future, valid[slots]))
        return cases

    def answer(self, q_time: Any, k_time: Any, past: int, future: int, k_valid: Any) -> np.ndarray:
        """Pair by pair."""
        pairs = [[q - past <= k <= q + future and ok for k, ok in zip(k_time, k_valid, strict=True)] for q in q_time]
        return np.array(pairs, bool)

    def difference(self, target: np.ndarray, yours: Any) -> str | None:
        yours = np.asarray(yours)
        if yours.shape != target.shape:
            return f'the result has the shape {yours.shape}, not {target.shape}, queries by keys'
        if yours.dtype != bool:
            return f'the result has the type {yours.dtype}, not bool'
        wrong = np.argwhere(yours != target)
        if not len(wrong):
            return None
        query, slot = wrong[0]
        return f'query {query} {"sees" if yours[query, slot] else "does not see"} the key in slot {slot}'

    def facts(self, case: tuple, target: Any, yours: Any) -> dict[str, Any]:
        q_time, _, past, future, _ = case
        return {'size': RING, 'past': past, 'future': future, 'time': q_time[0]}

    def mistakes(self):
        yield (
            'right until the ring wraps at time {size}: a slot says where a key lies, and its stored time when it was '
            'written',
            self._changed(lambda q, k: (q, np.arange(len(k)))),
        )
        yield (
            'the first query of the block has the time {time}, not 0: that is the triangle at the top left again',
            self._changed(lambda q, k: (np.arange(len(q)), k)),
        )
        yield (
            'these keys are invalid, or were never written: AND the two inequalities with k_valid',
            lambda q, k, past, future, ok: self.answer(q, k, past, future, np.ones_like(ok)),
        )
        yield (
            'past and future are exchanged: a key of the past has the smaller time',
            lambda q, k, past, future, ok: self.answer(q, k, future, past, ok),
        )
        yield (
            'keys up to {future} after the query are visible too',
            lambda q, k, past, future, ok: self.answer(q, k, past, 0, ok),
        )
        yield (
            'there is no limit to the past: the key must not be older than {past} steps',
            lambda q, k, past, future, ok: self.answer(q, k, 10_000, future, ok),
        )
        yield (
            'rows are queries and columns are keys: yours is the other way round',
            lambda *case: self.answer(*case).T,
        )
        for strict_past, strict_future in (1, 1), (1, 0), (0, 1):
            yield (
                'your inequality is strict: the query cannot see itself when past = 0. Use <=',
                lambda q, k, past, future, ok, p=strict_past, f=strict_future: self.answer(
                    q, k, past - p, future - f, ok
                ),
            )

    def _changed(self, change: Callable) -> Callable:
        """The answer for other times."""

        def answer(q: Any, k: Any, past: int, future: int, ok: Any) -> np.ndarray:
            q, k = change(q, k)
            return self.answer(q, k, past, future, ok)

        return answer

    def picture(self, case: tuple, target: np.ndarray, yours: Any, title: str):
        q_time, k_time, past, future, k_valid = case
        yours = np.asarray(yours)
        fits = yours.shape == target.shape and yours.dtype == bool
        wrong = np.flatnonzero((yours != target).any(1)) if fits else []
        query = int(wrong[0]) if len(wrong) else 0
        times = ['' if t < 0 else str(t) for t in k_time]
        rows = [Row('time of the key', times, np.where(k_valid, 'valid', 'invalid').tolist(), detail='slot by slot')]
        for name, seen in ('target', target[query]), ('yours', yours[query] if fits else np.zeros(0, bool)):
            same = seen == target[query][: len(seen)]
            marks = np.select([~same, seen], ['first', 'fed'], 'future').tolist()
            rows.append(Row(name, ['sees' if s else '' for s in seen], marks, detail=f'query {query}'))
        what = f'The query has the time {q_time[query]}; past {past}, future {future}. Crossed keys are invalid.'
        return plot_rows(rows, title, what)


class RingSize(WholeNumber):
    """The least number of slots with which every query finds its keys."""

    def cases(self) -> list[tuple]:
        small = [(2, 0, 2), (2, 1, 2), (3, 2, 1), (0, 0, 3), (0, 3, 1)]
        draw = np.random.default_rng(0)
        drawn = [tuple(draw.integers((0, 0, 1), (9, 4, 7)).tolist()) for _ in range(CASES - len(small))]
        return small + drawn

    def answer(self, past: int, future: int, block: int) -> int:
        """Writes and reads rings of 1, 2, 3, ... slots, until no query misses a key."""
        time, slots = past + future + 3 * block, 1
        while read_ring(slots, past, future, block, time).lost.any():
            slots += 1
        return slots

    def facts(self, case: tuple, target: int, yours: Any) -> dict[str, Any]:
        return dict(zip(('past', 'future', 'block'), case, strict=True))

    def mistakes(self):
        yield (
            'the keys up to {future} after the query have been written when it is answered: they need slots too',
            lambda past, future, block: past + block,
        )
        yield 'the query sees itself too, beside the past: one more', lambda past, future, block: past + future
        for size in (lambda p, f, b: p + 1, lambda p, f, b: p + f + 1, lambda p, f, b: p + f + b - 1,
                     lambda p, f, b: max(p + f + 1, b)):  # fmt: skip
            yield (
                'block of {block} overwrites a key that its own first query needs: past + future + block',
                size,
            )

    def idea(self, case: tuple, target: int, yours: Any) -> str | None:
        if isinstance(yours, int) and yours > target:
            return 'so many are never read. Count from the oldest key that a query needs to the newest that is written'
        return super().idea(case, target, yours)

    def picture(self, case: tuple, target: int, yours: Any, title: str):
        """The moment after a block was written: what its first query needs, and what both rings hold."""
        past, future, block = case
        first = past + future  # the earliest block before which a whole past lies
        steps = np.arange(first + block)
        needed = steps <= first
        rows = [Row('needed', ['●' if n else '' for n in needed], np.where(needed, 'fed', 'lane').tolist())]
        for name, slots in ('target', target), ('yours', yours if isinstance(yours, int) else 0):
            held = steps >= len(steps) - slots
            marks = np.select([held, needed], ['valid', 'differs'], 'lane').tolist()
            labels = np.where(held, steps.astype(str), np.where(needed, '×', '')).tolist()
            rows.append(Row(name, labels, marks, detail=f'{slots} slots'))
        what = (
            f'Past {past}, future {future}. Right of the dashed line: the block of {block} that was written. '
            '×: overwritten.'
        )
        return plot_rows(rows, title, what, breaks=(first,))


class Speller:
    """A small stand-in for a built model of letters: its logits depend on every token that went in, and on the order.

    Has `get_initial_state` and `step` of a built layer, for one item.
    """

    def __init__(self, seed: int, letters: int = 26):
        self._logits = np.random.default_rng(seed).standard_normal((101, letters)).astype(np.float32)

    def get_initial_state(self, batch_size: int, *, training: bool) -> np.ndarray:
        return np.ones(batch_size, np.int64)

    def step(self, x: sl.Sequence, state: np.ndarray, *, training: bool) -> tuple[sl.Sequence, np.ndarray]:
        logits = []
        for token in np.asarray(x.values)[0]:
            state = (state * 37 + int(token) + 11) % 1_000_003
            logits.append(self._logits[state[0] % len(self._logits)])
        return sl.Sequence(np.stack(logits)[None], np.ones((1, len(logits)), bool)), state

    def __repr__(self):
        return 'a model of 26 letters'


class Generate(Exercise):
    """The next `n` tokens after a prompt, each the one with the largest logit."""

    def cases(self) -> list[tuple]:
        """A prompt of 13 tokens first; one of a single token; then others."""
        draw = np.random.default_rng(0)
        sizes = [(13, 6), (1, 4), (5, 1), *draw.integers((1, 1), (14, 9), (CASES - 3, 2)).tolist()]
        return [(Speller(i), _tokens(draw.integers(0, 26, time)), n) for i, (time, n) in enumerate(sizes)]

    def answer(self, model: Speller, prompt: sl.Sequence, n: int) -> list[int]:
        """All tokens again for each new one."""
        return _generated(model, prompt, n, lambda tokens: tokens)

    def difference(self, target: list[int], yours: Any) -> str | None:
        if not isinstance(yours, list | tuple | np.ndarray):
            return f'the result is a {type(yours).__name__}, not a list of tokens'
        yours = np.ravel(yours).tolist()
        wrong = [t for t, (a, b) in enumerate(zip(target, yours, strict=False)) if a != b]
        if wrong:
            return f'new token {wrong[0]} is {yours[wrong[0]]}, not {target[wrong[0]]}'
        return None if len(yours) == len(target) else f'{len(yours)} tokens, not {len(target)}'

    def facts(self, case: tuple, target: Any, yours: Any) -> dict[str, Any]:
        return {'last': case[1].shape[1] - 1, 'next': case[1].shape[1], 'n': case[2]}

    def mistakes(self):
        def begun(start: Callable) -> Callable:
            return lambda model, prompt, n: _generated(model, prompt, n, start)

        def prompt_too(model, prompt, n):
            return _list(prompt) + self.answer(model, prompt, n)

        yield (
            'token {last} went in at time {last} and {next}; prefill has already consumed it, sample from its last '
            'output',
            lambda model, prompt, n: _generated(model, _tokens(_list(prompt) + _list(prompt)[-1:]), n, list),
        )
        yield (
            'the model was given the last token alone: step over the whole prompt first',
            lambda model, prompt, n: self.answer(model, prompt[:, -1:], n),
        )
        yield (
            'output 0 of the prefill predicts token 1; token {next} is predicted by output {last}, the last',
            _by_first_output,
        )
        yield 'each call began with the initial state: hand on the one that step returned', begun(lambda t: t[-1:])
        yield 'return the new tokens only, without the prompt', prompt_too
        for more in (1, -1):
            yield (
                'the prefill gives the first of the {n} new tokens, so {n} - 1 steps are left',
                lambda model, prompt, n, more=more: self.answer(model, prompt, n + more),
            )

    def picture(self, case: tuple, target: list[int], yours: Any, title: str):
        tokens = _list(case[1])
        usable = isinstance(yours, list | tuple | np.ndarray)
        pair = compared(target, np.ravel(yours).tolist()[: len(target) + 3] if usable else [])
        empty = [''] * len(tokens), ['lane'] * len(tokens)
        rows = [Row('prompt', [str(token) for token in tokens], ['valid'] * len(tokens))]
        rows += [row._replace(labels=empty[0] + list(row.labels), marks=empty[1] + list(row.marks)) for row in pair]
        return plot_rows(
            rows, title, 'Tokens, a timestep each. Right of the dashed line: new ones.', breaks=(len(tokens),)
        )


def _generated(model: Speller, prompt: sl.Sequence, n: int, seen: Callable) -> list[int]:
    """Each new token from a state of its own: the prompt's first, then that of `seen(tokens so far)`."""
    tokens, new = _list(prompt), []
    for i in range(n):
        y, _ = model.step(
            _tokens(tokens if i == 0 else seen(tokens)), model.get_initial_state(1, training=False), training=False
        )
        new.append(int(np.argmax(y.values[0, -1])))
        tokens.append(new[-1])
    return new


def _by_first_output(model: Speller, prompt: sl.Sequence, n: int) -> list[int]:
    y, state = model.step(prompt, model.get_initial_state(1, training=False), training=False)
    new = [int(np.argmax(y.values[0, 0]))]
    for _ in range(n - 1):
        y, state = model.step(_tokens(new[-1:]), state, training=False)
        new.append(int(np.argmax(y.values[0, -1])))
    return new


def _tokens(values: Any) -> sl.Sequence:
    values = np.asarray(values, np.int32)[None]
    return sl.Sequence(values, np.ones(values.shape, bool))


def _list(prompt: sl.Sequence) -> list[int]:
    return np.asarray(prompt.values)[0].tolist()


visible = Visible()
ring_size = RingSize()
generate = Generate()
