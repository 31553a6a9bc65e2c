"""Attention one number at a time: what the tests of its layers compare with."""

import math

import jax.numpy as jnp
import numpy as np

import seqlayers as sl


def random_sequence(time, channels=5, batch=2, seed=0, share=0.8):
    """Random values; that share of the timesteps is valid, and the others hold garbage."""
    draw = np.random.default_rng([seed, time])
    values = draw.standard_normal((batch, time, channels)).astype(np.float32)
    mask = draw.random((batch, time)) < share
    return sl.Sequence(jnp.asarray(np.where(mask[..., None], values, 1e3)), jnp.asarray(mask))


def randomize(model, seed=0):
    """Gives every parameter named, also those that start as zeros, random values."""
    draw = np.random.default_rng(seed)
    for parameter in model:
        parameter[...] = jnp.asarray(draw.standard_normal(parameter.shape), parameter.dtype)


def projected(model, x, source=None):
    """Queries, keys and values, each `(batch, time, heads, units)`, by the kernels of the model."""
    x, source = (np.asarray(s.mask_invalid().values) for s in (x, x if source is None else source))
    if hasattr(model, 'query_key_value_projection'):
        kernels = np.moveaxis(np.asarray(model.query_key_value_projection.kernel[...]), 1, 0)
    elif hasattr(model, 'key_value_projection'):
        kernels = [model.query_projection.kernel[...], *jnp.moveaxis(model.key_value_projection.kernel[...], 1, 0)]
    else:
        kernels = [getattr(model, f'{name}_projection').kernel[...] for name in ('query', 'key', 'value')]
    return [np.einsum('btc,cnh->btnh', s, k) for s, k in zip((x, source, source), kernels, strict=True)]


def attend(queries, keys, values, sees, logit=None):
    """The weights `(batch, queries, heads, keys)` and the context `(batch, queries, heads, units)`.

    `sees(row, i, j)` says whether query i sees key j. `logit(q, k, head, i, j)` is by default the scaled product of
    two vectors.
    """
    b, m, heads, units = queries.shape
    group = heads // keys.shape[2]
    weights, context = np.zeros((b, m, heads, keys.shape[1])), np.zeros((b, m, heads, values.shape[3]))
    for row, i, head in np.ndindex(b, m, heads):
        scores = {}
        for j in range(keys.shape[1]):
            if sees(row, i, j):
                pair = queries[row, i, head], keys[row, j, head // group]
                scores[j] = logit(*pair, head, i, j) if logit else pair[0] @ pair[1] / math.sqrt(units)
        total = sum(math.exp(score) for score in scores.values())
        for j, score in scores.items():
            weights[row, i, head, j] = math.exp(score) / total
            context[row, i, head] += weights[row, i, head, j] * values[row, j, head // group]
    return weights, context


def assert_valid_close(y, expected, atol=1e-5):
    """Where the sequence is valid it holds what is expected."""
    assert np.any(y.mask)
    np.testing.assert_allclose(np.asarray(y.values)[np.asarray(y.mask)], expected[np.asarray(y.mask)], atol=atol)
