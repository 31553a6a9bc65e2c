"""Every layer's output, from inside a model: what `check_contract` and the pictures look at."""

from collections.abc import Mapping
from typing import Any

from seqlayers.context import root_context
from seqlayers.layer import SequenceLayer, State
from seqlayers.sequence import Sequence


def record_layer(
    model: SequenceLayer, x: Sequence, *, training: bool = False, constants: Mapping | None = None, rng: Any = None
) -> dict[str, Sequence]:
    """The output of every layer inside a model, by path (the model itself is ''), in the order in which they ran.

    Not traceable. What runs inside a compiled loop (the layers of a `Repeat`) is left out.
    """
    context = root_context(constants, rng)
    context.tape = []
    model.layer(x, training=training, constants=context)
    return dict(context.tape)


def record_step(
    model: SequenceLayer,
    x: Sequence,
    state: State,
    *,
    training: bool = False,
    constants: Mapping | None = None,
    rng: Any = None,
) -> tuple[dict[str, Sequence], State]:
    """The same for one step, and the state after it."""
    context = root_context(constants, rng)
    context.tape = []
    _, state = model.step(x, state, training=training, constants=context)
    return dict(context.tape), state


def output_offsets(model: SequenceLayer, offset: int = 0, path: str = '') -> dict[str, int]:
    """For the model and every layer inside, by path: the outputs that its `step` emits before the first real one."""
    offsets = {path: model.timing.output_offset(offset)}
    for (name, child), child_offset in zip(model.children(), model.child_offsets(offset), strict=True):
        offsets |= output_offsets(child, child_offset, f'{path}/{name}' if path else name)
    return offsets
