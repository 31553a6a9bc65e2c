"""From a model that fails to the smallest one that still does."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from seqlayers.declaration import LayerDict
from seqlayers.layer import SequenceLayer
from seqlayers.layers.structural import Identity


def shrink(declaration: SequenceLayer, fails: Callable[[SequenceLayer], bool]) -> SequenceLayer:
    """The smallest declaration found for which `fails` still holds, one simplification after the other.

    Many of the candidates are no legal models: of those `fails` must say False.

    >>> import seqlayers as sl
    >>> model = sl.Serial([sl.Dense(4), sl.Residual([sl.Lookahead(3), sl.LSTM(4)])])
    >>> shrink(model, lambda layer: layer.output_latency > 0)
    Lookahead(1)
    """
    while (smaller := next(filter(fails, simplifications(declaration)), None)) is not None:
        declaration = smaller
    return declaration


def simplifications(layer: SequenceLayer) -> Iterator[SequenceLayer]:
    """Declarations that are a little simpler, the greatest leaps first."""
    for value in layer.field_values().values():
        yield from _layers_in(value)
    changed = layer.declared_changes()
    for field in dataclasses.fields(layer):  # type: ignore[arg-type]
        if field.name in changed:
            default = [] if field.default is dataclasses.MISSING else [field.default]
            yield from _with_field(layer, field.name, [*default, *_simpler(changed[field.name])])
    if layer != Identity():
        yield Identity()


def _with_field(layer: SequenceLayer, name: str, values: Iterable[Any]) -> Iterator[SequenceLayer]:
    for value in values:
        try:
            yield layer.replace(**{name: value})
        except (ValueError, TypeError):  # this field does not go with the others
            continue


def _layers_in(value: Any) -> list[SequenceLayer]:
    """The layers in a field."""
    values = value.values() if isinstance(value, LayerDict) else value if isinstance(value, tuple) else [value]
    return [v for v in values if isinstance(v, SequenceLayer)]


def _simpler(value: Any) -> Iterator[Any]:
    """Simpler values of a field: layers left out or simpler, numbers smaller."""
    if isinstance(value, SequenceLayer):
        yield from simplifications(value)
    elif isinstance(value, LayerDict):
        for name, layer in value.items():
            yield from (LayerDict({**value, name: simpler}) for simpler in simplifications(layer))
    elif isinstance(value, tuple) and _layers_in(value):
        yield from (value[:i] + value[i + 1 :] for i in range(len(value)))
        for i, layer in enumerate(value):
            yield from ((*value[:i], simpler, *value[i + 1 :]) for simpler in simplifications(layer))
    elif isinstance(value, int) and not isinstance(value, bool):
        yield from sorted({1, value - 1} & set(range(1, value)))
