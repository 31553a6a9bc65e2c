"""The fields of a layer, each with the control that suits it."""

import dataclasses
import enum
import math
import types
import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import seqlayers as sl
from seqlayers.declaration import is_child_field
from seqlayers.padding import PADDING_MODES, TRANSPOSED_PADDING_MODES

# What an `activation` may be called, and any other function that stands there already.
ACTIVATIONS = {
    fn.__name__: fn
    for fn in (
        jax.nn.relu, jax.nn.gelu, jax.nn.silu, jnp.tanh, jax.nn.sigmoid, jax.nn.softplus, jax.nn.elu,
        jax.nn.leaky_relu,
    )
}  # fmt: skip
DTYPES = ('float32', 'bfloat16', 'float16')
DETAILS = ('_init', '_sharding', '_dtype', 'sharding', 'precision', 'name', 'rng_collection', 'policy', 'share_scope')


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a layer and how to edit it.

    Attributes:
      name, value: of the field.
      control: 'slider' (int or float from `low` to `high`), 'number' (any float), 'check', 'choice' (one of
        `options`), or 'python' (an expression).
      low, high: of a slider.
      options: what to choose from, by what it is called.
      is_detail: whether few will want to change it.
    """

    name: str
    value: Any
    control: str
    low: float = 0
    high: float = 0
    options: tuple[tuple[str, Any], ...] = ()
    is_detail: bool = False


def fields_of(layer: sl.SequenceLayer) -> list[Field]:
    """The fields of a layer, except those whose layers are seen in the tree."""
    hints = typing.get_type_hints(type(layer))
    found = []
    for field in sorted(dataclasses.fields(layer), key=lambda f: f.kw_only is True):
        value = getattr(layer, field.name)
        if is_child_field(field) and _has_layers(value, field):
            continue
        found.append(_field(field.name, value, hints[field.name], _transposed(layer)))
    return found


def _has_layers(value: Any, field: dataclasses.Field) -> bool:
    return bool(value) or field.default is dataclasses.MISSING


def _transposed(layer: sl.SequenceLayer) -> bool:
    return isinstance(layer, sl.Conv1DTranspose | sl.Conv2DTranspose)


def _field(name: str, value: Any, hint: Any, transposed: bool) -> Field:
    about = {'name': name, 'value': value, 'is_detail': name.endswith(DETAILS)}
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if options := _options(name, value, members, transposed):
        return Field(**about, control='choice', options=options)
    if hint is bool is type(value):
        return Field(**about, control='check')
    if hint is int is type(value):
        return Field(**about, control='slider', low=_lowest(name, value), high=highest(value))
    if hint is float and isinstance(value, float | int):
        is_share = name.endswith(('rate', 'momentum')) and 0 <= value <= 1
        return Field(**about, control='slider', high=1) if is_share else Field(**about, control='number')
    return Field(**about, control='python')


def _options(name: str, value: Any, members: tuple, transposed: bool) -> tuple[tuple[str, Any], ...]:
    """What there is to choose from, the present value among it; nothing if it is no choice."""
    enums = [m for m in members if isinstance(m, type) and issubclass(m, enum.Enum)]
    if enums:
        value = value.value if isinstance(value, enum.Enum) else value
        return _with(value, [(m.value, m.value) for m in enums[0]])
    if typing.get_origin(members[0]) is typing.Literal:
        return _with(value, [(v, v) for v in typing.get_args(members[0])])
    if name == 'padding' or name.endswith('_padding'):
        modes = TRANSPOSED_PADDING_MODES if transposed else PADDING_MODES
        return _with(value, [(mode, mode) for mode in modes])
    if 'activation' in name:
        return _with(value, [('none', None), *ACTIVATIONS.items()])
    if name.endswith('dtype'):
        none: list[tuple[str, Any]] = [('as the input', None)] if value is None else []
        return _with(value, none + [(name, np.dtype(jnp.dtype(name))) for name in DTYPES])
    return ()


def _with(value: Any, options: list[tuple[str, Any]]) -> tuple[tuple[str, Any], ...]:
    known = any(value is v or value == v for _, v in options)
    return tuple(options if known else [*options, (getattr(value, '__name__', str(value)), value)])


def _lowest(name: str, value: int) -> int:
    """Where a slider starts: sizes count from 1, horizons from -1 (no limit), axes from the last."""
    if name.endswith('axis') or name.startswith('axis'):
        return -4
    if 'horizon' in name:
        return -1
    return min(value, 0 if value == 0 or name in ('length', 'delay') else 1)


def highest(value: int) -> int:
    """Where a slider ends: at a power of two that leaves room to double."""
    return max(8, 2 ** math.ceil(math.log2(max(2 * value, 1))))
