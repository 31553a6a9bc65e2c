"""The memory of attention in steps: a ring buffer of keys and values, written in place."""

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp

from seqlayers.attention.core import KeyValues, hidden
from seqlayers.clock import clock
from seqlayers.sequence import ChannelSpec

# Blocks up to this length are written before the ring is read: reading first makes XLA copy the ring in every
# step. The ring has room for so much more, or a block would overwrite what its own queries still see.
SLACK = 8


class RingCache(NamedTuple):
    """The last entries of a stream, in a ring.

    Every row has its own times and its own place to write, so that one row of a batch can start anew, or
    rest, while others go on.

    entries: of `window + SLACK` timesteps. slot: where the next one goes, int32 `(batch,)`.
    """

    entries: KeyValues
    slot: jax.Array

    @classmethod
    def empty(cls, batch_size: int, window: int, keys: ChannelSpec, values: ChannelSpec, offset: int = 0) -> Self:
        """A cache for queries that see up to `window` timesteps before their block.

        The specs are those of the keys and the values, `(kv_heads, units)`.
        """
        size = window + SLACK

        def zeros(spec: ChannelSpec) -> jax.Array:
            heads, units = spec.shape
            return jnp.zeros((batch_size, heads, size, units), spec.dtype)

        times = jnp.broadcast_to(hidden(clock(batch_size, offset))[:, None], (batch_size, size))
        return cls(KeyValues(zeros(keys), zeros(values), times), jnp.zeros((batch_size,), jnp.int32))

    @property
    def size(self) -> int:
        return self.entries.times.shape[1]

    def append(self, block: KeyValues) -> tuple[Self, list[KeyValues]]:
        """The cache with a block at its end, and what the queries of that block look at."""
        written = self._write(block)
        return written, [written.entries] if block.times.shape[1] <= SLACK else [self.entries, block]

    def columns(self, m: int, window: int) -> jax.Array:
        """Where in the keys that `append` returns the last `window` timesteps and a block of `m` are.

        In order of time, int32 `(batch, window + m)`. To be asked of the cache before the block.
        """
        if m <= SLACK:
            return self._slots(-window, m)
        before = self._slots(-window, 0)
        block = jnp.broadcast_to(self.size + jnp.arange(m), (len(before), m))
        return jnp.concatenate([before, block], axis=1)

    def _slots(self, first: int, last: int) -> jax.Array:
        return (self.slot[:, None] + jnp.arange(first, last)) % self.size

    def _write(self, block: KeyValues) -> Self:
        batch_size, m = block.times.shape
        if batch_size * m == 1:
            # XLA fuses the write of a single entry into each of its readers, and copies the ring: write two.
            block = _with_hidden_entry(block)
        n = block.times.shape[1]
        first = max(0, n - self.size)  # of a block longer than the ring, its end stays
        slots = self._slots(first, n)
        entries = KeyValues(
            _write(self.entries.keys, block.keys[:, :, first:], slots),
            _write(self.entries.values, block.values[:, :, first:], slots),
            _write(self.entries.times, block.times[:, first:], slots),
        )
        return type(self)(entries, (self.slot + m) % self.size)


def _write(ring: jax.Array, block: jax.Array, slots: jax.Array) -> jax.Array:
    """The ring with timestep i of a row of the block at `slots[row, i]`. Heads, if any, stand before time."""

    def write_row(ring: jax.Array, block: jax.Array, slots: jax.Array) -> jax.Array:
        place = ring.at[slots] if ring.ndim == 1 else ring.at[:, slots]
        return place.set(block, unique_indices=True, mode='promise_in_bounds')

    return jax.vmap(write_row)(ring, block, slots)


def _with_hidden_entry(block: KeyValues) -> KeyValues:
    keys, values = (jnp.pad(array, ((0, 0), (0, 0), (0, 1), (0, 0))) for array in (block.keys, block.values))
    return KeyValues(keys, values, jnp.append(block.times, hidden(block.times[:, -1:]), axis=1))
