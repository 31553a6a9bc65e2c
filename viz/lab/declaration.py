"""A declaration as a tree that is edited. Declarations never change: each edit returns a new one.

A layer is addressed by its path from the root: pairs of a field that holds layers, and where in that field
(an index, a key of a mapping, or None if the field holds one layer). The root is the empty path.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import seqlayers as sl
from seqlayers.declaration import is_child_field

Slot = tuple[str, int | str | None]
Path = tuple[Slot, ...]
Edited = tuple[sl.SequenceLayer, Path]  # a declaration, and the layer in it to look at next


def layers(declaration: sl.SequenceLayer, path: Path = ()) -> Iterator[tuple[Path, sl.SequenceLayer]]:
    """All layers with their paths, outermost first."""
    yield path, declaration
    for slot, child in _children(declaration):
        yield from layers(child, (*path, slot))


def layer_at(declaration: sl.SequenceLayer, path: Path) -> sl.SequenceLayer:
    """The layer at a path.

    >>> layer_at(sl.Serial([sl.Delay(1), sl.Repeat(sl.Delay(2), 3)]), (('layers', 1), ('child_layer', None)))
    Delay(2)

    Raises:
      KeyError: there is none.
    """
    for slot in path:
        declaration = dict(_children(declaration))[slot]
    return declaration


def name_of(declaration: sl.SequenceLayer, path: Path) -> str:
    """The path as the library writes it: the names of the layers on the way.

    >>> name_of(sl.Serial([sl.Repeat(sl.Delay(2), 3, name='thrice')]), (('layers', 0), ('child_layer', None)))
    'thrice/child_layer'
    """
    names = []
    for slot in path:
        slots, inside = [found for found, _ in _children(declaration)], declaration.children()
        name, declaration = inside[slots.index(slot)]
        names.append(name)
    return '/'.join(names)


def is_in_list(path: Path) -> bool:
    """Whether the layer at a path has a place before and behind it."""
    return bool(path) and isinstance(path[-1][1], int)


# --- edits --------------------------------------------------------------------------------------------------
def replace(declaration: sl.SequenceLayer, path: Path, new: sl.SequenceLayer) -> Edited:
    """Another layer in the place of one.

    Raises:
      LayerError: a combinator around it does not take the new one.
    """
    if not path:
        return new, path
    *above, (field, place) = path
    parent = layer_at(declaration, tuple(above))
    value = getattr(parent, field)
    if isinstance(place, int):
        value = (*value[:place], new, *value[place + 1 :])
    else:
        value = new if place is None else {**value, place: new}
    return replace(declaration, tuple(above), parent.replace(**{field: value}))[0], path


def insert_behind(declaration: sl.SequenceLayer, path: Path, new: sl.SequenceLayer) -> Edited:
    """A layer behind another; both in a new `Serial` if there is only one place."""
    if is_in_list(path):
        return _insert(declaration, _beside(path, 1), new)
    pair = sl.Serial([layer_at(declaration, path), new])
    return replace(declaration, path, pair)[0], (*path, ('layers', 1))


def insert_inside(declaration: sl.SequenceLayer, path: Path, new: sl.SequenceLayer) -> Edited:
    """A layer at the end of the layers inside another.

    Raises:
      ValueError: that layer holds no list of layers.
    """
    layer = layer_at(declaration, path)
    field = _list_field(layer)
    if field is None:
        raise ValueError(f'{type(layer).__name__} holds no list of layers: choose Serial, Residual, Parallel or Skip')
    return _insert(declaration, (*path, (field, len(getattr(layer, field)))), new)


def wrap(declaration: sl.SequenceLayer, path: Path, around: sl.SequenceLayer) -> Edited:
    """The layer at a path put inside of another, in the place of all that is in there.

    Raises:
      ValueError: `around` holds no layers.
    """
    field = _list_field(around)
    single = [name for name, _ in _child_fields(around) if isinstance(getattr(around, name), sl.SequenceLayer)]
    if field is None and not single:
        raise ValueError(f'{type(around).__name__} holds no layers: choose a combinator, such as Residual or Repeat')
    inside = layer_at(declaration, path)
    value = (inside,) if field else inside
    return replace(declaration, path, around.replace(**{field or single[0]: value}))


def remove(declaration: sl.SequenceLayer, path: Path) -> Edited:
    """The declaration without a layer. A field that may be empty becomes None.

    Raises:
      ValueError: something has to stand in its place.
    """
    if is_in_list(path):
        siblings, index = _siblings(declaration, path)
        rest = siblings[:index] + siblings[index + 1 :]
        chosen = _beside(path, 0 if index < len(rest) else -1) if rest else path[:-1]
        return _with_siblings(declaration, path, rest), chosen
    if not path:
        raise ValueError('the model needs a layer: change this one, or put it inside of another')
    (field, place), parent = path[-1], layer_at(declaration, path[:-1])
    if place is not None or _default(parent, field) is not None:
        raise ValueError(f'{type(parent).__name__} needs a layer as its {field}: change this one')
    return replace(declaration, path[:-1], parent.replace(**{field: None}))


def move(declaration: sl.SequenceLayer, path: Path, by: int) -> Edited:
    """A layer one place up (`by=-1`) or down (1) among its siblings; at the end of them, out of the layer around.

    Raises:
      ValueError: there is no such place.
    """
    layer = layer_at(declaration, path)
    if is_in_list(path):
        siblings, index = _siblings(declaration, path)
        if 0 <= index + by < len(siblings):  # at once: without the layer the others might not fit
            rest = siblings[:index] + siblings[index + 1 :]
            rest = (*rest[: index + by], layer, *rest[index + by :])
            return _with_siblings(declaration, path, rest), _beside(path, by)
        if is_in_list(path[:-1]):
            return _insert(remove(declaration, path)[0], _beside(path[:-1], int(by > 0)), layer)
    raise ValueError(f'{type(layer).__name__} cannot move further {"down" if by > 0 else "up"}')


def duplicate(declaration: sl.SequenceLayer, path: Path) -> Edited:
    """A layer once more, behind itself; without its name, as the names of siblings differ."""
    return insert_behind(declaration, path, layer_at(declaration, path).replace(name=None))


def _insert(declaration: sl.SequenceLayer, path: Path, new: sl.SequenceLayer) -> Edited:
    """A layer at a place in a list; what stood there comes behind it."""
    siblings, index = _siblings(declaration, path)
    return _with_siblings(declaration, path, (*siblings[:index], new, *siblings[index:])), path


# --- places -------------------------------------------------------------------------------------------------
def _child_fields(layer: sl.SequenceLayer) -> list[tuple[str, Any]]:
    """The fields that hold layers, with their values."""
    fields = [f for f in dataclasses.fields(layer) if is_child_field(f)]  # type: ignore[arg-type]
    return [(f.name, getattr(layer, f.name)) for f in fields]


def _children(layer: sl.SequenceLayer) -> Iterator[tuple[Slot, sl.SequenceLayer]]:
    for field, value in _child_fields(layer):
        if isinstance(value, sl.SequenceLayer):
            yield (field, None), value
        elif isinstance(value, tuple):
            yield from (((field, i), child) for i, child in enumerate(value))
        elif isinstance(value, Mapping):
            yield from (((field, key), child) for key, child in value.items())


def _list_field(layer: sl.SequenceLayer) -> str | None:
    return next((name for name, value in _child_fields(layer) if isinstance(value, tuple)), None)


def _default(layer: sl.SequenceLayer, field: str) -> Any:
    return next(f.default for f in dataclasses.fields(layer) if f.name == field)


def _siblings(declaration: sl.SequenceLayer, path: Path) -> tuple[tuple[sl.SequenceLayer, ...], int]:
    field, index = path[-1]
    return getattr(layer_at(declaration, path[:-1]), field), int(index or 0)


def _beside(path: Path, by: int) -> Path:
    field, index = path[-1]
    return (*path[:-1], (field, int(index or 0) + by))


def _with_siblings(declaration: sl.SequenceLayer, path: Path, siblings: tuple) -> sl.SequenceLayer:
    parent = layer_at(declaration, path[:-1]).replace(**{path[-1][0]: siblings})
    return replace(declaration, path[:-1], parent)[0]
