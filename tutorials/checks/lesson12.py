"""Exercises of lesson 12: blocks of one size, deadlines, and a slot that begins anew."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cache, wraps
from typing import Any

import jax
import numpy as np

import seqlayers as sl

from .backlog import schedule
from .exercise import Exercise
from .pictures import Row, compared, number, plot_rows

CASES = 40
SLOTS = 3


class Rechunk(Exercise):
    """A generator that makes blocks of one size from chunks of any, as soon as they are full."""

    def __call__(self, fn: Callable):
        """Watches `fn`: how many chunks it has read when a block comes out."""
        return super().__call__(wraps(fn)(lambda chunks, block: _watched(fn, chunks, block)))

    def cases(self) -> list[tuple]:
        """One idea a case, then Rover's clip in chunks of 317, then random sizes, empty chunks included."""
        small = ((3, 5), 4), ((3, 1, 4), 4), ((3, 4, 2), 2), ((9,), 3), ((317,) * 140 + (200,), 317)
        draw = np.random.default_rng(0)
        random = ((draw.integers(0, 8, draw.integers(1, 7)), int(draw.integers(1, 6))) for _ in itertools.count())
        return [
            (_chunks(sizes), block) for sizes, block in itertools.islice(itertools.chain(small, _some(random)), CASES)
        ]

    def answer(self, chunks: list[np.ndarray], block: int) -> list[tuple[np.ndarray, int]]:
        """Each block with the number of chunks that must have come before it is full."""
        samples, there = np.concatenate(chunks), np.cumsum([len(chunk) for chunk in chunks])
        full = range(block, len(samples) + 1, block)
        blocks = [(samples[end - block : end], int(np.searchsorted(there, end)) + 1) for end in full]
        rest = samples[len(blocks) * block :]
        return blocks + [(rest, len(chunks))] * bool(len(rest))

    def difference(self, target: list, yours: Any) -> str | None:
        if isinstance(yours, str):
            return f'the result is a {yours}, not a generator: yield each block'
        for i, ((wanted, then), (got, read)) in enumerate(zip(target, yours, strict=False)):
            if got.shape != wanted.shape:
                return f'block {i} has {got.size:,} samples, not {len(wanted):,}'
            if not np.array_equal(wanted, got):
                return f'block {i} begins with sample {number(got[0])}, not {number(wanted[0])}'
            if read != then:
                return f'block {i} is full with chunk {then - 1}, and comes after chunk {read - 1}'
        if len(target) != len(yours):
            return f'{len(yours):,} blocks, not {len(target):,}'
        return None

    def facts(self, case: tuple, target: list, yours: Any) -> dict[str, Any]:
        there, arrived = (sum(len(block) for block, _ in blocks) for blocks in (target, yours))
        return {'lost': f'{there - arrived:,}', 'size': case[1], 'zeros': arrived - there}

    def mistakes(self):
        for words, wrong in (
            ('{lost} samples of the last word never arrived: what fills no block comes out at the end', _without_end),
            ('zeros are data: {zeros} samples that nobody said. Let the last block be short', _with_zeros),
            ('one chunk can fill more than one block: while, not if', _one_a_chunk),
            ('the first block waits for the last chunk: yield it as soon as it is full', _at_the_end),
            ('the rest of a chunk is dropped, and {lost} samples with it: carry it over', _drop_rests),
            ('each chunk is cut by itself: carry its rest over to the next chunk', _by_itself),
        ):
            yield words, lambda chunks, block, wrong=wrong: _watched(wrong, chunks, block)

    def picture(self, case: tuple, target: list, yours: Any, title: str):
        """Every sample with the number of its block; dashed where a chunk begins."""
        chunks, _ = case
        yours = yours if isinstance(yours, list) else []
        wanted, got = ([i for i, (block, _) in enumerate(blocks) for _ in block] for blocks in (target, yours))
        rows = Row('sample', *_plain(np.concatenate(chunks))), *compared(wanted, got)
        breaks = np.cumsum([len(chunk) for chunk in chunks])[:-1].tolist()
        what = 'Rows: the number of the block that a sample is in. Dashed lines: a new chunk begins.'
        return plot_rows(rows, title, what, breaks=breaks if len(breaks) < 20 else ())


class Deadlines(Exercise):
    """The real-time factor, how many results are late, and the worst of them."""

    def cases(self) -> list[tuple]:
        """A machine that keeps up; one slow call; that of the lesson; then random ones."""
        lesson = [8.0] * 140
        lesson[40] = 300
        cases = [([2.0, 2, 2, 2], 4.0), ([2.0, 9, 2, 2, 2], 4.0), ([3.0, 5, 5, 3, 1], 4.0), (lesson, 19.8)]
        draw = np.random.default_rng(0)
        while len(cases) < CASES:
            cases.append((draw.integers(1, 9, draw.integers(1, 12)).astype(float).tolist(), float(draw.integers(3, 8))))
        return cases

    def answer(self, ms: Sequence[float], period: float) -> tuple[float, int, float]:
        calls = schedule(ms, period)
        return calls.factor, calls.late, float(calls.lateness.max())

    def difference(self, target: tuple, yours: Any) -> str | None:
        if not isinstance(yours, tuple) or len(yours) != 3:
            return f'the result is {yours!r}, not a tuple (rtf, late, worst)'
        for name, wanted, got in zip(('rtf', 'late', 'worst'), target, yours, strict=True):
            if not np.isclose(wanted, got, rtol=1e-5, atol=1e-6):
                return f'{name} is {number(got)}, not {number(wanted)}'
        return None

    def facts(self, case: tuple, target: tuple, yours: Any) -> dict[str, Any]:
        return {'rtf': f'{target[0]:.2f}', 'late': target[1]}

    def mistakes(self):
        def answer(ms: Sequence[float], period: float, late: np.ndarray) -> tuple:
            late = np.where(late > 1e-9, late, 0.0)
            return sum(ms) / (len(ms) * period), int((late > 0).sum()), late.max()

        def ahead(ms: Sequence[float], period: float) -> np.ndarray:
            return np.cumsum(ms) - period * np.arange(1, len(ms) + 1)

        yield (
            '{rtf} and yet {late} late: a mean does not see one slow call, nor those that wait behind it',
            lambda ms, period: answer(ms, period, np.maximum(np.mean(ms) - period, np.zeros(len(ms)))),
        )
        yield (
            'a short call is late too if it begins late: it waits for the call before',
            lambda ms, period: answer(ms, period, np.array(ms) - period),
        )
        yield (
            'a call cannot begin before its chunk is there, however early the call before is done',
            lambda ms, period: answer(ms, period, ahead(ms, period)),
        )
        yield (
            'you count from the arrival of the chunk; a result is due a period later',
            lambda ms, period: answer(ms, period, schedule(ms, period).ends - schedule(ms, period).arrives),
        )
        yield (
            'the real-time factor is computing time over duration, not the other way round',
            lambda ms, period: (1 / schedule(ms, period).factor, *self.answer(ms, period)[1:]),
        )
        yield (
            'worst is how long after its deadline a result comes, not how long the longest call takes',
            lambda ms, period: (*self.answer(ms, period)[:2], max(ms)),
        )

    def picture(self, case: tuple, target: tuple, yours: Any, title: str):
        lateness = schedule(*case).lateness
        yours = yours if isinstance(yours, tuple) and len(yours) == 3 else (np.nan,) * 3
        marks = ['fed' if np.isclose(a, b) else 'first' for a, b in zip(target, yours, strict=True)]
        columns = 'rtf', 'late', 'worst, ms'
        labels = [number(value) for value in lateness]
        wanted = Row('target', labels, np.where(lateness > 0, 'lost', 'valid').tolist(), _beside(target))
        got = Row(
            'yours',
            [''] * len(labels),
            ['lane'] * len(labels),
            [(number(v), m) for v, m in zip(yours, marks, strict=True)],
        )
        what = 'A cell is a call, and how many ms after its deadline its result comes. Crossed: late.'
        return plot_rows((wanted, got), title, what, columns)


class ResetSlot(Exercise):
    """The state of a batch in which some slots begin anew, and the others go on."""

    def cases(self) -> list[tuple]:
        """A square state first, then those of real layers; one slot first, then any slots."""
        draw = np.random.default_rng(0)
        fixed = ([0, 1, 0], [0, 0, 0], [1, 1, 1])
        cases = []
        for i, initial in zip(range(CASES), itertools.cycle(initial_states()), strict=False):
            slots = np.array(fixed[i]) if i < len(fixed) else draw.integers(0, 2, SLOTS)
            cases.append((jax.tree.map(lambda leaf: _any_like(leaf, draw), initial), initial, slots.astype(bool)))
        return cases

    def answer(self, state: Any, initial: Any, slots: np.ndarray) -> Any:
        """Slot by slot."""

        def of_leaf(old: np.ndarray, first: np.ndarray) -> np.ndarray:
            return np.stack([first[slot] if slots[slot] else old[slot] for slot in range(SLOTS)])

        return jax.tree.map(of_leaf, state, initial)

    def difference(self, target: Any, yours: Any) -> str | None:
        if jax.tree.structure(target) != jax.tree.structure(yours):
            return 'the result is not built like the state: use jax.tree.map'
        for wanted, got in zip(jax.tree.leaves(target), map(np.asarray, jax.tree.leaves(yours)), strict=True):
            if wanted.shape != got.shape:
                return f'an array has the shape {got.shape}, not {wanted.shape}'
            wrong = np.argwhere(~np.isclose(wanted, got))
            if len(wrong):
                place = tuple(wrong[0])
                return f'slot {place[0]} holds {_said(got[place])}, not {_said(wanted[place])}'
        return None

    def mistakes(self):
        yield (
            'slots is matched with the last axis of an array. The slots are its first axis: give `slots` more axes',
            _along_the_last_axis,
        )
        yield 'every slot begins anew: the others have lost their memory', lambda state, initial, slots: initial
        yield 'nothing begins anew: the next speaker gets the memory of the last', lambda state, initial, slots: state
        yield (
            'the wrong way round: where slots is True, the initial state',
            lambda state, initial, slots: self.answer(initial, state, slots),
        )
        yield (
            'zero is not the initial state: max-pooling starts at -inf, a clock at minus the offset, one padding '
            'mode with a True mask',
            lambda state, initial, slots: self.answer(state, jax.tree.map(np.zeros_like, initial), slots),
        )

    def picture(self, case: tuple, target: Any, yours: Any, title: str):
        """The first array that differs, slot by slot."""
        slots, leaves = case[2], jax.tree.leaves(target)
        same = jax.tree.structure(target) == jax.tree.structure(yours)
        got = [np.asarray(leaf) for leaf in jax.tree.leaves(yours)] if same else [leaf * np.nan for leaf in leaves]
        differ = [a.shape != b.shape or not np.allclose(a, b) for a, b in zip(leaves, got, strict=True)]
        chosen = differ.index(True) if True in differ else 0
        rows = []
        for slot in range(SLOTS):
            old, new = (np.ravel(leaf[slot]).astype(float).tolist()[:8] for leaf in (leaves[chosen], got[chosen]))
            pair = compared(old, new)
            what = 'begins anew' if slots[slot] else 'goes on'
            rows += [row._replace(name=f'slot {slot}, {row.name}', detail=what) for row in pair]
        return plot_rows(rows, title, 'The first array of the state that differs, at most 8 numbers of a slot.')


@cache
def initial_states() -> list[Any]:
    """That of a counter, and of layers whose initial state is not zero: -inf, a clock, a True mask, times long ago."""
    layers = {
        sl.MaxPooling1D(3, padding='causal'): {},
        sl.Dropout(0.5): {'training': True, 'offset': 2},
        sl.Conv1D(1, 3, padding='causal_valid'): {},
        sl.DotProductSelfAttention(1, 2, max_past_horizon=2): {},
    }
    built = ((layer.build(sl.ChannelSpec((1,)), rngs=0), how) for layer, how in layers.items())
    counter = {'count': np.ones((SLOTS, SLOTS), np.float32)}
    return [counter] + [
        jax.tree.map(np.asarray, model.get_initial_state(SLOTS, **{'training': False, **how})) for model, how in built
    ]


def _any_like(leaf: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Other values than those of an initial state, of the same type."""
    return np.logical_not(leaf) if leaf.dtype == bool else draw.integers(1, 10, leaf.shape).astype(leaf.dtype)


def _some(random: Iterator[tuple]) -> Iterator[tuple]:
    """Those that bring any samples."""
    return (case for case in random if sum(case[0]))


def _chunks(sizes: Sequence[int]) -> list[np.ndarray]:
    return np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])


def _watched(fn: Callable, chunks: list[np.ndarray], block: int) -> Any:
    """The blocks that a generator gives, each with the number of chunks that it has read until then.

    Of something else the name of its type.
    """
    read = 0

    def source() -> Iterator[np.ndarray]:
        nonlocal read
        for chunk in chunks:
            read += 1
            yield chunk

    blocks = fn(source(), block)
    return [(np.asarray(b), read) for b in blocks] if isinstance(blocks, Iterator) else type(blocks).__name__


def _plain(values: np.ndarray) -> tuple[list[str], list[str]]:
    return [number(value) for value in values], ['lane'] * len(values)


def _beside(values: Sequence[float]) -> list[tuple[str, str]]:
    return [(number(value), 'valid') for value in values]


def _said(value: Any) -> str:
    return str(bool(value)) if np.asarray(value).dtype == bool else number(value)


# Common wrong ways.
def _along_the_last_axis(state: Any, initial: Any, slots: np.ndarray) -> Any:
    return jax.tree.map(lambda old, new: np.where(np.resize(slots, old.shape[-1]), new, old), state, initial)


def _regroup(chunks: Iterator, block: int, end: Callable | None) -> Iterator:
    rest = np.zeros(0, int)
    for chunk in chunks:
        rest = np.concatenate([rest, chunk])
        while len(rest) >= block:
            yield rest[:block]
            rest = rest[block:]
    if end and len(rest):
        yield end(rest)


def _without_end(chunks: Iterator, block: int) -> Iterator:
    return _regroup(chunks, block, None)


def _with_zeros(chunks: Iterator, block: int) -> Iterator:
    return _regroup(chunks, block, lambda rest: np.pad(rest, (0, block - len(rest))))


def _at_the_end(chunks: Iterator, block: int) -> Iterator:
    samples = np.concatenate(list(chunks))
    yield from (samples[i : i + block] for i in range(0, len(samples), block))


def _one_a_chunk(chunks: Iterator, block: int) -> Iterator:
    rest = np.zeros(0, int)
    for chunk in chunks:
        rest = np.concatenate([rest, chunk])
        if len(rest) >= block:
            yield rest[:block]
            rest = rest[block:]
    if len(rest):
        yield rest


def _by_itself(chunks: Iterator, block: int) -> Iterator:
    yield from (chunk[i : i + block] for chunk in chunks for i in range(0, len(chunk), block))


def _drop_rests(chunks: Iterator, block: int) -> Iterator:
    yield from (chunk[i : i + block] for chunk in chunks for i in range(0, len(chunk) - block + 1, block))


rechunk = Rechunk()
deadlines = Deadlines()
reset_slot = ResetSlot()
