"""First-in, first-out buffers of timesteps: the state of everything that delays."""

import jax.numpy as jnp

from seqlayers.sequence import ChannelSpec, Sequence


def empty(batch_size: int, length: int, spec: ChannelSpec, value: float = 0, valid: bool = False) -> Sequence:
    """A buffer of `length` timesteps. Invalid ones leave no trace, which is what nearly all layers start from."""
    values = jnp.full((batch_size, length, *spec.shape), value, spec.dtype)
    return Sequence(values, jnp.full((batch_size, length), valid))


def push(buffer: Sequence, x: Sequence) -> tuple[Sequence, Sequence]:
    """Appends a block and takes out as many of the oldest timesteps: `x` delayed, and the new buffer."""
    joined = buffer.unmask().concatenate(x.unmask())
    n = x.shape[1]
    return joined[:, :n], joined[:, n:]
