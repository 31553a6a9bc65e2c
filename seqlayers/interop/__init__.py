"""Weights from and for other libraries."""

from seqlayers.interop.published import load_published, to_published

__all__ = [
    'load_published',
    'to_published',
]
