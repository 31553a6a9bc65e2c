"""Functions as hyper-parameters: known by name, so that a layer can be pickled and written to JSON."""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

# Where a bare name such as 'gelu' is looked for, in this order.
LIBRARIES = ('jax.nn', 'jax.numpy', 'seqlayers.signal')


@dataclasses.dataclass(frozen=True)
class NamedFunction:
    """A function by the module that offers it and its name there."""

    module: str
    name: str

    def resolve(self) -> Callable:
        return getattr(importlib.import_module(self.module), self.name)


def named(fn: Any) -> Any:
    """The function by name, or `fn` itself when it is not found under its own name anywhere."""
    name = getattr(fn, '__name__', None)
    if name is None or dataclasses.is_dataclass(fn):
        return fn
    for module in (*LIBRARIES, getattr(fn, '__module__', None)):
        if module and getattr(importlib.import_module(module), name, None) is fn:
            return NamedFunction(module, name)
    return fn


def function_by_name(name: str) -> Callable:
    """The function of that name in `jax.nn`, `jax.numpy` or `seqlayers.signal`."""
    for module in LIBRARIES:
        if callable(fn := getattr(importlib.import_module(module), name, None)):
            return fn
    raise ValueError(f'no function {name!r} in {", ".join(LIBRARIES)}')
