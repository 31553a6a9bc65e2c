"""First-in, first-out buffers of timesteps: the state of everything that delays."""

from typing import Any

import jax.numpy as jnp

from seqlayers.sequence import ChannelSpec, Sequence


def empty(batch_size: int, length: int, spec: ChannelSpec, value: float = 0, valid: bool = False) -> Sequence:
    """A buffer of `length` timesteps. Invalid ones leave no trace, which is what nearly all layers start from."""
    values = jnp.full((batch_size, length, *spec.shape), value, spec.dtype)
    return Sequence(values, jnp.full((batch_size, length), valid))


def waiting(batch_size: int, length: int, spec: ChannelSpec) -> Sequence | tuple[()]:
    """A buffer that may be of no timesteps: then there is nothing to keep, `()`."""
    return empty(batch_size, length, spec) if length else ()


def push(buffer: Sequence | tuple[()], x: Sequence) -> tuple[Sequence, Any]:
    """Appends a block and takes out as many of the oldest timesteps: `x` delayed, and the new buffer."""
    if isinstance(buffer, tuple):
        return x, ()
    joined = buffer.unmask().concatenate(x.unmask())
    n = x.shape[1]
    return joined[:, :n], joined[:, n:]
