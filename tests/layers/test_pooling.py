import jax
import jax.numpy as jnp
import pytest

import seqlayers as sl


@pytest.mark.parametrize('pooling', [sl.MaxPooling1D, sl.MinPooling1D])
def test_windows_of_padding_alone_leave_gradients_finite(pooling):
    """A linear map adds up what it reads times gradients of 0 there."""
    model = sl.Serial([pooling(2, padding='causal'), sl.Dense(3)]).build(sl.ChannelSpec((2,)), rngs=0)
    x = sl.Sequence.from_lengths(jnp.ones((2, 5, 2)), [5, 1])

    def whole(model):
        return model.layer(x, training=True).mask_invalid().values.sum()

    def stepped(model):
        state = model.get_initial_state(2, training=True)
        return model.step(x, state, training=True)[0].mask_invalid().values.sum()

    for loss in (whole, stepped):
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.grad(loss)(model)))
