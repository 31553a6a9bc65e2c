"""The exercises of lesson 07: right answers pass, and each common mistake is told its own idea."""

import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from checks.lesson07 import repair, safe_log, stride_mask
from checks.neighbour import NeighbourExplorer, plot_leaks
from tests.tutorials.verdicts import check_mistake, check_unwritten


# --- repair: with `mended`, a name for each leak that is stopped -------------------------------------------
def score(x, mended=('mean', 'window', 'sum', 'count'), select=lambda m, v: np.where(m, v, 0)):
    valid, time = np.maximum(x.mask.sum(1), 1), x.shape[1]
    mean = select(x.mask, x.values).sum(1) / valid if 'mean' in mended else x.values.sum(1) / time
    centred = x.values - mean[:, None]
    if 'window' in mended:
        centred = select(x.mask, centred)
    padded = np.pad(centred, ((0, 0), (1, 1)))
    energy = (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) ** 2
    if 'sum' in mended:
        energy = select(x.mask, energy)
    return energy.sum(1) / (valid if 'count' in mended else time)


def mending(*names):
    return lambda x: score(x, names)


def score_with_nan_when_empty(x):
    with np.errstate(invalid='ignore'):
        return score(x) * (x.mask.sum(1) / x.mask.sum(1))


# --- stride mask --------------------------------------------------------------------------------------------
def prefix(lengths, time):
    return np.arange(time) < lengths[:, None]


def floored(mask, s):
    return prefix(mask.sum(1) // s, -(-mask.shape[1] // s))


def rounded_up(mask, s):
    return prefix(-(-mask.sum(1) // s), -(-mask.shape[1] // s))


def any_of(mask, s):
    return np.stack([mask[:, i : i + s].any(1) for i in range(0, mask.shape[1], s)], 1)


def all_of(mask, s):
    return np.stack([mask[:, i : i + s].all(1) for i in range(0, mask.shape[1], s)], 1)


def log_in_two_selections(x, mask):
    return jnp.where(mask, jnp.log(jnp.where(mask, x, 2)), 0)


ANSWERS = [
    (repair, score),
    (stride_mask, lambda mask, s: mask[:, ::s]),
    (safe_log, log_in_two_selections),
    (safe_log, lambda x, mask: jnp.log(jnp.where(mask, x, 1))),
]
MISTAKES = [
    (repair, mending(), '4 of 4 left: add-a-neighbour fails'),
    (repair, mending('sum', 'count'), '2 of 4 left: add-a-neighbour fails. the mean reads or counts padding; windows'),
    (repair, mending('mean', 'sum', 'count'), '1 of 4 left: add-a-neighbour fails. windows read what the padding'),
    (repair, mending('mean', 'window', 'count'), '1 of 4 left: add-a-neighbour fails. the sum takes in outputs'),
    (repair, mending('mean', 'window', 'sum'), '1 of 4 left: add-a-neighbour fails. you divide by the length'),
    (repair, mending('window', 'sum', 'count'), '1 of 4 left: add-a-neighbour fails. the mean reads or counts'),
    (repair, lambda x: score(x, select=lambda m, v: m * v), 'NaN times 0 is NaN'),
    (repair, score_with_nan_when_empty, 'no timestep is valid: you divide 0 by 0'),
    (repair, lambda x: score(x)[:1], 'the result has the shape (1,), not (2,)'),
    (repair, lambda x: score(x) + 1, 'case 0: item 0 is 5.33, not 4.33'),
    (stride_mask, floored, 'length 5, stride 2: output 2 starts at input 4, which is valid'),
    (
        stride_mask,
        rounded_up,
        'without gaps: output 2 starts at input 4, which is invalid',
    ),
    (stride_mask, any_of, 'you ask whether any input of the stride is valid; one decides'),
    (stride_mask, all_of, 'you ask whether all inputs of the stride are valid; one decides: input 4'),
    (stride_mask, lambda mask, s: mask[:, : mask.shape[1] // s * s : s], 'a rectangle of whole strides'),
    (stride_mask, lambda mask, s: mask, 'the mask has the shape (1, 5), not (1, 3)'),
    (safe_log, lambda x, mask: jnp.where(mask, jnp.log(x), 0), 'the value is right, the gradient is 0 * inf = NaN'),
    (safe_log, lambda x, mask: mask.astype(float) * jnp.log(x), '0 times -inf is NaN: a mask selects'),
    (safe_log, lambda x, mask: jnp.log(jnp.where(mask, x, 1e-6)), 'choose the output too'),
    (safe_log, lambda x, mask: jnp.where(mask, jnp.log(jnp.abs(x) + 1e-3), 0), 'a number added for safety'),
    (safe_log, lambda x, mask: log_in_two_selections(x, mask)[:1], 'the result has the shape (1,), not (2,)'),
]


@pytest.mark.parametrize(('exercise', 'answer'), ANSWERS)
def test_a_right_answer_passes(exercise, answer):
    verdict = exercise(answer)
    assert verdict.passed, verdict.message
    assert verdict.message == 'ok: 40 cases'
    assert verdict.picture.finding


@pytest.mark.parametrize(('exercise', 'wrong', 'words'), MISTAKES, ids=[words for *_, words in MISTAKES])
def test_a_mistake_is_told_its_idea(exercise, wrong, words):
    check_mistake(exercise(wrong), words)


@pytest.mark.parametrize('exercise', [repair, stride_mask, safe_log], ids=lambda e: type(e).__name__)
def test_an_empty_stub_does_not_pass(exercise):
    check_unwritten(exercise)


def test_masks_are_of_every_kind_and_poisoned():
    cases = [x for (x,) in repair.cases() if x.shape == (len(sl.testing.MASK_KINDS), 8)]
    assert len(cases) > 30
    assert all(not x.mask[-1].any() and x.mask[0].all() for x in cases)
    assert all(np.isnan(x.values[~x.mask]).all() for x in cases)
    hidden = np.concatenate([np.asarray(x)[~np.asarray(mask)] for x, mask in safe_log.cases()])
    assert np.isnan(hidden).any() and np.isinf(hidden).any() and (hidden < 0).any()


def test_neighbour_explorer_moves_outputs_only_without_the_mask():
    explorer = NeighbourExplorer()
    assert repr(explorer) == 'NeighbourExplorer(A neighbour of 6 timesteps, the mask is read: 0 of 3 outputs move)'
    before = bytes(explorer.image.value)
    explorer.masked.value = False
    assert explorer.outputs.tolist() == [12, 18, 18]
    assert explorer.finding().endswith('nobody reads the mask: 1 of 3 outputs move')
    assert bytes(explorer.image.value) != before
    explorer.length.value = 3
    assert explorer.finding().endswith('0 of 3 outputs move')
    bundle, _ = explorer._repr_mimebundle_()
    assert bundle['image/png'].startswith(b'\x89PNG')


def test_plot_leaks_shows_its_finding():
    assert plot_leaks({'layer 0': np.zeros(20)}, 'No layer leaks').finding == 'No layer leaks'
