"""The memory of attention in steps: a ring buffer of keys and values, written in place."""

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp

from seqlayers.attention.core import KeyValues, hide
from seqlayers.clock import clock
from seqlayers.sequence import ChannelSpec

# Blocks up to this length are written before the ring is read. (Reading first makes XLA copy the ring in every step.) The
# ring is so much longer than what is attended to, or the block would overwrite what its own queries still see.
SLACK = 8


class RingCache(NamedTuple):
    """The last entries of a stream, in a ring.

    Every row has its own place to write and its own times, so that one row of a batch can start anew, or rest, while others go on.

    entries: of `window + SLACK` timesteps. slot: where the next one goes, int32 `(batch,)`.
    """

    entries: KeyValues
    slot: jax.Array

    @classmethod
    def empty(cls, batch_size: int, window: int, keys: ChannelSpec, values: ChannelSpec, offset: int) -> Self:
        """A cache of which queries see up to `window` timesteps before their block. Specs are `(kv_heads, units)`."""
        size = window + SLACK
        arrays = (
            jnp.zeros((batch_size, spec.shape[0], size, *spec.shape[1:]), spec.dtype) for spec in (keys, values)
        )
        times = jnp.broadcast_to(clock(batch_size, offset)[:, None], (batch_size, size))
        return cls(KeyValues(*arrays, hide(times, False)), jnp.zeros((batch_size,), jnp.int32))

    @property
    def size(self) -> int:
        return self.entries.times.shape[1]

    def append(self, block: KeyValues) -> tuple[Self, list[KeyValues]]:
        """The cache with a block at its end, and what the queries of the block attend to."""
        m = block.times.shape[1]
        written = self._write(block)
        return written, [written.entries] if m <= SLACK else [self.entries, block]

    def _write(self, block: KeyValues) -> Self:
        batch_size, m = block.times.shape
        if batch_size * m == 1:
            # XLA fuses the write of a single entry into each of its readers, and copies the ring for that: write two.
            block = _with_empty_entry(block)
        first = max(0, block.times.shape[1] - self.size)  # of a block longer than the ring its end stays
        slots = (self.slot[:, None] + jnp.arange(first, block.times.shape[1])) % self.size
        entries = KeyValues(
            _write(self.entries.keys, block.keys[:, :, first:], slots),
            _write(self.entries.values, block.values[:, :, first:], slots),
            _write(self.entries.times, block.times[:, first:], slots),
        )
        return type(self)(entries, (self.slot + m) % self.size)

    def columns(self, m: int, window: int) -> jax.Array:
        """Where the last `window` timesteps before a block of `m` and the block itself stand in what `append` returns to attend to.

        Indices in order of time, int32 `(batch, window + m)`.
        """
        before = (self.slot[:, None] + jnp.arange(-window, 0)) % self.size
        block = jnp.arange(m)
        block = (self.slot[:, None] + block) % self.size if m <= SLACK else jnp.broadcast_to(self.size + block, (len(before), m))
        return jnp.concatenate([before, block], axis=1)


def _write(ring: jax.Array, block: jax.Array, slots: jax.Array) -> jax.Array:
    """The ring with timestep `i` of each row of the block in the row's place `slots[row, i]`. Time is the axis before `units`, or the last."""

    def write_row(ring: jax.Array, block: jax.Array, slots: jax.Array) -> jax.Array:
        at = ring.at[:, slots] if ring.ndim == 3 else ring.at[slots]
        return at.set(block, unique_indices=True, mode='promise_in_bounds')

    return jax.vmap(write_row)(ring, block, slots)


def _with_empty_entry(block: KeyValues) -> KeyValues:
    keys, values = (jnp.pad(array, ((0, 0), (0, 0), (0, 1), (0, 0))) for array in (block.keys, block.values))
    return KeyValues(keys, values, jnp.append(block.times, hide(block.times[:, -1:], False), axis=1))
