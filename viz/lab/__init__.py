"""The architecture lab: a declaration as a tree that is edited, and what the library knows of it, at once."""

try:
    import ipywidgets as _  # noqa: F401
except ImportError as error:
    raise ImportError("viz.lab needs ipywidgets: pip install 'seqlayers[viz]'") from error

from .lab import Lab, open_lab

__all__ = ['Lab', 'open_lab']
