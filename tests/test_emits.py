"""Emits are computed where somebody asks for them, and nowhere else."""

import jax.numpy as jnp
import pytest

import seqlayers as sl

X = sl.Sequence.from_values(jnp.ones((1, 4, 2)))
ASKED: list[str] = []  # the methods that computed emits


class Dear(sl.Stateless):
    """The identity, with emits that cost much."""

    def layer(self, x, *, training, constants=None):
        return x

    def layer_with_emits(self, x, *, training, constants=None):
        ASKED.append('layer')
        return x, 'seen'

    def step_with_emits(self, x, state, *, training, constants=None):
        ASKED.append('step')
        return x, state, 'seen'


class Body(sl.Composite):
    def body(self):
        return Dear()


class Asking(sl.Composite):
    """Needs the emits of what is inside for its output."""

    def body(self):
        return sl.Serial([Dear()])

    def layer_with_emits(self, x, *, training, constants=None):
        _, emits = self.network.layer_with_emits(x, training=training, constants=constants)
        return x.apply_values(lambda v: v * len(emits['layers_0'])), ()

    def step_with_emits(self, x, state, *, training, constants=None):
        _, state, emits = self.network.step_with_emits(x, state, training=training, constants=constants)
        return x.apply_values(lambda v: v * len(emits['layers_0'])), state, ()


COMBINATORS = [
    sl.Serial([Dear()]),
    sl.Serial([sl.Residual([sl.Serial([Dear()])])]),
    sl.Parallel([Dear(), sl.Identity()], combination='add'),
    sl.Repeat(Dear(), 2),
    sl.CheckpointGradient(Dear()),
    sl.Blockwise(Dear(), 2),
    sl.Shared({'dear': Dear()}, sl.Serial([sl.Ref('dear')])),
    Body(),
]


@pytest.fixture(autouse=True)
def nobody_asked():
    ASKED.clear()


@pytest.mark.parametrize('declared', COMBINATORS, ids=lambda layer: type(layer).__name__)
def test_combinators_ask_for_emits_only_when_asked(declared):
    model = declared.build(X.channel_spec, rngs=0)
    ASKED.clear()
    state = model.get_initial_state(1, training=False)
    model.layer(X, training=False)
    model.step(X, state, training=False)
    assert not ASKED


@pytest.mark.parametrize('declared', [COMBINATORS[i] for i in (0, 1, 2, 6, 7)], ids=lambda layer: type(layer).__name__)
def test_combinators_hand_on_that_they_were_asked(declared):
    model = declared.build(X.channel_spec, rngs=0)
    ASKED.clear()
    state = model.get_initial_state(1, training=False)
    assert 'seen' in str(model.layer_with_emits(X, training=False)[1])
    assert 'seen' in str(model.step_with_emits(X, state, training=False)[2])
    assert ASKED == ['layer', 'step']


def test_who_asks_is_answered_though_nobody_asked_it():
    model = sl.Serial([Asking()]).build(X.channel_spec, rngs=0)
    state = model.get_initial_state(1, training=False)
    assert (model.layer(X, training=False).values == 4).all()
    assert (model.step(X, state, training=False)[0].values == 4).all()
