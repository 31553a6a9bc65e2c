"""Layers as JSON: what is written, that it comes back, and what is refused."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import seqlayers as sl
from seqlayers.initializers import Constant, Initializer, Normal, VarianceScaling


@dataclasses.dataclass(frozen=True)
class Ramp(Initializer):
    """An initializer of a user."""

    slope: float = 1.0

    def __call__(self, key, shape, dtype, fan_in=None):
        return self.slope * jnp.arange(np.prod(shape), dtype=dtype).reshape(shape)


class UserBlock(sl.Composite):
    """A layer of a user."""

    width: int

    def body(self):
        return sl.Residual([sl.Dense(self.width), sl.Dense(3)])


def there_and_back(layer):
    return sl.from_config(json.loads(json.dumps(sl.to_config(layer))))


@pytest.mark.parametrize(
    ('layer', 'config'),
    [
        (sl.Identity(), {'type': 'Identity'}),
        (sl.Dense(3), {'type': 'Dense', 'features': 3}),
        (sl.Dense(3, use_bias=True, name='out'), {'type': 'Dense', 'features': 3, 'name': 'out'}),
        (sl.Dense(3, activation=jax.nn.gelu), {'type': 'Dense', 'features': 3, 'activation': {'fn': 'gelu'}}),
        (sl.Lambda(jnp.square), {'type': 'Lambda', 'fn': {'fn': 'square'}}),
        (sl.Dense(3, compute_dtype=jnp.bfloat16), {'type': 'Dense', 'features': 3, 'compute_dtype': 'bfloat16'}),
        (sl.Dense(3, precision=lax.Precision.HIGHEST), {'type': 'Dense', 'features': 3, 'precision': 'highest'}),
        (sl.DenseShaped([2, 3]), {'type': 'DenseShaped', 'output_shape': [2, 3]}),
        (
            sl.Dense(3, kernel_init=Normal(0.5)),
            {'type': 'Dense', 'features': 3, 'kernel_init': {'type': 'Normal', 'stddev': 0.5}},
        ),
        (
            sl.Parallel([sl.Identity()], combination=sl.CombinationMode.ADD),
            {'type': 'Parallel', 'layers': [{'type': 'Identity'}], 'combination': 'add'},
        ),
        (
            sl.Serial([sl.Delay(1), sl.Repeat(sl.Dense(3), 2)]),
            {
                'type': 'Serial',
                'layers': [
                    {'type': 'Delay', 'length': 1},
                    {'type': 'Repeat', 'child_layer': {'type': 'Dense', 'features': 3}, 'num_repeats': 2},
                ],
            },
        ),
        (UserBlock(4), {'type': 'UserBlock', 'width': 4}),
    ],
    ids=lambda value: repr(value) if isinstance(value, sl.SequenceLayer) else '',
)
def test_what_is_written(layer, config):
    assert sl.to_config(layer) == config
    back = there_and_back(layer)
    assert sl.to_config(back) == config


@pytest.mark.parametrize(
    'layer',
    [
        sl.Dense(3, activation=jnp.tanh, kernel_init=VarianceScaling(2.0, 'uniform'), bias_init=Constant(1.0)),
        sl.Dense(3, kernel_init=Ramp(0.1)),
        sl.Scale(np.array([1, 2, 3], np.int32)),
        sl.Scale(jnp.array([0.1, 0.2, 0.3])),
        sl.Scale((1.0, 2.0, 3.0)),
        sl.Lambda(jnp.square, expected_input_spec=sl.ChannelSpec((3,), 'int32')),
        sl.Residual([UserBlock(4)], shortcut_layers=[sl.Dense(3, name='skip')]),
    ],
    ids=repr,
)
def test_round_trip(layer):
    back = there_and_back(layer)
    assert back == layer and hash(back) == hash(layer)
    # A built layer is written as it was declared.
    assert sl.to_config(layer.build(sl.ChannelSpec((3,), _dtype(layer)), rngs=nnx.Rngs(0))) == sl.to_config(layer)


def _dtype(layer):
    return 'int32' if isinstance(layer, sl.Lambda) else 'float32'


def test_arrays_keep_their_dtype():
    back = there_and_back(sl.Scale(np.array([1, 2], np.int16)))
    assert np.asarray(back.scale).dtype == np.int16


def test_published_field_names_are_read():
    config = {'type': 'Repeat', 'layer': {'type': 'Dense', 'features': 3}, 'num_repeats': 2}
    assert sl.from_config(config) == sl.Repeat(sl.Dense(3), 2)


def test_precision_comes_back_as_something_that_works():
    layer = there_and_back(sl.Dense(3, precision=lax.Precision.HIGHEST))
    assert layer.build(sl.ChannelSpec((3,)), rngs=0).output_spec == sl.ChannelSpec((3,))


@pytest.mark.parametrize(
    ('config', 'says'),
    [
        ({'type': 'Dance', 'features': 3}, "unknown type 'Dance' at config; known: .*Dense, DenseShaped"),
        ({'type': 'Dense', 'feature': 3}, 'Dense at config has no field feature; it has: .*features'),
        ({'type': 'Dense'}, "Dense at config: .*missing.*'features'"),
        ({'type': 'Serial', 'layers': [{'type': 'Delay'}]}, r"Delay at config.layers\[0\]: .*'length'"),
        ({'type': 'Delay', 'length': -1}, 'length must not be negative'),
        ({'type': 'Dense', 'features': 3, 'activation': {'fn': 'galu'}}, "no function 'galu' in jax.nn, jax.numpy"),
        ({'type': 'Dense', 'features': 3, 'compute_dtype': 'float33'}, "Dense at config: .*'float33'"),
        ({'type': 'Normal'}, 'does not describe a layer'),
        ({'features': 3}, 'does not describe a layer'),
        ([{'type': 'Identity'}], 'does not describe a layer'),
    ],
)
def test_what_cannot_be_read(config, says):
    with pytest.raises(ValueError, match=says):
        sl.from_config(config)


@pytest.mark.parametrize(
    ('layer', 'says'),
    [
        (
            sl.Serial([sl.Lambda(lambda v: v)]),
            r'Serial.layers\[0\].fn is <function .*lambda.* no name to write down. Use',
        ),
        (sl.Dense(3, kernel_init=jax.nn.initializers.lecun_normal()), 'Dense.kernel_init is .* no name to write down'),
        ({'type': 'Dense'}, 'to_config takes a layer, got dict'),
    ],
)
def test_what_cannot_be_written(layer, says):
    with pytest.raises(ValueError, match=says):
        sl.to_config(layer)


def test_a_class_with_the_name_of_a_library_layer_is_refused():
    library = sl.Dense

    class Dense(sl.Stateless):
        def layer(self, x, *, training, constants=None):
            return x

    with pytest.raises(ValueError, match='rename the class'):
        sl.to_config(sl.Serial([Dense()]))
    assert type(sl.from_config({'type': 'Dense', 'features': 2})) is library
