import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl


@pytest.fixture
def model():
    return sl.Embedding(dimension=3, num_embeddings=4).build(sl.ChannelSpec((), 'int32'), rngs=0)


def test_lookup(model):
    table = np.asarray(model.embedding[...])
    y = model.layer(sl.Sequence.from_values(jnp.array([[0, 9, -1]])), training=False).values[0]
    np.testing.assert_array_equal(y, [table[0], [np.nan] * 3, table[3]])


def test_padding_ids_need_no_row(model):
    x = sl.Sequence.from_lengths(jnp.array([[1, 99]]), [1])

    def loss(model, kernel):
        y = model.layer(x, training=False)
        return jnp.where(y.expanded_mask(), y.values @ kernel, 0).sum()

    gradients = jax.grad(loss, argnums=(0, 1))(model, jnp.ones((3, 2)))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))


def test_attend_is_the_product_with_every_row(model):
    x = sl.Sequence.from_lengths(jnp.arange(12.0).reshape(1, 2, 2, 3), [1], is_masked=False).mask_invalid()
    y = model.attend(x)
    assert isinstance(y, sl.MaskedSequence)
    np.testing.assert_allclose(y.values, np.asarray(x.values) @ np.asarray(model.embedding[...]).T, atol=1e-5)


def test_attend_dtypes(model):
    x = sl.Sequence.from_values(jnp.ones((1, 1, 3)))
    assert model.attend(x, compute_dtype='bfloat16').dtype == jnp.bfloat16
    assert model.attend(x, embedding_dtype='bfloat16').dtype == jnp.float32
    rounded = model.embedding[...].astype('bfloat16').astype('float32').sum(1)
    np.testing.assert_allclose(model.attend(x, embedding_dtype='bfloat16').values[0, 0], rounded, rtol=1e-6)


def test_rows_have_unit_norm_on_average():
    model = sl.Embedding(64, 1000).build(sl.ChannelSpec((), 'int32'), rngs=0)
    assert abs(np.mean(np.sum(np.square(model.embedding[...]), 1)) - 1) < 0.02


def test_errors(model):
    with pytest.raises(sl.LayerError, match='looks up integers and got float32'):
        sl.Embedding(3, 4).build(sl.ChannelSpec(()), rngs=0)
    with pytest.raises(sl.LayerError, match=r'the last axis must be 3, got channels \(4,\)'):
        model.attend(sl.Sequence.from_values(jnp.ones((1, 1, 4))))
    with pytest.raises(sl.LayerError, match='is a declaration'):
        sl.Embedding(3, 4).attend(sl.Sequence.from_values(jnp.ones((1, 1, 3))))
