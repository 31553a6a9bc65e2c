"""The exercises of lesson 03: right answers pass, stubs do not, and a common mistake is told its idea."""

import jax
import numpy as np
import pytest

import checks
from tests.tutorials.verdicts import check_mistake, check_unwritten


def ring_write(buf, new, t):
    buf = np.array(buf)
    buf[(t + np.arange(len(new))) % len(buf)] = new
    return buf


def written_at_once(buf, new, t):
    return jax.lax.dynamic_update_slice(buf, new, (t % len(buf),))


def without_modulo(buf, new, t):
    return ring_write(buf, new, t) if t < 8 else jax.lax.dynamic_update_slice(buf, new, (t,))


def in_two_without_modulo(buf, new, t):
    fits = min(len(new), len(buf) - t)
    buf = jax.lax.dynamic_update_slice(buf, new[:fits], (t,))
    return jax.lax.dynamic_update_slice(buf, new[fits:], (0,))


def cut_at_the_end(buf, new, t):
    buf, slot = np.array(buf), t % len(buf)
    buf[slot : slot + len(new)] = new[: len(buf) - slot]
    return buf


def moved(buf, new, t):
    return np.concatenate([buf, new])[-len(buf) :]


def stepwise(update):
    def run(x, state):
        means = []
        for value, valid in zip(x.values.T, x.mask.T, strict=True):
            state = update(state, value, valid)
            means.append(state)
        return np.stack(means, 1), state

    return run


leaky_step = stepwise(lambda old, new, valid: np.where(valid, (old + new) / 2, old))


def from_zero(x, state):
    return leaky_step(x, np.zeros_like(state))


def state_not_handed_on(x, state):
    return leaky_step(x, state)[0], state


ANSWERS = {
    checks.ring_write: ring_write,
    checks.state_bytes: lambda: {'Conv1D': 2056, 'LSTM': 512},
    checks.leaky_step: leaky_step,
}
MISTAKES = [
    (checks.ring_write, written_at_once, 'slot 0 holds 0, not 10: t = 6: your three entries landed in slots 5 6 7'),
    (checks.ring_write, without_modulo, 't = 9: a ring of 8 slots has no slot 9'),
    (checks.ring_write, in_two_without_modulo, 'Time t belongs in slot t % 8 = 1'),
    (checks.ring_write, cut_at_the_end, 't = 6: what does not fit behind slot 6 is lost; it goes on at slot 0'),
    (checks.ring_write, moved, 'you moved every entry'),
    (checks.ring_write, lambda buf, new, t: new, 'the result has the shape (3,), not (8,)'),
    (
        checks.state_bytes,
        lambda: {'Conv1D': 1024, 'LSTM': 512},
        'Conv1D keeps 2,056 bytes, you say 1,024: dilation 2 stretches 5 taps over 9 timesteps: 8 old ones x 64 x 4 '
        '= 2,048 bytes, plus 8 mask bytes',
    ),
    (checks.state_bytes, lambda: {'Conv1D': 2048, 'LSTM': 512}, 'the values are right'),
    (checks.state_bytes, lambda: {'Conv1D': 2313, 'LSTM': 512}, 'the newest of the 9 timesteps arrives with the step'),
    (checks.state_bytes, lambda: {'Conv1D': 4116, 'LSTM': 512}, 'that is the ring the layer really has'),
    (checks.state_bytes, lambda: {'Conv1D': 512, 'LSTM': 512}, 'that is a count of numbers'),
    (checks.state_bytes, lambda: {'Conv1D': 2056, 'LSTM': 256}, 'LSTM keeps 512 bytes, you say 256: h and c'),
    (checks.state_bytes, lambda: {'Conv1D': 2056, 'LSTM': 128}, 'that is a count of numbers'),
    (checks.state_bytes, lambda: {'LSTM': 512}, 'not a dict of whole numbers with the keys'),
    (
        checks.leaky_step,
        stepwise(lambda old, new, valid: (old + np.where(valid, new, 0)) / 2),
        'the state is 0.375, not 3: three invalid steps halved your baseline three times; nothing happened in them',
    ),
    (
        checks.leaky_step,
        stepwise(lambda old, new, valid: (old + np.where(valid, new, 9)) / 2),
        'the state is 8.25, not 3',
    ),
    (checks.leaky_step, from_zero, 'item 0: mean 0 is 2, not 6: you start each block at 0'),
    (checks.leaky_step, state_not_handed_on, 'the state is 0, not 3: you give back the state that you were given'),
    (
        checks.leaky_step,
        stepwise(lambda old, new, valid: old + valid * (new - old) / 2),
        'NaN times 0 is NaN: select with where(mask, new, old)',
    ),
    (checks.leaky_step, lambda x, state: state, 'the result is a ndarray, not the pair (means, state)'),
    (checks.leaky_step, lambda x, state: (leaky_step(x, state)[0][:, -1:], state), 'means of the shape (1, 1)'),
]


@pytest.mark.parametrize('exercise', ANSWERS, ids=lambda e: type(e).__name__)
def test_a_right_answer_passes(exercise):
    verdict = exercise(ANSWERS[exercise])
    assert verdict.passed, verdict.message
    assert verdict.message.startswith(('ok: 40 cases', 'ok: Conv1D 2,056 bytes, LSTM 512 bytes'))
    assert verdict.picture.finding


@pytest.mark.parametrize(('exercise', 'wrong', 'words'), MISTAKES, ids=[words for *_, words in MISTAKES])
def test_a_mistake_is_told_its_idea(exercise, wrong, words):
    check_mistake(exercise(wrong), words)


@pytest.mark.parametrize('exercise', ANSWERS, ids=lambda e: type(e).__name__)
def test_an_empty_stub_does_not_pass(exercise):
    check_unwritten(exercise)


def test_a_ring_cannot_be_written_in_place():
    def in_place(buf, new, t):
        buf[t % 8] = new[0]

    with pytest.raises(ValueError, match='read-only'):
        checks.ring_write(in_place)


def test_cases_wrap_and_wait():
    wraps = [t % 8 + len(new) > 8 for _, new, t in checks.ring_write.cases()]
    assert 5 < sum(wraps) < 35 and max(t for *_, t in checks.ring_write.cases()) > 100
    masks = np.concatenate([x.mask for x, _ in checks.leaky_step.cases() if x.shape[1] == 8])
    assert (~masks).all(1).any() and masks.all(1).any() and (~masks[:, 0] & masks.any(1)).any()


def test_memory_explorer_follows_its_sliders():
    explorer = checks.MemoryExplorer(dilation=2, past=32)
    assert repr(explorer) == 'MemoryExplorer(Conv1D keeps 4,116 bytes, attention 20,648)'
    before = bytes(explorer.image.value)
    explorer.dilation.value, explorer.past.value = 1, 64
    assert explorer.finding() == 'Conv1D keeps 1,028 bytes, attention 37,160'
    assert bytes(explorer.image.value) != before
    assert explorer._repr_mimebundle_()[0]['image/png'].startswith(b'\x89PNG')
