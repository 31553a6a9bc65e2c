"""Layers to JSON and back."""

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from seqlayers.declaration import Declared, HashableArray
from seqlayers.functions import LIBRARIES, NamedFunction, function_by_name, named
from seqlayers.initializers import Initializer
from seqlayers.layer import LAYER_TYPES, SequenceLayer, walk
from seqlayers.sequence import ChannelSpec


def to_config(layer: Any) -> dict[str, Any]:
    """The declaration of a layer (built or not) as a JSON-ready dict: its type, and the fields that differ from
    defaults.

    >>> import jax, seqlayers as sl
    >>> to_config(sl.Serial([sl.Dense(3, activation=jax.nn.relu)]))
    {'type': 'Serial', 'layers': [{'type': 'Dense', 'features': 3, 'activation': {'fn': 'relu'}}]}

    Raises:
      ValueError: a field holds a function that has no public name, such as a lambda.
    """
    if not isinstance(layer, SequenceLayer):
        raise ValueError(f'to_config takes a layer, got {type(layer).__name__}')
    for _, inside in walk(layer):
        known = LAYER_TYPES[type(inside).__name__]
        if known is not type(inside) and known.__module__.startswith('seqlayers.'):
            raise ValueError(
                f'to_config: your {known.__name__} has the name of a layer of the library; rename the class'
            )
    return _encode(layer, type(layer).__name__)


def from_config(config: Mapping[str, Any]) -> SequenceLayer:
    """The declaration that `to_config` wrote.

    Raises:
      ValueError: an unknown type, field, function or dtype; the message lists the valid ones.
    """
    layer = _decode(config, 'config')
    if not isinstance(layer, SequenceLayer):
        raise ValueError(f'from_config: {config!r} does not describe a layer (it has no "type")')
    return layer


def _component_types() -> dict[str, type]:
    """Types that may stand in a config: layers, their parts, initializers and specs."""
    parts = _subclasses(Declared) | _subclasses(Initializer) | {ChannelSpec}
    return {t.__name__: t for t in parts} | LAYER_TYPES


def _subclasses(cls: type) -> set[type]:
    direct = set(cls.__subclasses__())
    return direct.union(*map(_subclasses, direct)) if direct else direct


def _encode(value: Any, place: str) -> Any:
    match value:
        case Declared():
            fields = {k: _encode(v, f'{place}.{k}') for k, v in value.declared_changes().items()}
            return {'type': type(value).__name__, **fields}
        case tuple():
            return [_encode(v, f'{place}[{i}]') for i, v in enumerate(value)]
        case Initializer() | ChannelSpec():
            fields = {f.name: _encode(getattr(value, f.name), f'{place}.{f.name}') for f in dataclasses.fields(value)}
            return {'type': type(value).__name__, **fields}
        case lax.Precision():
            return value.name.lower()
        case lax.DotAlgorithmPreset():
            return value.name
        case Mapping():
            return {k: _encode(v, f'{place}[{k!r}]') for k, v in value.items()}
        case enum.Enum():
            return value.value
        case np.dtype():
            return value.name
        case HashableArray(array=array):
            return {'array': array.tolist(), 'dtype': array.dtype.name}
        case np.generic():
            return value.item()
        case None | bool() | int() | float() | str():
            return value
    name = named(value) if callable(value) else None
    if isinstance(name, NamedFunction) and name.module in LIBRARIES:
        return {'fn': name.name}
    raise ValueError(
        f'to_config: {place} is {value!r}, which has no name to write down. '
        f'Use a function of {", ".join(LIBRARIES)}, or a layer class of your own'
    )


def _decode(value: Any, place: str) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_decode(v, f'{place}[{i}]') for i, v in enumerate(value))
    if not isinstance(value, Mapping):
        return value
    if set(value) == {'fn'}:
        return function_by_name(value['fn'])
    if set(value) == {'array', 'dtype'}:
        return np.asarray(value['array'], jnp.dtype(value['dtype']))
    if 'type' not in value:
        return {k: _decode(v, f'{place}.{k}') for k, v in value.items()}
    types = _component_types()
    if value['type'] not in types:
        raise ValueError(f'from_config: unknown type {value["type"]!r} at {place}; known: {", ".join(sorted(types))}')
    cls = types[value['type']]
    fields = {f.name for f in dataclasses.fields(cls)} | set(getattr(cls, 'field_aliases', ()))
    if unknown := sorted(value.keys() - fields - {'type'}):
        raise ValueError(
            f'from_config: {cls.__name__} at {place} has no field {", ".join(unknown)}; it has: '
            f'{", ".join(sorted(fields))}'
        )
    fields = {k: _decode(v, f'{place}.{k}') for k, v in value.items() if k != 'type'}
    try:
        return cls(**fields)
    except TypeError as error:  # a missing field, or a value of a wrong type
        raise ValueError(f'from_config: {cls.__name__} at {place}: {error}') from error
