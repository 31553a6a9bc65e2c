"""The memory of attention in steps: buffers of keys and values, written in place."""

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer

from seqlayers.attention.core import KeyValues, hidden
from seqlayers.clock import clock
from seqlayers.context import LayerError
from seqlayers.sequence import ChannelSpec

# Blocks up to this length are written before the ring is read: reading first makes XLA copy the ring in every
# step. The ring has room for so much more, or a block would overwrite what its own queries still see.
SLACK = 8


# GPUs read a ring in aligned vectors if it holds a multiple of so many entries: a third faster at 4,096 of them.
ALIGNED = 8


def aligned(window: int) -> int:
    """The least window of at least that length whose ring is aligned."""
    return window + -(window + SLACK) % ALIGNED


class RingCache(NamedTuple):
    """The last entries of a stream, in a ring.

    Every row has its own times and its own place to write, so that one row of a batch can start anew, or
    rest, while others go on.

    entries: of `window + SLACK` timesteps. slot: where the next one goes, int32 `(batch,)`.
    """

    entries: KeyValues
    slot: jax.Array

    @classmethod
    def empty(
        cls,
        batch_size: int,
        window: int,
        keys: ChannelSpec,
        values: ChannelSpec,
        offset: int = 0,
        labels: tuple[str, ...] = (),
    ) -> Self:
        """A cache for queries that see up to `window` timesteps before their block.

        The specs are those of the keys and the values, `(kv_heads, units)`. The labels are `positions` and
        `segments`, if entries have them.
        """
        entries = _empty_entries(batch_size, window + SLACK, keys, values, offset, labels)
        return cls(entries, jnp.zeros((batch_size,), jnp.int32))

    @property
    def size(self) -> int:
        return self.entries.times.shape[1]

    @property
    def window(self) -> int:
        return self.size - SLACK

    def append(self, block: KeyValues) -> tuple[Self, list[KeyValues]]:
        """The cache with a block at its end, and what the queries of that block look at."""
        written = self._write(block)
        return written, self.sources(written, block)

    def sources(self, written: Self, block: KeyValues) -> list[KeyValues]:
        """What the queries of a block look at; this cache is that before the block, `written` that with it."""
        return [written.entries] if block.times.shape[1] <= SLACK else [self.entries, block]

    def columns(self, m: int, window: int) -> jax.Array:
        """Where in the keys that `append` returns the last `window` timesteps and a block of `m` are.

        In order of time, int32 `(batch, window + m)`. To be asked of the cache before the block.
        """
        if m <= SLACK:
            return self._slots(-window, m)
        before = self._slots(-window, 0)
        block = jnp.broadcast_to(self.size + jnp.arange(m), (len(before), m))
        return jnp.concatenate([before, block], axis=1)

    def checked(self, context: jax.Array) -> jax.Array:
        """The context that was computed with this cache."""
        return context

    def _slots(self, first: int, last: int) -> jax.Array:
        return self._wrapped(self.slot[:, None] + jnp.arange(first, last, dtype=jnp.int32) + self.size * (first < 0))

    def _wrapped(self, slots: jax.Array) -> jax.Array:
        """Slots beyond the end of the ring continue at its start. None is negative, which makes it simple for XLA."""
        return lax.rem(slots, jnp.full_like(slots, self.size))

    def _write(self, block: KeyValues) -> Self:
        m = block.times.shape[1]
        first = max(0, m - self.size)  # of a block longer than the ring, its end stays
        entries = _write_all(self.entries, block, self._slots(first, m), first, 'promise_in_bounds')
        return type(self)(entries, self._wrapped(self.slot + m))


class GrowingCache(NamedTuple):
    """All entries of a stream of a limited length, in order.

    entries: of `max_length` timesteps. slot: where the next one goes, int32 `(batch,)`; beyond the end if there
    was no room for the last block.
    """

    entries: KeyValues
    slot: jax.Array

    @classmethod
    def empty(
        cls,
        batch_size: int,
        max_length: int,
        keys: ChannelSpec,
        values: ChannelSpec,
        offset: int = 0,
        labels: tuple[str, ...] = (),
    ) -> Self:
        """A cache for so many timesteps, void ones included."""
        entries = _empty_entries(batch_size, max_length, keys, values, offset, labels)
        return cls(entries, jnp.zeros((batch_size,), jnp.int32))

    @property
    def size(self) -> int:
        return self.entries.times.shape[1]

    def append(self, block: KeyValues) -> tuple[Self, list[KeyValues]]:
        """The cache with a block at its end, and what the queries of that block look at.

        Raises:
          LayerError: there is no room for it, and that can be seen (not under `jit`, where the context of `checked`
            becomes NaN).
        """
        m = block.times.shape[1]
        if not isinstance(self.slot, Tracer) and (self.slot + m > self.size).any():
            raise LayerError(
                f'the stream is longer than the max_length={self.size} timesteps that get_initial_state was told '
                '(flush included)'
            )
        slots = self.slot[:, None] + jnp.arange(m)
        entries = _write_all(self.entries, block, slots, 0, 'drop')
        written = type(self)(entries, jnp.minimum(self.slot + m, self.size + 1))
        return written, self.sources(written, block)

    def sources(self, written: Self, block: KeyValues) -> list[KeyValues]:
        """What the queries of a block look at: the cache with the block."""
        return [written.entries]

    def columns(self, m: int, window: int) -> jax.Array:
        """Where in the keys that `append` returns the timesteps are: all of the cache is in order."""
        return jnp.broadcast_to(jnp.arange(self.size), self.entries.times.shape)

    def checked(self, context: jax.Array) -> jax.Array:
        """The context that was computed with this cache; NaN where entries found no room."""
        return jnp.where((self.slot > self.size)[:, None, None, None], jnp.nan, context)


Cache = RingCache | GrowingCache


def _empty_entries(
    batch_size: int, size: int, keys: ChannelSpec, values: ChannelSpec, offset: int, labels: tuple[str, ...]
) -> KeyValues:
    def zeros(spec: ChannelSpec) -> jax.Array:
        heads, units = spec.shape
        return jnp.zeros((batch_size, heads, size, units), spec.dtype)

    times = jnp.broadcast_to(hidden(clock(batch_size, offset))[:, None], (batch_size, size))
    return KeyValues(zeros(keys), zeros(values), times, **{name: jnp.zeros_like(times) for name in labels})


def _write_all(entries: KeyValues, block: KeyValues, slots: jax.Array, first: int, mode: Any) -> KeyValues:
    """The entries with those of the block, from timestep `first` on, at `slots`."""
    if block.times.size == 1:
        return _write_one(entries, block, slots[0, 0])

    def write(buffer: jax.Array, new: jax.Array) -> jax.Array:
        return _write(buffer, new[:, :, first:] if new.ndim == 4 else new[:, first:], slots, mode)

    return jax.tree.map(write, entries, block)


def _write(ring: jax.Array, block: jax.Array, slots: jax.Array, mode: Any) -> jax.Array:
    """The ring with timestep i of a row of the block at `slots[row, i]`. Heads, if any, stand before time."""

    def write_row(ring: jax.Array, block: jax.Array, slots: jax.Array) -> jax.Array:
        place = ring.at[slots] if ring.ndim == 1 else ring.at[:, slots]
        return place.set(block, unique_indices=True, mode=mode)

    return jax.vmap(write_row)(ring, block, slots)


def _write_one(entries: KeyValues, block: KeyValues, slot: jax.Array) -> KeyValues:
    """The entries with the only one of the block at `slot`; dropped if that is beyond the end.

    Its neighbour is written with it, as it is: XLA fuses the write of a single entry into each of its readers, and then
    copies the buffer. A slice is compiled ten times as fast as entries that each have a place of their own.
    """
    size = entries.times.shape[1]
    first = jnp.clip(slot, 0, max(0, size - 2))
    slots = first + jnp.arange(min(2, size))

    def write(buffer: jax.Array, new: jax.Array) -> jax.Array:
        axis, is_place = (2, (slots == slot)[:, None]) if buffer.ndim == 4 else (1, slots == slot)
        old = lax.dynamic_slice_in_dim(buffer, first, len(slots), axis, allow_negative_indices=False)
        pair = jnp.where(is_place, new, old)
        if buffer.dtype == jnp.bfloat16:  # CPUs take all of it to float32 and back, and of a slice make a copy too
            return _write(buffer, pair, slots[None], 'promise_in_bounds')
        return lax.dynamic_update_slice_in_dim(buffer, pair, first, axis, allow_negative_indices=False)

    return jax.tree.map(write, entries, block)
