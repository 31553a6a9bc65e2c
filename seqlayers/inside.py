"""What stands inside a combinator: the way of the data through its layers, and whose state is whose.

Known for the combinators of the library and for what derives its state from them; any other layer is opaque, one
line whatever it holds.
"""

import math
from typing import Any, NamedTuple

import jax

from seqlayers.combinators.autoregressive import Autoregressive
from seqlayers.combinators.bidirectional import Bidirectional
from seqlayers.combinators.chain import Delayed
from seqlayers.combinators.parallel import Parallel
from seqlayers.combinators.repeat import Repeat
from seqlayers.combinators.residual import Residual
from seqlayers.combinators.serial import Serial
from seqlayers.combinators.shared import Shared
from seqlayers.combinators.skip import Skip
from seqlayers.combinators.wrapper import Wrapper
from seqlayers.composite import Composite
from seqlayers.layer import SequenceLayer
from seqlayers.models.encoder_decoder import EncoderDecoder


class Wait(NamedTuple):
    """A delay that a combinator inserts so that its layers meet: timesteps where it stands, and its buffer."""

    timesteps: int
    buffer: Any = None  # None if nothing is built


class Child(NamedTuple):
    """A layer directly inside another.

    Attributes:
      name, layer: as in `children()`.
      offset: void timesteps before its first input; None if there are no steps.
      wait: the delay before it, if there is one.
      state: its part of the state, None if unknown.
    """

    name: str
    layer: SequenceLayer
    offset: int | None
    wait: Wait | None = None
    state: Any = None


class Inside(NamedTuple):
    """The layers directly inside another.

    Attributes:
      chains: those that the data goes through, side by side: one chain of them, or the branches.
      joins: for each chain the delay behind it, if there is one.
      aside: those that are called from inside, or hold what others read.
    """

    chains: tuple[tuple[Child, ...], ...]
    joins: tuple[Wait | None, ...]
    aside: tuple[Child, ...] = ()


def look_inside(layer: SequenceLayer, offset: int | None, state: Any) -> Inside | None:
    """The layers inside a combinator, None if it has none or is opaque.

    Args:
      layer: built or declared.
      offset: void timesteps before its first input, None if there are no steps.
      state: its state, None if unknown.
    """
    for kind, parts in _KINDS.items():
        if isinstance(layer, kind) and type(layer).get_initial_state is kind.get_initial_state:
            return parts(layer, offset, state)
    return None


def _branches(layer: Any, offset: int | None, state: Any) -> Inside:
    """Chains of layers, with delays before the layers and behind the chains."""
    alone = isinstance(layer, Serial)
    timings = [layer.timing] if alone else layer.timing.branches
    delays = [0] * len(timings) if alone or offset is None else layer.timing.delays(offset)
    states = [state] if alone else state or [None] * len(timings)
    children, chains, joins = layer.children(), [], []
    for timing, delay, of_chain in zip(timings, delays, states, strict=True):
        of_chain, buffer = _undelayed(of_chain)
        members, children = children[: len(timing.children)], children[len(timing.children) :]
        plan = [(0, None)] * len(members) if offset is None else timing.plan(offset)[0]
        chains.append(tuple(map(_child, members, plan, of_chain or [None] * len(members))))
        joins.append(_wait(delay, buffer))
    return Inside(tuple(chains), tuple(joins))


def _child(named: tuple[str, SequenceLayer], plan: tuple[int, int | None], state: Any) -> Child:
    (delay, offset), (state, buffer) = plan, _undelayed(state)
    return Child(*named, offset, _wait(delay, buffer), state)


def _undelayed(state: Any) -> tuple[Any, Any]:
    return state if isinstance(state, Delayed) else (state, None)


def _wait(timesteps: int, buffer: Any) -> Wait | None:
    return Wait(timesteps, buffer) if timesteps else None


def _wrapped(layer: Any, offset: int | None, state: Any) -> Inside:
    return _around(layer, offset, [(layer.child_layer, state)])


def _composed(layer: Any, offset: int | None, state: Any) -> Inside:
    name, network = next((c for c in layer.children() if c[1] is layer.network), layer.children()[-1])
    return Inside(((Child(name, network, offset, None, state),),), (None,))


def _repeated(layer: Any, offset: int | None, state: Any) -> Inside:
    state, buffer = _undelayed(state[0] if state else None)
    inside = _around(layer, offset, [(layer.child_layer, state)])
    return inside._replace(joins=(_wait(0 if offset is None else layer.timing.delay(offset), buffer),))


def _autoregressive(layer: Any, offset: int | None, state: Any) -> Inside:
    child, feedback, _ = state or (None, None, None)
    return _around(layer, offset, [(layer.child_layer, child), (layer.feedback_layer, feedback)])


def _encoder_decoder(layer: Any, offset: int | None, state: Any) -> Inside:
    encoder, decoder = state or (None, None)
    inside = _around(layer, offset, [(layer.decoder, decoder), (layer.encoder, encoder)])
    if layer.streamed_constants({}):
        return inside
    return inside._replace(aside=tuple(child._replace(offset=None) for child in inside.aside))  # runs before all steps


def _bidirectional(layer: Any, offset: int | None, state: Any) -> Inside:
    sides = sorted(layer.children(), key=lambda named: named[1] is layer.backward)
    return Inside(tuple((Child(name, side, None),) for name, side in sides), (None, None))


def _around(layer: SequenceLayer, offset: int | None, states: list[tuple[SequenceLayer, Any]]) -> Inside:
    """The first layer in `states` is what the data goes through. A child that is not there has no state."""
    named, (inner, state) = layer.children(), states[0]
    rest = None if state is None else ()
    offsets = [None] * len(named) if offset is None else layer.child_offsets(offset)
    found = [
        Child(*child, at, None, next((state for owner, state in states if owner is child[1]), rest))
        for child, at in zip(named, offsets, strict=True)
    ]
    chain = tuple(child for child in found if child.layer is inner)
    return Inside((chain,), (None,), tuple(child for child in found if child.layer is not inner))


_KINDS: dict[type, Any] = {
    Serial: _branches,
    Residual: _branches,
    Skip: _branches,
    Parallel: _branches,
    Bidirectional: _bidirectional,
    Repeat: _repeated,
    Autoregressive: _autoregressive,
    EncoderDecoder: _encoder_decoder,
    Shared: _wrapped,
    Wrapper: _wrapped,
    Composite: _composed,
}


def nbytes(arrays: Any) -> int:
    """The bytes of a pytree of arrays, or of their shapes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(arrays))
