"""What makes a layer its own declaration: dataclass fields that are fixed, hashable and comparable.

A layer class is a Flax NNX module and a dataclass of its hyper-parameters. This file holds the second half; nothing
here knows about time, sequences or building.
"""

import dataclasses
import enum
import functools
import inspect
import numbers
import operator
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

T = TypeVar('T')


class _OwnClass:
    """`Layer.Config` is `Layer`: in the published spelling `Layer.Config(...).make()` is a declaration."""

    def __get__(self, obj: object, cls: type[T]) -> type[T]:
        return cls


class _OwnSignature:
    """What `help` and Jupyter's tooltips show: NNX's metaclass hides the parameters of the constructor."""

    def __get__(self, obj: object, cls: type) -> inspect.Signature:
        constructor = inspect.signature(cls.__init__)
        return constructor.replace(parameters=list(constructor.parameters.values())[1:])


class HashableArray:
    """An array as a hyper-parameter: compared and hashed by value, so that it can be static under `jit`."""

    def __init__(self, array: Any):
        self.array = np.array(array)  # a copy: the caller's array stays writable
        self.array.setflags(write=False)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype)

    def __eq__(self, other):
        return isinstance(other, HashableArray) and self._identity() == other._identity()

    def __hash__(self):
        return hash(self._identity())

    def _identity(self):
        return self.array.dtype, self.array.shape, self.array.tobytes()

    def __repr__(self):
        return repr(self.array.tolist())


@jax.tree_util.register_pytree_with_keys_class
class LayerDict(dict):
    """Layers by name in a field: a mapping that hashes like one of the declaration's other values."""

    def __hash__(self):
        return hash(tuple(sorted(self.items(), key=operator.itemgetter(0))))

    def tree_flatten_with_keys(self):
        return tuple((jax.tree_util.DictKey(k), v) for k, v in self.items()), tuple(self)

    @classmethod
    def tree_unflatten(cls, names, layers):
        return cls(zip(names, layers, strict=True))


def freeze(value: Any, field: str) -> Any:
    """A hashable form of a field's value: tuples for lists, sorted pairs for dicts, `np.dtype` for dtypes."""
    if isinstance(value, list | tuple):
        return tuple(freeze(v, field) for v in value)
    if isinstance(value, Mapping):
        return tuple((k, freeze(v, field)) for k, v in sorted(value.items()))
    if isinstance(value, np.ndarray | jax.Array):
        return HashableArray(value)
    if value is not None and (field == 'dtype' or field.endswith('_dtype')):
        return jnp.dtype(value)
    return value


M = TypeVar('M', bound='Declared')


def with_parts(built: M, **parts: Any) -> M:
    """A built layer with other attributes: an object of its own around the same arrays."""
    copied = jax.tree.map(lambda leaf: leaf, built)
    for name, part in parts.items():
        setattr(copied, name, part)
    return copied


def is_child_field(field: dataclasses.Field) -> bool:
    """Whether the field holds layers: such fields are declared with `nnx.data()`."""
    return field.metadata.get('static') is False


@functools.cache
def _fields(cls: type) -> dict[str, dataclasses.Field]:
    """The fields by name, in the order of the constructor: those that take keywords only come last."""
    return {f.name: f for f in sorted(dataclasses.fields(cls), key=lambda f: f.kw_only is True)}


@typing.dataclass_transform(eq_default=False, field_specifiers=(dataclasses.field, nnx.data, nnx.static))
class Declared(nnx.Module):
    """An NNX module whose subclasses are dataclasses with fixed fields.

    Declared (no arrays yet), instances are equal and hash alike when type and fields are equal; once built they are
    compared by identity, because two models may differ in their weights.
    """

    Config = _OwnClass()
    __signature__ = _OwnSignature()
    is_built = False

    # Published names of fields that are methods here: {'layer': 'child_layer'}. The constructor takes both.
    field_aliases: typing.ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        doc = cls.__dict__.get('__doc__')
        dataclasses.dataclass(cls, eq=False, repr=False)
        cls.__doc__ = doc  # the dataclass decorator would invent one
        if cls.field_aliases:
            cls.__init__ = _accept_aliases(cls.__init__, cls.field_aliases)

    def make(self) -> Self:
        """The declaration itself: `Layer.Config(...).make()` is the published spelling of `Layer(...)`."""
        return self

    def replace(self, **changes: Any) -> Self:
        """A declaration with some fields changed. Of a built layer too: the layers inside are declarations again.

        Raises:
          AttributeError: the layer has no such field.
        """
        cls = type(self)
        changes = {cls.field_aliases.get(name, name): value for name, value in changes.items()}
        if unknown := sorted(changes.keys() - _fields(cls).keys()):
            valid = ', '.join(_fields(cls))
            raise AttributeError(f'{cls.__name__} has no field {", ".join(unknown)}; its fields are: {valid}')
        return cls(**{**(self._declared_values() if self.is_built else self.field_values()), **changes})

    copy = replace  # published spelling

    def field_values(self) -> dict[str, Any]:
        """The hyper-parameters by name, child layers included."""
        return {name: getattr(self, name) for name in _fields(type(self))}

    def _declared_values(self) -> dict[str, Any]:
        values = self.field_values()
        for field in filter(is_child_field, _fields(type(self)).values()):
            values[field.name] = jax.tree.map(
                lambda layer: layer.replace(), values[field.name], is_leaf=lambda v: isinstance(v, Declared)
            )
        return values

    def declared_changes(self) -> dict[str, Any]:
        """The fields that differ from their defaults, in order: what one has to write to get this layer."""
        fields = _fields(type(self)).values()
        return {f.name: getattr(self, f.name) for f in fields if f.repr and not _is_default(f, getattr(self, f.name))}

    def __setattr__(self, name: str, value: Any) -> None:
        field = _fields(type(self)).get(name) if dataclasses.is_dataclass(type(self)) else None
        if field is not None and is_child_field(field):
            value = tuple(value) if isinstance(value, list | Iterator) else value
        elif field is not None:
            if name in self.__dict__:
                raise AttributeError(
                    f'{type(self).__name__}.{name} is fixed once the layer is declared: '
                    f'use layer.replace({name}=...) for a changed declaration'
                )
            value = freeze(value, name)
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Declared) or self.is_built or other.is_built:
            return self is other
        return type(self) is type(other) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return object.__hash__(self) if self.is_built else hash((type(self), self._identity()))

    def _identity(self) -> tuple:
        return _exact(tuple(self.field_values().values()))

    def __repr__(self) -> str:
        changes = self.declared_changes()
        fields = [f for f in _fields(type(self)).values() if not f.kw_only]
        bare = fields[0].name if fields and fields[0].default is dataclasses.MISSING else None
        shown = [_show(v) if k == bare else f'{k}={_show(v)}' for k, v in changes.items()]
        return f'{type(self).__name__}({", ".join(shown)})'

    # A copy shares functions and hyper-parameters, so that it is the same static value under jit: no retrace.
    def __deepcopy__(self, memo: dict) -> Self:
        leaves, treedef = jax.tree.flatten(self)
        return jax.tree.unflatten(treedef, leaves)

    # Functions such as jax.nn.relu do not pickle by themselves; they are written by name.
    def __getstate__(self) -> dict[str, Any]:
        from seqlayers.functions import named  # a leaf module; imported late because it is rarely needed

        fields = _fields(type(self))
        return {k: named(v) if k in fields and callable(v) else v for k, v in self.__dict__.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        from seqlayers.functions import NamedFunction

        vars(self).update({k: v.resolve() if isinstance(v, NamedFunction) else v for k, v in state.items()})


def _exact(value: Any) -> Any:
    """Numbers with their type: 2, 2.0 and True are equal in Python, but not what a layer computes with them."""
    if isinstance(value, tuple):
        return tuple(map(_exact, value))
    return (type(value), value) if isinstance(value, numbers.Number) else value


def _accept_aliases(init: Any, aliases: Mapping[str, str]) -> Any:
    @functools.wraps(init)
    def __init__(self, *args, **kwargs):
        init(self, *args, **{aliases.get(name, name): value for name, value in kwargs.items()})

    return __init__


def _is_default(field: dataclasses.Field, value: Any) -> bool:
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if default is dataclasses.MISSING:
        return False
    default = freeze(default, field.name)
    return type(value) is type(default) and operator.eq(value, default)


def _show(value: Any) -> str:
    if isinstance(value, Declared):
        return Declared.__repr__(value)
    if isinstance(value, tuple) and value and all(isinstance(v, Declared) for v in value):
        return '[' + ', '.join(map(_show, value)) + ']'
    if isinstance(value, LayerDict):
        return '{' + ', '.join(f'{k!r}: {_show(v)}' for k, v in value.items()) + '}'
    if isinstance(value, np.dtype):
        return repr(value.name)
    if isinstance(value, enum.Enum):
        return repr(value.value)
    if callable(value) and not dataclasses.is_dataclass(value) and hasattr(value, '__name__'):
        return value.__name__
    return repr(value)
