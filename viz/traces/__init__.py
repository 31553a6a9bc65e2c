"""What happened in a model, as frozen dataclasses of numpy arrays. Nothing here plots."""

from .comparison import ComparisonTrace, RowComparison, compare_layer_and_step
from .edges import Edge
from .mask import MaskTrace, trace_mask
from .receptive_field import OutputField, ReceptiveFieldTrace, trace_receptive_field
from .state import StateLeaf, StateTrace, trace_state

__all__ = [
    'ComparisonTrace', 'Edge', 'MaskTrace', 'OutputField', 'ReceptiveFieldTrace', 'RowComparison',
    'StateLeaf', 'StateTrace', 'compare_layer_and_step', 'trace_mask', 'trace_receptive_field', 'trace_state',
]  # fmt: skip
