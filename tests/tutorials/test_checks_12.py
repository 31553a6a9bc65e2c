"""Lesson 12: right answers pass, and a common mistake is told its idea. And calls on the clock."""

import jax
import numpy as np
import pytest

from checks.backlog import BacklogExplorer, plot_backlog, schedule
from checks.lesson12 import deadlines, initial_states, rechunk, reset_slot
from tests.tutorials.verdicts import check_mistake, check_unwritten


# --- answers -------------------------------------------------------------------------------------------------
def regroup(chunks, block, rest_of=lambda rest: rest):
    waiting = np.zeros(0)
    for chunk in chunks:
        waiting = np.concatenate([waiting, chunk])
        while len(waiting) >= block:
            yield waiting[:block]
            waiting = waiting[block:]
    if len(waiting := rest_of(waiting)):
        yield waiting


def without_the_rest(chunks, block):
    yield from regroup(chunks, block, lambda rest: rest[:0])


def with_zeros(chunks, block):
    yield from regroup(chunks, block, lambda rest: np.pad(rest, (0, -len(rest) % block)))


def when_all_is_there(chunks, block):
    yield from regroup(list(chunks), block)


def one_a_chunk(chunks, block):
    waiting = np.zeros(0)
    for chunk in chunks:
        waiting = np.concatenate([waiting, chunk])
        if len(waiting) >= block:
            yield waiting[:block]
            waiting = waiting[block:]
    if len(waiting):
        yield waiting


def chunk_by_chunk(chunks, block):
    for chunk in chunks:
        yield from regroup([chunk], block)


def rests_dropped(chunks, block):
    for chunk in chunks:
        yield from without_the_rest([chunk], block)


def run(ms, period, begins=max):
    free, late = 0.0, []
    for call, duration in enumerate(ms, start=1):
        free = begins(free, call * period) + duration
        late.append(free - (call + 1) * period)
    return sum(ms) / (len(ms) * period), sum(x > 1e-9 for x in late), max(0.0, *late)


def by_the_mean(ms, period):
    late = np.mean(ms) - period
    return sum(ms) / len(ms) / period, len(ms) * int(late > 1e-9), max(0.0, late)


def each_alone(ms, period):
    late = [x - period for x in ms if x > period]
    return sum(ms) / len(ms) / period, len(late), max([0.0, *late])


def from_the_arrival(ms, period):
    free, after = 0.0, []
    for call, duration in enumerate(ms, start=1):
        free = max(free, call * period) + duration
        after.append(free - call * period)
    return sum(ms) / len(ms) / period, len(after), max(after)


def reset_slots(state, initial, slots):
    def choose(old, new):
        return np.where(slots.reshape(-1, *[1] * (old.ndim - 1)), new, old)

    return jax.tree.map(choose, state, initial)


def along_the_last_axis(state, initial, slots):
    return jax.tree.map(lambda old, new: np.where(slots, new, old), state, initial)


ANSWERS = {rechunk: regroup, deadlines: run, reset_slot: reset_slots}
MISTAKES = [
    (rechunk, without_the_rest, '1 samples of the last word never arrived'),
    (rechunk, with_zeros, 'zeros are data'),
    (rechunk, when_all_is_there, 'the first block waits for the last chunk'),
    (rechunk, one_a_chunk, 'one chunk can fill more than one block'),
    (rechunk, chunk_by_chunk, 'each chunk is cut by itself'),
    (rechunk, rests_dropped, 'the rest of a chunk is dropped'),
    (rechunk, lambda chunks, block: list(regroup(chunks, block)), 'the result is a list, not a generator'),
    (rechunk, lambda chunks, block: (b + 1 for b in regroup(chunks, block)), 'block 0 begins with sample 1, not 0'),
    (deadlines, by_the_mean, 'a mean does not see one slow call'),
    (deadlines, each_alone, 'a short call is late too if it begins late'),
    (deadlines, lambda ms, period: run(ms, period, lambda free, arrives: free or arrives), 'cannot begin before'),
    (deadlines, from_the_arrival, 'you count from the arrival of the chunk'),
    (deadlines, lambda ms, period: (1 / run(ms, period)[0], *run(ms, period)[1:]), 'not the other way round'),
    (deadlines, lambda ms, period: (*run(ms, period)[:2], max(ms)), 'worst is how long after its deadline'),
    (deadlines, lambda ms, period: run(ms, period)[0], 'the result is 0.5, not a tuple'),
    (reset_slot, lambda s, i, slots: reset_slots(s, jax.tree.map(np.zeros_like, i), slots), 'zero is not the initial'),
    (reset_slot, lambda s, i, slots: i, 'every slot begins anew'),
    (reset_slot, lambda s, i, slots: s, 'nothing begins anew'),
    (reset_slot, lambda s, i, slots: reset_slots(i, s, slots), 'the wrong way round'),
    (reset_slot, along_the_last_axis, 'matched with the last axis'),
    (reset_slot, lambda s, i, slots: jax.tree.leaves(s), 'the result is not built like the state'),
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


def test_the_end_of_rovers_clip_is_told():
    case = rechunk.cases()[4]
    assert len(case[0]) == 141 and len(rechunk.answer(*case)[-1][0]) == 200
    lost = list(without_the_rest(*case))
    assert sum(map(len, lost)) == 44_580 - 200


def test_the_initial_states_are_not_zero():
    _, pooling, clock, mask, times = (jax.tree.leaves(state) for state in initial_states())
    assert np.isneginf(pooling[0]).all()
    assert (clock[0] == -2).all()
    assert mask[1].dtype == bool and mask[1].all()
    assert any((leaf < -(10**6)).all() for leaf in times)


# --- calls on the clock -------------------------------------------------------------------------------------
def test_one_slow_call_makes_24_results_late():
    calls = schedule([*[8.0] * 40, 300, *[8.0] * 99], 19.8)
    assert round(calls.factor, 2) == 0.51
    assert (calls.late, round(calls.lateness.max())) == (24, 280)
    assert calls.waiting(calls.ends[40]) == 15 and calls.waiting(0) == 0


def test_a_result_at_its_deadline_is_in_time():
    assert schedule([4.0, 4, 4], 4).late == 0
    assert schedule([4.0, 4.5, 4], 4).lateness.tolist() == [0, 0.5, 0.5]


def test_the_backlog_is_drawn():
    assert plot_backlog(schedule([1.0, 9, 1], 4), 'a finding').finding == 'a finding'


def test_the_explorer_follows_its_sliders():
    explorer = BacklogExplorer()
    assert repr(explorer) == 'BacklogExplorer(Real-time factor 0.30: all 50 results are in time)'
    before = bytes(explorer.image.value)
    explorer.width.value = 144
    assert explorer.finding() == 'Real-time factor 1.11: 49 of 50 results are late, the worst by 119 ms'
    assert bytes(explorer.image.value) != before
    explorer.width.value, explorer.chunk.value = 64, 30
    assert explorer.calls.factor > 1
