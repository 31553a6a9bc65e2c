"""What happened in a model, as frozen dataclasses of numpy arrays. Nothing here plots."""

from .attention import AttentionTrace, self_attention_layers, trace_attention
from .comparison import ComparisonTrace, RowComparison, compare_layer_and_step
from .diagram import DiagramTrace, trace_diagram
from .edges import Edge
from .mask import MaskTrace, trace_mask
from .mask_table import MaskTableTrace, ModeMask, trace_mask_table
from .receptive_field import OutputField, ReceptiveFieldTrace, trace_receptive_field
from .state import StateLeaf, StateTrace, trace_state
from .steps import StepTrace, trace_steps
from .timeline import StreamTrace, trace_stream

__all__ = [
    'AttentionTrace', 'ComparisonTrace', 'DiagramTrace', 'Edge', 'MaskTableTrace', 'MaskTrace', 'ModeMask',
    'OutputField', 'ReceptiveFieldTrace', 'RowComparison', 'StateLeaf', 'StateTrace', 'StepTrace', 'StreamTrace',
    'compare_layer_and_step', 'self_attention_layers', 'trace_attention', 'trace_diagram', 'trace_mask',
    'trace_mask_table', 'trace_receptive_field', 'trace_state', 'trace_steps', 'trace_stream',
]  # fmt: skip
