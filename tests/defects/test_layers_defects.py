"""Known defects of the published library, part five: layers without memory, time-varying layers, random draws.

The numbers are those of our list of them; those that concern layers of later chapters are tested with these. Each
docstring says what is wrong there, the test what is right.
"""

import copy
import itertools
import json
import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqlayers as sl
from tests.defects.helpers import assert_gives, build, conv, line, run, shown, steps, whole

X = [3.0, 1, 4, 1, 5, 9]


@pytest.mark.parametrize(
    'layer', [sl.Downsample1D(2), conv(1, strides=2), sl.Blockwise(sl.Identity(), 2), sl.Serial([sl.Downsample1D(2)])]
)
def test_l1_every_layer_checks_the_length_of_a_block(layer):
    """A published layer without state returns a block of the wrong length."""
    x = line([1, 2, 3])
    model = build(layer, x)
    with pytest.raises(sl.LayerError, match=r'multiple of block_size=2 timesteps, got 3.*pad_to_multiple\(2\)'):
        model.step(x, model.get_initial_state(1, training=False), training=False)


def test_l2_a_layer_of_unknown_output_ratio_cannot_be_streamed_by_it():
    """Published and here it says 1, as the ratio depends on the length; but nothing that would count on it runs."""
    layer = sl.Serial([sl.GlobalReshape([2, 3]), sl.Flatten()])
    model = build(layer, line(X))
    y = whole(model, line(X))
    assert y.values[0].tolist() == [[3, 1, 4], [1, 5, 9]] and not layer.supports_step
    for use in (lambda: model.get_initial_state(1, training=False), lambda: sl.step_by_step(model, line(X))):
        with pytest.raises(sl.LayerError, match='cannot run in steps: it rearranges time'):
            use()


@pytest.mark.parametrize(
    ('layer', 'channels', 'inputs'),
    [
        (sl.DenseShaped([8, 16]), (16, 8), 128),
        (sl.Dense(64), (64,), 64),
        (sl.EinsumDense('...a,abc->...bc', [8, 16]), (64,), 64),
        (sl.SequenceDense(32, num_steps=8), (32,), 32),
        (sl.MaskedDense(16, num_steps=8), (16,), 128),
        (sl.Conv1D(64, 4), (32,), 128),
    ],
)
def test_l3_kernels_have_the_variance_of_their_number_of_inputs(layer, channels, inputs):
    """Published: kernels of several axes are too small, a DenseShaped with outputs (4, 16) by a half."""
    kernel = layer.build(sl.ChannelSpec(channels), rngs=0).kernel[...]
    assert kernel.size >= 4096
    np.testing.assert_allclose(kernel.std() * math.sqrt(inputs), 1, atol=0.05)


def test_l4_a_parameter_is_the_same_object_with_and_without_sharding():
    """Published: with metadata it is a box around an array, without it the array."""
    plain, sharded = (
        sl.Dense(2, kernel_sharding=names).build(sl.ChannelSpec((3,)), rngs=0) for names in (None, ('a', None))
    )
    assert type(plain.kernel) is type(sharded.kernel) is nnx.Param
    np.testing.assert_array_equal(plain.kernel[...], sharded.kernel[...])
    states = nnx.state(plain), nnx.state(sharded)
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])


@pytest.mark.parametrize(('power', 'expected'), [(2.0, [9, 1]), (0.5, [3**0.5, 1]), (0.0, [1, 1]), (-1.0, [1 / 3, 1])])
def test_l5_a_power_that_is_not_positive_does_not_keep_zero(power, expected):
    """The published Power says it does, so padding becomes 1 or infinite, as if it were zero."""
    x = line(X[:3], '110').mask_invalid()
    y = run(sl.Power(power), x)
    assert type(y) is (sl.MaskedSequence if power > 0 else sl.Sequence)
    np.testing.assert_allclose(y.mask_invalid().values.ravel(), [*expected, 0], rtol=1e-6)
    assert_gives(sl.Serial([sl.Power(power), conv(2, padding='reverse_causal')]), x, [sum(expected), expected[1]])


def test_l6_axes_are_put_in_as_in_numpy():
    """Published: negative ones elsewhere than it says, and an axis given twice is one."""
    values = np.arange(12.0).reshape(1, 1, 3, 4)
    x = sl.Sequence.from_values(values)
    for count in (1, 2, 3):
        for axes in itertools.product(range(-2 - count, 2 + count), repeat=count):
            layer = sl.ExpandDims(axes)
            if len({a % (2 + count) for a in axes}) < count:
                with pytest.raises(sl.LayerError, match='must name different axes of a result'):
                    build(layer, x)
            else:
                expected = np.expand_dims(values[0, 0], axes).shape
                assert build(layer, x).output_spec.shape == expected
    np.testing.assert_array_equal(run(sl.ExpandDims((0, -2)), x).values[0, 0], np.expand_dims(values[0, 0], (0, -2)))


@pytest.mark.parametrize('axis', [-3, 1, 0, (2, -3)])
def test_l7_time_is_not_taken_out(axis):
    """The published Squeeze takes out a time of one step when a negative axis falls on it."""
    x = sl.Sequence.from_values(jnp.ones((1, 1, 1, 3)))
    with pytest.raises(sl.LayerError, match=r'must name axes of the channels \(1, 3\)'):
        build(sl.Squeeze(axis), x)
    assert build(sl.Squeeze(-2), x).output_spec.shape == (3,)


@pytest.mark.parametrize('layer', [sl.GlobalReshape([2, 3]), sl.GlobalEinopsRearrange('(t c) d -> t (c d)', {'c': 3})])
def test_l8_the_field_of_each_step_agrees_with_that_of_all(layer):
    """Published: from -inf to inf for all, (0, 0) for each."""
    assert layer.receptive_field == (-math.inf, math.inf)
    assert set(layer.receptive_field_per_step.values()) == {(-math.inf, math.inf)}


def test_l9_a_tied_output_layer_is_a_declaration_like_any_other():
    """The published one holds a module, so it can be neither written nor copied."""
    table = sl.Embedding(dimension=3, num_embeddings=5)
    layer = sl.Shared({'table': table}, sl.Serial([sl.Ref('table'), sl.EmbeddingTranspose('table')]))
    for other in (
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        sl.from_config(json.loads(json.dumps(sl.to_config(layer)))),
    ):
        assert other == layer and hash(other) == hash(layer)
    assert layer.replace(name='tied') != layer


# Layers with parameters for every timestep, for 3 timesteps.


def time_varying(layer, ids):
    """The layer as built, its input, and what it gives for it by its definition in the first 3 timesteps."""
    if isinstance(layer, sl.SequenceEmbedding):
        x = sl.Sequence.from_values(jnp.asarray(ids))
        model = build(layer, x)
        table = np.asarray(model.embedding[...])  # 4 rows for each timestep
        return model, x, np.stack([table[4 * t + ids[:, t]] for t in range(3)], axis=1)
    x = sl.Sequence.from_values(jnp.asarray(ids, jnp.float32)[..., None] * jnp.asarray([1.0, 0.5]))
    model = build(layer, x)
    model.bias[...] = jnp.arange(6.0).reshape(3, 2)
    kernel, bias, values = (np.asarray(a) for a in (model.kernel[...], model.bias[...], x.values))
    if isinstance(layer, sl.SequenceDense):
        return model, x, np.stack([values[:, t] @ kernel[t] + bias[t] for t in range(3)], axis=1)
    sums = [sum(values[:, s] @ kernel[s, t] for s in range(t + 1)) + bias[t] for t in range(3)]
    return model, x, np.stack(sums, axis=1)


IDS = np.array([[0, 3, 1, 2, 2], [1, 1, 2, 0, 3]], np.int32)
TIME_VARYING = [
    sl.SequenceEmbedding(2, num_embeddings_per_step=4, num_steps=3),
    sl.SequenceDense(2, num_steps=3),
    sl.MaskedDense(2, num_steps=3),
]


@pytest.mark.parametrize('layer', TIME_VARYING)
def test_l13_timesteps_without_parameters_are_nan_in_all_of_them(layer):
    """Published: NaN in two, in the third those of another timestep; and checks of the bounds do nothing."""
    model, x, expected = time_varying(layer, IDS)
    for y in (whole(model, x), steps(model, x), steps(model, x[:, :4], blocks=2)):
        np.testing.assert_allclose(y.values[:, :3], expected, atol=1e-5)
        assert np.isnan(y.values[:, 3:]).all() and y.mask.all()


@pytest.mark.parametrize('layer', TIME_VARYING)
def test_l13_each_row_has_its_own_time(layer):
    """The published state is one number for the whole batch, so streams cannot start at different times."""
    model, x, expected = time_varying(layer, IDS)
    fresh = state = model.get_initial_state(2, training=False)
    assert all(leaf.shape[0] == 2 for leaf in jax.tree.leaves(state))
    _, state = model.step(x[:, :1], state, training=False)
    state = jax.tree.map(lambda new, old: new.at[1].set(old[1]), state, fresh)  # row 1 starts anew
    late = x.values.at[1, 1:].set(x.values[1, :-1])
    for t in (1, 2):
        y, state = model.step(x.replace(values=late)[:, t : t + 1], state, training=False)
        np.testing.assert_allclose(y.values[:, 0], [expected[0, t], expected[1, t - 1]], atol=1e-5)


ONES = sl.Sequence.from_values(jnp.ones((2, 60, 2)))


def test_l29_dropout_steps_in_training_and_drops_the_same():
    """The published layer refuses. Its draws would depend on how the stream is cut."""
    model, call = build(sl.Dropout(0.5), ONES), {'training': True, 'rng': jax.random.key(3)}
    y = whole(model, ONES, **call).values
    assert set(np.unique(y)) == {0, 2} and 0.8 < y.mean() < 1.2
    for blocks in (1, 3, 60):
        np.testing.assert_array_equal(steps(model, ONES, blocks, **call).values, y)
    other = whole(model, ONES, training=True, rng=jax.random.key(4)).values
    assert 0.3 < (other != y).mean() < 0.7


def test_l30_noise_has_a_key_of_its_own_and_is_the_same_in_steps():
    """The published layer draws from the keys of the parameters, and in steps other noise than in `layer`."""
    layer, call = sl.AddNoise(sl.AddNoise.Normal(1.0, 0.1), training_only=False), {'rng': jax.random.key(3)}
    one, two = (layer.build(ONES.channel_spec, rngs=seed) for seed in (0, 1))
    y = whole(one, ONES, **call).values
    assert abs(y.mean() - 2) < 0.03 and abs(y.std() - 0.1) < 0.02
    for blocks in (1, 3, 60):
        np.testing.assert_array_equal(steps(two, ONES, blocks, **call).values, y)
    with pytest.raises(sl.LayerError, match='draws random numbers here and got no key'):
        whole(one, ONES)


@pytest.mark.parametrize(
    'layer',
    [
        sl.Bidirectional(sl.LSTM(1), sl.LSTM(1)),
        sl.Serial([sl.Lookahead(2), sl.GroupNormalization(1)]),
    ],
)
def test_l34_a_latency_is_of_no_use_where_there_are_no_steps(layer):
    """Published and here the number is there, that of the parts; but all that would use it refuses and says why."""
    x = line(X)
    model = build(layer, x)
    assert not model.supports_step and 'cannot step, because of' in model.explain_streamability()
    assert shown(whole(model, x).mask).startswith('1')
    for use in (
        lambda: model.get_initial_state(1, training=False),
        lambda: model.step(x, (), training=False),
        lambda: sl.step_by_step(model, x),
    ):
        with pytest.raises(sl.LayerError, match='cannot run in steps'):
            use()
