"""A declaration as Python code, laid out as one would write it, and back."""

import dataclasses
import enum
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import seqlayers as sl
from seqlayers.declaration import Declared, HashableArray, is_child_field
from seqlayers.functions import NamedFunction, named

WIDTH = 100  # columns of a line
MODULES = {'sl': sl, 'jax': jax, 'jnp': jnp, 'np': np, 'math': math}
_PREFIXES = {'jax.numpy': 'jnp', 'seqlayers.signal': 'sl.signal', 'jax.nn': 'jax.nn'}


@dataclasses.dataclass(frozen=True)
class _Call:
    """A call, a list or a dict, with what stands in it: `(prefix, value)`, such as `('strides=', '2')`."""

    head: str
    items: tuple[tuple[str, 'str | _Call'], ...]
    tail: str


def to_python(value: Any) -> str:
    """A declaration, or the value of a field, as an expression over the names `sl`, `jax`, `jnp`, `np` and `math`.

    >>> import seqlayers as sl
    >>> print(to_python(sl.Serial([sl.Delay(1), sl.Conv1D(4, 3, padding='causal')])))
    sl.Serial([sl.Delay(1), sl.Conv1D(4, kernel_size=3, padding='causal')])

    Raises:
      ValueError: a field holds something without a name, such as a lambda.
    """
    return '\n'.join(_lines('', _parsed(value), '', 0))


def from_python(text: str, known: sl.SequenceLayer | None = None) -> Any:
    """The value of an expression. Classes and functions of the user's own that stand in `known` are found by name.

    Raises:
      Exception: whatever the expression raises.
    """
    return eval(text, {**MODULES, **dict(_own_names(known))})


# --- to a tree of calls -------------------------------------------------------------------------------------
def _parsed(value: Any) -> str | _Call:
    match value:
        case Declared():
            return _layer(value)
        case HashableArray(array=array):
            return f'np.array({array.tolist()}, {array.dtype.name!r})'
        case Mapping():
            return _Call('{', tuple((f'{k!r}: ', _parsed(v)) for k, v in value.items()), '}')
        case tuple() | list():
            return _sequence(value)
        case lax.Precision() | lax.DotAlgorithmPreset():
            return f'jax.lax.{type(value).__name__}.{value.name}'
        case enum.Enum():
            return repr(value.value)
        case np.dtype():
            return repr(value.name)
        case float() if not math.isfinite(value):
            return f"float('{value}')"
    if dataclasses.is_dataclass(value):  # an initializer, a spec
        fields = ((f'{f.name}=', _parsed(getattr(value, f.name))) for f in dataclasses.fields(value))
        return _Call(f'{_type_name(type(value))}(', tuple(fields), ')')
    return _function(value) if callable(value) else repr(value)


def _layer(layer: Any) -> _Call:
    """The fields that differ from their defaults, the first of them without its name."""
    fields = [f for f in dataclasses.fields(layer) if not f.kw_only]
    changes = layer.declared_changes()
    required = fields[:1] if fields and (fields[0].default is dataclasses.MISSING or is_child_field(fields[0])) else []
    bare = {f.name for f in required}
    items = tuple(('' if name in bare else f'{name}=', _parsed(value)) for name, value in changes.items())
    return _Call(f'{_type_name(type(layer))}(', items, ')')


def _sequence(values: Any) -> str | _Call:
    if values and all(isinstance(v, sl.SequenceLayer) for v in values):
        return _Call('[', tuple(('', _parsed(v)) for v in values), ']')
    inside = ', '.join('\n'.join(_lines('', _parsed(v), '', 0, math.inf)) for v in values)
    return f'({inside},)' if len(values) == 1 else f'({inside})'


def _function(fn: Any) -> str:
    name = named(fn)
    if not isinstance(name, NamedFunction):
        raise ValueError(f'{fn!r} has no name to write down: use a function of a module')
    return f'{_PREFIXES[name.module]}.{name.name}' if name.module in _PREFIXES else name.name


def _type_name(cls: type) -> str:
    """`sl.Conv1D`, `sl.models.EncoderDecoder`, `sl.initializers.Constant`; a class of the user's own by its name."""
    if cls.__module__.partition('.')[0] != 'seqlayers':
        return cls.__name__
    offers = {'sl': sl, 'sl.models': sl.models}
    module = next((k for k, m in offers.items() if getattr(m, cls.__name__, None) is cls), None)
    return f'{module or "sl" + cls.__module__.removeprefix("seqlayers")}.{cls.__name__}'


def _own_names(value: Any) -> Iterator[tuple[str, Any]]:
    """Classes and functions inside that are not of the library."""
    if isinstance(value, tuple):
        for inside in value:
            yield from _own_names(inside)
    elif isinstance(value, Mapping):
        yield from _own_names(tuple(value.values()))
    elif isinstance(value, Declared):
        yield type(value).__name__, type(value)
        yield from _own_names(tuple(value.field_values().values()))
    elif dataclasses.is_dataclass(value):
        yield type(value).__name__, type(value)
    elif callable(value) and isinstance(name := named(value), NamedFunction):
        yield name.name, value


# --- to lines -----------------------------------------------------------------------------------------------
def _flat(value: str | _Call) -> str:
    if isinstance(value, str):
        return value
    return value.head + ', '.join(prefix + _flat(item) for prefix, item in value.items) + value.tail


def _lines(prefix: str, value: str | _Call, after: str, indent: int, width: float = WIDTH) -> list[str]:
    """The lines of a value between `prefix` and `after`: one if it fits, else one for each thing in it."""
    flat = ' ' * indent + prefix + _flat(value) + after
    if isinstance(value, str) or len(flat) <= width or not value.items:
        return [flat]
    hugged = _hugged(prefix, value, after, indent)
    if hugged:
        return hugged
    inside = [line for p, item in value.items for line in _lines(p, item, ',', indent + 4)]
    return [f'{" " * indent}{prefix}{value.head}', *inside, f'{" " * indent}{value.tail}{after}']


def _hugged(prefix: str, value: _Call, after: str, indent: int) -> list[str]:
    """`sl.Residual([`, the layers, `], name='block')`: if a list comes first and the rest fits behind it."""
    (first_prefix, first), *rest = value.items
    if not isinstance(first, _Call) or first.head != '[':
        return []
    behind = ''.join(f', {p}{_flat(item)}' for p, item in rest) + value.tail + after
    lines = _lines(prefix + value.head + first_prefix, first, behind, indent, 0)
    return lines if len(lines[-1]) <= WIDTH and not any(isinstance(item, _Call) for _, item in rest) else []
