"""Initializers and parameters: the right variance, orthogonality, dtype, and values that are the same everywhere."""

import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

import seqlayers as sl
from seqlayers import initializers
from seqlayers.initializers import Constant, Initializer, Normal, Orthogonal, VarianceScaling, initialize
from seqlayers.parameters import param

KEY = jax.random.key(0)


@pytest.mark.parametrize('distribution', ['truncated_normal', 'normal', 'uniform'])
@pytest.mark.parametrize(
    ('shape', 'fan_in', 'inputs'), [((50, 400), None, 50), ((10, 5, 400), None, 50), ((50, 20, 20), 50, 50)]
)
def test_variance_is_scale_over_fan_in(distribution, shape, fan_in, inputs):
    values = np.asarray(VarianceScaling(2.0, distribution)(KEY, shape, jnp.float32, fan_in=fan_in))
    assert values.shape == shape and values.dtype == np.float32
    stddev = np.sqrt(2.0 / inputs)
    assert abs(values.std() / stddev - 1) < 0.02  # 20000 draws: half a percent
    assert abs(values.mean()) < 0.03 * stddev
    bound = {'truncated_normal': 2 / 0.87962566, 'normal': np.inf, 'uniform': np.sqrt(3)}[distribution] * stddev
    assert abs(values).max() <= bound * 1.0001
    if distribution != 'normal':
        assert abs(values).max() > 0.98 * bound


def test_layers_say_their_fan_in():
    stddev = lambda kernel: float(np.std(kernel[...]))  # noqa: E731
    spec = sl.ChannelSpec((100,))
    assert abs(stddev(sl.Dense(200).build(spec, rngs=0).kernel) - 0.1) < 0.003
    assert abs(stddev(sl.DenseShaped([20, 10]).build(spec, rngs=0).kernel) - 0.1) < 0.003
    assert abs(stddev(sl.DenseShaped([200]).build(sl.ChannelSpec((10, 10)), rngs=0).kernel) - 0.1) < 0.003


def test_normal_and_constant():
    values = np.asarray(Normal(0.3)(KEY, (100, 100), jnp.float32))
    assert abs(values.std() - 0.3) < 0.005 and abs(values).max() > 0.9
    assert Constant(2.5)(KEY, (2,), jnp.bfloat16).tolist() == [2.5, 2.5]
    assert initializers.zeros(KEY, (), jnp.int32).dtype == jnp.int32


@pytest.mark.parametrize('shape', [(4, 4), (3, 8), (8, 3), (2, 3, 5), (1, 4)])
def test_orthogonal(shape):
    matrix = np.asarray(Orthogonal(2.0)(KEY, shape, jnp.float32)).reshape(-1, shape[-1])
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)


def test_orthogonal_is_uniform():
    """Without a sign for each column the diagonal of q would be negative more often than not."""
    keys = jax.random.split(KEY, 400)
    traces = jax.vmap(lambda key: jnp.trace(Orthogonal()(key, (3, 3), jnp.float32)))(keys)
    assert abs(float(traces.mean())) < 0.2  # a uniform rotation or reflection has mean trace 0 and variance 1


@pytest.mark.parametrize(
    'init', [Normal(1.0), VarianceScaling(), VarianceScaling(1.0, 'uniform'), Orthogonal(), Constant(1.0)], ids=repr
)
def test_the_same_values_eagerly_under_jit_and_vmap(init):
    shape = (300, 300) if not isinstance(init, Orthogonal) else (5, 3)  # more than one chunk of draws
    eager = np.asarray(init(KEY, shape, jnp.float32))
    jitted = jax.jit(lambda key: init(key, shape, jnp.float32))(KEY)
    mapped = jax.vmap(lambda key: init(key, shape, jnp.float32))(jnp.stack([KEY, jax.random.key(1)]))
    np.testing.assert_allclose(jitted, eager, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mapped[0], eager, rtol=1e-5, atol=1e-6)
    if not isinstance(init, Constant):
        assert not np.allclose(mapped[1], eager)
        assert len(np.unique(eager)) > 0.95 * eager.size  # chunks do not repeat


def test_dtypes_and_empty_shapes():
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        assert VarianceScaling()(KEY, (3, 4), dtype).dtype == dtype
        assert Orthogonal()(KEY, (3, 4), dtype).dtype == dtype
    assert Normal()(KEY, (0, 4), jnp.float32).shape == (0, 4) and Normal()(KEY, (), jnp.float32).shape == ()


def test_initializers_are_values():
    for init in (Normal(0.1), VarianceScaling(2.0, 'normal'), Orthogonal(), Constant(1.0)):
        again = pickle.loads(pickle.dumps(init))
        assert again == init and hash(again) == hash(init)
        assert dataclasses.replace(init) == init
    assert Normal(0.1) != Normal(0.2)
    assert sl.Dense(3, kernel_init=VarianceScaling()) == sl.Dense(3)  # written out or not


def test_a_wrong_distribution_is_named():
    with pytest.raises(ValueError, match=r"must be one of truncated_normal, normal, uniform, got 'cauchy'"):
        VarianceScaling(1.0, 'cauchy')(KEY, (2, 2), jnp.float32)


def test_other_libraries_initializers():
    model = sl.Dense(4, kernel_init=jax.nn.initializers.ones).build(sl.ChannelSpec((3,)), rngs=0)
    np.testing.assert_array_equal(model.kernel[...], np.ones((3, 4)))
    with pytest.raises(NotImplementedError):
        initialize(Initializer(), nnx.Rngs(0), (2,), jnp.float32)


def test_sharding_is_applied_under_a_mesh():
    layer = sl.Dense(4, kernel_sharding=(None, 'model'))
    assert layer.build(sl.ChannelSpec((3,)), rngs=0).kernel.shape == (3, 4)
    with jax.set_mesh(jax.make_mesh((1,), ('model',), axis_types=(jax.sharding.AxisType.Auto,))):
        model = layer.build(sl.ChannelSpec((3,)), rngs=0)
    assert model.kernel[...].sharding.spec == PartitionSpec(None, 'model')
    assert type(param(Normal(), nnx.Rngs(0), (2,), jnp.float32)) is nnx.Param
