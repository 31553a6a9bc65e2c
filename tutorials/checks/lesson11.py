"""Exercises of lesson 11: a meter with attack and release, a filter with a neighbour, and layers that lie."""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import seqlayers as sl

from .exercise import Exercise
from .liars import LAYERS, LIES
from .pictures import Row, compared, number, plot_rows, sequence_row

CASES = 40
TIME = 8
EMPHASIS = 0.97
READ = 'Plain cells are valid, crossed cells are invalid.'


def sequences(small: list[tuple[list, list]], count: int) -> list[sl.Sequence]:
    """Some of one item, then random ones with every kind of mask; what is invalid holds NaN."""
    first = [sl.Sequence(np.array([values], np.float32), np.array([mask], bool)) for values, mask in small]
    for seed in range(count - len(first)):
        x = sl.testing.random_sequence(sl.ChannelSpec(()), TIME, seed, sl.testing.mask_battery(TIME, seed))
        first.append(jax.tree.map(np.asarray, sl.testing.poison(x)))
    return first


def first_wrong(target: np.ndarray, yours: np.ndarray, mask: np.ndarray) -> tuple[int, int] | None:
    """Item and timestep of the first valid value that differs."""
    wrong = np.argwhere(mask & ~np.isclose(target, yours, rtol=1e-4, atol=1e-5, equal_nan=True))
    return tuple(wrong[0]) if len(wrong) else None


class Meter(Exercise):
    """A peak that rises by `attack` and falls by `release`, and stays where nothing is valid."""

    def cases(self) -> list[tuple]:
        """Sequences, attack and release."""
        small = [
            ([4, 1, 1, 1], [1, 1, 1, 1]),
            ([-4, 8, 1, 2], [1, 1, 1, 1]),
            ([4, 100, 1, 1], [1, 0, 1, 1]),
            ([np.nan, 4, 1, np.nan], [0, 1, 1, 0]),
        ]
        speeds = [(1.0, 0.5), (0.5, 0.25), (0.25, 0.5)]
        return [(x, *speeds[i % 3]) for i, x in enumerate(sequences(small, CASES))]

    def __call__(self, fn: Callable):
        return super().__call__(_run_meter(fn))

    def answer(self, x: sl.Sequence, attack: float, release: float) -> tuple[np.ndarray, np.ndarray]:
        """The peaks `[batch, time]`, and the gradient of the sum of the valid ones by attack and by release."""
        peaks, gradient = np.zeros(x.mask.shape), np.zeros(2)
        for item, mask in enumerate(x.mask):
            p, slopes = 0.0, np.zeros(2)  # how the peak moves with attack and with release
            for t, valid in enumerate(mask):
                if valid:
                    distance = abs(x.values[item, t]) - p
                    speed = attack if distance > 0 else release
                    p += speed * distance
                    slopes = (1 - speed) * slopes + np.where([distance > 0, distance <= 0], distance, 0)
                    gradient += slopes
                peaks[item, t] = p
        return peaks, gradient

    def difference(self, target: tuple, yours: tuple) -> str | None:
        if place := first_wrong(target[0], yours[0], np.ones(target[0].shape, bool)):
            where = f'the peak of item {place[0]} at timestep {place[1]}'
            return f'{where} is {number(yours[0][place])}, not {number(target[0][place])}'
        for name, wanted, got in zip(('attack', 'release'), target[1], yours[1], strict=True):
            if not np.isclose(wanted, got, rtol=1e-3, atol=1e-4, equal_nan=True):
                return f'the gradient by {name} is {number(got)}, not {number(wanted)}'
        return None

    def mistakes(self) -> Iterator[tuple[str, Callable]]:
        def moved(p, a, attack, release):
            return p + jnp.where(a > p, attack, release) * (a - p)

        def zero_is_data(x, valid, p, attack, release):
            return moved(p, jnp.abs(jnp.where(valid, x, 0)), attack, release)

        def frozen_only(x, valid, p, attack, release):
            return jnp.where(valid, moved(p, jnp.abs(x), attack, release), p)

        def unmasked(x, valid, p, attack, release):
            return moved(p, jnp.abs(x), attack, release)

        def swapped(x, valid, p, attack, release):
            return frozen_only(jnp.where(valid, x, 0), valid, p, release, attack)

        def signed(x, valid, p, attack, release):
            return jnp.where(valid, moved(p, jnp.where(valid, x, 0), attack, release), p)

        for idea, wrong in {
            'the value is right, the gradient is 0 times NaN: select the input before you compare': frozen_only,
            'nothing happened in an invalid timestep, and your peak moved: freeze it after you compared': zero_is_data,
            'padding moves your peak: ask whether the timestep is valid': unmasked,
            'attack is for a level above the peak, release for one below': swapped,
            'the level is |x|: a deep valley is as loud as a high peak': signed,
        }.items():
            yield idea, _run_meter(wrong)

    def picture(self, case: tuple, target: tuple, yours: tuple, title: str):
        x, attack, release = case
        item = (first_wrong(target[0], yours[0], np.ones(x.mask.shape, bool)) or (0, 0))[0]
        rows = [
            sequence_row('x', x.values[item], x.mask[item]),
            *compared(*(peaks[item].tolist() for peaks, _ in (target, yours)), 1e-4),
        ]
        rows += [
            row._replace(name=f'gradient, {row.name}', detail='by attack, by release')
            for row in compared(target[1].tolist(), yours[1].tolist(), 1e-3)
        ]
        return plot_rows(rows, title, f'{READ} Attack {attack:g}, release {release:g}.')


def _run_meter(fn: Callable) -> Callable:
    """`fn`, one timestep of a batch, over a sequence: what `Meter.answer` gives."""

    @jax.jit
    def run(x, attack, release):
        def peaks(attack, release):
            def timestep(p, xs):
                p = fn(*xs, p, attack, release)
                return p, p

            return jax.lax.scan(timestep, jnp.zeros(x.shape[0]), (x.values.T, x.mask.T))[1].T

        found, back = jax.vjp(peaks, attack, release)
        return found, jnp.stack(back(jnp.asarray(x.mask, found.dtype)))

    @wraps(fn)
    def on_host(x: sl.Sequence, attack: float, release: float) -> tuple[np.ndarray, np.ndarray]:
        return jax.tree.map(np.asarray, run(x, attack, release))

    return on_host


class Preemphasis(Exercise):
    """Each value less 0.97 times the one before it, block by block; an invalid timestep counts as 0."""

    def cases(self) -> list[tuple]:
        """Sequences, and the lengths of the blocks that they are cut into."""
        small = [
            ([1, 2, 3, 4], [1, 1, 1, 1]),
            ([1, 2, 3, 4], [1, 1, 1, 1]),
            ([1, 9, 3, 4], [1, 0, 1, 1]),
            ([1, np.nan, 3, 4], [1, 0, 1, 1]),
            ([1, np.nan, 3, 4], [1, 0, 1, 1]),
        ]
        blocks = [(4,), (2, 2), (4,), (4,), (2, 2)]
        cuts = [(8,), (4, 4), (1,) * 8, (3, 1, 4), (5, 2, 1)]
        return [
            (x, blocks[i] if i < len(blocks) else cuts[i % len(cuts)]) for i, x in enumerate(sequences(small, CASES))
        ]

    def __call__(self, fn: Callable):
        return super().__call__(_run_blocks(fn))

    def answer(self, x: sl.Sequence, blocks: tuple[int, ...]) -> np.ndarray:
        y = np.full((2, *x.mask.shape), np.nan)
        y[1] = x.mask
        for item, mask in enumerate(x.mask):
            for t in np.flatnonzero(mask):
                before = x.values[item, t - 1] if t > 0 and mask[t - 1] else 0
                y[0, item, t] = x.values[item, t] - EMPHASIS * before
        return y

    def difference(self, target: np.ndarray, yours: Any) -> str | None:
        if target.shape != np.shape(yours):
            return f'the outputs of all blocks have the shape {np.shape(yours)[1:]}, not {target.shape[1:]}'
        if (target[1] != yours[1]).any():
            return 'the mask of the outputs is not that of the inputs: y has a value where x has one'
        place = first_wrong(target[0], yours[0], target[1] > 0)
        if place is None:
            return None
        return f'item {place[0]}, timestep {place[1]} is {number(yours[0][place])}, not {number(target[0][place])}'

    def facts(self, case: tuple, target: np.ndarray, yours: Any) -> dict[str, Any]:
        item, t = first_wrong(target[0], yours[0], target[1] > 0) or (0, 0)
        around = ' '.join(str(int(v)) for v in case[0].mask[item][max(0, t - 2) : t + 1])
        return {'mask': around, 'before': t - 1}

    def mistakes(self) -> Iterator[tuple[str, Callable]]:
        def shifted(values, state):
            return np.concatenate([state[:, None], values[:, :-1]], 1)

        def raw(x, state):
            return x.replace(values=x.values - EMPHASIS * shifted(x.values, state)), x.values[:, -1]

        def forgetful(x, state):
            values = np.where(x.mask, x.values, 0)
            return x.replace(values=values - EMPHASIS * shifted(values, np.zeros_like(state))), state

        def multiplied(x, state):
            values = x.values * x.mask
            return x.replace(values=values - EMPHASIS * shifted(values, state)), values[:, -1]

        def masked_but_for_the_state(x, state):
            values = np.where(x.mask, x.values, 0)
            return x.replace(values=values - EMPHASIS * shifted(values, state)), x.values[:, -1]

        def last_valid(x, state):
            outputs = []
            for values, mask in zip(x.values.T, x.mask.T, strict=True):
                outputs.append(values - EMPHASIS * state)
                state = np.where(mask, values, state)
            return x.replace(values=np.stack(outputs, 1)), state

        for idea, wrong in {
            'the buffer holds an invalid value, and hands it to the next block': masked_but_for_the_state,
            'NaN times 0 is NaN: select, do not multiply by the mask': multiplied,
            'mask {mask}: as a window over time the neighbour is the invalid timestep {before}, value 0': last_valid,
            'timestep {before} is invalid and counts as 0: mask x before you shift it': raw,
            'each block begins as if nothing came before it: put the state in front': forgetful,
        }.items():
            yield idea, _run_blocks(wrong)

    def picture(self, case: tuple, target: np.ndarray, yours: Any, title: str):
        x, blocks = case
        item = (first_wrong(target[0], yours[0], target[1] > 0) or (0, 0))[0] if target.shape == yours.shape else 0
        shown = [np.where(np.resize(x.mask[item], y.shape[-1]), y[0][item], 0).tolist() for y in (target, yours)]
        rows = [sequence_row('x', x.values[item], x.mask[item]), *compared(*shown)]
        return plot_rows(rows, title, f'{READ} Dashed: a new block.', breaks=np.cumsum(blocks)[:-1].tolist())


def _run_blocks(fn: Callable) -> Callable:
    """`fn`, one step, over all blocks of a sequence: values and masks, `[2, batch, time]`."""

    @wraps(fn)
    def run(x: sl.Sequence, blocks: tuple[int, ...]) -> np.ndarray:
        state, outputs, start = np.zeros(len(x.values), np.float32), [], 0
        for size in blocks:
            y, state = fn(x[:, start : start + size], state)
            outputs.append(np.stack([y.values, y.mask]))
            start += size
        return np.concatenate(outputs, -1)

    return run


class FindTheLie(Exercise):
    """Which layers keep the contract."""

    def cases(self) -> list[tuple]:
        return [(dict(LAYERS),)]

    def answer(self, layers: dict) -> dict[str, bool]:
        return {name: layer not in LIES for name, layer in layers.items()}

    def difference(self, target: dict, yours: Any) -> str | None:
        if not isinstance(yours, dict) or set(yours) != set(target):
            return f'expected a dict with an entry for each of {", ".join(target)}, got {yours!r}'
        wrong = [name for name in target if bool(yours[name]) != target[name]]
        words = 'honest', 'a liar'
        return f'{wrong[0]} is {words[not target[wrong[0]]]}, you say {words[target[wrong[0]]]}' if wrong else None

    def idea(self, case: tuple, target: dict, yours: Any) -> str | None:
        if not isinstance(yours, dict) or set(yours) != set(target):
            return None
        if all(yours.values()):
            return 'alone each passes; composition is the test'
        if any(target[name] and not yours[name] for name in target):
            return 'what it says of itself is true. Is your test one that no layer passes?'
        found = sum(not honest for honest in yours.values())
        return f'you found {found} of {len(LIES)} lies: put each layer behind a Lookahead(1), and use masks with gaps'

    def praise(self, cases: list[tuple]) -> str:
        (layers,) = cases[0]
        return 'ok: ' + '; '.join(f'{name} {LIES.get(layer, "is honest")}' for name, layer in layers.items())

    def picture(self, case: tuple, target: dict, yours: Any, title: str):
        yours = yours if isinstance(yours, dict) else {}
        words = {True: 'honest', False: 'a liar', None: '?'}
        marks = {name: 'fed' if yours.get(name) == honest else 'first' for name, honest in target.items()}
        mine = [(words[yours.get(name)], mark) for name, mark in marks.items()]
        rows = [
            Row('target', [], [], [(words[honest], 'valid') for honest in target.values()]),
            Row('yours', [], [], mine),
        ]
        return plot_rows(rows, title, 'Does the layer keep the contract?', list(target))


meter = Meter()
preemphasis = Preemphasis()
find_the_lie = FindTheLie()
