"""Constants that run in time with the data, as a layer reads them.

Those that stream come a block a step, together with the model's input. Behind layers that look ahead the data are
late by the offset; the constant then waits in a buffer of so many timesteps.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from seqlayers import buffers
from seqlayers.context import LayerError
from seqlayers.sequence import ChannelSpec, Sequence


def read(constants: Mapping[str, Any], name: str, what: str) -> Any:
    """The constant of that name. `what` says what it must be.

    Raises:
      LayerError: there is none, or it is no array.
    """
    if name not in constants:
        given = ', '.join(constants) or 'none'
        raise LayerError(
            f'reads constants[{name!r}], {what}, and it is not there (given: {given}). '
            f'Pass constants={{{name!r}: ...}} to build, get_initial_state, layer and step'
        )
    if not getattr(constants[name], 'ndim', 0):
        raise LayerError(f'constants[{name!r}] must be {what}, and is {constants[name]!r}')
    return constants[name]


def for_batch(name: str, constant: Sequence, batch_size: int) -> Sequence:
    """The constant with the input's batch; one of batch 1 serves all items.

    Raises:
      LayerError: its batch is another.
    """
    if constant.shape[0] not in (1, batch_size):
        raise LayerError(
            f'constants[{name!r}] has a batch of {constant.shape[0]} and the input one of {batch_size}; '
            'it must be the same, or 1'
        )
    values, mask = (jnp.broadcast_to(a, (batch_size, *a.shape[1:])) for a in (constant.values, constant.mask))
    return Sequence(values, mask)


def initial_state(batch_size: int, offset: int, spec: ChannelSpec) -> Any:
    """What a streamed constant waits in: a buffer of `offset` timesteps, or nothing."""
    return buffers.waiting(batch_size, offset, spec)


def arrive(name: str, block: Sequence, x: Sequence, state: Any) -> tuple[Sequence, Any]:
    """The timesteps of a streamed constant that belong to a block of input, and the new state.

    Raises:
      LayerError: the block of the constant is of another length.
    """
    if block.shape[1] != x.shape[1]:
        raise LayerError(
            f"constants[{name!r}] streams in time with the model's input: here come {x.shape[1]} timesteps of input "
            f'and {block.shape[1]} of the constant. Give each step the timesteps of its block; '
            'the layers before this one must keep the rate (output ratio 1)'
        )
    return buffers.push(state, block)


def integers(name: str, constants: Mapping[str, Any], batch_size: int) -> Sequence:
    """The constant of that name, an array or Sequence `(batch, time)` of integers, as int32.

    Raises:
      LayerError: it is missing, holds no integers, or has another shape.
    """
    given = read(constants, name, 'integers (batch, time)')
    sequence = given if isinstance(given, Sequence) else Sequence.from_values(given)
    if sequence.channel_shape or not jnp.issubdtype(sequence.dtype, jnp.integer):
        raise LayerError(
            f'constants[{name!r}] must hold integers (batch, time), and is {sequence.dtype}{list(given.shape)}'
        )
    return for_batch(name, sequence.astype(jnp.int32), batch_size)


def whole(name: str, constant: Sequence, time: int) -> Sequence:
    """The first `time` timesteps of a constant that is read in time with the data.

    Raises:
      LayerError: it is shorter.
    """
    if constant.shape[1] < time:
        raise LayerError(f'constants[{name!r}] has {constant.shape[1]} timesteps, fewer than the {time} of the data')
    return constant[:, :time]
