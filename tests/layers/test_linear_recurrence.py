"""The parallel recurrences against loops over time in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqlayers.layers import linear_recurrence
from seqlayers.layers.linear_recurrence import Complex

diagonal_recurrence = jax.jit(linear_recurrence.diagonal_recurrence)
outer_product_recurrence = jax.jit(linear_recurrence.outer_product_recurrence, static_argnames='chunk_size')


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def as_float32(*arrays):
    return [jnp.asarray(a, jnp.float32) for a in arrays]


def diagonal_loop(decays, inputs, state):
    states = [state]
    for t in range(inputs.shape[1]):
        states.append(decays[:, t] * states[-1] + inputs[:, t])
    return np.stack(states, 1)


def outer_product_loop(queries, keys, values, log_decays, state):
    """One head a group."""
    outputs = []
    for t in range(values.shape[1]):
        state = np.exp(log_decays[:, t])[..., None] * state + keys[:, t, :, :, None] * values[:, t, :, None]
        outputs.append(np.einsum('bhk,bhkv->bhv', queries[:, t], state))
    return np.stack(outputs, 1), state


@pytest.mark.parametrize('time', [0, 1, 7, 32])
def test_diagonal_recurrence(time):
    decays, inputs, state = np.tanh(normal(2, time, 3)), normal(2, time, 3, seed=1), normal(2, 3, seed=2)
    states = diagonal_recurrence(*as_float32(decays, inputs, state))
    np.testing.assert_allclose(states, diagonal_loop(decays, inputs, state), atol=1e-5)


def test_complex_diagonal_recurrence():
    log_radius, angle = -np.abs(normal(2, 9, 3)), normal(2, 9, 3, seed=1)
    inputs, state = normal(2, 9, 6, seed=2), normal(2, 6, seed=3)
    decays = Complex.from_log(*as_float32(log_radius, angle))
    merged = [Complex.from_merged(a) for a in as_float32(inputs, state)]
    states = diagonal_recurrence(decays, *merged).merged()
    expected = diagonal_loop(np.exp(log_radius + 1j * angle), *(a[..., :3] + 1j * a[..., 3:] for a in (inputs, state)))
    np.testing.assert_allclose(states, np.concatenate([expected.real, expected.imag], -1), atol=1e-5)


def mixture(time, keys_decay, groups, heads, strength=1.0):
    """Queries, keys, values, log decays and a state, for 3 keys and 2 units."""
    log_decays = -strength * np.abs(normal(2, time, heads, keys_decay, seed=3))
    shared = normal(2, time, groups, 3), normal(2, time, groups, 3, seed=1)
    return *shared, normal(2, time, heads, 2, seed=2), log_decays, normal(2, heads, 3, 2, seed=4)


@pytest.mark.parametrize('keys_decay', [1, 3])
@pytest.mark.parametrize(('time', 'chunk_size'), [(0, 4), (1, 4), (3, 1), (8, 4), (11, 4), (7, 64)])
def test_outer_product_recurrence(time, chunk_size, keys_decay):
    queries, keys, *others = mixture(time, keys_decay, groups=2, heads=4)
    outputs, state = outer_product_recurrence(*as_float32(queries, keys, *others), chunk_size=chunk_size)
    queries, keys = (np.repeat(a, 2, axis=2) for a in (queries, keys))
    if time:
        expected, last = outer_product_loop(queries, keys, *others)
        np.testing.assert_allclose(outputs, expected, atol=1e-5)
        np.testing.assert_allclose(state, last, atol=1e-5)
    else:
        assert outputs.shape == (2, 0, 4, 2)
        np.testing.assert_allclose(state, others[-1], rtol=1e-6)


@pytest.mark.parametrize('strength', [200, 1e6, 1e30])
@pytest.mark.parametrize('keys_decay', [1, 3])
def test_decays_of_any_strength_neither_overflow_nor_lose_precision(keys_decay, strength):
    """Timesteps that forget everything stand beside such that forget nothing."""
    *others, log_decays, state = mixture(64, keys_decay, groups=2, heads=2)
    log_decays[:, ::7] *= strength
    log_decays[:, 5::7] = 0
    outputs, _ = outer_product_recurrence(*as_float32(*others, log_decays, state), chunk_size=64)
    expected, _ = outer_product_loop(*others, log_decays, state)
    np.testing.assert_allclose(outputs, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize('keys_decay', [1, 3])
def test_gradients_are_those_of_the_loop(keys_decay):
    arrays = as_float32(*mixture(9, keys_decay, groups=2, heads=2, strength=30))

    def loop(queries, keys, values, log_decays, state):
        def advance(state, inputs):
            q, k, v, g = inputs
            state = jnp.exp(g)[..., None] * state + k[..., None] * v[..., None, :]
            return state, jnp.einsum('bhk,bhkv->bhv', q, state)

        inputs = [a.swapaxes(0, 1) for a in (queries, keys, values, log_decays)]
        return jax.lax.scan(advance, state, inputs)[1].swapaxes(0, 1)

    def gradient(recurrence):
        return jax.jit(jax.grad(lambda arrays: jnp.sin(recurrence(*arrays)).sum()))(arrays)

    chunked = gradient(lambda *arrays: outer_product_recurrence(*arrays, chunk_size=4)[0])
    for got, expected in zip(chunked, gradient(loop), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())
