from typing import NamedTuple, Self

import jax
import jax.numpy as jnp

from seqlayers import buffers
from seqlayers.sequence import ChannelSpec, Sequence

# Blocks up to this length are written before the ring is read; reading first makes XLA copy it in every step.
SLACK = 8


class Ring(NamedTuple):
    """The last timesteps of a stream, written in place: for windows that read few of many.

    Every row has its own place to write: one row of a batch can start anew, or rest, while others go on.

    entries: a `Sequence` of as many timesteps as are read, and `SLACK` more.
    slot: where the next timestep goes, int32 `(batch,)`.
    """

    entries: Sequence
    slot: jax.Array

    @classmethod
    def empty(cls, batch_size: int, length: int, spec: ChannelSpec, fill: float, valid: bool) -> Self:
        entries = buffers.empty(batch_size, length + SLACK, spec, fill, valid)
        return cls(entries, jnp.zeros((batch_size,), jnp.int32))

    def append(self, block: Sequence) -> Self:
        """The ring with a block at its end; of a block longer than the ring, the end of it."""
        size, time = self.entries.shape[1], block.shape[1]
        kept = block.unmask()[:, max(0, time - size) :]
        slots = (self.slot[:, None] + jnp.arange(time - kept.shape[1], time)) % size

        def write(ring: jax.Array, new: jax.Array, slots: jax.Array) -> jax.Array:
            return ring.at[slots].set(new, unique_indices=True, mode='promise_in_bounds')

        entries = jax.tree.map(lambda ring, new: jax.vmap(write)(ring, new, slots), self.entries, kept)
        return type(self)(entries, (self.slot + time) % size)

    def read(self, times: jax.Array) -> Sequence:
        """The timesteps at `times`, counted from the next one: -1 is the last. `(n,) -> (batch, n, ...)`."""
        slots = (self.slot[:, None] + times) % self.entries.shape[1]
        values, mask = self.entries.values, self.entries.mask
        index = slots.reshape(slots.shape + (1,) * (values.ndim - 2))
        return Sequence(
            jnp.take_along_axis(values, index, axis=1, mode='clip'),
            jnp.take_along_axis(mask, slots, axis=1, mode='clip'),
        )
