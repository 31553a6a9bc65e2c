"""Products of a single timestep on a GPU: rows of zeros beside it change nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from seqlayers import products


@pytest.mark.parametrize(
    'equation, values, kernel',
    [
        ('...a,ab->...b', (1, 1, 5), (5, 7)),
        ('...ab,abc->...c', (1, 1, 2, 3), (2, 3, 4)),
        ('...a,ab->...b', (1, 1, 2, 5), (5, 7)),
    ],
)
def test_zeros_beside_a_timestep_change_nothing(equation, values, kernel):
    values, kernel = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate((values, kernel)))
    product = functools.partial(jnp.einsum, equation)
    wanted, got = product(values, kernel), products._with_zeros(product, values, kernel)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('batch, time, is_joined', [(1, 1, True), (2, 1, False), (1, 2, False)])
def test_only_a_single_timestep_is_joined_by_zeros(monkeypatch, batch, time, is_joined):
    monkeypatch.setattr(products, 'beside_ampere', lambda: True)
    model = sl.Dense(3, use_bias=False).build(sl.ChannelSpec((5,)), rngs=0)
    x = sl.Sequence.from_values(jnp.ones((batch, time, 5)))
    assert ('pad[' in str(jax.make_jaxpr(lambda x: model.layer(x, training=False))(x))) == is_joined
