"""Sequences: checks, masks, shapes, and life as a pytree."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from seqlayers import ChannelSpec, MaskedSequence, Sequence

VALUES = jnp.arange(24, dtype=jnp.float32).reshape(2, 4, 3) + 1


def ragged() -> Sequence:
    """Item 0 is full, item 1 has two timesteps; the padding is not zero."""
    return Sequence.from_lengths(VALUES, [4, 2])


def gappy() -> Sequence:
    return Sequence(VALUES, jnp.array([[False, True, False, True], [True, True, True, False]]))


# --- construction --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('values', 'mask', 'error', 'says'),
    [
        (VALUES, [[True] * 4] * 2, TypeError, 'mask must be an array, got list'),
        ([[1.0]], jnp.ones((1, 1), bool), TypeError, 'values must be an array, got list'),
        (1.0, jnp.ones((1, 1), bool), TypeError, 'values must be an array, got float'),
        (None, jnp.ones((1, 1), bool), TypeError, 'values must be an array, got NoneType'),
        (ragged(), jnp.ones((2, 4), bool), TypeError, 'values must be an array, got Sequence'),
        (VALUES, jnp.ones((2, 4)), TypeError, r'boolean .* got float32\[2, 4\]. Write mask > 0'),
        (VALUES, jnp.ones((2, 4), int), TypeError, 'must be boolean'),
        (VALUES, jnp.ones((2, 5), bool), ValueError, r'mask must be \[2, 4\]'),
        (VALUES, jnp.ones((1, 4), bool), ValueError, r'mask must be \[2, 4\]'),
        (VALUES, jnp.ones((2,), bool), ValueError, r'mask must be \[2, 4\]'),
        (VALUES, jnp.ones((2, 4, 1), bool), ValueError, r'mask must be \[2, 4\]'),
        (jnp.ones(4), jnp.ones((4,), bool), ValueError, 'the shape'),
    ],
)
def test_what_is_no_sequence_is_refused(values, mask, error, says):
    with pytest.raises(error, match=says):
        Sequence(values, mask)


@pytest.mark.parametrize(
    ('make', 'says'),
    [
        (lambda: Sequence.from_values(jnp.ones(3)), r'got shape \(3,\). Add a batch axis'),
        (lambda: Sequence.from_lengths(jnp.ones(3), [3]), r'got shape \(3,\). Add a batch axis'),
        (lambda: Sequence.from_lengths(VALUES, 3), r'each of the 2 items, got shape \(\)'),
        (lambda: Sequence.from_lengths(VALUES, [1, 2, 3]), r'each of the 2 items, got shape \(3,\)'),
        (lambda: Sequence.concatenate_sequences([]), 'nothing to concatenate'),
        (lambda: ragged()[0], 'batch and time take slices'),
        (lambda: ragged()[:, 1], 'batch and time take slices'),
        (lambda: ragged()[..., 1], 'batch and time take slices'),
        (lambda: ragged()[()], 'batch and time take slices'),
    ],
)
def test_errors_say_what_to_do(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_from_values_is_valid_everywhere():
    x = Sequence.from_values(VALUES)
    assert type(x) is MaskedSequence
    assert x.mask.shape == (2, 4) and bool(x.mask.all())
    assert Sequence.from_values(np.ones((1, 2))).channel_shape == ()


def test_from_lengths_clips_and_does_not_touch_values():
    x = Sequence.from_lengths(VALUES, [9, -1])
    assert x.lengths().tolist() == [4, 0]
    assert type(x) is Sequence
    np.testing.assert_array_equal(x.values, VALUES)
    masked = Sequence.from_lengths(VALUES, jnp.array([4, 2]), is_masked=True)
    assert type(masked) is MaskedSequence
    np.testing.assert_array_equal(masked.values, VALUES)  # the caller promised


def test_sequence_mask():
    assert sl.sequence_mask([2, 0, 5], 3).tolist() == [[True, True, False], [False] * 3, [True] * 3]


def test_numpy_arrays_are_accepted_with_the_dtypes_of_jax():
    x = Sequence(np.ones((2, 3, 1)), np.ones((2, 3), bool))
    assert x.dtype == jnp.float32
    assert Sequence(np.ones((2, 3), np.int64), np.ones((2, 3), bool)).dtype == jnp.int32
    assert jax.jit(lambda x: x.mask_invalid().values.sum())(x) == 6


# --- what it is ------------------------------------------------------------------------------------------------


def test_properties():
    x = ragged()
    assert (x.shape, x.ndim, x.dtype, x.channel_shape) == ((2, 4, 3), 3, jnp.float32, (3,))
    assert x.channel_spec == ChannelSpec((3,), 'float32')
    assert x.expanded_mask().shape == (2, 4, 1)
    assert Sequence.from_values(jnp.ones((2, 4))).expanded_mask().shape == (2, 4)


def test_lengths_count_valid_timesteps():
    assert gappy().lengths().tolist() == [2, 3]
    assert gappy().lengths().dtype == jnp.int32


def test_repr():
    assert repr(ragged()) == 'Sequence(float32[2, 4, 3], lengths=[4, 2])'
    assert repr(gappy()) == 'Sequence(float32[2, 4, 3], valid, with gaps=[2, 3])'
    assert repr(Sequence.from_values(jnp.ones((9, 1)))) == (
        'MaskedSequence(float32[9, 1], lengths=[1, 1, 1, 1, 1, 1, 1, 1, ...])'
    )
    assert repr(jax.eval_shape(lambda x: x, ragged())) == 'Sequence(float32[2, 4, 3])'
    seen = []
    jax.jit(lambda x: seen.append(repr(x)))(ragged())
    assert seen == ['Sequence(float32[2, 4, 3])']
    assert repr(jax.tree.structure(ragged()).unflatten(['v', 'm'])) == "Sequence('v', 'm')"


def test_immutable():
    x = ragged()
    with pytest.raises(AttributeError, match=r'use \.replace'):
        x.values = VALUES
    assert x.replace(values=VALUES * 2).values[0, 0, 0] == 2
    assert type(x.mask_invalid().replace(values=VALUES)) is MaskedSequence
    with pytest.raises(ValueError, match='mask needs the shape'):
        x.replace(values=VALUES[:1])


# --- changed copies --------------------------------------------------------------------------------------------


def test_mask_invalid_selects():
    x = ragged().replace(values=jnp.where(ragged().expanded_mask(), VALUES, jnp.nan))
    y = x.mask_invalid()
    assert type(y) is MaskedSequence
    assert y.values[1, 2:].tolist() == [[0.0] * 3] * 2
    np.testing.assert_array_equal(y.values[0], VALUES[0])
    assert y.mask_invalid() is y
    assert np.isfinite(jax.grad(lambda v: x.replace(values=v).mask_invalid().values.sum())(x.values)).all()


@pytest.mark.parametrize('start', [ragged, lambda: ragged().mask_invalid()])
def test_mask_invalid_with_a_value_is_no_masked_sequence(start):
    y = start().mask_invalid(0.0)
    assert type(y) is Sequence
    assert start().mask_invalid(-jnp.inf).values[1, 3].tolist() == [-jnp.inf] * 3
    assert start().astype('int32').mask_invalid(2.7).values[1, 3].tolist() == [2] * 3  # in the dtype of the values


@pytest.mark.parametrize(
    ('kwargs', 'kind'),
    [
        ({}, MaskedSequence),
        ({'valid': True}, MaskedSequence),
        ({'valid': True, 'pad_value': 7}, MaskedSequence),
        ({'pad_value': 7}, Sequence),  # invalid timesteps that are not zero
    ],
)
def test_pad_time(kwargs, kind):
    x = ragged().mask_invalid()
    y = x.pad_time(1, 2, **kwargs)
    assert type(y) is kind
    assert type(x.unmask().pad_time(1, 2, **kwargs)) is Sequence
    valid, value = kwargs.get('valid', False), kwargs.get('pad_value', 0)
    assert y.mask.tolist() == [[valid, *row, valid, valid] for row in x.mask.tolist()]
    np.testing.assert_array_equal(y.values[:, 1:5], x.values)
    assert np.unique(y.values[:, [0, 5, 6]]).tolist() == [value]
    assert y.dtype == x.dtype


def test_padding_by_nothing_is_the_same_object():
    x = ragged()
    assert x.pad_time(0, 0) is x and x.pad_to_multiple(2) is x
    assert x.pad_to_multiple(3).mask.tolist()[0] == [True] * 4 + [False] * 2
    assert x[:, :0].pad_to_multiple(3).shape == (2, 0, 3)


def test_getitem():
    x = ragged().mask_invalid()
    y = x[1:, ::2]
    assert type(y) is MaskedSequence
    np.testing.assert_array_equal(y.values, x.values[1:, ::2])
    assert y.mask.tolist() == [[True, False]]
    assert x[:, 1:, 0].shape == (2, 3) and x[:, :, None].shape == (2, 4, 1, 3)
    assert x[:, :, ..., 1:].shape == (2, 4, 2) and x[:1].shape == (1, 4, 3)


def test_reverse_time_reverses_padding_too():
    y = ragged().reverse_time()
    assert y.mask.tolist() == [[True] * 4, [False, False, True, True]]
    np.testing.assert_array_equal(y.values, VALUES[:, ::-1])


def test_concatenation_is_masked_if_all_are():
    x, masked = ragged(), ragged().mask_invalid()
    for first, second, kind in [(x, x, Sequence), (masked, x, Sequence), (masked, masked, MaskedSequence)]:
        y = first.concatenate(second)
        assert type(y) is kind
        np.testing.assert_array_equal(y.values, np.concatenate([first.values, second.values], 1))
        np.testing.assert_array_equal(y.mask, np.concatenate([x.mask, x.mask], 1))
    assert Sequence.concatenate_sequences(iter([masked, x[:, :1], masked])).shape == (2, 9, 3)


def test_apply_family_keeps_or_drops_the_promise():
    x = ragged().mask_invalid()
    assert type(x.apply_values(jnp.exp)) is Sequence
    assert type(x.apply_values_masked(jnp.sin)) is MaskedSequence
    assert type(x.apply(lambda v, m: (v, m))) is Sequence
    assert type(x.apply_masked(lambda v, m: (v, m))) is MaskedSequence
    assert x.apply_values(jnp.sum, axis=-1).shape == (2, 4)
    np.testing.assert_array_equal(x.apply(lambda v, m, k: (v * k, ~m), 2).mask, ~x.mask)


def test_astype_and_unmask():
    x = ragged().mask_invalid()
    assert type(x.astype('int32')) is MaskedSequence and x.astype('int32').dtype == jnp.int32
    assert x.astype('int32').astype(None).dtype == jnp.float32
    assert x.astype(jnp.bfloat16).mask.dtype == bool
    assert type(x.unmask()) is Sequence


# --- a pytree ----------------------------------------------------------------------------------------------------


def test_transformations():
    x = ragged()
    doubled = jax.jit(lambda x: x.apply_values(lambda v: 2 * v))(x)
    np.testing.assert_array_equal(doubled.values, 2 * VALUES)
    batched = jax.vmap(lambda x: x.mask_invalid())(jax.tree.map(lambda a: jnp.stack([a, a]), x))
    assert type(batched) is MaskedSequence and batched.values.shape == (2, 2, 4, 3)
    last, ys = jax.lax.scan(lambda c, _: (c.apply_values_masked(lambda v: v + 1), c.lengths()), x, None, length=3)
    np.testing.assert_array_equal(last.values, VALUES + 3)
    assert ys.shape == (3, 2)
    gradient = jax.grad(lambda x: x.mask_invalid().values.sum(), allow_int=True)(x)
    assert type(gradient) is Sequence and gradient.mask.dtype == jax.dtypes.float0
    np.testing.assert_array_equal(gradient.values, np.broadcast_to(x.expanded_mask(), x.shape))


def test_paths_and_placeholders():
    x = {'x': ragged()}
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(x)[0]]
    assert paths == ["['x'].values", "['x'].mask"]
    assert jax.tree.map(lambda _: None, x)['x'].values is None  # no check while JAX rebuilds
    assert jax.tree.structure(ragged()) != jax.tree.structure(ragged().mask_invalid())
    stacked = Sequence(jnp.ones((5, 2, 4, 3)), jnp.ones((5, 2, 4), bool))  # as scan and vmap stack them
    assert stacked.shape == (5, 2, 4, 3)


@pytest.mark.parametrize('duplicate', [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize('x', [ragged(), ragged().mask_invalid()], ids=lambda x: type(x).__name__)
def test_copies(duplicate, x):
    y = duplicate(x)
    assert type(y) is type(x)
    np.testing.assert_array_equal(y.values, x.values)
    np.testing.assert_array_equal(y.mask, x.mask)


# --- specs -------------------------------------------------------------------------------------------------------


def test_channel_spec():
    assert ChannelSpec(80) == ChannelSpec([80]) == ChannelSpec((np.int64(80),), np.float32)
    assert ChannelSpec(80) != ChannelSpec((80,), 'int32') and ChannelSpec(()) != ChannelSpec((1,))
    assert hash(ChannelSpec(80)) == hash(ChannelSpec((80,), 'float64'))  # canonical
    assert ChannelSpec((2,), jnp.bfloat16).dtype == jnp.bfloat16
    assert repr(ChannelSpec((2, 3))) == 'ChannelSpec((2, 3), float32)'


@pytest.mark.parametrize('shape', [(2.5,), 2.0, '80', None])
def test_channel_spec_takes_integers(shape):
    with pytest.raises(TypeError, match='integer'):
        ChannelSpec(shape)
