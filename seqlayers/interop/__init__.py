"""Weights from and for other libraries."""

from seqlayers.interop.published import load_published, to_published
