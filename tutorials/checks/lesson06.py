"""Exercises of lesson 06: a residual in steps, an order within a latency, and the latencies of nested models."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import seqlayers as sl

from .exercise import Exercise
from .ordering import FRAME
from .pictures import Row, compared, number, plot_rows

CASES = 40
MODELS: Mapping[str, sl.SequenceLayer] = {
    'chain': sl.Serial([sl.Lookahead(3), sl.Downsample1D(2), sl.Lookahead(1)]),
    'four': sl.Repeat(sl.Residual([sl.Lookahead(2)]), 4),
    'detour': sl.Residual([sl.Lookahead(2), sl.Downsample1D(2), sl.Lookahead(1), sl.Upsample1D(2)]),
}
WALKS = {'chain': '3 +1 ÷2 2 3', 'four': '2 4 6 8', 'detour': '2 ÷2 1 2 ×2 4'}  # the offset, edge by edge
SUM = 'output timesteps of different edges have different lengths; add them only on one edge'
IDEAS = {
    ('chain', 4): SUM,
    ('chain', 2): 'a downsampling by 2 can begin only at an even place: 3 void steps become 4, and then 2',
    ('chain', 6): 'that is the latency in inputs. Output latency counts outputs',
    ('four', 2): 'each repetition gets what the one before it has delayed: 4 x 2',
    ('detour', 3): SUM,
    ('detour', 2): 'the upsampling doubles the void steps too: 2, halved to 1, and 1, doubled to 4',
    ('detour', 0): 'the shortcut is early, and so it waits for the body: the latency of both is that of the slower',
}


class ResidualStep(Exercise):
    """One step of a residual whose body is late: the sum of both sides, and what waits for the next step."""

    def cases(self) -> list[tuple]:
        """The lesson's numbers first; then one step, short and long blocks, and no latency."""
        x = np.arange(10.0, 70, 10)
        cases = [(x, x, np.zeros(1), 1), (x[:1], x[:1], np.zeros(1), 1), (x[:2], x[1:3], np.array([1.0, 2, 3]), 3)]
        draw = np.random.default_rng(0)
        while len(cases) < CASES:
            n, latency = draw.integers((1, 0), (7, 6)).tolist()
            values = draw.integers(-9, 10, 2 * n + latency).astype(float)
            cases.append((*np.split(values, [n, 2 * n]), latency))
        return cases

    def answer(self, x: np.ndarray, body_out: np.ndarray, fifo: np.ndarray, latency: int) -> tuple:
        """One timestep after the other: what comes in last leaves last."""
        waiting, y = list(fifo), []
        for early, late in zip(x, body_out, strict=True):
            waiting.append(early)
            y.append(late + waiting.pop(0))
        return np.array(y), np.array(waiting)

    def difference(self, target: tuple, yours: Any) -> str | None:
        if not isinstance(yours, tuple) or len(yours) != 2:
            return f'the result is a {type(yours).__name__}, not the pair (y, fifo)'
        for name, wanted, got in zip(('y', 'fifo'), target, map(np.asarray, yours), strict=True):
            if wanted.shape != got.shape:
                return f'{name} has {got.size} values, not {wanted.size}'
            wrong = np.flatnonzero(wanted != got)
            if len(wrong):
                return f'{name}[{wrong[0]}] is {number(got[wrong[0]])}, not {number(wanted[wrong[0]])}'
        return None

    def idea(self, case: tuple, target: tuple, yours: Any) -> str | None:
        if not isinstance(yours, tuple) or len(yours) != 2:
            return None
        x, body, fifo, latency = case
        y, kept = map(np.asarray, yours)
        if np.array_equal(y, target[0]):
            if latency == 0:
                return 'with a latency of 0 nothing waits: x[-0:] is all of x'
            if np.array_equal(kept, x[-latency:]):
                return f'right for long blocks; in a block of {len(x)} keep the newest {latency} of fifo *and* x'
            return 'what waits is the newest of fifo and x together'
        if len(y) < len(x):
            return 'a step may not produce fewer outputs than the next layer expects; delay the *other* path'
        if np.array_equal(y, x + body):
            ago = 'one step ago' if latency == 1 else f'{latency} steps ago'
            return f'the body emits what is meant for {ago}: x must wait for it'
        if np.array_equal(y, x + np.concatenate([fifo, body])[: len(body)]):
            return 'the body is late already, and you delayed it once more: it is x that is early'
        return None

    def picture(self, case: tuple, target: tuple, yours: Any, title: str):
        x, body, fifo, latency = case
        yours = yours if isinstance(yours, tuple) and len(yours) == 2 else ([], [])
        rows = [Row(n, [number(v) for v in a], ['lane'] * len(a)) for n, a in (('x', x), ('body_out', body))]
        for name, wanted, got in zip(('y', 'fifo'), target, yours, strict=True):
            rows += [r._replace(name=f'{name}, {r.name}') for r in compared(wanted, list(np.ravel(got)))]
        return plot_rows(rows, title, f'One step. The body is {latency} late; fifo was {_numbers(fifo)}.')


class Plan(NamedTuple):
    """Layers to put in an order, the latency allowed in ms, and the order that attends to the fewest steps."""

    layers: list
    budget: int
    best: list


class Order(Exercise):
    """An order of layers whose input latency is within a budget."""

    def cases(self) -> list[tuple]:
        """The lesson's first. Then other strides and look-aheads, with the least latency there is, or some more."""
        cases = [([_stride(2), _stride(2), _attention(2)], 60)]
        for strides in ((2,), (3, 2), (2, 2, 2)):
            for look_ahead in (1, 3):
                layers = [*map(_stride, strides), _attention(look_ahead)]
                latencies = sorted({_latency(order) for order in itertools.permutations(layers)})
                cases.append((layers, latencies[len(latencies) // 3]))
        return cases

    def answer(self, layers: list, budget: int) -> Plan:
        """Tries them all."""
        fitting = [list(order) for order in itertools.permutations(layers) if _latency(order) <= budget]
        return Plan(layers, budget, min(fitting, key=_price))

    def difference(self, target: Plan, yours: Any) -> str | None:
        """Any order within the budget is right."""
        if not _is_order(yours, target.layers):
            return 'the result is not a list with each of the given layers once'
        latency = _latency(yours)
        return f'{latency} ms, and {target.budget} are allowed' if latency > target.budget else None

    def idea(self, case: tuple, target: Plan, yours: Any) -> str | None:
        if not _is_order(yours, target.layers):
            return None
        place = next(i for i, layer in enumerate(yours) if isinstance(layer, sl.DotProductSelfAttention))
        step = int(FRAME / sl.Serial(yours[:place]).output_ratio)
        ahead = yours[place].max_future_horizon
        return f'at its place a timestep of the attention is {step} ms, and it looks {ahead} of them ahead'

    def praise(self, cases: list[tuple]) -> str:
        price = 'The price: in front of a stride of 2, attention runs on 2 times as many steps; before two, on 4 times'
        return f'ok: {len(cases)} cases. {price}'

    def picture(self, case: tuple, target: Plan, yours: Any, title: str):
        rows = []
        for name, order in (('target', target.best), ('yours', yours)):
            order = order if _is_order(order, target.layers) else []
            mark = 'valid' if _latency(order) <= target.budget else 'first'
            beside = [(f'{_latency(order)} ms', mark), (f'× {_price(order)}', 'valid')] if order else []
            marks = ['fed' if isinstance(layer, sl.DotProductSelfAttention) else 'valid' for layer in order]
            rows.append(Row(name, [_label(layer) for layer in order], marks, beside))
        what = f'÷ a stride, + a look-ahead; {target.budget} ms are allowed. steps: on how many the attention runs.'
        return plot_rows(rows, title, what, ('latency', 'steps'))


class Predict(Exercise):
    """The output latencies of three nested models, by name."""

    def cases(self) -> list[tuple]:
        return [()]

    def answer(self) -> dict[str, int]:
        return {name: model.output_latency for name, model in MODELS.items()}

    def difference(self, target: dict, yours: Any) -> str | None:
        if not isinstance(yours, dict) or set(yours) != set(target):
            return f'the result is {yours}, not a dict with the names {", ".join(target)}'
        wrong = self._wrong(target, yours)
        return f'{wrong}: you say {yours[wrong]}, not {target[wrong]}' if wrong else None

    def idea(self, case: tuple, target: dict, yours: Any) -> str | None:
        if not isinstance(yours, dict) or set(yours) != set(target):
            return None
        wrong = self._wrong(target, yours)
        return IDEAS.get((wrong, yours[wrong]))

    def praise(self, cases: list[tuple]) -> str:
        return 'ok: 3 models'

    def picture(self, case: tuple, target: dict, yours: Any, title: str):
        rows = []
        for name, wanted in target.items():
            cells = WALKS[name].split()
            got = yours.get(name) if isinstance(yours, dict) else None
            beside = (str(wanted), 'valid'), (str(got), 'fed' if got == wanted else 'first')
            rows.append(Row(name, cells, ['valid' if c.isdigit() else 'tick' for c in cells], beside))
        what = 'Void steps along the chain, edge by edge. Between them: an inserted delay, a change of rate.'
        return plot_rows(rows, title, what, ('target', 'yours'))

    def _wrong(self, target: dict, yours: dict) -> str:
        return next((name for name in target if yours[name] != target[name]), '')


def _numbers(values: Any) -> str:
    return '[' + ' '.join(number(v) for v in values) + ']'


def _stride(stride: int) -> sl.Conv1D:
    return sl.Conv1D(64, 5, strides=stride, padding='causal')


def _attention(look_ahead: int) -> sl.DotProductSelfAttention:
    return sl.DotProductSelfAttention(4, 16, max_past_horizon=32, max_future_horizon=look_ahead)


def _latency(order: Sequence) -> int:
    """Until all has come out, in ms."""
    return sl.Serial(order).input_latency * FRAME


def _price(order: Sequence) -> int:
    """On how many times as many steps the attention runs as at the end."""
    place = next(i for i, layer in enumerate(order) if isinstance(layer, sl.DotProductSelfAttention))
    return int(1 / sl.Serial(order[place:]).output_ratio)


def _is_order(value: Any, layers: list) -> bool:
    return isinstance(value, list | tuple) and Counter(value) == Counter(layers)


def _label(layer: Any) -> str:
    is_attention = isinstance(layer, sl.DotProductSelfAttention)
    return f'+{layer.max_future_horizon}' if is_attention else f'÷{layer.strides}'


residual_step = ResidualStep()
order = Order()
predict = Predict()
