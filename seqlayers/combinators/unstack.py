"""Repeated layers one by one: what runs fastest in steps."""

import dataclasses
from typing import Any, cast

import jax

from seqlayers.combinators.repeat import Repeat
from seqlayers.combinators.serial import Serial
from seqlayers.composite import Composite
from seqlayers.declaration import LayerDict, is_child_field, with_parts
from seqlayers.layer import SequenceLayer


def unstack(model: SequenceLayer) -> SequenceLayer:
    """A built model with the same weights, in which each `Repeat` is a `Serial` of its repetitions.

    Stacked weights and states are for training: one compiled body serves all repetitions. In steps, where little is
    computed, cutting a repetition out of the stack costs more than its arithmetic. The latency may be smaller; emits
    and random draws, which go by the place in the model, differ.

    >>> import seqlayers as sl
    >>> model = sl.Serial([sl.Repeat(sl.Dense(3), 2)]).build(sl.ChannelSpec((3,)), rngs=0)
    >>> unstack(model).layers
    (<Serial(layers=[Dense(3), Dense(3)]): ChannelSpec((3,), float32) -> ChannelSpec((3,), float32)>,)
    """
    if isinstance(model, Repeat):
        repetitions = [jax.tree.map(lambda a, i=i: a[i], model.child_layer) for i in range(model.num_repeats)]
        children = [unstack(child) for child in repetitions]
        if model.child_layer.name is not None:  # they all have it, and names in a Serial must differ
            children = [Serial([child]).build(model.input_spec, rngs=0) for child in children]
        return Serial(children).build(model.input_spec, rngs=0)
    names = [f.name for f in dataclasses.fields(cast(Any, model)) if is_child_field(f)]
    if isinstance(model, Composite):
        names.append('network')
    changed = {name: _unstacked(getattr(model, name)) for name in names}
    if all(changed[name] is getattr(model, name) for name in names):
        return model
    copied = with_parts(model, **changed)
    copied.settle()
    return copied


def _unstacked(value: Any) -> Any:
    """What stands in a field for children; the same object if nothing in it changes."""
    if isinstance(value, SequenceLayer):
        return unstack(value)
    if isinstance(value, tuple):
        parts = tuple(map(_unstacked, value))
        return value if all(a is b for a, b in zip(parts, value, strict=True)) else parts
    if isinstance(value, LayerDict):
        parts = LayerDict({name: _unstacked(child) for name, child in value.items()})
        return value if all(parts[name] is value[name] for name in value) else parts
    return value
