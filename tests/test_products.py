"""Products of a single timestep on a GPU: rows of zeros beside it change nothing."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from seqlayers import devices, products


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


@pytest.mark.parametrize(
    'shape, is_joined', [((1, 1, 5), True), ((2, 1, 5), False), ((1, 2, 5), False), ((1, 1, 3, 5), False)]
)
def test_only_a_single_row_is_joined_by_zeros(monkeypatch, shape, is_joined):
    monkeypatch.setattr(products, 'beside_ampere', lambda: True)
    model = sl.Dense(3, use_bias=False).build(sl.ChannelSpec(shape[2:]), rngs=0)
    x = sl.Sequence.from_values(jnp.ones(shape))
    assert ('pad[' in str(jax.make_jaxpr(lambda x: model.layer(x, training=False))(x))) == is_joined


@pytest.mark.parametrize(
    'platform, kind, capability, is_one',
    [
        ('cpu', 'cpu', '9.0', False),
        ('gpu', 'NVIDIA H100 80GB HBM3', '9.0', True),
        ('gpu', 'NVIDIA A100-SXM4-40GB', '8.0', True),
        ('gpu', 'Tesla V100', '7.0', False),
        ('gpu', 'NVIDIA GeForce RTX 2080', '7.5', False),
        ('gpu', 'AMD Instinct MI300X', '9.0', False),
    ],
)
def test_gpus_are_told_apart(monkeypatch, platform, kind, capability, is_one):
    device = types.SimpleNamespace(platform=platform, device_kind=kind, compute_capability=capability)
    monkeypatch.setattr(jax, 'devices', lambda platform=None: [device])
    assert devices.beside_ampere() == is_one


def test_the_default_device_decides(monkeypatch):
    cpu = jax.devices('cpu')[0]
    gpu = types.SimpleNamespace(platform='gpu', device_kind='NVIDIA H100', compute_capability='9.0')
    monkeypatch.setattr(jax, 'devices', lambda platform=None: [cpu if platform == 'cpu' else gpu])
    assert devices.beside_ampere()
    with jax.default_device('cpu'):
        assert not devices.beside_ampere()
    with jax.default_device(cpu):
        assert not devices.beside_ampere()
