"""The ways around XLA's convolution: the same numbers, and taken where they are faster."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

import seqlayers as sl
from seqlayers.layers.convolve import convolve
from seqlayers.layers.windows import Axis


def by_xla(values, kernel, time):
    return lax.conv_general_dilated(
        values,
        kernel,
        (time.stride,),
        [(0, 0)],
        rhs_dilation=(time.dilation,),
        dimension_numbers=('NWC', 'WIO', 'NWC'),
        feature_group_count=values.shape[-1] // kernel.shape[1],
    )


CASES = [
    (Axis(size, stride, dilation, 'valid'), length)
    for size, stride, dilation, extra in itertools.product((1, 3), (1, 2), (1, 3), (-1, 0, 1, 6))
    if (length := (size - 1) * dilation + 1 + extra) >= 0
]


@pytest.mark.parametrize('inputs, filters', [(1, 4), (4, 4), (4, 6), (2, 4)])  # kernels [3, inputs, filters]
def test_values_and_gradients_are_those_of_xla(inputs, filters):
    for time, length in CASES:
        values, kernel = (
            jax.random.normal(jax.random.key(i), shape)
            for i, shape in enumerate([(2, length, 4), (time.size, inputs, filters)])
        )

        def both(function, values=values, kernel=kernel):
            y, pull = jax.vjp(function, values, kernel)
            return y, *pull(jnp.cos(y))

        got = both(lambda v, k, time=time: convolve(v, k, [time]))
        wanted = both(lambda v, k, time=time: by_xla(v, k, time))
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=f'{time}, {length} timesteps')


@pytest.mark.parametrize(
    'inputs, size, length, by_convolution',
    [
        (1, 3, 20, False),  # channels apart
        (1, 33, 60, True),  # of so many taps that compiling them would take long
        (1, 33, 33, False),  # but not for a single window
        (4, 3, 3, False),
        (4, 3, 4, True),
        (2, 3, 3, True),  # groups
    ],
)
def test_xla_convolves_where_it_is_not_slower(inputs, size, length, by_convolution):
    traced = jax.make_jaxpr(lambda v, k: convolve(v, k, [Axis(size, 1, 1, 'valid')]))
    assert ('conv_general' in str(traced(jnp.ones((1, length, 4)), jnp.ones((size, inputs, 4))))) == by_convolution


@pytest.mark.parametrize('windows', [1, 2])
def test_short_dtypes_are_summed_in_float32(windows):
    values, kernel = jnp.full((1, 29 + windows, 2), 1.0, jnp.bfloat16), jnp.full((30, 1, 2), 1 / 30, jnp.bfloat16)
    y = convolve(values, kernel, [Axis(30, 1, 1, 'valid')])
    wanted = (30 * kernel[0, 0].astype(jnp.float32)).astype(jnp.bfloat16)
    np.testing.assert_array_equal(y, jnp.broadcast_to(wanted, (1, windows, 2)))


@pytest.mark.parametrize('declaration', [sl.Conv1D(3, 4), sl.DepthwiseConv1D(4)], ids=repr)
def test_a_batch_of_none_or_of_any_size(declaration):
    model = declaration.replace(padding='causal').build(sl.ChannelSpec((2,)), rngs=0)

    def step(x):
        return model.step(x, model.get_initial_state(x.shape[0], training=False), training=False)[0].values

    assert step(sl.Sequence.from_values(jnp.ones((0, 1, 2)))).shape[:2] == (0, 1)
    (batch,) = export.symbolic_shape('b')
    x = sl.Sequence(jax.ShapeDtypeStruct((batch, 1, 2), jnp.float32), jax.ShapeDtypeStruct((batch, 1), jnp.bool_))
    export.export(jax.jit(lambda values, mask: step(sl.Sequence(values, mask))))(x.values, x.mask)


@pytest.mark.parametrize(
    'declaration',
    [sl.Conv1D(3, 4), sl.DepthwiseConv1D(4), sl.Conv1D(3, 3, dilation_rate=2), sl.MaxPooling1D(3)],
    ids=repr,
)
def test_a_causal_layer_hands_its_mask_on(declaration):
    """The mask itself: layers behind it see that masks are one, and XLA need not compute them."""
    model = declaration.replace(padding='causal').build(sl.ChannelSpec((2,)), rngs=0)
    x = sl.Sequence.from_lengths(jnp.ones((2, 2, 2)), [2, 1])
    assert model.layer(x, training=False).mask is x.mask
    y, _ = model.step(x, model.get_initial_state(2, training=False), training=False)
    assert y.mask is x.mask
