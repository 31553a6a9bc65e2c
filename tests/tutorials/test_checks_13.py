"""Lesson 13: right answers pass, and a common mistake is told its idea. And the run that stops."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from checks.learning import PaddingExplorer, plot_kept
from checks.lesson13 import STEPS, accumulate, masked_loss, resume_exactly
from checks.training_run import TrainingRun, batch
from tests.tutorials.verdicts import check_mistake, check_unwritten


# --- losses --------------------------------------------------------------------------------------------------
def nll_of(logits, target):
    labels = target.mask_invalid().values
    return optax.softmax_cross_entropy_with_integer_labels(logits.values, labels)


def loss(logits, target):
    both = logits.mask & target.mask
    nll = nll_of(logits.mask_invalid(), target)
    return jnp.where(both, nll, 0).sum() / jnp.maximum(both.sum(), 1)


def mean_of_means(logits, target):
    nll = jnp.where(logits.mask, nll_of(logits.mask_invalid(), target), 0)
    return (nll.sum(1) / logits.mask.sum(1)).mean()


def mean_of_the_rectangle(logits, target):
    return jnp.where(logits.mask, nll_of(logits.mask_invalid(), target), 0).mean()


def by_the_mask_of_logits(logits, target):
    nll = nll_of(logits.mask_invalid(), target)
    return jnp.where(logits.mask, nll, 0).sum() / jnp.maximum(logits.mask.sum(), 1)


def by_the_mask_of_target(logits, target):
    nll = nll_of(logits.mask_invalid(), target)
    return jnp.where(target.mask, nll, 0).sum() / jnp.maximum(target.mask.sum(), 1)


def by_product(logits, target):
    both = logits.mask & target.mask
    return (nll_of(logits, target) * both).sum() / jnp.maximum(both.sum(), 1)


def selected_after_only(logits, target):
    both = logits.mask & target.mask
    return jnp.where(both, nll_of(logits, target), 0).sum() / jnp.maximum(both.sum(), 1)


def without_guard(logits, target):
    both = logits.mask & target.mask
    return jnp.where(both, nll_of(logits.mask_invalid(), target), 0).sum() / both.sum()


# --- gradients -----------------------------------------------------------------------------------------------
def add(micro):
    total = max(1, sum(count for _, count in micro))
    return jax.tree.map(lambda *sums: sum(sums) / total, *(sums for sums, _ in micro))


def combined(micro, combine):
    counts = np.array([count for _, count in micro])
    return jax.tree.map(lambda *sums: combine(np.stack(sums, -1), counts), *(sums for sums, _ in micro))


# --- checkpoints ---------------------------------------------------------------------------------------------
def plain(variables):
    return jax.tree.map(np.asarray, nnx.to_pure_dict(variables))


def write(parts):
    """A `checkpoint` that saves some parts."""

    def checkpoint(run, path):
        everything = {
            'weights': plain(nnx.state(run.model, nnx.Param)),
            'statistics': plain(nnx.state(run.model, nnx.BatchStat)),
            'moments': plain(nnx.state(run.optimizer)),
            'key': np.asarray(jax.random.key_data(run.key)),
            'position': run.position,
        }
        path.write_bytes(pickle.dumps({name: everything[name] for name in parts}))

    return checkpoint


def resume(path):
    saved, run = pickle.loads(path.read_bytes()), TrainingRun()
    for name, kind in (('weights', nnx.Param), ('statistics', nnx.BatchStat)):
        if name in saved:
            variables = nnx.state(run.model, kind)
            nnx.replace_by_pure_dict(variables, saved[name])
            nnx.update(run.model, variables)
    if 'moments' in saved:
        variables = nnx.state(run.optimizer)
        nnx.replace_by_pure_dict(variables, saved['moments'])
        nnx.update(run.optimizer, variables)
    run.key = jax.random.wrap_key_data(saved['key']) if 'key' in saved else run.key
    run.position = saved.get('position', 0)
    return run


ALL = ('weights', 'statistics', 'moments', 'key', 'position')


def without(*missing):
    return write([name for name in ALL if name not in missing]), resume


ANSWERS = {masked_loss: (loss,), accumulate: (add,), resume_exactly: without()}
MISTAKES = [
    (masked_loss, (mean_of_means,), 'a clip of 1 steps weighs as much as one of 4'),
    (masked_loss, (mean_of_the_rectangle,), 'you divide by 8 places of the rectangle, 5 count'),
    (masked_loss, (lambda y, t: nll_of(y, t).mean(),), 'you take in what is invalid'),
    (masked_loss, (by_the_mask_of_logits,), 'case 1: '),
    (masked_loss, (by_the_mask_of_target,), 'a timestep counts if it is valid in both'),
    (masked_loss, (by_product,), 'and NaN times 0 is NaN'),
    (masked_loss, (selected_after_only,), 'the backward pass goes through what you did not select'),
    (masked_loss, (without_guard,), 'case 4: '),
    (masked_loss, (lambda y, t: nll_of(y, t),), 'the loss has the shape (2, 4): it must be one number'),
    (masked_loss, (lambda y, t: loss(y, t) + 1,), 'case 0: the loss is'),
    (accumulate, (lambda m: combined(m, lambda s, n: (s / n).mean(-1)),), 'kernel is 2.5, not 1.27: a mean of means'),
    (accumulate, (lambda m: combined(m, lambda s, n: (s / n).sum(-1)),), 'a sum of means'),
    (accumulate, (lambda m: combined(m, lambda s, n: s.mean(-1)),), 'you divide by the number of parts'),
    (accumulate, (lambda m: combined(m, lambda s, n: s.sum(-1)),), 'divide once, by all counts'),
    (accumulate, (lambda m: combined(m, lambda s, n: s.sum(-1) / n.sum()),), 'you divide 0 by 0'),
    (accumulate, (lambda m: 1.27,), 'not built like a gradient'),
    (resume_exactly, without('key'), 'after step 3 the training curve leaves at step 4: key not restored'),
    (resume_exactly, without('position'), 'training curve leaves at step 4: position not restored'),
    (resume_exactly, without('moments'), 'training curve leaves at step 5: moments not restored'),
    (resume_exactly, without('statistics'), 'evaluation curve leaves at step 4: statistics not restored'),
    (resume_exactly, without('weights'), 'training curve leaves at step 4: weights not restored'),
    (resume_exactly, without('key', 'moments'), 'key and moments not restored'),
]


@pytest.mark.parametrize('exercise', ANSWERS, ids=lambda e: type(e).__name__)
def test_a_right_answer_passes(exercise):
    verdict = exercise(*ANSWERS[exercise])
    assert verdict.passed, verdict.message
    assert verdict.message in ('ok: 40 cases', 'ok: 3 runs, stopped after steps 3, 1, 5')
    assert verdict.picture.finding


@pytest.mark.parametrize(('exercise', 'wrong', 'words'), MISTAKES, ids=[words for *_, words in MISTAKES])
@pytest.mark.filterwarnings('ignore:invalid value encountered', 'ignore:divide by zero')
def test_a_mistake_is_told_its_idea(exercise, wrong, words):
    check_mistake(exercise(*wrong), words)


@pytest.mark.parametrize('exercise', ANSWERS, ids=lambda e: type(e).__name__)
def test_an_empty_stub_does_not_pass(exercise):
    check_unwritten(exercise, len(ANSWERS[exercise]))


# --- the run -------------------------------------------------------------------------------------------------
def test_two_runs_are_the_same_to_the_last_bit():
    first, second = TrainingRun(), TrainingRun()
    assert [first.step() for _ in range(STEPS)] == [second.step() for _ in range(STEPS)]
    assert first.evaluate() == second.evaluate()


def test_a_run_learns():
    run = TrainingRun()
    before = run.evaluate()
    for _ in range(60):
        run.step()
    assert run.evaluate() < 0.7 * before


def test_batches_have_clips_of_unequal_length():
    assert len(set(batch(0)[0].lengths().tolist())) > 1


# --- pictures ------------------------------------------------------------------------------------------------
def test_the_kept_timesteps_are_drawn():
    assert plot_kept({'layer': np.array([1, 0, 1, 1])}, 'a finding', block=2).finding == 'a finding'


def test_the_explorer_follows_its_slider():
    explorer = PaddingExplorer()
    assert repr(explorer) == 'PaddingExplorer(45% of the batch is padding: .mean() learns at 0.55 of the learning rate)'
    before = bytes(explorer.image.value)
    explorer.length.value = 400
    assert explorer.finding() == '86% of the batch is padding: .mean() learns at 0.14 of the learning rate'
    assert bytes(explorer.image.value) != before
