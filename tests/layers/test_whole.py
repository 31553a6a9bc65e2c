import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl

SPEC = sl.ChannelSpec((2,))
X = sl.Sequence.from_lengths(jnp.arange(24.0).reshape(2, 6, 2), [6, 5])


def test_a_reshaped_timestep_is_valid_if_all_its_elements_are():
    y = sl.GlobalReshape([3, 4]).build(SPEC, rngs=0).layer(X, training=False)
    np.testing.assert_array_equal(y.values, X.mask_invalid().values.reshape(2, 3, 4))
    assert y.lengths().tolist() == [3, 2]


@pytest.mark.parametrize(('ceil_mode', 'lengths'), [(False, [2, 1]), (True, [2, 2])])
def test_einops_groups_timesteps(ceil_mode, lengths):
    layer = sl.GlobalEinopsRearrange('(t c) d -> t (c d)', {'c': 3}, ceil_mode=ceil_mode)
    y = layer.build(SPEC, rngs=0).layer(X, training=False)
    assert y.shape == (2, 2, 6) and y.lengths().tolist() == lengths


def test_it_says_why_it_cannot_step():
    layer = sl.Serial([sl.Dense(2), sl.GlobalReshape([3, 4])])
    assert not layer.supports_step
    assert 'layers_1 (GlobalReshape((3, 4))): it rearranges time' in layer.explain_streamability()


def test_errors():
    with pytest.raises(sl.LayerError, match='cannot give 6 timesteps'):
        sl.GlobalReshape([5, 4]).build(SPEC, rngs=0).layer(X, training=False)
    with pytest.raises(sl.LayerError, match='without the names batch'):
        sl.GlobalEinopsRearrange('batch t d -> t d')
