"""The exercises of lesson 09: right answers pass, and each common mistake is told its own idea."""

import numpy as np
import pytest

import seqlayers as sl
from checks.lesson09 import combine, gate, is_associative, rounds
from checks.recurrence import DecayExplorer, leaky_sums, plot_scan
from tests.tutorials.verdicts import check_mistake, check_unwritten


def combined(left, right):
    (a1, b1), (a2, b2) = left, right
    return a2 @ a1, a2 @ b1 + b2


def gated(x, decay, a_invalid=1.0, b=lambda x: np.where(x.expanded_mask(), x.values, 0)):
    return np.where(x.expanded_mask(), decay, a_invalid), b(x)


def triples(elements):
    return [(x, y, z) for x in elements for y in elements for z in elements]


def associative(fn, elements, equal=np.allclose):
    return all(equal(fn(fn(x, y), z), fn(x, fn(y, z))) for x, y, z in triples(elements))


def commutative(fn, elements):
    return all(np.allclose(fn(x, y), fn(y, x)) for x in elements for y in elements)


ANSWERS = {combine: combined, gate: gated, is_associative: associative}
MISTAKES = [
    (
        combine,
        lambda left, right: (left[0] @ right[0], left[0] @ right[1] + left[1]),
        'T = 2 gives 2 for 2.5: T = 1 passes, as nothing',
    ),
    (
        combine,
        lambda left, right: (left[0] @ right[0], left[0] @ right[1] + left[1]),
        'The *later* decay acts on the *earlier* state',
    ),
    (
        combine,
        lambda left, right: (left[0] @ right[0], right[0] @ left[1] + right[1]),
        'numbers commute, matrices do not',
    ),
    (combine, lambda left, right: (right[0] * left[0], right[0] @ left[1] + right[1]), 'that is number by number'),
    (
        combine,
        lambda left, right: (right[0] + left[0], right[0] @ left[1] + right[1]),
        'the two factors make a product',
    ),
    (
        combine,
        lambda left, right: (right[0], right[0] @ left[1] + right[1]),
        'both factors act on a state that comes from before',
    ),
    (
        combine,
        lambda left, right: (right[0] @ left[0], left[1] + right[1]),
        'what the left one left behind decays once',
    ),
    (
        combine,
        lambda left, right: (right[0] @ left[0], right[0] * left[1] + right[1]),
        'has the shape (1, 1), not (1,)',
    ),
    (gate, lambda x, d: gated(x, d, a_invalid=d), 'the state is 2.12, not 4.25: the state faded during padding'),
    (gate, lambda x, d: gated(x, d, a_invalid=0), 'a = 0 forgets the state'),
    (gate, lambda x, d: gated(x, d, b=lambda x: x.values), 'padding was added to the state'),
    (gate, lambda x, d: gated(x, d, b=lambda x: x.values * x.expanded_mask()), 'NaN times 0 is NaN'),
    (gate, lambda x, d: gated(x, d, d, b=lambda x: x.values), 'the mask is not used'),
    (gate, lambda x, d: (d, gated(x, d)[1]), 'a has the shape (1,), not (1, 6, 1): one update for each timestep'),
    (gate, lambda x, d: gated(x, d)[1], 'the result is a ndarray, not the two arrays a and b'),
    (is_associative, lambda fn, e: True, '(0.0).1 = 0.762, 0.(0.1) = 0.642: a nonlinearity between steps blocks it'),
    (is_associative, lambda fn, e: associative(fn, e, np.array_equal), 'but for rounding: compare with np.allclose'),
    (is_associative, commutative, 'case 0: you say False, and it is True: you exchange elements'),
    (is_associative, lambda fn, e: np.allclose(fn(fn(*e[:2]), e[2]), fn(e[0], fn(*e[1:3]))), 'the first three agree'),
    (is_associative, lambda fn, e: 1, 'the result is a int, not True or False'),
]


@pytest.mark.parametrize('exercise', ANSWERS, ids=lambda e: type(e).__name__)
def test_a_right_answer_passes(exercise):
    verdict = exercise(ANSWERS[exercise])
    assert verdict.passed, verdict.message
    assert verdict.message == 'ok: 40 cases'
    assert verdict.picture.finding


@pytest.mark.parametrize(('exercise', 'wrong', 'words'), MISTAKES, ids=[words for *_, words in MISTAKES])
@pytest.mark.filterwarnings('ignore:invalid value encountered')
def test_a_mistake_is_told_its_idea(exercise, wrong, words):
    check_mistake(exercise(wrong), words)


@pytest.mark.parametrize('exercise', ANSWERS, ids=lambda e: type(e).__name__)
def test_an_empty_stub_does_not_pass(exercise):
    check_unwritten(exercise)


def test_gate_masks_are_of_every_kind_and_poisoned():
    cases = [x for x, _ in gate.cases() if x.shape[0] == len(sl.testing.MASK_KINDS)]
    assert len(cases) > 30
    assert all(np.isnan(x.values[~x.mask]).all() for x in cases)


def test_associative_cases_have_both_answers_and_a_triple_that_misleads():
    answers = [is_associative.answer(*case) for case in is_associative.cases()]
    assert answers[:4] == [True, True, False, False]
    assert 10 < sum(answers) < 30


@pytest.mark.parametrize('time', [1, 2, 5, 8])
def test_rounds_combine_every_prefix_from_neighbours(time):
    def join(left, right):
        assert left[1] + 1 == right[0]
        return left[0], right[1]

    done = rounds(join, [(t, t) for t in range(time)])
    assert done[-1] == [(0, t) for t in range(time)]
    assert len(done) - 1 == int(np.ceil(np.log2(time)))


def test_three_ways_agree_until_division_fails():
    states = leaky_sums([0.5, 0.9], 1_000)
    assert np.argmin(np.isfinite(states['division']), axis=0).tolist() == [126, 820]
    for way in ('parallel scan', 'one after the other'):
        np.testing.assert_allclose(states[way], states['exact'], rtol=1e-6)
    np.testing.assert_allclose(states['division'][:126], states['exact'][:126], rtol=1e-6)


def test_decay_explorer_follows_its_sliders():
    explorer = DecayExplorer()
    assert repr(explorer) == 'DecayExplorer(Decay 0.9, 1,000 timesteps: division is lost at step 820)'
    before = bytes(explorer.image.value)
    explorer.steps.value = 500
    assert explorer.finding() == 'Decay 0.9, 500 timesteps: all three agree'
    assert bytes(explorer.image.value) != before
    bundle, _ = explorer._repr_mimebundle_()
    assert bundle['image/png'].startswith(b'\x89PNG')


def test_plot_scan_counts_its_rounds():
    assert plot_scan(8).finding == '8 updates need 3 rounds: the last state is a tree of depth 3'
