"""The exercises of lesson 11: right answers pass, and each common mistake is told its own idea."""

import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from checks.lesson11 import find_the_lie, meter, preemphasis
from checks.liars import LAYERS, LIES, Alternate, LatePairSum, LongPairSum, PairSum
from checks.refute import RefutationExplorer
from tests.tutorials.verdicts import check_mistake, check_unwritten

SCALARS = sl.ChannelSpec(())


# --- meter --------------------------------------------------------------------------------------------------
def toward(p, level, attack, release):
    return p + jnp.where(level > p, attack, release) * (level - p)


def follow(x, valid, p, attack, release):
    level = jnp.abs(jnp.where(valid, x, 0))
    return jnp.where(valid, toward(p, level, attack, release), p)


def follow_frozen_only(x, valid, p, attack, release):
    return jnp.where(valid, toward(p, jnp.abs(x), attack, release), p)


def follow_products(x, valid, p, attack, release):
    return toward(p, jnp.abs(x * valid), attack, release)


def follow_zeros(x, valid, p, attack, release):
    return toward(p, jnp.abs(jnp.where(valid, x, 0)), attack, release)


def follow_padding(x, valid, p, attack, release):
    return toward(p, jnp.abs(x), attack, release)


def follow_signed(x, valid, p, attack, release):
    return jnp.where(valid, toward(p, jnp.where(valid, x, 0), attack, release), p)


# --- preemphasis --------------------------------------------------------------------------------------------
def emphasize(x, state, select=True, keeps=True, stores_raw=False):
    values = np.where(x.mask, x.values, 0) if select else x.values
    joined = np.concatenate([state[:, None] if keeps else np.zeros((len(state), 1)), values], 1)
    return x.replace(values=values - 0.97 * joined[:, :-1]), x.values[:, -1] if stores_raw else joined[:, -1]


def emphasize_products(x, state):
    return emphasize(x.replace(values=x.values * x.mask), state, select=False)


def emphasize_valid_neighbours(x, state):
    outputs = []
    for value, valid in zip(x.values.T, x.mask.T, strict=True):
        outputs.append(value - 0.97 * state)
        state = np.where(valid, value, state)
    return x.replace(values=np.stack(outputs, 1)), state


# --- find the lie -------------------------------------------------------------------------------------------
def all_honest(layers):
    return dict.fromkeys(layers, True)


def behind_a_look_ahead(layers):
    models = {name: sl.Serial([sl.Lookahead(1), layer]) for name, layer in layers.items()}
    return {name: sl.testing.quick_check(model, SCALARS, time=8).passed for name, model in models.items()}


MISTAKES = [
    (meter, follow_products, 'nothing happened in an invalid timestep, and your peak moved'),
    (meter, follow_frozen_only, 'the value is right, the gradient is 0 times NaN'),
    (meter, follow_zeros, 'nothing happened in an invalid timestep, and your peak moved'),
    (meter, follow_padding, 'padding moves your peak'),
    (meter, follow_signed, 'the level is |x|'),
    (meter, lambda x, v, p, attack, release: follow(x, v, p, release, attack), 'attack is for a level above the peak'),
    (meter, lambda *args: 2 * follow(*args), 'case 0: the peak of item 0 at timestep 0 is 8, not 4'),
    (preemphasis, emphasize_products, 'NaN times 0 is NaN'),
    (preemphasis, lambda x, s: emphasize(x, s, select=False), 'timestep 1 is invalid and counts as 0'),
    (preemphasis, lambda x, s: emphasize(x, s, keeps=False), 'each block begins as if nothing came before it'),
    (preemphasis, lambda x, s: emphasize(x, s, stores_raw=True), 'the buffer holds an invalid value'),
    (
        preemphasis,
        emphasize_valid_neighbours,
        'mask 1 0 1: as a window over time the neighbour is the invalid timestep 1, value 0',
    ),
    (preemphasis, lambda x, s: (x[:, :-1], s), 'have the shape (1, 3), not (1, 4)'),
    (preemphasis, lambda x, s: (x.replace(mask=~x.mask), s), 'the mask of the outputs is not that of the inputs'),
    (find_the_lie, all_honest, 'A is a liar, you say honest: alone each passes; composition is the test'),
    (find_the_lie, lambda layers: dict.fromkeys(layers, False), 'B is honest, you say a liar'),
    (find_the_lie, lambda layers: {**all_honest(layers), 'A': False}, 'you found 1 of 3 lies: put each layer behind'),
    (find_the_lie, lambda layers: None, 'expected a dict with an entry for each of A, B, C, D, got None'),
]


@pytest.mark.parametrize(
    ('exercise', 'answer', 'words'),
    [
        (meter, follow, 'ok: 40 cases'),
        (preemphasis, emphasize, 'ok: 40 cases'),
        (find_the_lie, behind_a_look_ahead, 'ok: A says that it has no latency, and its steps come one late; B is'),
    ],
)
def test_a_right_answer_passes(exercise, answer, words):
    verdict = exercise(answer)
    assert verdict.passed, verdict.message
    assert verdict.message.startswith(words)
    assert verdict.picture.finding


@pytest.mark.parametrize(('exercise', 'wrong', 'words'), MISTAKES, ids=[words for *_, words in MISTAKES])
def test_a_mistake_is_told_its_idea(exercise, wrong, words):
    check_mistake(exercise(wrong), words)


@pytest.mark.parametrize('exercise', [meter, preemphasis, find_the_lie], ids=lambda e: type(e).__name__)
def test_an_empty_stub_does_not_pass(exercise):
    check_unwritten(exercise)


@pytest.mark.parametrize('layer', LAYERS.values(), ids=lambda layer: type(layer).__name__)
def test_the_test_of_each_author_is_green(layer):
    model = layer.build(SCALARS, rngs=0)
    x = sl.Sequence.from_values(np.arange(1, 13, dtype=np.float32)[None])
    whole, stepped = model.layer(x, training=False), sl.step_by_step(model, x)
    in_order = stepped.values[stepped.mask]
    assert len(in_order) >= 11
    np.testing.assert_array_equal(in_order, whole.values[0, : len(in_order)])


@pytest.mark.parametrize(
    ('lie', 'clause'), [(LatePairSum(), 'latency'), (LongPairSum(), 'masks'), (Alternate(), 'start')]
)
def test_each_lie_is_the_one_that_it_is_said_to_be(lie, clause):
    assert lie in LIES
    assert not sl.testing.check_contract(lie.build(SCALARS, rngs=0), clauses=[clause]).passed


def test_refutation_explorer_shrinks_what_fails():
    explorer = RefutationExplorer({'honest': PairSum(), 'counts': Alternate()}, 'counts', 2)
    assert explorer.model == sl.Serial([sl.Lookahead(1), Alternate()])
    assert explorer.text == 'counts, model 2: refuted, and shrunk from 3 layers to 2'
    before = bytes(explorer.image.value)
    explorer.layer.value = 'honest'
    assert explorer.text == 'honest, model 2: keeps the contract'
    assert bytes(explorer.image.value) != before
    bundle, _ = explorer._repr_mimebundle_()
    assert bundle['image/png'].startswith(b'\x89PNG')
