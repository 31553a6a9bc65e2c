"""Checkpoints of the published library: paths, spellings, round trips and errors."""

import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.core import meta

import seqlayers as sl
from seqlayers.interop import load_published, to_published


def build(layer, channels=(2,), dtype='float32', seed=0):
    return layer.build(sl.ChannelSpec(channels, dtype), rngs=seed)


def shapes(model):
    """The shape of every variable by its path, flat."""
    leaves = jax.tree_util.tree_flatten_with_path(to_published(model))[0]
    return {'/'.join(key.key for key in path): leaf.shape for path, leaf in leaves}


def same_weights(a, b):
    """Whether two models have equal variables in equal places."""
    leaves = [jax.tree.leaves(model) for model in (a, b)]
    structures = [jax.tree.structure(model) for model in (a, b)]
    return structures[0] == structures[1] and all(map(np.array_equal, *leaves))


def dense(name=None):
    return sl.Dense(2, use_bias=False, name=name)


class Feedforward(sl.Composite):
    def body(self):
        return sl.Serial([dense(), dense(name='out')])


class Averages(sl.Stateless):
    """Holds a running average one level below its own, as BatchNormalization does."""

    published_names: typing.ClassVar = {'mean': 'BatchNorm_0/mean', 'scale': 'BatchNorm_0/scale'}

    def setup(self, input_spec, rngs, constants):
        self.scale = nnx.Param(jnp.ones(input_spec.shape))
        self.mean = nnx.BatchStat(jnp.zeros(input_spec.shape))

    def layer(self, x, *, training, constants=None):
        return x.apply_values(lambda v: (v - self.mean[...]) * self.scale[...])


PATHS = {
    'root': (dense(), {'params/kernel': (2, 2)}),
    'root with a name': (dense(name='x'), {'params/kernel': (2, 2)}),
    'numbers count all layers': (sl.Serial([sl.Relu(), dense()]), {'params/layers_1/kernel': (2, 2)}),
    'names': (
        sl.Serial([dense(name='x'), dense()]),
        {'params/x/kernel': (2, 2), 'params/layers_1/kernel': (2, 2)},
    ),
    'parallel': (sl.Parallel([dense(), dense()]), {f'params/layers_{i}/kernel': (2, 2) for i in (0, 1)}),
    'residual': (
        sl.Residual([dense()], shortcut_layers=[sl.Relu(), dense(), dense(name='x')]),
        {
            'params/layers_0/kernel': (2, 2),
            'params/shortcut_layer/layers_1/kernel': (2, 2),
            'params/shortcut_layer/x/kernel': (2, 2),
        },
    ),
    'repeat': (sl.Repeat(dense(), 3), {'params/child_layer/kernel': (3, 2, 2)}),
    'repeat with a name': (sl.Repeat(dense(name='x'), 3), {'params/x/kernel': (3, 2, 2)}),
    'nested repeat': (
        sl.Repeat(sl.Repeat(dense(), 3), 4),
        {'params/child_layer/child_layer/kernel': (4, 3, 2, 2)},
    ),
    'composite has no level': (
        sl.Serial([Feedforward()]),
        {'params/layers_0/layers_0/kernel': (2, 2), 'params/layers_0/out/kernel': (2, 2)},
    ),
    'weights in networks of their own': (
        sl.LSTM(3),
        {'params/kernel/kernel': (2, 12), 'params/recurrent_kernel/kernel': (3, 12), 'params/bias': (12,)},
    ),
    'collections': (
        sl.Serial([Averages()]),
        {'params/layers_0/BatchNorm_0/scale': (2,), 'batch_stats/layers_0/BatchNorm_0/mean': (2,)},
    ),
    'shared scopes': (
        sl.Serial(
            [sl.Dense(2), sl.Dense(2, name='second'), sl.Serial([dense(name='third'), dense(name='fourth')])],
            share_scope=(True, False, True),
        ),
        {
            'params/kernel': (2, 2),
            'params/bias': (2,),
            'params/second/kernel': (2, 2),
            'params/second/bias': (2,),
            'params/third/kernel': (2, 2),
            'params/fourth/kernel': (2, 2),
        },
    ),
    'a shared body, not its shortcut': (
        sl.Residual([dense()], shortcut_layers=[dense()], share_scope=True),
        {'params/kernel': (2, 2), 'params/shortcut_layer/layers_0/kernel': (2, 2)},
    ),
}


@pytest.mark.parametrize('case', PATHS)
def test_paths(case):
    layer, expected = PATHS[case]
    assert shapes(build(layer)) == expected


def test_a_layer_may_name_its_parameter():
    model = build(sl.Embedding(3, 5, embedding_param_name='table'), (), 'int32')
    assert shapes(model) == {'params/table': (5, 3)}


def random_layer(draw, depth):
    """A random model of channels (2,), with names and shared scopes that do not clash."""
    name = f'n{draw.integers(10**6)}' if draw.random() < 0.3 else None
    if not depth or draw.random() < 0.2:
        leaves = [
            lambda: sl.Dense(2, name=name),
            lambda: sl.LSTM(2, name=name),
            lambda: sl.LayerNormalization(name=name),
            lambda: sl.Relu(name=name),
        ]
        return leaves[draw.integers(len(leaves))]()
    children = [random_layer(draw, depth - 1) for _ in range(draw.integers(1, 4))]
    share = len(children) == 1
    kinds = [
        lambda: sl.Serial(children, share_scope=share, name=name),
        lambda: sl.Parallel(children, combination='add', name=name),
        lambda: sl.Residual(children, shortcut_layers=[random_layer(draw, 0)], share_scope=share, name=name),
        lambda: sl.Repeat(children[0], 2, name=name),
    ]
    return kinds[draw.integers(len(kinds))]()


@pytest.mark.parametrize('seed', range(8))
def test_round_trip(seed):
    layer = random_layer(np.random.default_rng(seed), depth=3)
    model, other = build(layer), build(layer, seed=1)
    weights = to_published(model)
    assert same_weights(load_published(other, weights), model)
    # Every variable is written once, so that none is lost.
    assert len(jax.tree.leaves(weights)) == len(jax.tree.leaves(model))


def test_loading_leaves_the_model_as_it_is():
    layer = sl.Serial([dense(), dense()])
    model, untouched, other = build(layer), build(layer), build(layer, seed=1)
    loaded = load_published(model, to_published(other))
    assert same_weights(model, untouched) and not same_weights(loaded, untouched)


def test_all_spellings_of_the_variables():
    model = build(sl.Serial([sl.Dense(2), Averages()]))
    kernel, bias, scale, mean = np.ones((2, 2)), np.ones(2), np.ones(2), np.full(2, 3.0)
    layers = {'layers_0': {'kernel': kernel, 'bias': bias}, 'layers_1': {'BatchNorm_0': {'scale': scale}}}
    stats = {'layers_1': {'BatchNorm_0': {'mean': mean}}}
    spellings = [
        {'params': layers, 'batch_stats': stats},
        {**layers, 'batch_stats': stats},
        {
            'params/layers_0/kernel': kernel,
            'params/layers_0/bias': bias,
            'params/layers_1/BatchNorm_0/scale': scale,
            'batch_stats/layers_1/BatchNorm_0/mean': mean,
        },
        {
            'layers_0/kernel': kernel,
            'layers_0': {'bias': bias},
            'layers_1': layers['layers_1'],
            'batch_stats': stats,
        },
        {
            'params': jax.tree.map(lambda a: meta.Partitioned(a, (None,) * a.ndim), layers),
            'batch_stats': stats,
        },
    ]
    loaded = [load_published(model, variables) for variables in spellings]
    assert all(same_weights(model, loaded[0]) for model in loaded)
    assert loaded[0].layers[1].mean[...].tolist() == [3.0, 3.0]
    assert loaded[0].layers[0].kernel[...].tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_weights_are_converted_to_the_dtype_of_the_model():
    model = build(sl.Dense(2, use_bias=False, param_dtype='bfloat16'))
    assert load_published(model, {'kernel': np.ones((2, 2))}).kernel[...].dtype == jnp.bfloat16


def test_one_error_lists_all_that_does_not_fit():
    model = build(sl.Serial([sl.Dense(2), sl.Dense(2), dense()]))
    variables = to_published(model)
    del variables['params']['layers_0']
    variables['params']['layers_1']['kernel'] = np.zeros((3, 2))
    variables['params']['layers_3'] = {'scale': np.zeros(7)}
    variables['batch_stats'] = {'mean': np.zeros(())}
    with pytest.raises(sl.LayerError) as error:
        load_published(model, variables)
    assert str(error.value).splitlines() == [
        'load_published: the variables do not fit Serial:',
        '  left over: batch_stats/mean []',
        '  left over: params/layers_3/scale [7]',
        '  misshapen: params/layers_1/kernel is [3, 2], must be [2, 2]',
        '  missing: params/layers_0/bias [2]',
        '  missing: params/layers_0/kernel [2, 2]',
    ]


def test_a_declaration_has_no_weights():
    with pytest.raises(sl.LayerError, match=r'load_published: takes a built model, Dense\(2\) is a declaration'):
        load_published(sl.Dense(2), {})
    with pytest.raises(sl.LayerError, match='to_published: takes a built model'):
        to_published(sl.Dense(2))


def test_shared_scopes_that_clash():
    model = build(sl.Serial([dense(), dense()], share_scope=True))
    with pytest.raises(sl.LayerError, match='two variables the published name params/kernel'):
        to_published(model)


def test_a_variable_without_a_collection():
    class Counter(nnx.Variable):
        pass

    class Counts(sl.Stateless):
        def setup(self, input_spec, rngs, constants):
            self.count = Counter(jnp.zeros(()))

        def layer(self, x, *, training, constants=None):
            return x

    with pytest.raises(sl.LayerError, match='no place for Counter, only for Param, BatchStat'):
        to_published(build(Counts()))
