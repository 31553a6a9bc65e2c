import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqlayers as sl


def test_correlation_by_hand():
    model = sl.Conv1D(1, 2, padding='causal', use_bias=False).build(sl.ChannelSpec((1,)), rngs=0)
    model.kernel[...] = jnp.array([10.0, 1.0]).reshape(2, 1, 1)
    x = sl.Sequence.from_lengths(jnp.array([[1.0, 2.0, 3.0, 4.0]])[..., None], [3])
    y = model.layer(x, training=False)
    assert y.values[0, :, 0].tolist() == [1, 12, 23, 30]
    assert y.mask.tolist() == [[True, True, True, False]]


def test_transpose_spreads_the_kernel_from_its_end():
    model = sl.Conv1DTranspose(1, 3, strides=2, use_bias=False).build(sl.ChannelSpec((1,)), rngs=0)
    model.kernel[...] = jnp.array([100.0, 10.0, 1.0]).reshape(3, 1, 1)
    x = sl.Sequence.from_values(jnp.array([[1.0, 2.0]])[..., None])
    for padding, expected in [
        ('valid', [1, 10, 102, 20, 200]),
        ('causal', [1, 10, 102, 20]),
        ('same', [1, 10, 102, 20]),
        ('semicausal_full', [10, 102, 20, 200]),
    ]:
        other = model.replace(padding=padding).build(x.channel_spec, rngs=0)
        other.kernel[...] = model.kernel[...]
        assert other.layer(x, training=False).values[0, :, 0].tolist() == expected


def test_transposed_convolution_is_the_adjoint_of_convolution():
    """The adjoint, when the kernel is read backwards in time with its channels swapped."""
    forward = sl.Conv1D(3, 4, strides=2, use_bias=False).build(sl.ChannelSpec((2,)), rngs=0)
    backward = sl.Conv1DTranspose(2, 4, strides=2, use_bias=False).build(sl.ChannelSpec((3,)), rngs=0)
    backward.kernel[...] = forward.kernel[...][::-1].swapaxes(1, 2)
    keys = jax.random.split(jax.random.key(0))
    x, y = jax.random.normal(keys[0], (1, 12, 2)), jax.random.normal(keys[1], (1, 5, 3))
    fx = forward.layer(sl.Sequence.from_values(x), training=False).values
    by = backward.layer(sl.Sequence.from_values(y), training=False).values
    np.testing.assert_allclose((fx * y).sum(), (x * by).sum(), rtol=1e-5)


def test_masked_sequences_stay_masked_only_where_zeros_stay_zeros():
    x = sl.Sequence.from_lengths(jnp.ones((1, 4, 2)), [2]).mask_invalid()

    def kind(**fields):
        return type(sl.Conv1D(2, **fields).build(x.channel_spec, rngs=0).layer(x, training=False))

    assert kind(kernel_size=1, use_bias=False) is sl.MaskedSequence
    assert kind(kernel_size=1, use_bias=False, activation=jnp.exp) is sl.Sequence
    assert kind(kernel_size=1) is sl.Sequence
    assert kind(kernel_size=2, use_bias=False, padding='causal') is sl.Sequence


def test_dtypes():
    def spec(dtype, **fields):
        return sl.Conv1D(2, 3, **fields).build(sl.ChannelSpec((2,), dtype), rngs=0).output_spec.dtype

    assert spec('float32') == spec('bfloat16') == spec('int32') == jnp.float32
    assert spec('float32', compute_dtype='bfloat16') == jnp.bfloat16
    assert spec('bfloat16', param_dtype='bfloat16') == jnp.bfloat16


def test_weight_norm_changes_nothing_at_first_and_then_sets_the_length():
    plain = sl.Conv1D(3, 2).build(sl.ChannelSpec((2,)), rngs=0)
    normed = sl.Conv1D(3, 2, use_weight_norm=True).build(sl.ChannelSpec((2,)), rngs=0)
    np.testing.assert_allclose(normed.effective_kernel(), plain.kernel[...], rtol=1e-6)
    normed.kernel[...] *= 5
    normed.scale[...] = jnp.array([1.0, 2.0, 3.0])
    lengths = jnp.sqrt(jnp.square(normed.effective_kernel()).sum((0, 1)))
    np.testing.assert_allclose(lengths, [1, 2, 3], rtol=1e-6)


@pytest.mark.parametrize('convolution', [sl.Conv1D, sl.Conv1DTranspose])
def test_spectral_normalization_learns_its_estimate_in_training_only(convolution):
    layer = convolution(3, 2, padding='causal', kernel_constraint=sl.SpectralWeightNormalization())
    model = layer.build(sl.ChannelSpec((4,)), rngs=0)
    x = sl.Sequence.from_values(jnp.ones((1, 5, 4)))
    before = model.kernel_constraint.u[...]
    model.layer(x, training=False)
    model.step(x, model.get_initial_state(1, training=True), training=True)
    np.testing.assert_array_equal(model.kernel_constraint.u[...], before)
    train = nnx.jit(lambda m, x: m.layer(x, training=True).values)
    for _ in range(30):
        train(model, x)
    largest = jnp.linalg.norm(model.kernel[...].reshape(-1, 3), 2)
    np.testing.assert_allclose(model.kernel_constraint.sigma[...], largest, rtol=1e-4)
    np.testing.assert_allclose(jnp.linalg.norm(model.effective_kernel().reshape(-1, 3), 2), 1, rtol=1e-4)


def test_a_kernel_of_zeros_survives_spectral_normalization():
    layer = sl.Conv1D(3, 2, kernel_init=nnx.initializers.zeros, kernel_constraint=sl.SpectralWeightNormalization())
    assert not layer.build(sl.ChannelSpec((4,)), rngs=0).effective_kernel().any()


def test_error_on_non_matrix():
    layer = sl.Conv1D(3, 2, kernel_constraint=sl.SpectralWeightNormalization(error_on_non_matrix=True))
    with pytest.raises(sl.LayerError, match='takes a matrix and got a kernel'):
        layer.build(sl.ChannelSpec((4,)), rngs=0)
