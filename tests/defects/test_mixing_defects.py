"""Known defects of the published library, part seven: recurrence, positions, conditioning, attention by location.

The numbers are those of our list of them. Each docstring says what is wrong there, the test what is right.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from seqlayers.testing import first_difference
from tests.attention.naive import random_sequence
from tests.defects.helpers import bits, build, line, steps, whole


@pytest.mark.parametrize('mask', ['0110100111', '0011111111', '1101011010'])
def test_l10_invalid_timesteps_leave_no_trace_in_a_linear_recurrence(mask):
    """Published: in RGLRU they change the state, and a first timestep that is invalid counts as the first."""
    valid, values = bits(mask), np.random.default_rng(0).standard_normal((1, 10, 4)).astype(np.float32)
    x = sl.Sequence(np.where(valid[None, :, None], values, 99), valid[None])
    model = build(sl.RGLRU(4, num_heads=2), x)
    expected = whole(model, sl.Sequence.from_values(values[:, valid])).values
    for y in (whole(model, x), steps(model, x), steps(model, x, blocks=5)):
        np.testing.assert_allclose(y.values[:, valid], expected, atol=1e-5)


def test_l11_the_shortest_timescale_divides():
    """Published: it multiplies, so that 2 makes the fastest component faster."""
    x = sl.Sequence.from_values(jnp.zeros((1, 2, 5)))
    y = whole(build(sl.AddTimingSignal(min_timescale=2.0, max_timescale=8.0), x), x)
    expected = [math.sin(1 / 2), math.sin(1 / 8), math.cos(1 / 2), math.cos(1 / 8), 0]
    np.testing.assert_allclose(y.values[0, 1], expected, atol=1e-6)


@pytest.mark.parametrize('layer', [sl.Conditioning('c', 'linear', 'add'), sl.Conditioning('c', 'identity', 'mul')])
def test_l12_one_timestep_of_conditioning_is_for_all(layer):
    """Published: so in `layer`, but in steps all is invalid after the first."""
    x, constants = line([3, 1, 4, 1]), {'c': sl.Sequence.from_values(jnp.full((1, 1, 1), 2.0))}
    model = build(layer, x, constants=constants)
    y = whole(model, x, constants=constants)
    assert y.mask.all() and not first_difference(y, steps(model, x, constants=constants))


def test_l12_conditioning_declares_the_dtype_that_it_has():
    """Published: that of the input, whatever the conditioning makes of it."""
    x = line([3, 1, 4]).astype('bfloat16')
    wide = {'c': jnp.ones((1, 1), jnp.float32)}
    for mode in ('identity', 'linear'):
        model = build(sl.Conditioning('c', mode, 'add'), x, constants=wide)
        assert model.output_spec.dtype == whole(model, x, constants=wide).dtype == jnp.float32


def test_l12_missing_conditioning_is_named():
    """Published: an error somewhere in the inference of shapes."""
    layer = sl.Serial([sl.Conditioning('c', 'linear', 'add')])
    with pytest.raises(sl.LayerError, match=r"layers_0 \(Conditioning.build\): reads constants\['c'\].*not there"):
        build(layer, line([1, 2]))


# --- attention by location --------------------------------------------------------------------------
EYE = {'text': sl.Sequence.from_values(jnp.eye(5)[None])}


def zeroed(layer, x):
    """The layer with parameters of zero: then its mixture depends on its fields alone."""
    model = build(layer, x, constants=EYE)
    return jax.tree.map(jnp.zeros_like, model)


def test_l26_a_mixture_of_gaussians_is_a_density():
    """Published: each is multiplied by the factor that it should be divided by.

    The first weights are the published ones over that factor's square; those of the second timestep are by definition.
    """
    x = line([1, 1])
    model = zeroed(sl.GmmAttention('text', 1, 2, 1, monotonic=True, init_offset_bias=2.0), x)
    y = whole(model, x, constants=EYE).values[0, :, 0]
    variance, step = math.log(2) ** 2, math.log1p(math.exp(2))
    published = np.array([0.015679, 0.463379, 1.708575, 0.785967, 0.045107])
    np.testing.assert_allclose(y[0], published / (2 * math.pi * variance), atol=1e-6)
    for t in range(2):
        density = [math.exp(-((j - (t + 1) * step) ** 2) / 2 / variance) for j in range(5)]
        np.testing.assert_allclose(y[t], np.array(density) / math.sqrt(2 * math.pi * variance), atol=1e-6)


def test_l26_a_wide_mixture_sums_to_one():
    x, text = line([1]), {'text': sl.Sequence.from_values(jnp.ones((1, 60, 1)))}
    layer = sl.GmmAttention('text', 2, 4, 3, monotonic=False, init_offset_bias=30.0, init_scale_bias=4.0)
    y = whole(build(layer, x, constants=text), x, constants=text)
    np.testing.assert_allclose(y.values, 1, atol=1e-3)


@pytest.mark.parametrize('monotonic', [True, False])
def test_l27_halves_run_through_a_monotonic_mixture(monotonic):
    """Published: dtypes disagree with what is declared, and the loop over time fails."""
    x = random_sequence(6).astype('bfloat16')
    text = {'text': random_sequence(4, channels=3, seed=5).astype('bfloat16')}
    model = build(sl.GmmAttention('text', 2, 3, 2, monotonic=monotonic), x, constants=text)
    y = whole(model, x, constants=text)
    assert y.dtype == model.output_spec.dtype
    assert not first_difference(y, steps(model, x, 2, constants=text))


def test_l28_keys_of_style_tokens_point_to_both_sides():
    """Published: all of them start positive."""
    model = build(sl.StyleToken(num_style_tokens=50, num_heads=4, units_per_head=8), line([1, 2]))
    keys = np.asarray(model.style_token_keys[...])
    limit = math.sqrt(6 / (50 + 8))
    assert abs(keys.mean()) < 0.1 * limit
    assert keys.min() < -0.95 * limit and 0.95 * limit < keys.max() <= limit
