"""Branches side by side, each a chain of layers: the functions that `Parallel` and `Residual` share."""

from typing import Any

from seqlayers import buffers
from seqlayers.combinators import chain
from seqlayers.combinators.chain import Delayed, Named
from seqlayers.sequence import ChannelSpec, Sequence
from seqlayers.timing import ParallelTiming

Branches = list[list[Named]]


def initial_states(
    branches: Branches, timing: ParallelTiming, spec: ChannelSpec, batch_size: int, offset: int, **kwargs: Any
) -> tuple:
    """One state a branch. A branch that is ahead of the slowest has a delay behind its last layer."""
    states = []
    for layers, branch, delay in zip(branches, timing.branches, timing.delays(offset), strict=True):
        state = chain.initial_state(layers, branch, batch_size, offset, **kwargs)
        output = layers[-1][1].output_spec if layers else spec
        states.append(Delayed(state, buffers.empty(batch_size, delay, output)) if delay else state)
    return tuple(states)


def child_offsets(timing: ParallelTiming, offset: int) -> list[int]:
    """The offset of each layer of each branch."""
    return [child for branch in timing.branches for _, child in branch.plan(offset)[0]]


def layer(branches: Branches, x: Sequence, **kwargs: Any) -> tuple[list[Sequence], list[dict]]:
    """The output of each branch, all cut to the length of the shortest, and the emits of each.

    A timestep is valid only where it is in all branches, so cutting loses nothing valid.
    """
    outputs, emits = zip(*(chain.layer(layers, x, **kwargs) for layers in branches), strict=True)
    length = min(y.shape[1] for y in outputs)
    return [y if y.shape[1] == length else y[:, :length] for y in outputs], list(emits)


def step(branches: Branches, x: Sequence, states: tuple, **kwargs: Any) -> tuple[list[Sequence], tuple, list[dict]]:
    """A step of each branch, and of the delays behind them."""
    outputs, new_states, emits = [], [], []
    chain.check_state(states, len(branches))
    for layers, state in zip(branches, states, strict=True):
        buffer = None
        if isinstance(state, Delayed):
            state, buffer = state
        y, state, emitted = chain.step(layers, x, state, **kwargs)
        if buffer is not None:
            y, buffer = buffers.push(buffer, y)
        outputs.append(y)
        new_states.append(state if buffer is None else Delayed(state, buffer))
        emits.append(emitted)
    return outputs, tuple(new_states), emits
