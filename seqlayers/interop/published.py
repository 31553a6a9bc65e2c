"""Weights in the layout of the published SequenceLayers library.

There a variable is found by the names on the way to it: `params/layers_0/shortcut_layer/layers_1/kernel`. The
names follow from the attributes of a model: a child is called by its own `name`, else by its attribute, and
children in a tuple are numbered. A class of which that is not true says so in `published_names`, a map from
an attribute to its published path; an empty path means no level at all.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.core import meta

from seqlayers.combinators.residual import Residual
from seqlayers.composite import Composite
from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer

Model = TypeVar('Model', bound=SequenceLayer)

COLLECTIONS = {nnx.Param: 'params', nnx.BatchStat: 'batch_stats'}

# Attributes of combinators that put their children on their own level if `share_scope` says so.
_SHAREABLE = ('layers', 'child_layer')


def load_published(model: Model, variables: Mapping[str, Any]) -> Model:
    """The model with the weights of a checkpoint of the published library.

    Args:
      model: a built model, perhaps under `jax.eval_shape`, so that no weight is drawn. It stays as it is.
      variables: arrays by their published path, nested or flat with `/`, with or without the leading
        `params`. They are converted to the dtypes of the model.

    Raises:
      LayerError: the model is not built; or variables are missing, left over or misshapen: all are listed.

    >>> import seqlayers as sl
    >>> model = sl.Serial([sl.Dense(2, use_bias=False)]).build(sl.ChannelSpec((1,)), rngs=0)
    >>> loaded = load_published(model, {'params/layers_0/kernel': [[3.0, 4.0]]})
    >>> loaded.layers[0].kernel[...].tolist()
    [[3.0, 4.0]]
    """
    loaded = copy.deepcopy(_built(model, 'load_published'))
    wanted = _variables_by_path(loaded)
    given = {_with_collection(path): value for path, value in _flat(variables)}
    problems = [f'missing: {path} {list(wanted[path].shape)}' for path in wanted if path not in given]
    problems += [f'left over: {path} {list(given[path].shape)}' for path in given if path not in wanted]
    for path in wanted.keys() & given.keys():
        shape, right = list(given[path].shape), list(wanted[path].shape)
        if shape != right:
            problems.append(f'misshapen: {path} is {shape}, must be {right}')
    if problems:
        listed = '\n  '.join(sorted(problems))
        raise LayerError(f'load_published: the variables do not fit {type(model).__name__}:\n  {listed}')
    for path, variable in wanted.items():
        variable.set_value(jnp.asarray(given[path], variable.dtype))
    return loaded


def to_published(model: SequenceLayer) -> dict[str, Any]:
    """The variables of a built model, nested as in the published library: `{'params': {...}, ...}`.

    Raises:
      LayerError: the model is not built, or `share_scope` gives two variables one name.

    >>> import seqlayers as sl
    >>> model = sl.Serial([sl.Dense(2), sl.LSTM(1, use_bias=False)]).build(sl.ChannelSpec((3,)), rngs=0)
    >>> jax.tree.map(jnp.shape, to_published(model))
    {'params': {'layers_0': {'bias': (2,), 'kernel': (3, 2)},
                'layers_1': {'kernel': {'kernel': (2, 4)}, 'recurrent_kernel': {'kernel': (1, 4)}}}}
    """
    tree: dict[str, Any] = {}
    for path, variable in _variables_by_path(_built(model, 'to_published')).items():
        *levels, name = path.split('/')
        node = tree
        for level in levels:
            node = node.setdefault(level, {})
        node[name] = variable[...]
    return tree


def _built(model: Model, caller: str) -> Model:
    if not model.is_built:
        raise LayerError(f'{caller}: takes a built model, {model!r} is a declaration: call its build first')
    return model


def _variables_by_path(model: SequenceLayer) -> dict[str, nnx.Variable]:
    found: dict[str, nnx.Variable] = {}
    for path, variable in _variables(model, ''):
        if path in found:
            raise LayerError(f'share_scope gives two variables the published name {path}: share fewer layers')
        found[path] = variable
    return found


def _variables(module: nnx.Module, scope: str) -> Iterator[tuple[str, nnx.Variable]]:
    """The variables of a module and of all modules inside, by published path."""
    names = _published_names(module)
    for attribute, value in vars(module).items():
        path = names.get(attribute, attribute)
        if isinstance(value, nnx.Variable):
            yield _join(_collection(value), scope, path), value
        elif isinstance(value, nnx.Module):
            level = '' if _shares_scope(module, attribute, 0) else _level(path, value)
            yield from _variables(value, _join(scope, level))
        elif isinstance(value, tuple):
            for i, child in enumerate(value):
                if isinstance(child, nnx.Module):
                    level = '' if _shares_scope(module, attribute, i) else _level(f'{path}_{i}', child)
                    yield from _variables(child, _join(scope, level))


def _published_names(module: nnx.Module) -> Mapping[str, str]:
    match module:
        case Residual():
            return {'shortcut_layers': 'shortcut_layer/layers'}
        case Composite():
            return {'network': ''}
    return getattr(module, 'published_names', {})


def _shares_scope(module: nnx.Module, attribute: str, index: int) -> bool:
    shared = getattr(module, 'share_scope', False) if attribute in _SHAREABLE else False
    return shared[index] if isinstance(shared, tuple) else shared


def _level(path: str, child: nnx.Module) -> str:
    """The path of a child: its own name takes the place of the last part, unless it has no level."""
    name = getattr(child, 'name', None)
    return _join(path.rpartition('/')[0], name) if path and name else path


def _collection(variable: nnx.Variable) -> str:
    for kind, collection in COLLECTIONS.items():
        if isinstance(variable, kind):
            return collection
    known = ', '.join(kind.__name__ for kind in COLLECTIONS)
    raise LayerError(f'the published library has no place for {type(variable).__name__}, only for {known}')


def _join(*parts: str) -> str:
    return '/'.join(filter(None, parts))


def _flat(tree: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """The arrays of a nested or flat mapping by path, without the boxes that carry sharding in Flax Linen."""
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _flat(value, _join(path, name))
    else:
        leaf = tree.unbox() if isinstance(tree, meta.AxisMetadata) else tree
        yield path, leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)


def _with_collection(path: str) -> str:
    return path if path.split('/')[0] in COLLECTIONS.values() else _join('params', path)
