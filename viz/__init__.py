"""Looking into sequence layers: traces of what happened, pictures of them, and pictures with sliders.

>>> import seqlayers as sl, viz
>>> layer = sl.Conv1D(4, kernel_size=3, padding='causal')
>>> viz.trace_receptive_field(layer)
ReceptiveFieldTrace(Conv1D, {0: (-2, 0)}, not measured)
"""

from .explore import explore
from .export import save, to_html
from .plots import (
    plot_attention,
    plot_comparison,
    plot_diagram,
    plot_mask,
    plot_mask_table,
    plot_receptive_field,
    plot_state,
    plot_steps,
    plot_stream,
)
from .traces import (
    AttentionTrace,
    ComparisonTrace,
    DiagramTrace,
    MaskTableTrace,
    MaskTrace,
    ReceptiveFieldTrace,
    StateTrace,
    StepTrace,
    StreamTrace,
    compare_layer_and_step,
    trace_attention,
    trace_diagram,
    trace_mask,
    trace_mask_table,
    trace_receptive_field,
    trace_state,
    trace_steps,
    trace_stream,
)
from .views import view

__all__ = [
    'AttentionTrace', 'ComparisonTrace', 'DiagramTrace', 'MaskTableTrace', 'MaskTrace', 'ReceptiveFieldTrace',
    'StateTrace', 'StepTrace', 'StreamTrace', 'compare_layer_and_step', 'explore', 'plot_attention',
    'plot_comparison', 'plot_diagram', 'plot_mask', 'plot_mask_table', 'plot_receptive_field', 'plot_state',
    'plot_steps', 'plot_stream', 'save', 'to_html', 'trace_attention', 'trace_diagram', 'trace_mask',
    'trace_mask_table', 'trace_receptive_field', 'trace_state', 'trace_steps', 'trace_stream', 'view',
]  # fmt: skip
