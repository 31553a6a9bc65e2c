"""Running a sequence in steps inside one compiled loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqlayers as sl

SPEC = sl.ChannelSpec((3,))


def build(layer):
    return layer.build(SPEC, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    'layer',
    [
        sl.Dense(2),
        sl.Serial([sl.Dense(4), sl.Lookahead(3)]),
        sl.Serial([sl.Delay(4), sl.Downsample1D(2)]),
        sl.Residual([sl.Lookahead(1), sl.Downsample1D(2), sl.Dense(3), sl.Upsample1D(2)]),
    ],
    ids=repr,
)
def test_equals_layer_for_every_length_and_block(layer):
    @functools.partial(jax.jit, static_argnums=2)
    def both(model, x, block_size):
        return model.layer(x, training=False), sl.step_by_step(model, sl.testing.poison(x), block_size)

    model = build(layer)
    for time, blocks in [(0, 1), (1, 2), (8, 1), (9, 3)]:
        x = sl.testing.random_sequence(SPEC, time, masks=np.arange(time) < np.array([[time], [time - 1], [0]]))
        expected, y = both(model, x, blocks * model.block_size)
        assert y.shape == expected.shape
        np.testing.assert_array_equal(y.mask, expected.mask)
        np.testing.assert_allclose(y.mask_invalid().values, expected.mask_invalid().values, atol=1e-6)


def test_gradients_pass_through():
    model = build(sl.Serial([sl.Dense(4, activation=jnp.tanh), sl.Lookahead(2), sl.Dense(1)]))
    x = sl.testing.random_sequence(SPEC, 7)

    def loss(run):
        return jax.jit(jax.grad(lambda m, x: jnp.square(run(m, x).mask_invalid().values).sum(), allow_int=True))(
            model, x
        )

    by_layer, by_step = loss(lambda m, x: m.layer(x, training=False)), loss(sl.step_by_step)
    for a, b in zip(jax.tree.leaves(by_layer), jax.tree.leaves(by_step), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_constants_and_key_reach_the_steps():
    class Add(sl.Stateless):
        def layer(self, x, *, training, constants=None):
            return x.apply_values(
                lambda v: v + constants['bias'] + training * jax.random.uniform(constants.layer_key())
            )

    model = Add().build(SPEC, rngs=0, constants={'bias': 0.0})
    x = sl.testing.random_sequence(SPEC, 4)
    given = {'constants': {'bias': 2.0}, 'rng': jax.random.key(1), 'training': True}
    np.testing.assert_allclose(sl.step_by_step(model, x, **given).values, model.layer(x, **given).values, rtol=1e-6)


@pytest.mark.parametrize(
    ('call', 'says'),
    [
        (lambda m, x: sl.step_by_step(m, x.values), r'takes a Sequence, got Array.*sl.Sequence.from_values\(array\)'),
        (lambda m, x: sl.step_by_step(sl.Dense(3), x), 'Dense.get_initial_state: is a declaration'),
        (lambda m, x: sl.step_by_step(m, x, 3), "block_size must be a multiple of the model's block size 2, got 3"),
        (lambda m, x: sl.step_by_step(m, x, 0), 'block size 2, got 0'),
        (
            lambda m, x: sl.step_by_step(build(Whole()), x),
            'Whole.get_initial_state: cannot run in steps: it looks at the end',
        ),
    ],
)
def test_errors(call, says):
    with pytest.raises(sl.LayerError, match=says):
        call(build(sl.Downsample1D(2)), sl.testing.random_sequence(SPEC, 4))


class Whole(sl.SequenceLayer):
    @property
    def timing(self):
        return sl.Timing(blocked='it looks at the end')

    def layer(self, x, *, training, constants=None):
        return x
