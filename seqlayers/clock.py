"""Clocks: the time of the next input timestep, for layers that must know where they are.

A clock starts at minus the offset, so that what upstream layers emit before their first output (void timesteps) has
negative time. It is int32 and stops at 2**30: after that only its sign and the order of recent timesteps could be
asked for."""

import jax
import jax.numpy as jnp

LIMIT = 2**30


def clock(batch_size: int, offset: int = 0) -> jax.Array:
    """The clock of a new stream, int32 `(batch,)`."""
    return jnp.full((batch_size,), -offset, jnp.int32)


def tick(now: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """The times `(batch, n)` of the next `n` timesteps, and the clock after them."""
    return now[:, None] + jnp.arange(n), jnp.minimum(now + n, LIMIT)
