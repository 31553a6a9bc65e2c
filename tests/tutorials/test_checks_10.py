"""The exercises of lesson 10: right answers pass, stubs do not, and a common mistake is told its idea."""

import numpy as np
import pytest

import checks
import seqlayers as sl
from tests.tutorials.verdicts import check_mistake, check_unwritten


def condition_at(c, t, index=None, exists=lambda mask, t, time: mask & (t >= 0) & (t < time)):
    time = c.shape[1]
    at = np.clip(t, 0, time - 1) if index is None else index(t, time)
    return sl.Sequence(c.values[:, at], exists(c.mask[:, at], t, time))


def delay_condition(blocks, offset, keep=lambda queue, block: np.append(queue, block)[len(block) :]):
    queue, late = np.zeros(offset), []
    for block in blocks:
        late.append(np.append(queue, block)[: len(block)])
        queue = keep(queue, block)
    return late


def earlier(blocks, offset):
    c = np.append(np.concatenate(blocks), np.zeros(offset))[offset:]
    return np.split(c, np.cumsum([len(block) for block in blocks])[:-1])


def align_emits(emits, latency, time):
    return np.concatenate(emits)[latency : latency + time]


ANSWERS = {
    checks.condition_at: condition_at,
    checks.delay_condition: delay_condition,
    checks.align_emits: align_emits,
}
MISTAKES = [
    (
        checks.condition_at,
        lambda c, t: sl.Sequence(c.values[:, t], c.mask[:, t]),
        'case 0: entry 0 is 60 and valid: t = -1 gave 60, the last entry',
    ),
    (
        checks.condition_at,
        lambda c, t: condition_at(c, t, exists=lambda mask, t, time: mask),
        'before the start there is nothing, and after the end the value is stale. Keep it, but say invalid',
    ),
    (
        checks.condition_at,
        lambda c, t: condition_at(c, t, exists=lambda mask, t, time: mask & (t >= 0)),
        'case 1: entry 2 is 60 and valid: the start is tested and the end is not: after the end the value is stale',
    ),
    (
        checks.condition_at,
        lambda c, t: condition_at(c, t, exists=lambda mask, t, time: ((t >= 0) & (t < time))[None]),
        'case 2: entry 1 is 20 and valid: c has a mask too',
    ),
    (
        checks.condition_at,
        lambda c, t: condition_at(c, t, index=lambda t, time: np.clip(t + 1, 0, time - 1)),
        'case 0: entry 1 is 20, not 10',
    ),
    (checks.condition_at, lambda c, t: c.values[:, t], 'the result is a ndarray, not a Sequence'),
    (checks.condition_at, lambda c, t: c, 'the result has the shape (1, 6), not (1, 3)'),
    (
        checks.delay_condition,
        lambda blocks, offset: [block[offset:] for block in blocks],
        'block 0 has 3 timesteps, and 2 come out: you moved it earlier; the *input* is late, so the condition',
    ),
    (checks.delay_condition, earlier, 'case 0: step 1 has 30, not 10: you moved it earlier; the *input* is late'),
    (checks.delay_condition, lambda blocks, offset: blocks, 'nothing waits: the input is 1 late'),
    (
        checks.delay_condition,
        lambda blocks, offset: [np.append(np.zeros(offset), block)[: len(block)] for block in blocks],
        'case 0: step 3 has 0, not 30: each block began with an empty queue',
    ),
    (
        checks.delay_condition,
        lambda blocks, offset: delay_condition(
            blocks, offset, lambda queue, block: block[max(0, len(block) - offset) :]
        ),
        'case 2: step 2 has 20, not 10: right for blocks >= 2; of a shorter block your queue shrank',
    ),
    (
        checks.delay_condition,
        lambda blocks, offset: np.concatenate(delay_condition(blocks, offset)),
        'the result is a ndarray, not a list',
    ),
    (
        checks.align_emits,
        lambda emits, latency, time: np.concatenate(emits)[:time],
        'case 0: row 0 is −2, not 10: row 0 belongs to a void step: drop the first 2, once',
    ),
    (checks.align_emits, lambda emits, latency, time: np.concatenate(emits), 'row 0 belongs to a void step'),
    (
        checks.align_emits,
        lambda emits, latency, time: np.concatenate([block[latency:] for block in emits])[:time],
        'each block lost its first',
    ),
    (
        checks.align_emits,
        lambda emits, latency, time: np.concatenate(emits)[latency:],
        'case 1: 8 rows, not 7: the last rows belong to the flush: 7 belong to the data',
    ),
    (checks.align_emits, lambda emits, latency, time: None, 'the result has the shape (), not (6, 2)'),
]


@pytest.mark.parametrize('exercise', ANSWERS, ids=lambda e: type(e).__name__)
def test_a_right_answer_passes(exercise):
    verdict = exercise(ANSWERS[exercise])
    assert verdict.passed, verdict.message
    assert verdict.message == 'ok: 40 cases'
    assert verdict.picture.finding


@pytest.mark.parametrize(('exercise', 'wrong', 'words'), MISTAKES, ids=[words for *_, words in MISTAKES])
def test_a_mistake_is_told_its_idea(exercise, wrong, words):
    check_mistake(exercise(wrong), words)


@pytest.mark.parametrize('exercise', ANSWERS, ids=lambda e: type(e).__name__)
def test_an_empty_stub_does_not_pass(exercise):
    check_unwritten(exercise)


def test_conditions_have_every_mask_and_poison():
    conditions = [c for c, _ in checks.condition_at.cases()][3:]
    masks = np.concatenate([c.mask for c in conditions])
    assert masks.all(1).any() and (~masks).all(1).any()
    assert (~masks[:, 0] & masks.any(1)).any()
    assert all(np.isnan(c.values[~c.mask]).all() for c in conditions)


def test_void_entries_may_hold_anything():
    target = checks.delay_condition.answer([np.arange(3.0)], 2)
    assert checks.delay_condition.difference(target, [np.array([7.0, 8, 0])]) is None


def test_weights_explorer_follows_its_slider():
    weights = np.array([[0.5, 0.5], [1, 0], [0.25, 0.75]])
    explorer = checks.WeightsExplorer(weights, latency=1, text='ab', step=2)
    assert repr(explorer) == 'WeightsExplorer(Step 2 emits row 1: most weight, 0.75, on letter 1, "b")'
    before = bytes(explorer.image.value)
    explorer.step.value = 0
    assert explorer.finding() == 'Step 0 emits a void row: no output is there yet'
    assert bytes(explorer.image.value) != before
    assert explorer._repr_mimebundle_()[0]['image/png'].startswith(b'\x89PNG')
