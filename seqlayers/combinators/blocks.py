"""Stepping through a sequence inside of a layer: for combinators in which a block depends on the one before."""

from collections.abc import Callable

import jax
from jax import lax

from seqlayers.context import Context
from seqlayers.layer import Emits, SequenceLayer, State
from seqlayers.sequence import Sequence
from seqlayers.streaming import constants as side_inputs

Step = Callable[[Sequence, State, Context], tuple[Sequence, State, Emits]]


def scan_blocks(
    step: Step, x: Sequence, state: State, block_size: int, owner: SequenceLayer, constants: Context
) -> tuple[Sequence, State, Emits]:
    """`y, state, emits = step(block, state, constants)` for each block of `x`, a whole number of blocks.

    Constants that stream are cut into the blocks of `x` too. Emits get a leading axis, one entry a block.
    """
    blocks = x.shape[1] // block_size
    streamed, _ = side_inputs.split(owner, constants)

    def cut(a: jax.Array) -> jax.Array:
        return a.reshape(a.shape[0], blocks, block_size, *a.shape[2:]).swapaxes(0, 1)

    def join(a: jax.Array) -> jax.Array:
        return a.swapaxes(0, 1).reshape(a.shape[1], a.shape[0] * a.shape[2], *a.shape[3:])

    def body(state: State, block: tuple):
        x, streamed = block
        inner = constants.at('')
        inner.entries = {**inner.entries, **streamed}
        y, state, emits = step(x, state, inner)
        return state, (y.unmask(), emits)

    inputs = x.unmask(), side_inputs.pad_to(streamed, x.shape[1])
    state, (y, emits) = lax.scan(body, state, jax.tree.map(cut, inputs))
    return jax.tree.map(join, y), state, emits
