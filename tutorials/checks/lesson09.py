"""Exercises of lesson 09: two updates as one, an update that changes nothing, and which updates have brackets."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import jax
import numpy as np

import seqlayers as sl

from .exercise import Exercise
from .pictures import Row, compared, number, plot_rows, sequence_row

CASES = 40
TIME = 8

Pair = tuple[Any, Any]


class Combine(Exercise):
    """Two updates of h = A h + b in a row, as one."""

    def cases(self) -> list[tuple]:
        """Updates `a [time, n, n]`, `b [time, n]`: two numbers first, then more, then states of several numbers."""
        half = np.array([[0.5]])
        turn, halve = np.array([[0.0, 1], [-1, 0]]), np.array([[0.5, 0], [0, 1]])
        cases = [
            (np.stack([half] * 2), np.array([[1.0], [2]])),
            (np.stack([half] * 4), np.array([[1.0], [2], [3], [4]])),
            (np.stack([turn, halve, turn]), np.array([[1.0, 0], [1, 2], [0, 1]])),
        ]
        for seed in range(CASES - len(cases)):
            draw = np.random.default_rng(seed)
            time, n = draw.integers(1, TIME + 1), draw.integers(1, 4)
            cases.append((draw.normal(size=(time, n, n)), draw.integers(-5, 6, (time, n)).astype(float)))
        return cases

    def __call__(self, fn: Callable):
        return super().__call__(_in_rounds(fn))

    def answer(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """One step after the other."""
        states, h = [], np.zeros(b.shape[1])
        for decay, addend in zip(a, b, strict=True):
            h = decay @ h + addend
            states.append(h)
        return np.array(states)

    def difference(self, target: np.ndarray, yours: Sequence) -> str | None:
        for t, (wanted, got) in enumerate(zip(target, yours, strict=True)):
            if np.shape(got) != wanted.shape:
                return f'the state at timestep {t} has the shape {np.shape(got)}, not {wanted.shape}'
            wrong = np.flatnonzero(~np.isclose(wanted, got, rtol=1e-6, atol=1e-6))
            if len(wrong):
                n = wrong[0]
                return f'T = {t + 1} gives {number(got[n])} for {number(wanted[n])}'
        return None

    def mistakes(self):
        yield (
            'numbers commute, matrices do not: the left one acts first, so it stands on the right of the product',
            _in_rounds(lambda left, right: (left[0] @ right[0], right[0] @ left[1] + right[1])),
        )
        yield (
            'that is number by number. A state of several numbers needs the matrix product, @',
            _in_rounds(lambda left, right: (right[0] * left[0], right[0] @ left[1] + right[1])),
        )
        yield (
            'a state that passes both updates is multiplied twice: the two factors make a product',
            _in_rounds(lambda left, right: (left[0] + right[0], right[0] @ left[1] + right[1])),
        )
        yield (
            'both factors act on a state that comes from before the left update, not the right one alone',
            _in_rounds(lambda left, right: (right[0], right[0] @ left[1] + right[1])),
        )
        yield (
            'T = 1 passes, as nothing is combined there. The *later* decay acts on the *earlier* state, not the '
            'other way round',
            _in_rounds(lambda left, right: (left[0] @ right[0], left[0] @ right[1] + left[1])),
        )
        yield (
            'before the right input is added, what the left one left behind decays once',
            _in_rounds(lambda left, right: (right[0] @ left[0], left[1] + right[1])),
        )

    def picture(self, case: tuple, target: np.ndarray, yours: Sequence, title: str):
        """The first number of the state that differs."""
        _, b = case
        mine = np.full(target.shape, np.nan)
        for t, h in enumerate(yours):
            if np.shape(h) == target[t].shape:
                mine[t] = h
        n = int((~np.isclose(target, mine)).any(0).argmax())
        rows = [Row('b', [number(v) for v in b[:, n]], ['lane'] * len(b)), *compared(target[:, n], mine[:, n])]
        return plot_rows(rows, title, f'Number {n} of the state after each update, combined in rounds.')


class Gate(Exercise):
    """The updates of a leaky sum: what is invalid changes nothing."""

    def cases(self) -> list[tuple]:
        half = np.array([0.5], np.float32)
        small = [
            ([1, 2, 3, 9, 9, 9], [1, 1, 1, 0, 0, 0]),
            ([1, 2, 9, 3], [1, 1, 0, 1]),
            ([1, 2, np.nan], [1, 1, 0]),
        ]
        cases = [
            (sl.Sequence(np.array(values, np.float32)[None, :, None], np.array(mask, bool)[None]), half)
            for values, mask in small
        ]
        decay = np.array([0.5, 0.9], np.float32)
        for seed in range(CASES - len(cases)):
            x = sl.testing.poison(sl.testing.random_sequence(sl.ChannelSpec((2,)), TIME, seed))
            cases.append((jax.tree.map(np.asarray, x), decay))
        return cases

    def __call__(self, fn: Callable):
        return super().__call__(_with_states(fn))

    def answer(self, x: sl.Sequence, decay: np.ndarray) -> np.ndarray:
        """A loop that skips what is invalid."""
        states = np.zeros(x.shape)
        for item, mask in enumerate(x.mask):
            h = np.zeros(len(decay))
            for t, valid in enumerate(mask):
                h = decay * h + x.values[item, t] if valid else h
                states[item, t] = h
        return states

    def difference(self, target: np.ndarray, yours: Any) -> str | None:
        if isinstance(yours, str):
            return yours
        wrong = np.argwhere(_differ(target, yours))
        if not len(wrong):
            return None
        place = tuple(wrong[0])
        wanted, got = number(target[place]), number(yours[place])
        return f'item {place[0]} at timestep {place[1]}: the state is {got}, not {wanted}'

    def mistakes(self):
        def valid(x: sl.Sequence) -> np.ndarray:
            return np.broadcast_to(x.mask[..., None], x.shape)

        def masked(x: sl.Sequence) -> np.ndarray:
            return np.where(valid(x), x.values, 0)

        yield (
            'NaN times 0 is NaN: choose b with where or mask_invalid()',
            _with_states(lambda x, decay: (np.where(valid(x), decay, 1), x.values * valid(x))),
        )
        yield (
            'the state faded during padding: b = 0 adds nothing, but a still multiplies. Which a changes no h?',
            _with_states(lambda x, decay: (np.broadcast_to(decay, x.shape), masked(x))),
        )
        yield (
            'padding was added to the state: a = 1 keeps it, and b must add nothing',
            _with_states(lambda x, decay: (np.where(valid(x), decay, 1), x.values)),
        )
        yield (
            'a = 0 forgets the state at an invalid timestep. Which a changes no h?',
            _with_states(lambda x, decay: (np.where(valid(x), decay, 0), masked(x))),
        )
        yield 'the mask is not used', _with_states(lambda x, decay: (np.broadcast_to(decay, x.shape), x.values))

    def picture(self, case: tuple, target: np.ndarray, yours: Any, title: str):
        """The item and the channel that differ."""
        x, _ = case
        yours = np.full(x.shape, np.nan) if isinstance(yours, str) else yours
        wrong = _differ(target, yours)
        item = int(wrong.any((1, 2)).argmax())
        channel = int(wrong[item].any(0).argmax())
        rows = compared(target[item, :, channel], yours[item, :, channel])
        values = sequence_row(f'x, item {item}', x.values[item, :, channel], x.mask[item])
        return plot_rows([values, *rows], title, 'The state after each timestep. Crossed cells are invalid.')


class IsAssociative(Exercise):
    """May brackets be moved in a chain of updates?"""

    def cases(self) -> list[tuple]:
        """Leaky sum, maximum and tanh; then some of all, with random elements."""
        pairs = [np.array(pair) for pair in ((0.5, 1.0), (0.5, 2.0), (0.25, 3.0))]
        numbers = [np.array(v) for v in (3.0, -1.0, 2.0)]
        cases = [
            (_leaky_sum, pairs),
            (np.maximum, numbers),
            (_tanh_of_sum, [np.array(v) for v in (0.0, 0.0, 1.0)]),
            (_mean, [np.array(v) for v in (1.0, 1.0, 1.0, 4.0)]),
        ]
        for seed in range(CASES - len(cases)):
            draw = np.random.default_rng(seed)
            fn = COMBINES[draw.integers(len(COMBINES))]
            cases.append((fn, list(draw.normal(size=(draw.integers(3, 6), 2)))))
        return cases

    def answer(self, combine: Callable, elements: Sequence) -> bool:
        return _first_triple(combine, elements) is None

    def difference(self, target: bool, yours: Any) -> str | None:
        if not isinstance(yours, bool | np.bool):
            return f'the result is a {type(yours).__name__}, not True or False'
        return None if bool(yours) == target else f'you say {bool(yours)}, and it is {target}'

    def facts(self, case: tuple, target: bool, yours: Any) -> dict[str, Any]:
        triple = _first_triple(*case)
        if triple is None:
            return {}
        x, y, z = (number(np.ravel(v)[-1]) for v in triple)
        left, right = (number(np.ravel(v)[-1]) for v in _both_ways(case[0], *triple))
        return {'left': f'({x}.{y}).{z} = {left}', 'right': f'{x}.({y}.{z}) = {right}'}

    def mistakes(self):
        yield (
            'the first three agree, others do not: {left}, {right}. Try every three of them',
            lambda fn, elements: _agree(fn, *elements[:3]),
        )
        yield '{left}, {right}: a nonlinearity between steps blocks it', lambda fn, elements: True
        yield (
            'both bracketings agree, but for rounding: compare with np.allclose',
            lambda fn, elements: all(np.array_equal(*_both_ways(fn, *three)) for three in _triples(elements)),
        )
        yield (
            'you exchange elements. Their order may matter; where the brackets stand may not',
            lambda fn, elements: all(np.allclose(fn(x, y), fn(y, x)) for x, y, _ in _triples(elements)),
        )

    def picture(self, case: tuple, target: bool, yours: Any, title: str):
        """Both bracketings of three elements, all their numbers in a row."""
        fn, elements = case
        triple = _first_triple(fn, elements) or elements[:3]
        left, right = (np.ravel(v) for v in _both_ways(fn, *triple))
        same = np.isclose(left, right)
        marks = ['fed' if ok else 'first' for ok in same]
        verdicts = [('yes' if v else 'no') for v in (target, yours)]
        beside = [(verdicts[0], 'valid'), (verdicts[1], 'fed' if verdicts[0] == verdicts[1] else 'first')]
        rows = [
            Row(name, [number(v) for v in np.ravel(element)], ['lane'] * np.size(element))
            for name, element in zip('xyz', triple, strict=True)
        ]
        rows.append(Row('(x . y) . z', [number(v) for v in left], ['valid'] * len(left), beside))
        rows.append(Row('x . (y . z)', [number(v) for v in right], marks))
        return plot_rows(rows, title, 'Three elements, and the two ways to set the brackets.', ('target', 'yours'))


def rounds(combine: Callable, elements: Sequence) -> list[list]:
    """All prefixes `e0 . e1 . ... . et`, and how they come about: the elements first, the prefixes last.

    In round r each entry is combined with the one `2**r` before it, so every round doubles what it covers.
    """
    done, reach = [list(elements)], 1
    while reach < len(elements):
        last = done[-1]
        done.append([combine(last[t - reach], last[t]) if t >= reach else last[t] for t in range(len(last))])
        reach *= 2
    return done


def _in_rounds(combine: Callable) -> Callable:
    """The states of a recurrence whose updates are combined in rounds."""

    @wraps(combine)
    def states(a: np.ndarray, b: np.ndarray) -> list:
        return [update[1] for update in rounds(combine, list(zip(a, b, strict=True)))[-1]]

    return states


def _with_states(gate: Callable) -> Callable:
    """The states that the updates of a gate lead to; or, in words, why they are no updates."""

    @wraps(gate)
    def states(x: sl.Sequence, decay: np.ndarray) -> np.ndarray | str:
        updates = gate(x, decay)
        if not isinstance(updates, tuple | list) or len(updates) != 2:
            return f'the result is a {type(updates).__name__}, not the two arrays a and b'
        for name, update in zip('ab', updates, strict=True):
            if np.shape(update) != x.shape:
                return f'{name} has the shape {np.shape(update)}, not {x.shape}: one update for each timestep'
        a, b = map(np.asarray, updates)
        h, found = np.zeros_like(b[:, 0]), []
        for t in range(x.shape[1]):
            h = a[:, t] * h + b[:, t]
            found.append(h)
        return np.stack(found, 1)

    return states


def _differ(target: np.ndarray, yours: np.ndarray) -> np.ndarray:
    return ~np.isclose(target, yours, rtol=1e-4, atol=1e-5, equal_nan=True)


def _leaky_sum(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of the updates `[a, b]`."""
    return np.array([left[0] * right[0], right[0] * left[1] + right[1]])


def _tanh_of_sum(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.tanh(left + right)


def _mean(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left + right) / 2


# Ways to make one element of two. The first five have no preferred brackets.
COMBINES: tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...] = (
    _leaky_sum,
    np.maximum,
    np.add,
    np.multiply,
    lambda left, right: right,
    _tanh_of_sum,
    _mean,
    np.subtract,
    lambda left, right: 0.5 * left + right,
)


def _triples(elements: Sequence) -> list[tuple]:
    return [(x, y, z) for x in elements for y in elements for z in elements]


def _both_ways(fn: Callable, x: Any, y: Any, z: Any) -> Pair:
    return fn(fn(x, y), z), fn(x, fn(y, z))


def _agree(fn: Callable, x: Any, y: Any, z: Any) -> bool:
    return bool(np.allclose(*_both_ways(fn, x, y, z)))


def _first_triple(fn: Callable, elements: Sequence) -> tuple | None:
    """The first three that the brackets matter to: in their own order, if they do there."""
    own = [tuple(elements[i : i + 3]) for i in range(len(elements) - 2)]
    return next((triple for triple in own + _triples(elements) if not _agree(fn, *triple)), None)


combine = Combine()
gate = Gate()
is_associative = IsAssociative()
