"""Traces as matplotlib pictures. No function here runs a model."""

from .attention import AttentionView, plot_attention
from .comparison import ComparisonView, plot_comparison
from .diagram import DiagramView, plot_diagram
from .mask import MaskView, plot_mask
from .mask_table import MaskTableView, plot_mask_table
from .receptive_field import ReceptiveFieldView, plot_receptive_field, receptive_field_view
from .state import StateView, plot_state
from .steps import StepTapeView, plot_steps
from .timeline import TimelineView, plot_stream

__all__ = [
    'AttentionView', 'ComparisonView', 'DiagramView', 'MaskTableView', 'MaskView', 'ReceptiveFieldView', 'StateView',
    'StepTapeView', 'TimelineView', 'plot_attention', 'plot_comparison', 'plot_diagram', 'plot_mask',
    'plot_mask_table', 'plot_receptive_field', 'plot_state', 'plot_steps', 'plot_stream', 'receptive_field_view',
]  # fmt: skip
