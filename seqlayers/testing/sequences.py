"""Sequences to test with: random values, every kind of mask, and poison where nothing is valid."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers.sequence import ChannelSpec, Sequence

# The masks that tell layers apart; `mask_battery` makes one item of each.
MASK_KINDS = ('full', 'prefix', 'gaps', 'leading gap', 'gap before the end', 'empty')


def mask_battery(time: int, seed: int = 0) -> np.ndarray:
    """One mask of each of `MASK_KINDS`, bool `(6, time)`."""
    draw = np.random.default_rng(seed)
    position = np.arange(time)
    cut = draw.integers(time // 2, time) if time > 1 else time // 2
    lead = draw.integers(1, max(2, time // 3))
    gaps = draw.random(time) < 0.6
    before_cut = (position < cut) & ~((position >= cut - 3) & (position < cut - 1))
    return np.stack(
        [position >= 0, position < cut, gaps, position >= lead, before_cut, position < 0],
    )


def random_values(spec: ChannelSpec, shape: tuple[int, ...], seed: int = 0, low: int = 0, high: int = 8) -> jax.Array:
    """Normal values, integers in `[low, high)`, booleans or complex normals, by the spec's dtype."""
    draw = np.random.default_rng(seed)
    shape = (*shape, *spec.shape)
    if jnp.issubdtype(spec.dtype, jnp.integer):
        values = draw.integers(low, high, shape)
    elif spec.dtype == bool:
        values = draw.random(shape) < 0.5
    else:
        values = draw.standard_normal(shape)
        if jnp.issubdtype(spec.dtype, jnp.complexfloating):
            values = values + 1j * draw.standard_normal(shape)
    return jnp.asarray(values, spec.dtype)


def random_sequence(
    spec: ChannelSpec, time: int, seed: int = 0, masks: Any = None, low: int = 0, high: int = 8
) -> Sequence:
    """A masked random sequence with one item for each mask (`mask_battery` by default)."""
    masks = mask_battery(time, seed) if masks is None else np.asarray(masks)
    return Sequence(random_values(spec, masks.shape, seed, low, high), jnp.asarray(masks)).mask_invalid()


def poison(x: Sequence) -> Sequence:
    """The same sequence with NaN at invalid timesteps (the largest number, for integers): nothing may notice."""
    if jnp.issubdtype(x.dtype, jnp.inexact):
        return x.mask_invalid(jnp.nan)
    return x.mask_invalid(True if x.dtype == bool else jnp.iinfo(x.dtype).max)
