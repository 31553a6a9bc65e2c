"""The exercises of lesson 05: right answers pass, stubs do not, and a common mistake is told its idea."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from checks.influence import FieldExplorer, plot_influence
from checks.lesson05 import dilations, field, measure
from tests.tutorials.verdicts import check_mistake, check_unwritten


def chain_field(kernels, strides, dilations, own=False, reach=lambda k, d: (k - 1) * d):
    past, stretch = 0, 1
    for k, s, d in zip(kernels, strides, dilations, strict=True):
        past += reach(k, d) * (stretch * s if own else stretch)
        stretch *= s
    return -past, 0


def stretched_by_later(kernels, strides, dilations):
    reaches = [(k - 1) * d * math.prod(strides[i + 1 :]) for i, (k, d) in enumerate(zip(kernels, dilations))]  # noqa: B905
    return -sum(reaches), 0


def by_poison(fn, time):
    return np.stack([np.isnan(fn(jnp.zeros(time).at[j].set(jnp.nan))) for j in range(time)], axis=1)


def by_gradient(fn, time, at):
    return np.asarray(jax.jacobian(fn)(jnp.asarray(at, jnp.float32))) != 0


def by_a_tiny_change(fn, time):
    x = jnp.ones(time)
    return np.stack([np.asarray(fn(x.at[j].add(1e-8)) != fn(x)) for j in range(time)], axis=1)


def never_cleaned(fn, time):
    x, seen = np.zeros(time), []
    for j in range(time):
        x[j] = np.nan
        seen.append(np.isnan(fn(x)))
    return np.stack(seen, axis=1)


ANSWERS = [(field, chain_field), (measure, by_poison), (dilations, lambda: [1, 2, 4, 8, 16, 32])]
MISTAKES = [
    (
        field,
        lambda k, s, d: chain_field(k, [1] * len(s), d),
        'case 2: you say (-8, 0), not (-12, 0): you added kernels but did not stretch a layer by the strides before it',
    ),
    (field, lambda k, s, d: chain_field(k, s, d, own=True), 'by the strides before it, not by its own'),
    (field, stretched_by_later, 'you took those behind it'),
    (field, lambda k, s, d: chain_field(k, s, [1] * len(d)), 'the taps of a dilated layer are not neighbours'),
    (field, lambda k, s, d: chain_field(k, s, d, reach=lambda k, d: k * d - 1), 'k taps have k - 1 gaps'),
    (
        field,
        lambda k, s, d: (chain_field(k, s, d)[0] - 1, 0),
        'you say (-3, 0), not (-2, 0): the field is 3 inputs wide, and its first input is 2 back',
    ),
    (field, lambda k, s, d: (-chain_field(k, s, d)[0], 0), 'inputs before the output have negative places'),
    (field, lambda k, s, d: chain_field(k, s, d)[::-1], 'the past comes first'),
    (field, lambda k, s, d: None, 'case 0: you say None, not (-2, 0)'),
    (
        measure,  # at this input four of the eight sums are negative, and none of them at the start
        lambda fn, time: by_gradient(fn, time, [9, 9, -20, 3, 9, 9, 9, -20]),
        'case 1: output 2 sees input 0: 12 of 21 true pairs are missing where the ReLU was off: poison with NaN, or '
        'perturb',
    ),
    (
        measure,
        lambda fn, time: by_gradient(fn, time, np.arange(1, 9)),
        'case 2: output 1 sees input 0: 13 of 21 true pairs are missing where another input was the maximum',
    ),
    (measure, by_a_tiny_change, '21 of 21 true pairs are missing: a change too small for float32 is swallowed'),
    (measure, lambda fn, time: by_poison(fn, time).T, 'yours is the other way round'),
    (measure, never_cleaned, 'poison one input at a time'),
    (measure, lambda fn, time: by_poison(fn, time).astype(int), 'the result is int64 [8, 8], not bool [8, 8]'),
    (measure, lambda fn, time: np.ones((time, time), bool), 'case 0: output 0 does not see input 1'),
    (
        dilations,
        lambda: [32] * 6,
        'of 385 frames 372 are never read: wide but with holes: 31 of every 32 inputs are never read',
    ),
    (dilations, lambda: [1, 4, 16, 32], 'of 107 frames 44 are never read: wide but with holes: a layer may not step'),
    (dilations, lambda: [1] * 6, '6 layers see 13 frames, not 100: a layer of kernel 3 adds 2 x its dilation'),
    (dilations, lambda: [8] * 7, '7 layers, and 6 are allowed'),
    (dilations, lambda: [0.5], 'no list of dilations'),
]


@pytest.mark.parametrize(('exercise', 'answer'), ANSWERS, ids=['field', 'measure', 'dilations'])
def test_a_right_answer_passes(exercise, answer):
    verdict = exercise(answer)
    assert verdict.passed, verdict.message
    assert verdict.message.startswith('ok: ')
    assert verdict.picture.finding


@pytest.mark.parametrize(('exercise', 'wrong', 'words'), MISTAKES, ids=[words for *_, words in MISTAKES])
def test_a_mistake_is_told_its_idea(exercise, wrong, words):
    check_mistake(exercise(wrong), words)


@pytest.mark.parametrize('exercise', [field, measure, dilations], ids=['field', 'measure', 'dilations'])
def test_an_empty_stub_does_not_pass(exercise):
    check_unwritten(exercise)


def test_other_designs_pass_too():
    assert dilations(lambda: [1, 3, 9, 27, 10]).passed
    assert dilations(lambda: [32, 16, 8, 4, 2, 1]).passed


def test_the_field_of_a_chain_is_that_of_its_layers():
    for kernels, strides, rates in field.cases()[:10]:
        layers = [
            sl.Conv1D(1, k, strides=s, dilation_rate=d, padding='causal')
            for k, s, d in zip(kernels, strides, rates, strict=True)
            if s == 1 or d == 1
        ]
        if len(layers) == len(kernels):
            assert sl.Serial(layers).receptive_field == field.answer(kernels, strides, rates)


def test_explorer_follows_its_sliders():
    explorer = FieldExplorer()
    assert repr(explorer) == 'FieldExplorer(3 layers see 6 frames back and 0 ahead, 0.07 s; latency 0)'
    before = bytes(explorer.image.value)
    explorer.dilation.value, explorer.padding.value = (1, 2), 'same'
    assert explorer.finding() == '3 layers see 7 frames back and 7 ahead, 0.15 s; latency 7'
    assert bytes(explorer.image.value) != before
    explorer.strides.value = 1
    assert explorer.declaration.layers[0].strides == 2
    assert explorer.declaration.layers[1].dilation_rate == 1
    assert explorer._repr_mimebundle_()[0]['image/png'].startswith(b'\x89PNG')


def test_squares_show_their_finding():
    assert plot_influence({'all': np.ones((3, 3), bool)}, 'All see all').finding == 'All see all'
