"""A chain of layers, one after the other: the functions that `Serial` and the branches of others share."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from seqlayers import buffers, calls
from seqlayers.context import Context, LayerError
from seqlayers.layer import SequenceLayer, State
from seqlayers.sequence import ChannelSpec, Sequence
from seqlayers.timing import SerialTiming

Layers = tuple[SequenceLayer, ...]
Named = tuple[str, SequenceLayer]


class Delayed(NamedTuple):
    """The state of a layer with a delay that its combinator put before it (in a chain) or behind it (in a branch).

    Only steps are delayed; how long is read off the buffer, so `step` needs not know the offset. It stands inside the
    tuple of a combinator's state, and is never the whole state of a layer."""

    state: State
    buffer: Sequence


def as_layers(owner: SequenceLayer, field: str, value: Any) -> Layers:
    """The layers of a field as a tuple; a single layer is one.

    Raises:
      LayerError: something in it is no layer.
    """
    if not isinstance(value, Iterable | SequenceLayer):
        raise LayerError(f'{type(owner).__name__}.{field} takes a list of layers, got {value!r}')
    layers = (value,) if isinstance(value, SequenceLayer) else tuple(value)
    for i, layer in enumerate(layers):
        if not isinstance(layer, SequenceLayer):
            hint = f'write {layer.__name__}(...)' if isinstance(layer, type) else 'wrap a function in sl.Lambda(fn)'
            raise LayerError(f'{type(owner).__name__}.{field}[{i}] must be a layer, got {layer!r}: {hint}')
    names = [name for name, _ in named(layers, field)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise LayerError(f'{type(owner).__name__}.{field}: two layers are named {twice[0]!r}; names must differ')
    return layers


def named(layers: Iterable[SequenceLayer], field: str) -> list[Named]:
    """Each layer with its name in the field: its own, or `layers_0`, `layers_1`, ..."""
    return [(layer.name or f'{field}_{i}', layer) for i, layer in enumerate(layers)]


def check_share_scope(owner: Any) -> None:
    """Whether `share_scope` is a bool, or one for each of `owner.layers`.

    Raises:
      LayerError: it is something else, such as a layer that belongs into the list of layers.
    """
    scope = owner.share_scope
    scopes = scope if isinstance(scope, tuple) else (scope,) * len(owner.layers)
    if len(scopes) != len(owner.layers) or not all(isinstance(s, bool) for s in scopes):
        name, n = type(owner).__name__, len(owner.layers)
        raise LayerError(
            f'{name}.share_scope must be a bool, or one for each of the {n} layers; got {scope!r}. '
            f'Layers go into one list: {name}([layer, layer, ...])'
        )


def build(layers: list[Named], spec: ChannelSpec, rngs: Any, constants: Context) -> tuple[Layers, ChannelSpec]:
    """The built layers, each on the output of the one before, and the last one's output spec."""
    built = []
    for name, layer in layers:
        built.append(layer.build(spec, rngs=rngs, constants=constants.at(name)))
        spec = built[-1].output_spec
    return tuple(built), spec


def initial_state(
    layers: list[Named], timing: SerialTiming, batch_size: int, offset: int, *, training: bool, constants: Context
) -> tuple:
    """One state a layer. Where a layer needs its input on a multiple of its alignment, a delay is put before it."""
    states = []
    for (_, layer), (delay, child_offset), ratio in zip(layers, timing.plan(offset)[0], timing.ratios, strict=False):
        inner = constants.behind(ratio)
        state = layer.get_initial_state(batch_size, training=training, constants=inner, offset=child_offset)
        states.append(Delayed(state, buffers.empty(batch_size, delay, layer.input_spec)) if delay else state)
    return tuple(states)


def layer(layers: list[Named], x: Sequence, **kwargs: Any) -> tuple[Sequence, dict]:
    emits = {}
    for name, child in layers:
        x, emits[name] = calls.run(child, x, **kwargs)
    return x, emits


def check_state(states: Any, entries: int) -> None:
    if not isinstance(states, tuple) or len(states) != entries:
        got = f'a tuple of {len(states)}' if isinstance(states, tuple) else type(states).__name__
        raise LayerError(
            f'the state must be a tuple of {entries}, got {got}. '
            'It comes from get_initial_state of this model, or from its step before'
        )


def step(layers: list[Named], x: Sequence, states: tuple, **kwargs: Any) -> tuple[Sequence, tuple, dict]:
    emits, new_states = {}, []
    check_state(states, len(layers))
    for (name, child), state in zip(layers, states, strict=True):
        buffer = None
        if isinstance(state, Delayed):
            x, buffer = buffers.push(state.buffer, x)
            state = state.state
        x, state, emits[name] = calls.run_step(child, x, state, **kwargs)
        new_states.append(state if buffer is None else Delayed(state, buffer))
    return x, tuple(new_states), emits
