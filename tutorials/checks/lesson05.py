"""Exercises of lesson 05: the field of a chain calculated, who sees whom measured, and a wide field without holes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .exercise import Exercise
from .influence import plot_influence
from .pictures import Row, plot_rows

CASES = 40
FRAMES, LAYERS, KERNEL = 100, 6, 3  # what `Dilations` asks for
SHOWN = 128  # inputs in its picture


class Field(Exercise):
    """First and last input that an output of a causal chain sees, less the output's own time."""

    def cases(self) -> list[tuple]:
        small = [
            ([3], [1], [1]),
            ([3, 5], [1, 2], [1, 1]),
            ([5, 5], [2, 1], [1, 1]),
            ([3, 3], [1, 1], [1, 4]),
            ([1, 2, 3], [3, 2, 1], [1, 1, 2]),
        ]
        draw = np.random.default_rng(0)
        for _ in range(CASES - len(small)):
            count = draw.integers(1, 5)
            small.append(tuple(draw.integers(1, most, count).tolist() for most in (6, 4, 4)))
        return small

    def answer(self, kernels: list, strides: list, dilations: list) -> tuple[int, int]:
        """Follows one output back through the layers, timestep by timestep."""
        seen = {0}
        for kernel, stride, dilation in reversed(list(zip(kernels, strides, dilations, strict=True))):
            seen = {t * stride - k * dilation for t in seen for k in range(kernel)}
        return min(seen), max(seen)

    def difference(self, target: tuple, yours: Any) -> str | None:
        return None if yours == target else f'you say {yours}, not {target}'

    def facts(self, case: tuple, target: tuple, yours: Any) -> dict[str, Any]:
        return {'width': 1 - target[0], 'back': -target[0]}

    def mistakes(self):
        def variant(stretches=None, reach=lambda k, d: (k - 1) * d, finish=lambda past: (-past, 0)):
            def wrong(kernels, strides, dilations):
                by = (stretches or _before)(strides)
                reaches = (reach(k, d) for k, d in zip(kernels, dilations, strict=True))
                return finish(sum(r * s for r, s in zip(reaches, by, strict=True)))

            return wrong

        yield (
            'a layer is stretched by the strides before it, not by its own: its taps are steps of its *input*',
            variant(lambda strides: np.cumprod(strides).tolist()),
        )
        yield (
            'you added kernels but did not stretch a layer by the strides before it: a step of layer 2 is as many '
            'inputs as the stride of layer 1',
            variant(lambda strides: [1] * len(strides)),
        )
        yield (
            'a layer is stretched by the strides *before* it, and you took those behind it',
            variant(lambda strides: [math.prod(strides[i + 1 :]) for i in range(len(strides))]),
        )
        yield (
            'k taps have k - 1 gaps between them, and it is a gap that the dilation makes longer',
            variant(reach=lambda k, d: k * d - 1),
        )
        yield (
            'the taps of a dilated layer are not neighbours: they stand `dilation` apart',
            variant(reach=lambda k, d: k - 1),
        )
        yield (
            "the field is {width} inputs wide, and its first input is {back} back, as the output's own counts too",
            variant(finish=lambda past: (-past - 1, 0)),
        )
        yield 'inputs before the output have negative places', variant(finish=lambda past: (past, 0))
        yield 'the past comes first: (past, future)', variant(finish=lambda past: (0, -past))

    def picture(self, case: tuple, target: tuple, yours: Any, title: str):
        """The inputs up to the output's own: the field, and what you say of it."""
        is_pair = isinstance(yours, tuple) and len(yours) == 2 and all(isinstance(v, int) for v in yours)
        claims = target, yours if is_pair else (1, 0)
        first = min(target[0], max(min(claims[1]), 2 * target[0] - 4))
        last = max(0, min(max(claims[1]), 4))
        rows = []
        for name, claim in zip(('target', 'yours'), claims, strict=True):
            marks = ['fed' if claim[0] <= t <= claim[1] else 'future' for t in range(first, last + 1)]
            if name == 'yours':
                marks = ['differs' if a != b else a for a, b in zip(marks, rows[0].marks, strict=True)]
            rows.append(Row(name, [str(t) for t in range(first, last + 1)], marks))
        what = "kernels {}, strides {}, dilations {}. Cells: inputs by their place, 0 is the output's own."
        return plot_rows(rows, title, what.format(*case))


@dataclass(frozen=True, eq=False)
class Stage:
    """Output o combines the inputs i with `reads[o, i]`: their weighted sum, or their maximum; a ReLU may follow."""

    reads: np.ndarray
    weights: np.ndarray
    takes_maximum: bool = False
    relu: bool = False

    def __call__(self, v: jax.Array) -> jax.Array:
        if self.takes_maximum:
            y = jnp.where(self.reads, v, -jnp.inf).max(1)
        else:
            y = jnp.where(self.reads, self.weights * v, 0).sum(1)
        return jnp.maximum(y, 0) if self.relu else y


@dataclass(frozen=True, eq=False)
class Chain:
    """A function over time, from `[time]` to `[time]`, made of stages."""

    stages: tuple[Stage, ...]

    def __call__(self, v: Any) -> jax.Array:
        v = jnp.asarray(v, jnp.float32)
        for stage in self.stages:
            v = stage(v)
        return v

    def __repr__(self):
        return f'<a function of {len(self.stages)} layers>'


class Measure(Exercise):
    """Which output sees which input: bool `[outputs, inputs]`."""

    def cases(self) -> list[tuple]:
        """A 3-tap sum; the same under a ReLU; the mean taken away, a window maximum; then random chains."""
        sums, ones = _windows(8, (0, 1, 2)), np.ones((8, 8), np.float32)
        cases = [
            (Chain((Stage(sums, ones),)), 8),
            (Chain((Stage(sums, ones, relu=True),)), 8),
            (Chain((Stage(sums, ones, takes_maximum=True),)), 8),
            (Chain((Stage(np.ones((8, 8), bool), np.asarray(np.eye(8) - 1 / 8, np.float32)),)), 8),
        ]
        draw = np.random.default_rng(0)
        while len(cases) < CASES:
            stages = []
            for _ in range(draw.integers(1, 4)):
                reads = _windows(8, draw.choice(np.arange(-2, 5), draw.integers(1, 4), replace=False))
                reads[np.arange(8), np.arange(8)] |= ~reads.any(1)  # an output that reads nothing has no maximum
                signs = np.float32(draw.choice([-1.0, 1.0, 2.0], (8, 8)))
                stages.append(Stage(reads, signs, bool(draw.integers(2)), bool(draw.integers(2))))
            cases.append((Chain(tuple(stages)), 8))
        return cases

    def answer(self, fn: Chain, time: int) -> np.ndarray:
        """From what each layer reads: no value is looked at."""
        sees = np.eye(time, dtype=bool)
        for stage in fn.stages:
            sees = stage.reads @ sees
        return sees

    def difference(self, target: np.ndarray, yours: Any) -> str | None:
        yours = np.asarray(yours)
        if yours.shape != target.shape or yours.dtype != bool:
            return f'the result is {yours.dtype} {list(yours.shape)}, not bool {list(target.shape)}'
        if (yours == target).all():
            return None
        output, source = np.argwhere(yours != target)[0]
        verb = 'sees' if target[output, source] else 'does not see'
        return f'output {output} {verb} input {source}'

    def idea(self, case: tuple, target: np.ndarray, yours: Any) -> str | None:
        yours, stages = np.asarray(yours), case[0].stages
        if yours.shape != target.shape or yours.dtype != bool:
            return None
        if (yours == target.T).all():
            return 'a row is an output and a column an input: yours is the other way round'
        if (yours == np.logical_or.accumulate(target, axis=1)).all():
            return 'you left the NaN in the inputs before: poison one input at a time'
        missing = int((target & ~yours).sum())
        if (yours & ~target).any() or not missing:
            return None
        pairs = f'{missing} of {target.sum()} true pairs are missing'
        if any(stage.relu for stage in stages):
            return f'{pairs} where the ReLU was off: poison with NaN, or perturb'
        if any(stage.takes_maximum for stage in stages):
            return f'{pairs} where another input was the maximum: poison with NaN'
        return f'{pairs}: a change too small for float32 is swallowed. Poison with NaN'

    def picture(self, case: tuple, target: np.ndarray, yours: Any, title: str):
        yours = np.asarray(yours)
        if yours.shape != target.shape or yours.dtype != bool:
            yours = np.zeros_like(target)
        return plot_influence({'target': target, 'yours': yours}, title, {'yours': yours != target})


class Dilations(Exercise):
    """A design: at most 6 causal layers of kernel 3 that see at least 100 frames, all of them."""

    def cases(self) -> list[tuple]:
        return [()]

    def answer(self) -> list[int]:
        return [1, 2, 4, 8, 16, 32]

    def difference(self, target: list, yours: Any) -> str | None:
        """Any design that fulfils the task is right."""
        if not _is_design(yours):
            return f'you say {yours}, which is no list of dilations: whole numbers from 1 on'
        if len(yours) > LAYERS:
            return f'{len(yours)} layers, and {LAYERS} are allowed'
        reach = self.reach(yours)
        if reach < FRAMES:
            return f'{len(yours)} layers see {reach} frames, not {FRAMES}'
        holes = reach - len(_read(yours))
        return f'of {reach} frames {holes} are never read' if holes else None

    def idea(self, case: tuple, target: list, yours: Any) -> str | None:
        if not _is_design(yours):
            return None
        if len(yours) > LAYERS or self.reach(yours) < FRAMES:
            return 'a layer of kernel 3 adds 2 x its dilation. Each may double the reach of those before it'
        step = math.gcd(*yours)
        if step > 1:
            return f'wide but with holes: {step - 1} of every {step} inputs are never read'
        return 'wide but with holes: a layer may not step over more than what those before it see'

    def praise(self, cases: list[tuple]) -> str:
        return f'ok: at least {FRAMES} frames with at most {LAYERS} layers, and no holes'

    def reach(self, dilations: Sequence[int]) -> int:
        return 1 + (KERNEL - 1) * sum(dilations)

    def picture(self, case: tuple, target: list, yours: Any, title: str):
        """The comb: which inputs one output reads, up to its own."""
        rows = []
        for name, design in (('target', target), ('yours', yours)):
            design = design if _is_design(design) else []
            read, reach = _read(design), self.reach(design)
            marks = ['now' if t in read else 'differs' if t < reach else 'future' for t in reversed(range(SHOWN))]
            rows.append(Row(name, [''] * SHOWN, marks, detail=f'reaches {reach} frames'))
        what = f'The last {SHOWN} inputs; the newest is at the right. Dark: read. Orange: a hole. White: out of reach.'
        return plot_rows(rows, title, what)


def _before(strides: list) -> list[int]:
    return [math.prod(strides[:i]) for i in range(len(strides))]


def _windows(time: int, lags: Sequence[int] | np.ndarray) -> np.ndarray:
    """reads[o, i]: input i lies one of `lags` before output o."""
    t = np.arange(time)
    return np.isin(t[:, None] - t, lags)


def _is_design(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(d, int) and d > 0 for d in value) and len(value) > 0


def _read(dilations: Sequence[int]) -> set[int]:
    """How many steps ago the inputs are that one output reads."""
    read = {0}
    for dilation in dilations:
        read = {t + k * dilation for t in read for k in range(KERNEL)}
    return read


field = Field()
measure = Measure()
dilations = Dilations()
