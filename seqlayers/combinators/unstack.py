"""Repeated layers one by one: what runs fastest in steps."""

import jax

from seqlayers.combinators.parallel import Parallel
from seqlayers.combinators.repeat import Repeat
from seqlayers.combinators.residual import Residual
from seqlayers.combinators.serial import Serial
from seqlayers.combinators.wrapper import Wrapper
from seqlayers.layer import Composite, SequenceLayer


def unstack(model: SequenceLayer) -> SequenceLayer:
    """A built model with the same weights, in which each `Repeat` is a `Serial` of its repetitions.

    Stacked weights and states are for training: one compiled body serves all repetitions. In steps, where little is
    computed, cutting a repetition out of the stack costs more than its arithmetic. The latency may be smaller; emits
    have other names.

    >>> import seqlayers as sl
    >>> model = sl.Serial([sl.Repeat(sl.Dense(3), 2)]).build(sl.ChannelSpec((3,)), rngs=0)
    >>> unstack(model)  # doctest: +ELLIPSIS
    <Serial(layers=[Serial(layers=[Serial(layers=[Dense(3)]), Serial(layers=[Dense(3)])])]): ...>
    """
    match model:
        case Repeat():
            repetitions = [jax.tree.map(lambda a, i=i: a[i], model.child_layer) for i in range(model.num_repeats)]
            # Each in a Serial of its own, as repetitions may have a name, and all of them the same.
            return _serial(model, [_serial(model, [unstack(child)]) for child in repetitions])
        case Composite():
            return unstack(model.network)
        case Serial() | Parallel():
            return _rebuilt(model, layers=tuple(map(unstack, model.layers)))
        case Residual():
            shortcut = tuple(map(unstack, model.shortcut_layers or ()))
            return _rebuilt(model, layers=tuple(map(unstack, model.layers)), shortcut_layers=shortcut)
        case Wrapper():
            return _rebuilt(model, child_layer=unstack(model.child_layer))
    return model


def _serial(model: SequenceLayer, layers: list[SequenceLayer]) -> Serial:
    return Serial(layers).build(model.input_spec, rngs=0)


def _rebuilt(model: SequenceLayer, **children: object) -> SequenceLayer:
    """The combinator around other built children. It has no parameters of its own."""
    declared = type(model)(**{**model.field_values(), **children})
    return declared.build(model.input_spec, rngs=0)
