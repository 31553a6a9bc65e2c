"""Traces as matplotlib pictures. No function here runs a model."""

from .comparison import ComparisonView, plot_comparison
from .mask import MaskView, plot_mask
from .receptive_field import ReceptiveFieldView, plot_receptive_field, receptive_field_view
from .state import StateView, plot_state

__all__ = [
    'ComparisonView', 'MaskView', 'ReceptiveFieldView', 'StateView', 'plot_comparison', 'plot_mask',
    'plot_receptive_field', 'plot_state', 'receptive_field_view',
]  # fmt: skip
