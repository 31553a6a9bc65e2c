"""Known defects of the published library, part four: combinators.

The numbers are those of our list of them. Each docstring says what is wrong there, the test what is right.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from tests.defects.helpers import assert_gives, build, conv, line, steps, whole

X = [3.0, 1, 4, 1, 5]


def test_q15_branches_of_unequal_length_are_cut_to_the_shortest():
    """Published: an error of shapes, or a branch of one timestep is silently added to every other.

    They are cut here, and not refused, so that a residual around a look-ahead works: all that is lost is outputs
    that have no counterpart."""
    assert_gives(sl.Residual([sl.Lookahead(2)]), line(X), [3 + 4, 1 + 1, 4 + 5])
    assert_gives(sl.Parallel([sl.Identity(), sl.Lookahead(4)], combination='add'), line(X), [3 + 5])
    assert_gives(
        sl.Parallel([sl.Delay(1), sl.Identity()], combination='add'), line(X), [0, 3 + 1, 1 + 4, 5, 6], '01111'
    )


def test_q16_the_shortcut_may_be_a_single_layer():
    """The published Residual raises a TypeError."""
    x = line(X)
    listed = sl.Residual([sl.Scale(10.0)], shortcut_layers=[conv(2, padding='causal')])
    single = sl.Residual(sl.Scale(10.0), shortcut_layers=conv(2, padding='causal'))
    assert single == listed
    assert_gives(single, x, [30 + 3, 10 + 3 + 1, 40 + 1 + 4, 10 + 4 + 1, 50 + 1 + 5])


class Count(sl.SequenceLayer):
    """Adds the timestep. Its state has no batch axis."""

    def get_initial_state(self, batch_size, *, training, constants=None):
        return jnp.zeros((), jnp.int32)

    def layer(self, x, *, training, constants=None):
        return self.step(x, jnp.zeros((), jnp.int32), training=training)[0]

    def step(self, x, state, *, training, constants=None):
        times = state + jnp.arange(x.shape[1])
        return x.apply_values(lambda v: v + times[:, None].astype(v.dtype)), state + x.shape[1]


def test_q17_a_repeated_state_needs_no_batch_axis():
    """The published Repeat stacks the states of its repetitions on axis 1, here they are on the first."""
    model = build(sl.Repeat(Count(), 3), line(X))
    assert [leaf.tolist() for leaf in jax.tree.leaves(model.get_initial_state(7, training=False))] == [[0, 0, 0]]
    assert_gives(sl.Repeat(Count(), 3), line(X), [v + 3 * t for t, v in enumerate(X)])


def test_q18_the_state_and_the_emits_of_repeat_do_not_depend_on_how_it_runs():
    """Published: with `unroll_step` the state has another structure, and emits are a list or a tuple."""
    x = line(X)
    body = sl.Serial([sl.Lookahead(1), sl.Delay(2), sl.Emit(), sl.Scale(2.0)])
    scanned, unrolled = (build(sl.Repeat(body, 2, unroll_step=flag, unroll_layer=flag), x) for flag in (False, True))
    states = [model.get_initial_state(1, training=False) for model in (scanned, unrolled)]
    results = [
        model.step_with_emits(x, state, training=False)
        for model, state in zip((unrolled, scanned), states, strict=True)  # each with the state of the other
    ]
    assert jax.tree.structure(results[0]) == jax.tree.structure(results[1])
    jax.tree.map(np.testing.assert_array_equal, *results)
    (values,) = [emit.values for emit in results[0][2].values() if emit != ()]
    assert values.shape == (2, 1, 5, 1)  # repetition, batch, time, channels


@pytest.mark.parametrize(
    ('layer', 'dtype', 'says'),
    [
        (sl.Dense(2), 'float32', r'it maps ChannelSpec\(\(1,\), float32\) to ChannelSpec\(\(2,\), float32\)'),
        (sl.Dense(1), 'bfloat16', r'it maps ChannelSpec\(\(1,\), bfloat16\) to ChannelSpec\(\(1,\), float32\)'),
        (sl.Downsample1D(2), 'float32', 'must keep the rate, its output ratio is 1/2'),
    ],
)
def test_q18_what_cannot_be_repeated_is_said_when_the_model_is_built(layer, dtype, says):
    """In the published library it is an error of the scan, about carries."""
    with pytest.raises(sl.LayerError, match=says):
        sl.Repeat(layer, 2).build(sl.ChannelSpec((1,), dtype), rngs=0)


class Turn(sl.Stateless):
    """Multiplies by the constant 'gain', up or down as the constant 'direction' says."""

    def layer(self, x, *, training, constants=None):
        sign = {'up': 1.0, 'down': -1.0}[constants['direction']]
        return x.apply_values(lambda v: v * sign * constants['gain'])


def test_q19_constants_may_be_more_than_arrays():
    """The published CheckpointGradient passes them through `jax.checkpoint`, which takes arrays only."""
    x, constants = line(X), {'direction': 'down', 'gain': jnp.float32(3)}
    model = build(sl.CheckpointGradient(Turn()), x, constants=constants)
    for y in (whole(model, x, constants=constants), steps(model, x, constants=constants)):
        np.testing.assert_allclose(y.values.ravel(), [-3 * v for v in X])

    def total(values, gain):
        given = constants | {'gain': gain}
        return model.layer(sl.Sequence.from_values(values), training=True, constants=given).values.sum()

    by_values, by_gain = jax.grad(total, argnums=(0, 1))(x.values, 3.0)
    assert by_values.ravel().tolist() == [-3] * 5 and by_gain == -sum(X)
