"""Looking into sequence layers: traces of what happened, pictures of them, and pictures with sliders.

>>> import seqlayers as sl, viz
>>> layer = sl.Conv1D(4, kernel_size=3, padding='causal')
>>> viz.trace_receptive_field(layer)
ReceptiveFieldTrace(Conv1D, {0: (-2, 0)}, not measured)
"""

from .explore import explore
from .plots import plot_comparison, plot_mask, plot_receptive_field, plot_state
from .traces import (
    ComparisonTrace,
    MaskTrace,
    ReceptiveFieldTrace,
    StateTrace,
    compare_layer_and_step,
    trace_mask,
    trace_receptive_field,
    trace_state,
)

__all__ = [
    'ComparisonTrace', 'MaskTrace', 'ReceptiveFieldTrace', 'StateTrace', 'compare_layer_and_step', 'explore',
    'plot_comparison', 'plot_mask', 'plot_receptive_field', 'plot_state', 'trace_mask',
    'trace_receptive_field', 'trace_state',
]  # fmt: skip
