"""Attention in halves, in float64, and in both."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from tests.attention.naive import random_sequence

SelfAttention = sl.DotProductSelfAttention
WIDE = {'param_dtype': 'float64'}
LAYERS = [
    SelfAttention(2, 3, 3, 1, experimental_accumulate_logits_in_float32=True, **WIDE),
    SelfAttention(2, 3, -1, num_sink_embeddings=1, relative_position_embedding=sl.ALiBi(2), **WIDE),
    sl.BlockwiseDotProductSelfAttention(2, 2, 3, 1, 1, **WIDE),
    sl.LocalDotProductSelfAttention(2, 3, 4, 3, **WIDE),
    sl.DotProductAttention('text', 2, 3, **WIDE),
    sl.StreamingDotProductAttention('text', 2, 3, 3, 1, **WIDE),
]


@pytest.mark.parametrize('layer', LAYERS)
def test_float64(layer):
    """Steps agree to its precision with the whole; times stay int32, as a cache keeps them."""
    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter('error')
        x = random_sequence(12)
        x, constants = x.astype('float64'), {'text': random_sequence(12, seed=5).astype('float64')}
        model = layer.build(x.channel_spec, rngs=0, constants=constants)

        @jax.jit
        def run(x):
            whole = model.layer(x, training=False, constants=constants)
            return whole, sl.step_by_step(model, x, constants=constants)

        whole, stepped = run(x)
        assert whole.dtype == stepped.dtype == jnp.float64
        assert not sl.testing.first_difference(whole, stepped, tolerance=1e-14)
        limits = {'training': False, 'constants': constants, 'max_length': 20}
        leaves = jax.tree.leaves(jax.eval_shape(lambda: model.get_initial_state(2, **limits)))
        assert {leaf.dtype.name for leaf in leaves} <= {'float64', 'int32', 'bool'}


def output_dtype(layer, dtype='bfloat16'):
    model = layer.build(sl.ChannelSpec((5,), dtype), rngs=0)
    return model.output_spec.dtype, jax.eval_shape(lambda: model.get_initial_state(1, training=False)).cache.entries


def test_a_scale_does_not_widen_halves():
    """Not one that NumPy has computed in float64, nor one that is learned in float32."""
    layer = SelfAttention(2, 4, 3, param_dtype='bfloat16', query_scale=1 / np.sqrt(4))
    assert output_dtype(layer)[0] == jnp.bfloat16
    half = sl.Dense(4, compute_dtype='bfloat16')
    networks = {'query_network': half, 'key_network': half, 'value_network': half}
    dtype, entries = output_dtype(
        SelfAttention(2, 4, 3, per_dim_scale=True, per_dim_key_scale=True, **networks), 'float32'
    )
    assert dtype == entries.keys.dtype == jnp.bfloat16


def test_a_scale_from_numpy_is_that_scale():
    x = random_sequence(6)
    a, b = (SelfAttention(2, 4, 3, query_scale=s).build(x.channel_spec, rngs=0) for s in (np.float64(0.3), 0.3))
    assert not sl.testing.first_difference(*jax.jit(lambda x: [m.layer(x, training=False) for m in (a, b)])(x))


@pytest.mark.parametrize('accumulate', [True, False])
def test_logits_of_halves_in_float32(accumulate):
    """Their products are only half as exact otherwise."""
    x = random_sequence(24, share=2)
    kwargs = {'compute_dtype': 'bfloat16', 'experimental_accumulate_logits_in_float32': accumulate}
    exact, half = (SelfAttention(1, 64, 23, query_scale=1.0, **k).build(x.channel_spec, rngs=0) for k in ({}, kwargs))
    kernel = jnp.round(exact.query_key_value_projection.kernel[...] * 4)  # exact in bfloat16, and so are x @ kernel
    x = x.apply_values(jnp.round)
    for model in (exact, half):
        model.query_key_value_projection.kernel[...] = kernel
    a, b = jax.jit(lambda x: [m.layer_with_emits(x, training=False)[1].probabilities.values for m in (exact, half)])(x)
    assert (abs(a - b).max() < 1e-5) == accumulate
