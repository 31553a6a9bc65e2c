"""The exercises of lesson 06: right answers pass, stubs do not, and a common mistake is told its idea."""

import itertools

import numpy as np
import pytest

import seqlayers as sl
from checks.lesson06 import MODELS, order, predict, residual_step
from checks.ordering import OrderExplorer
from tests.tutorials.verdicts import check_mistake, check_unwritten


def waits(x, body_out, fifo, latency):
    known = np.concatenate([fifo, x])
    return body_out + known[: len(x)], known[len(x) :]


def drops(x, body_out, fifo, latency):
    return body_out[latency:] + x[: len(x) - latency], fifo


def body_waits(x, body_out, fifo, latency):
    known = np.concatenate([fifo, body_out])
    return x + known[: len(x)], known[len(x) :]


def shrinks(x, body_out, fifo, latency):
    return waits(x, body_out, fifo, latency)[0], x[-latency:] if latency else fifo


def keeps_all(x, body_out, fifo, latency):
    known = np.concatenate([fifo, x])
    return body_out + known[: len(x)], known[-latency:]


def within(layers, budget, latency='input_latency'):
    orders = itertools.permutations(layers)
    return next(list(o) for o in orders if getattr(sl.Serial(o), latency) * 10 <= budget)


RIGHT = {'chain': 3, 'four': 8, 'detour': 4}
SUM = 'output timesteps of different edges have different lengths; add them only on one edge'
ANSWERS = [(residual_step, waits), (order, within), (predict, lambda: RIGHT)]
MISTAKES = [
    (
        residual_step,
        drops,
        'case 0: y has 5 values, not 6: a step may not produce fewer outputs than the next layer expects; delay the '
        '*other* path',
    ),
    (
        residual_step,
        lambda x, body_out, fifo, latency: (x + body_out, fifo),
        'y[0] is 20, not 10: the body emits what is meant for one step ago',
    ),
    (residual_step, body_waits, 'the body is late already'),
    (residual_step, shrinks, 'in a block of 2 keep the newest 3 of fifo *and* x'),
    (residual_step, keeps_all, 'with a latency of 0 nothing waits'),
    (
        residual_step,
        lambda *case: (waits(*case)[0], np.concatenate([case[2], case[0]])[: case[3]]),
        'what waits is the newest of fifo and x together',
    ),
    (residual_step, lambda *case: waits(*case)[0], 'the result is a ndarray, not the pair (y, fifo)'),
    (
        order,
        lambda layers, budget: within(layers, budget, 'output_latency'),
        'case 0: 80 ms, and 60 are allowed: at its place a timestep of the attention is 40 ms, and it looks 2 of them '
        'ahead',
    ),
    (order, lambda layers, budget: layers[:-1], 'not a list with each of the given layers once'),
    (predict, lambda: {**RIGHT, 'chain': 4, 'detour': 3}, f'chain: you say 4, not 3: {SUM}'),
    (predict, lambda: {**RIGHT, 'detour': 3}, f'detour: you say 3, not 4: {SUM}'),
    (predict, lambda: {**RIGHT, 'chain': 2}, 'can begin only at an even place'),
    (predict, lambda: {**RIGHT, 'chain': 6}, 'that is the latency in inputs'),
    (predict, lambda: {**RIGHT, 'four': 2}, 'four: you say 2, not 8: each repetition'),
    (predict, lambda: {**RIGHT, 'detour': 2}, 'the upsampling doubles the void steps too'),
    (predict, lambda: {**RIGHT, 'detour': 0}, 'the shortcut is early'),
    (predict, lambda: {'chain': 3}, 'not a dict with the names chain, four, detour'),
]


@pytest.mark.parametrize(('exercise', 'answer'), ANSWERS, ids=['residual_step', 'order', 'predict'])
def test_a_right_answer_passes(exercise, answer):
    verdict = exercise(answer)
    assert verdict.passed, verdict.message
    assert verdict.message.startswith('ok: ')
    assert verdict.picture.finding


@pytest.mark.parametrize(('exercise', 'wrong', 'words'), MISTAKES, ids=[words for *_, words in MISTAKES])
def test_a_mistake_is_told_its_idea(exercise, wrong, words):
    check_mistake(exercise(wrong), words)


@pytest.mark.parametrize('exercise', [residual_step, order, predict], ids=['residual_step', 'order', 'predict'])
def test_an_empty_stub_does_not_pass(exercise):
    check_unwritten(exercise)


def test_the_latencies_are_those_of_the_models():
    assert predict.answer() == RIGHT == {name: model.output_latency for name, model in MODELS.items()}


def test_attention_in_front_of_the_strides_fits_and_has_a_price():
    layers, budget = order.cases()[0]
    assert order(lambda layers, budget: layers[::-1] if len(layers) == 3 else within(layers, budget)).passed
    plan = order.answer(layers, budget)
    assert [type(layer).__name__ for layer in plan.best] == ['Conv1D', 'DotProductSelfAttention', 'Conv1D']
    assert 'on 4 times' in order(within).message


def test_a_residual_in_steps_is_that_of_the_library():
    x = np.arange(10.0, 100, 10)
    fifo, parts, ahead = np.zeros(2), [], x  # a look-ahead of 2: in step n the body emits x[n], for n - 2
    for block in np.split(np.arange(9), [1, 4, 5]):
        y, fifo = waits(x[block], ahead[block], fifo, 2)
        parts.append(y)
    model = sl.Residual([sl.Lookahead(2)]).build(sl.ChannelSpec(()), rngs=0)
    whole = model.layer(sl.Sequence.from_values(x[None].astype(np.float32)), training=False)
    np.testing.assert_allclose(np.concatenate(parts)[2:], whole.values[0])


def test_explorer_follows_its_sliders():
    explorer = OrderExplorer()
    assert repr(explorer) == 'OrderExplorer(2 ahead, behind 2 strides: 8 frames of latency, 80 ms)'
    before = bytes(explorer.image.value)
    explorer.strides_before.value = 0
    assert explorer.finding() == '2 ahead, behind 0 strides: 4 frames of latency, 40 ms'
    assert bytes(explorer.image.value) != before
    assert explorer._repr_mimebundle_()[0]['image/png'].startswith(b'\x89PNG')
