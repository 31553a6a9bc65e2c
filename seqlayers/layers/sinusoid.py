"""Sines and cosines of a position, at wavelengths from short to long."""

import jax
import jax.numpy as jnp
import numpy as np


def sinusoids(positions: jax.Array, channels: int, min_timescale: float = 1.0, max_timescale: float = 1e4) -> jax.Array:
    """Half of the channels are sines and half cosines of `position / timescale`, in float32.

    The timescales go from the least to the greatest by a constant factor. If `channels` is odd, the last one is 0.

    Args:
      positions: numbers of any shape.

    Returns:
      `(*positions.shape, channels)`.

    Source: Vaswani et al., arXiv 1706.03762, with the sines before the cosines.
    """
    timescales = np.geomspace(min_timescale, max_timescale, channels // 2).astype(np.float32)
    angles = positions.astype(jnp.float32)[..., None] / timescales
    odd = jnp.zeros((*positions.shape, channels % 2), jnp.float32)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles), odd], axis=-1)
