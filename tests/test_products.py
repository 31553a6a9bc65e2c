"""Products of a single timestep on a GPU: rows of zeros beside it change nothing."""

import functools
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from seqlayers import devices, products, products_kernel
from tests.jaxprs import accesses_are_masked


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


# --- the kernel of few rows ---------------------------------------------------------------------------------
SHORT = {'param_dtype': jnp.bfloat16, 'compute_dtype': jnp.bfloat16}


def normal(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape, jnp.float16)


# One part and several; a single row, some that a tensor core does not take as they are, and as many as it does.
@pytest.mark.parametrize(
    'rows, depth, columns', [(1, 64, 32), (1, 512, 96), (3, 128, 64), (17, 1024, 32), (32, 64, 96)]
)
def test_kernel_multiplies(rows, depth, columns):
    values, matrix = normal(rows, depth), normal(depth, columns, seed=1)
    got = products_kernel.product(values, matrix, True)
    wanted = values.astype(jnp.float32) @ matrix.astype(jnp.float32)
    assert got.dtype == jnp.float16 and got.shape == wanted.shape
    np.testing.assert_allclose(got.astype(jnp.float32), wanted, rtol=1e-3, atol=0.02)


@pytest.mark.parametrize('rows', [1, 3, 17, 32])
def test_kernel_is_lowered_for_a_gpu(abstract_gpu, rows):
    """As far as it goes without one: Pallas makes it Triton's, and there it is checked."""
    values, matrix = (jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in [(rows, 512), (512, 96)])
    with abstract_gpu:
        traced = jax.jit(products_kernel.product).trace(values, matrix)
        assert 'triton' in traced.lower(lowering_platforms=('cuda',)).as_text()
    assert accesses_are_masked(traced.jaxpr) == [True, True]


def test_sums_are_cut_where_there_are_few_columns():
    parts = {shape: products_kernel._parts(*shape) for shape in [(1, 1024, 1024), (32, 1024, 1024), (1, 1024, 8192)]}
    assert parts == {(1, 1024, 1024): 4, (32, 1024, 1024): 8, (1, 1024, 8192): 1}
    assert products_kernel._parts(1, 192, 32) == 1  # three pieces, of which no two programs have as many


def test_kernel_has_the_derivatives_of_a_product():
    values, matrix = normal(2, 64) / 8, normal(64, 32, seed=1) / 8

    def gradients(product):
        return jax.grad(lambda a, b: (product(a, b).astype(jnp.float32) ** 2).sum(), (0, 1))(values, matrix)

    got, wanted = gradients(lambda a, b: products_kernel.product(a, b, True)), gradients(jnp.matmul)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-2), got, wanted)
    assert all((g != 0).any() for g in wanted)


@pytest.mark.parametrize(
    'equation, axes',
    [
        ('...a,ab->...b', 1),
        ('btc,c...->bt...', 1),
        ('...ab,abc->...c', 2),
        ('...a,ab->b...', 0),
        ('...a,ba->...b', 0),
        ('...ab,ac->...cb', 0),
        ('...a,a->...a', 0),
    ],
)
def test_a_product_of_matrices_is_recognized(equation, axes):
    assert products._summed(equation) == axes


@pytest.fixture
def beside_a_gpu(monkeypatch):
    monkeypatch.setattr(products, 'beside_ampere', lambda: True)
    monkeypatch.setattr(devices, 'beside_ampere', lambda: True)


@pytest.mark.parametrize(
    'declaration, shape, is_taken',
    [
        (sl.Dense(32, **SHORT), (1, 1, 64), True),
        (sl.Dense(32, **SHORT), (4, 8, 64), True),
        (sl.Dense(32, **SHORT), (4, 2, 3, 64), True),
        (sl.DenseShaped([32], **SHORT), (2, 1, 4, 16), True),
        (sl.Dense(32, **SHORT), (33, 1, 64), False),
        (sl.Dense(32, **SHORT), (0, 1, 64), False),
        (sl.Dense(32, **SHORT), (1, 1, 63), False),
        (sl.Dense(31, **SHORT), (1, 1, 64), False),
        (sl.Dense(32), (1, 1, 64), False),
        (sl.Dense(32, precision='highest', **SHORT), (1, 1, 64), False),
        (sl.EinsumDense('...ab,ac->...cb', [32, None], **SHORT), (1, 1, 64, 2), False),
    ],
)
def test_kernel_is_taken_beside_a_gpu_where_it_offers_what_is_asked_for(beside_a_gpu, declaration, shape, is_taken):
    model = declaration.build(sl.ChannelSpec(shape[2:], jnp.bfloat16), rngs=0)
    x = sl.Sequence.from_values(jax.random.normal(jax.random.key(0), shape, jnp.bfloat16))
    layer = jax.jit(lambda x: model.layer(x, training=False).values)
    assert ('pallas_call' in str(jax.make_jaxpr(layer)(x))) == is_taken
    # Compiled for a CPU, it takes the plain way.
    kernel, equation = model.kernel[...], getattr(declaration, 'equation', None)
    wanted = jnp.einsum(equation, x.values, kernel) if equation else jnp.tensordot(x.values, kernel, kernel.ndim - 1)
    np.testing.assert_allclose(layer(x).astype(float), wanted.astype(float), rtol=0.02, atol=0.02)


def test_kernel_takes_what_heads_need(beside_a_gpu, monkeypatch):
    """With several axes on both sides, and the interpreter in place of a GPU."""
    original = products_kernel.product
    monkeypatch.setattr(products_kernel, 'product', lambda a, b: original(a, b, True))
    monkeypatch.setattr(products.lax, 'platform_dependent', lambda *args, cuda, default: cuda(*args))
    x, kernel = normal(2, 3, 4, 16), normal(4, 16, 2, 32, seed=1)
    got = products.einsum('...ab,abcd->...cd', x, kernel)
    np.testing.assert_allclose(got.astype(float), jnp.einsum('...ab,abcd->...cd', x, kernel).astype(float), atol=0.05)


def test_more_rows_are_multiplied_as_matrices(beside_a_gpu):
    x, kernel = jnp.ones((4, 50, 2, 8)), jax.random.normal(jax.random.key(0), (2, 8, 3, 4))
    product = jax.jit(lambda x, kernel: products.einsum('...ab,abcd->...cd', x, kernel))
    assert 'f32[4,50,16]' in str(jax.make_jaxpr(product)(x, kernel))
    np.testing.assert_allclose(product(x, kernel), jnp.einsum('...ab,abcd->...cd', x, kernel), rtol=1e-5)


def test_without_triton_xla_multiplies(beside_a_gpu, monkeypatch):
    """JAX 0.12 announces that Pallas will lose it."""
    monkeypatch.setitem(sys.modules, 'jax.experimental.pallas.triton', None)  # as if there were none
    monkeypatch.setattr(products, 'has_triton', devices.has_triton.__wrapped__)
    values, kernel = jnp.ones((1, 1, 64), jnp.bfloat16), jnp.ones((64, 64), jnp.bfloat16)
    assert 'pallas_call' not in str(jax.make_jaxpr(functools.partial(products.einsum, '...a,ab->...b'))(values, kernel))
    several = functools.partial(products.einsum, '...ab,abcd->...cd')  # a way that needs none
    assert 'f32[4,50,16]' in str(jax.make_jaxpr(several)(jnp.ones((4, 50, 2, 8)), jnp.ones((2, 8, 3, 4))))


def test_shared_kernels_are_left_to_xla(beside_a_gpu):
    """Over a mesh, whether it is set or only known from an array, a kernel of Pallas would gather all."""
    mesh = jax.make_mesh((1,), ('model',), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, 'model'))
    values, kernel = jnp.ones((1, 1, 64), jnp.bfloat16), jnp.ones((64, 64), jnp.bfloat16)
    product = functools.partial(products.einsum, '...a,ab->...b')
    assert 'pallas_call' in str(jax.make_jaxpr(product)(values, kernel))
    assert 'pallas_call' not in str(jax.make_jaxpr(product)(values, jax.device_put(kernel, sharding)))
    with jax.set_mesh(mesh):
        assert 'pallas_call' not in str(jax.make_jaxpr(product)(values, kernel))
