"""Every layer with sample configurations. One contract suite runs over all of them: a new layer is one line here."""

import importlib
import pkgutil

from tests.registry.case import Case


def families() -> dict[str, list[Case]]:
    """The cases of each module of this package."""
    names = sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != 'case')
    return {name: importlib.import_module(f'{__name__}.{name}').CASES for name in names}


def all_cases() -> list[Case]:
    return [case for cases in families().values() for case in cases]
