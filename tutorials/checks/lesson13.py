"""Exercises of lesson 13: a loss per valid timestep, gradients in parts, and a run that goes on."""

import itertools
import tempfile
from collections.abc import Callable, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import seqlayers as sl
from viz import style

from .exercise import Exercise
from .pictures import Row, compared, lanes, number, plot_rows
from .training_run import TrainingRun

CASES = 40
CLASSES = 3
STEPS = 6  # of a training run, interrupted or not


class MaskedLoss(Exercise):
    """The cross entropy for each timestep that is valid in logits and target, and its gradient."""

    def __call__(self, fn: Callable):
        return super().__call__(wraps(fn)(lambda logits, target: _with_gradient(fn, logits, target)))

    def cases(self) -> list[tuple]:
        """One idea a case; then every kind of mask, with NaN and labels that do not exist where invalid."""
        draw = np.random.default_rng(0)
        small = [
            ([[1, 1, 1, 1], [1, 0, 0, 0]], None, False),
            ([[1, 1, 1, 1], [1, 1, 0, 0]], [[1, 1, 1, 0], [1, 1, 1, 0]], False),
            ([[1, 1, 1, 1], [1, 1, 0, 0]], None, True),
            ([[1, 0, 1, 1], [0, 0, 0, 0]], None, True),
            ([[0, 0, 0, 0], [0, 0, 0, 0]], None, True),
        ]
        cases = [_logits_and_target(draw, *case) for case in small]
        for seed in range(CASES - len(small)):
            masks = sl.testing.mask_battery(4, seed)[:2], sl.testing.mask_battery(4, seed + CASES)[2:4]
            cases.append(_logits_and_target(draw, *masks, poisoned=True))
        return cases

    def answer(self, logits: sl.Sequence, target: sl.Sequence) -> tuple[float, np.ndarray]:
        """Timestep by timestep; the gradient is the probability of each class, less 1 for the right one."""
        total, gradient = 0.0, np.zeros(logits.values.shape)
        places = np.argwhere(logits.mask & target.mask)
        for item, time in places:
            shares = np.exp(logits.values[item, time].astype(float))
            shares /= shares.sum()
            label = target.values[item, time]
            total -= np.log(shares[label])
            gradient[item, time] = shares - np.eye(CLASSES)[label]
        count = max(1, len(places))
        return total / count, gradient / count

    def difference(self, target: tuple, yours: tuple) -> str | None:
        (loss, gradient), (your_loss, yours_gradient) = target, yours
        if np.shape(your_loss):
            return f'the loss has the shape {np.shape(your_loss)}: it must be one number'
        if not np.isclose(loss, your_loss, rtol=1e-4, atol=1e-5, equal_nan=True):
            return f'the loss is {number(your_loss)}, not {number(loss)}'
        wrong = np.argwhere(~np.isclose(gradient, yours_gradient, rtol=1e-4, atol=1e-5, equal_nan=True))
        if not len(wrong):
            return None
        place = tuple(wrong[0])
        return f'the loss is right, its gradient by logits{list(map(int, place))} is {number(yours_gradient[place])}'

    def facts(self, case: tuple, target: Any, yours: Any) -> dict[str, Any]:
        both = case[0].mask & case[1].mask
        long, short = sorted(both.sum(1))[::-1][:2]
        return {'size': both.size, 'count': both.sum(), 'long': long, 'short': short}

    def mistakes(self):
        def loss(divide: Callable, ok: Callable = _both, before: bool = True) -> Callable:
            def wrong(logits: sl.Sequence, target: sl.Sequence) -> jax.Array:
                values = (logits.mask_invalid() if before else logits).values
                where = ok(logits, target)
                return divide(jnp.where(where, _nll(values, target.mask_invalid().values), 0), where)

            return lambda logits, target: _with_gradient(wrong, logits, target)

        def by_count(nll: jax.Array, ok: jax.Array) -> jax.Array:
            return nll.sum() / jnp.maximum(ok.sum(), 1)

        yield 'no timestep is valid: you divide 0 by 0. The answer here is 0', loss(lambda n, ok: n.sum() / ok.sum())
        yield (
            'the backward pass goes through what you did not select, and NaN times 0 is NaN. Put zeros in '
            'before as well: logits.mask_invalid()',
            loss(by_count, before=False),
        )
        yield (
            'a timestep counts if it is valid in both, logits and target',
            loss(by_count, lambda logits, target: logits.mask),
        )
        yield (
            'a timestep counts if it is valid in both, logits and target',
            loss(by_count, lambda logits, target: target.mask),
        )
        yield (
            'you take in what is invalid: ask the masks',
            loss(by_count, lambda logits, target: jnp.ones_like(target.mask), before=False),
        )
        yield (
            'a mean of means: a clip of {short} steps weighs as much as one of {long}',
            loss(lambda n, ok: (n.sum(1) / jnp.maximum(ok.sum(1), 1)).mean()),
        )
        yield 'you divide by {size} places of the rectangle, {count} count', loss(lambda n, ok: n.mean())
        yield 'you divide by the number of clips: long ones learn faster', loss(lambda n, ok: n.sum() / len(n))
        yield 'a sum: it grows with the batch. Divide by the {count} timesteps that count', loss(lambda n, ok: n.sum())

    def picture(self, case: tuple, target: tuple, yours: tuple, title: str):
        """The cross entropy at each timestep."""
        logits, labels = case
        both = np.asarray(logits.mask & labels.mask)
        nll = np.asarray(_nll(np.where(both[..., None], logits.values, 0), np.where(both, labels.values, 0)))
        agrees = np.isclose(target[0], np.ravel(yours[0])[0], rtol=1e-4, atol=1e-5)
        beside = (number(target[0]), 'valid'), (number(np.ravel(yours[0])[0]), 'fed' if agrees else 'first')
        rows = [
            Row(f'clip {i}', [number(v) if m else '' for v, m in zip(values, mask, strict=True)], _marks(mask))
            for i, (values, mask) in enumerate(zip(nll, both, strict=True))
        ]
        rows[0] = rows[0]._replace(beside=beside)
        what = 'Cross entropy at each timestep; crossed: invalid in logits or target.'
        return plot_rows(rows, title, what, ('target', 'yours'))


class Accumulate(Exercise):
    """The gradient of a batch from its parts."""

    def cases(self) -> list[tuple]:
        """The batch of the lesson in two parts; a part without anything valid; nothing valid; random ones."""
        small = [([100.0, 40.0], [100, 10]), ([6.0, 0.0, 3.0], [3, 0, 6]), ([0.0, 0.0], [0, 0])]
        cases = [([({'kernel': np.array([s])}, n) for s, n in zip(*case, strict=True)],) for case in small]
        draw = np.random.default_rng(0)
        for _ in range(CASES - len(cases)):
            counts = draw.integers(0, 9, draw.integers(1, 5))
            cases.append(([({'kernel': n * draw.standard_normal(2), 'bias': n * 1.5}, int(n)) for n in counts],))
        return cases

    def answer(self, micro: Sequence[tuple[Any, int]]) -> Any:
        total = max(1, sum(count for _, count in micro))
        return {name: sum(sums[name] for sums, _ in micro) / total for name in micro[0][0]}

    def difference(self, target: Any, yours: Any) -> str | None:
        if jax.tree.structure(target) != jax.tree.structure(yours):
            return 'the result is not built like a gradient: use jax.tree.map'
        for name in target:
            if not np.allclose(target[name], yours[name], equal_nan=True):
                return f'{name} is {_listed(yours[name])}, not {_listed(target[name])}'
        return None

    def mistakes(self):
        def combined(combine: Callable) -> Callable:
            def wrong(micro: Sequence[tuple[Any, int]]) -> dict:
                counts = np.array([count for _, count in micro], float)
                return {
                    name: combine(np.stack([np.asarray(sums[name]) for sums, _ in micro], -1), counts)
                    for name in micro[0][0]
                }

            return wrong

        yield 'nothing is valid: you divide 0 by 0. The answer here is 0', combined(lambda s, n: s.sum(-1) / n.sum())
        yield (
            'a mean of means: a part with 10 timesteps weighs as much as one with 100',
            combined(lambda s, n: (s / n).mean(-1)),
        )
        yield (
            'a mean of means: a part with 10 timesteps weighs as much as one with 100',
            combined(lambda s, n: (s / np.maximum(n, 1)).mean(-1)),
        )
        yield 'a sum of means: the more parts, the larger', combined(lambda s, n: (s / np.maximum(n, 1)).sum(-1))
        yield 'you divide by the number of parts: add the counts, and divide by them', combined(lambda s, n: s.mean(-1))
        yield 'you have the gradient of the sum: divide once, by all counts', combined(lambda s, n: s.sum(-1))

    def picture(self, case: tuple, target: Any, yours: Any, title: str):
        (micro,) = case
        rows = [
            Row(f'part {i}', *_plain(_flat(sums)), beside=[(str(count), 'valid')])
            for i, (sums, count) in enumerate(micro)
        ]
        same = jax.tree.structure(target) == jax.tree.structure(yours)
        rows += compared(_flat(target), _flat(yours) if same else [np.nan] * len(_flat(target)))
        return plot_rows(rows, title, 'Parts: gradients of the sum, one column a number.', ('count',))


class Resume(Exercise):
    """A training run that stops and goes on as if it had not stopped."""

    PARTS = (
        ('key', 'dropout draws the masks of step 1 again: the random key is part of the run'),
        ('position', 'the first batch is read again: the position in the data is part of the run'),
        ('moments', 'its loss is right, its update is not: Adam begins with new moments'),
        ('statistics', 'the running averages of BatchNormalization are variables, though no parameters'),
        ('weights', 'these are the weights of a new model'),
    )

    def __call__(self, checkpoint: Callable, resume: Callable):
        """Interrupts runs: what `checkpoint` writes, `resume` must be able to go on with."""

        @wraps(checkpoint)
        def curves(stop: int) -> np.ndarray:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / 'run'
                checkpoint(_run_until(stop), path)
                return _curves(resume(path), stop)

        return super().__call__(curves)

    def cases(self) -> list[tuple]:
        return [(3,), (1,), (5,)]

    def answer(self, stop: int) -> np.ndarray:
        """The run that did not stop."""
        return _curves(_run_until(stop), stop)

    def difference(self, target: np.ndarray, yours: np.ndarray) -> str | None:
        """Equal to the last bit: on one machine the same numbers give the same sums."""
        if np.array_equal(target, yours):
            return None
        stop = STEPS - len(target)
        for name, column in (('training', 0), ('evaluation', 1)):
            wrong = np.flatnonzero(target[:, column] != yours[:, column])
            if len(wrong):
                return f'after step {stop} the {name} curve leaves at step {stop + wrong[0] + 1}'
        return None

    def idea(self, case: tuple, target: Any, yours: Any) -> str | None:
        """The fewest parts that, left out, give the same curves."""
        for count in range(1, len(self.PARTS) + 1):
            for missing in itertools.combinations(self.PARTS, count):
                if np.array_equal(_without(*case, frozenset(name for name, _ in missing)), yours):
                    return (
                        f'{" and ".join(name for name, _ in missing)} not restored. {"; ".join(w for _, w in missing)}'
                    )
        return None

    def praise(self, cases: list[tuple]) -> str:
        return f'ok: {len(cases)} runs, stopped after steps {", ".join(str(stop) for (stop,) in cases)}'

    def picture(self, case: tuple, target: np.ndarray, yours: np.ndarray, title: str):
        (stop,) = case
        picture, axes = lanes(title, {'training loss': 'step', 'loss on held-out data': 'step'}, 90)
        theme = style.LIGHT
        for ax, goal, got in zip(axes, target.T, yours.T, strict=True):
            steps = np.arange(stop + 1, STEPS + 1)
            same = goal == got
            ax.plot(steps, goal, 'o-', color=theme.ink2, markersize=9, markerfacecolor='none', label='target')
            ax.plot(steps[same], got[same], '.', color=theme.accent, label='yours')
            ax.plot(steps[~same], got[~same], 'x', color=theme.alarm, label='yours, another number')
            ax.set(xlim=(0.5, STEPS + 0.5))
            ax.margins(y=0.2)
            ax.axvline(stop + 0.5, color=theme.ink, linestyle='dashed', linewidth=1)
        axes[0].legend(loc='upper left', frameon=False, fontsize=8)
        return picture


def _run_until(stop: int) -> TrainingRun:
    run = TrainingRun()
    for _ in range(stop):
        run.step()
    return run


def _curves(run: TrainingRun, stop: int) -> np.ndarray:
    """For each step after `stop`, its loss and, before it, that on held-out data: `[steps, 2]`."""
    curves = []
    for _ in range(STEPS - stop):
        held_out = run.evaluate()
        curves.append((run.step(), held_out))
    return np.array(curves)


@cache
def _without(stop: int, missing: frozenset[str]) -> np.ndarray:
    """The curves of a run that goes on without some of its parts."""
    run, old = TrainingRun(), _run_until(stop)
    if 'weights' not in missing:
        nnx.update(run.model, nnx.state(old.model, nnx.Param))
    if 'statistics' not in missing:
        nnx.update(run.model, nnx.state(old.model, nnx.BatchStat))
    if 'moments' not in missing:
        nnx.update(run.optimizer, nnx.state(old.optimizer))
    run.key = run.key if 'key' in missing else old.key
    run.position = run.position if 'position' in missing else old.position
    return _curves(run, stop)


def _with_gradient(fn: Callable, logits: sl.Sequence, target: sl.Sequence) -> tuple[Any, np.ndarray]:
    def loss(values: jax.Array) -> tuple[jax.Array, Any]:
        result = fn(sl.Sequence(values, logits.mask), target)
        return jnp.sum(result), result

    gradient, result = jax.grad(loss, has_aux=True)(jnp.asarray(logits.values))
    return np.asarray(result), np.asarray(gradient)


def _both(logits: sl.Sequence, target: sl.Sequence) -> jax.Array:
    return jnp.asarray(logits.mask & target.mask)


def _nll(logits: Any, labels: Any) -> jax.Array:
    """The cross entropy at each timestep."""
    return -jnp.take_along_axis(jax.nn.log_softmax(jnp.asarray(logits)), jnp.asarray(labels)[..., None], -1)[..., 0]


def _logits_and_target(draw: np.random.Generator, mask: Any, other: Any = None, poisoned: bool = False) -> tuple:
    mask = np.asarray(mask, bool)
    other = mask if other is None else np.asarray(other, bool)
    values = 3 * draw.standard_normal((*mask.shape, CLASSES)).astype(np.float32)
    labels = draw.integers(0, CLASSES, mask.shape)
    if poisoned:
        values, labels = np.where(mask[..., None], values, np.nan), np.where(other, labels, 99)
    return sl.Sequence(values, mask), sl.Sequence(labels, other)


def _flat(tree: Any) -> list[float]:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]).astype(float).tolist()


def _plain(values: Sequence[float]) -> tuple[list[str], list[str]]:
    return [number(value) for value in values], ['lane'] * len(values)


def _marks(mask: np.ndarray) -> list[str]:
    return np.where(mask, 'valid', 'invalid').tolist()


def _listed(values: Any) -> str:
    return ' '.join(number(value) for value in np.ravel(values))


masked_loss = MaskedLoss()
accumulate = Accumulate()
resume_exactly = Resume()
