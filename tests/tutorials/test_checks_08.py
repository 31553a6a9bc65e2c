"""The exercises of lesson 08: right answers pass, stubs do not, and a common mistake is told its idea."""

import jax.numpy as jnp
import numpy as np
import pytest

import checks
import seqlayers as sl
from tests.tutorials.verdicts import check_mistake, check_unwritten


def visible(q_time, k_time, past, future, k_valid, below=np.less_equal, above=np.less_equal):
    q, k = q_time[:, None], k_time[None]
    return below(q - past, k) & above(k, q + future) & k_valid


def generate(model, prompt, n, start=lambda prompt: prompt, pick=-1, keep=True):
    initial = state = model.get_initial_state(batch_size=1, training=False)
    y, state = model.step(start(prompt), state, training=False)
    tokens = [int(y.values[0, pick].argmax())]
    while len(tokens) < n:
        token = sl.Sequence.from_values(np.array([[tokens[-1]]]))
        y, state = model.step(token, state if keep else initial, training=False)
        tokens.append(int(y.values[0, -1].argmax()))
    return tokens


def fed_twice(prompt):
    return prompt.concatenate(prompt[:, -1:])


ANSWERS = {
    checks.visible: visible,
    checks.ring_size: lambda past, future, block: past + future + block,
    checks.generate: generate,
}
MISTAKES = [
    (
        checks.visible,
        lambda *case: visible(*case, below=np.less),
        'case 0: query 0 does not see the key in slot 2: your inequality is strict: the query cannot see itself when '
        'past = 0. Use <=',
    ),
    (checks.visible, lambda *case: visible(*case, above=np.less), 'the query cannot see itself when past = 0'),
    (checks.visible, lambda *case: visible(*case, np.less, np.less), 'the query cannot see itself when past = 0'),
    (
        checks.visible,
        lambda q, k, past, future, ok: visible(q, np.arange(len(k)), past, future, ok),
        'case 3: query 0 does not see the key in slot 0: right until the ring wraps at time 8',
    ),
    (
        checks.visible,
        lambda q, k, past, future, ok: visible(np.arange(len(q)), k, past, future, ok),
        'the first query of the block has the time 2, not 0: that is the triangle at the top left again',
    ),
    (
        checks.visible,
        lambda q, k, past, future, ok: visible(q, k, past, future, True),
        'case 2: query 0 sees the key in slot 3: these keys are invalid, or were never written',
    ),
    (
        checks.visible,
        lambda q, k, past, future, ok: visible(q, k, future, past, ok),
        'case 1: query 0 does not see the key in slot 1: past and future are exchanged',
    ),
    (
        checks.visible,
        lambda q, k, past, future, ok: visible(q, k, past, 0, ok),
        'keys up to 1 after the query are visible too',
    ),
    (
        checks.visible,
        lambda q, k, past, future, ok: visible(q, k, 10_000, future, ok),
        'there is no limit to the past: the key must not be older than 0 steps',
    ),
    (checks.visible, lambda *case: visible(*case).T, 'has the shape (4, 1), not (1, 4), queries by keys: rows are'),
    (checks.visible, lambda *case: visible(*case).astype(int), 'the result has the type int64, not bool'),
    (
        checks.ring_size,
        lambda past, future, block: past + 1,
        'case 0: you say 3, not 4: block of 2 overwrites a key that its own first query needs: past + future + block',
    ),
    (checks.ring_size, lambda past, future, block: past + future + 1, 'block of 2 overwrites a key'),
    (checks.ring_size, lambda past, future, block: max(past + future + 1, block), 'block of 2 overwrites a key'),
    (
        checks.ring_size,
        lambda past, future, block: past + block,
        'case 1: you say 4, not 5: the keys up to 1 after the query have been written when it is answered',
    ),
    (checks.ring_size, lambda past, future, block: past + future, 'you say 2, not 4: the query sees itself too'),
    (checks.ring_size, lambda past, future, block: past + future + 2 * block, 'so many are never read'),
    (checks.ring_size, lambda past, future, block: None, 'you say None, not 4'),
    (
        checks.generate,
        lambda *case: generate(*case, start=fed_twice),
        'token 12 went in at time 12 and 13; prefill has already consumed it, sample from its last output',
    ),
    (
        checks.generate,
        lambda *case: generate(*case, start=lambda prompt: prompt[:, -1:]),
        'the model was given the last token alone',
    ),
    (
        checks.generate,
        lambda *case: generate(*case, pick=0),
        'output 0 of the prefill predicts token 1; token 13 is predicted by output 12, the last',
    ),
    (checks.generate, lambda *case: generate(*case, keep=False), 'each call began with the initial state'),
    (
        checks.generate,
        lambda model, prompt, n: prompt.values[0].tolist() + generate(model, prompt, n),
        'return the new tokens only, without the prompt',
    ),
    (
        checks.generate,
        lambda model, prompt, n: generate(model, prompt, n + 1),
        'case 0: 7 tokens, not 6: the prefill gives the first of the 6 new tokens, so 6 - 1 steps are left',
    ),
    (checks.generate, lambda model, prompt, n: None, 'the result is a NoneType, not a list of tokens'),
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


def test_visible_cases_have_wrapped_rings_and_every_validity():
    cases = checks.visible.cases()
    assert any((np.diff(k_time) < 0).any() for _, k_time, *_ in cases)
    valid = [case[-1] for case in cases]
    assert any(v.all() for v in valid) and any(not v.any() for v in valid)
    assert any(0 < v.sum() < len(v) and not v[0] for v in valid)


def test_generate_is_right_for_a_model_of_the_library():
    """The solution on a built model, against `layer` on all that went in."""
    layers = [sl.Embedding(8, 5), sl.Conv1D(5, 3, padding='causal')]
    model = sl.Serial(layers).build(sl.ChannelSpec((), jnp.int32), rngs=0)
    prompt = sl.Sequence.from_values(np.array([[3, 1, 4, 1]], np.int32))
    new = generate(model, prompt, 3)
    everything = sl.Sequence.from_values(np.array([[3, 1, 4, 1, *new]], np.int32))
    logits = model.layer(everything, training=False).values[0]
    assert logits.argmax(-1)[3:-1].tolist() == new


def test_ring_explorer_follows_its_sliders():
    explorer = checks.RingExplorer(past=2, future=0, block=2, slots=3)
    assert repr(explorer) == ('RingExplorer(A ring of 3 slots, blocks of 2: 5 of 11 queries miss a key; 384 bytes)')
    before = bytes(explorer.image.value)
    explorer.slots.value = 4
    assert explorer.finding() == 'A ring of 4 slots, blocks of 2: every query finds its keys; 512 bytes'
    assert bytes(explorer.image.value) != before
    assert explorer._repr_mimebundle_()[0]['image/png'].startswith(b'\x89PNG')
