"""The kinds of views: those of traces, and those that `explore` offers for a model."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import plots, traces
from .view import View

MASKS = 24  # lengths of the input that the mask view offers

# How each kind of trace is looked at: a function of the trace and the theme.
VIEWS: dict[type, Callable[[Any, str], View]] = {
    traces.AttentionTrace: plots.AttentionView,
    traces.ComparisonTrace: plots.ComparisonView,
    traces.DiagramTrace: plots.DiagramView,
    traces.MaskTableTrace: plots.MaskTableView,
    traces.MaskTrace: plots.MaskView,
    traces.ReceptiveFieldTrace: lambda trace, theme: plots.receptive_field_view(trace, theme=theme),
    traces.StateTrace: plots.StateView,
    traces.StepTrace: plots.StepTapeView,
    traces.StreamTrace: plots.TimelineView,
}


def view(trace: Any, theme: str = 'light') -> View:
    """The view of a trace: a picture in which one position can be moved.

    Raises:
      TypeError: it is not a trace.
      ValueError: there is no such theme.
    """
    if type(trace) not in VIEWS:
        kinds = ', '.join(kind.__name__ for kind in VIEWS)
        raise TypeError(f'viz: {type(trace).__name__} is no trace, view or picture; the traces are {kinds}')
    return VIEWS[type(trace)](trace, theme)


# --- of a model --------------------------------------------------------------------------------------
def receptive_field(explorer: Any) -> View:
    """One panel only: the slider goes through the phases."""
    trace = traces.trace_receptive_field(explorer.model, constants=explorer.constants)
    return plots.receptive_field_view(trace, theme=explorer.theme, panels=1)


def mask(explorer: Any) -> View:
    """The input's own masks, and then prefixes, with the side inputs of its first item."""
    batch, masks = len(explorer.x.mask), with_prefixes(explorer.x.mask)

    def for_all(a: Any) -> Any:
        is_of_items = np.shape(a)[:1] == (batch,) != (1,)  # one item serves a batch of any size
        return jnp.concatenate([a, jnp.repeat(a[:1], len(masks) - batch, 0)]) if is_of_items else a

    constants = jax.tree.map(for_all, explorer.constants)
    return view(traces.trace_mask(explorer.model, masks, constants=constants), explorer.theme)


def with_prefixes(masks: Any) -> np.ndarray:
    """Masks `[batch, time]`, and behind them prefixes from full to empty."""
    time = masks.shape[1]
    lengths = np.unique(np.linspace(0, time, MASKS + 1).astype(int))[::-1]
    return np.concatenate([np.asarray(masks), np.arange(time) < lengths[:, None]])


def diagram(explorer: Any) -> View:
    return view(traces.trace_diagram(explorer.model, constants=explorer.constants), explorer.theme)


def in_blocks(trace: Callable[..., Any]) -> Callable[[Any], View]:
    """A view of a trace of the model, the input and the block size."""

    def make(explorer: Any) -> View:
        found = trace(explorer.model, explorer.x, explorer.block_size.value, constants=explorer.constants)
        return view(found, explorer.theme)

    return make


def comparison(explorer: Any) -> View:
    trace = traces.compare_layer_and_step(
        explorer.model, explorer.x, explorer.block_size.value,
        forget_state=explorer.forget_state.value, constants=explorer.constants,
    )  # fmt: skip
    return view(trace, explorer.theme)


class Kind(NamedTuple):
    """A kind of view that `explore` offers.

    Attributes:
      make: the view of what an `Explorer` looks into.
      steps: whether it runs the model in blocks.
      forgets: whether the state may be forgotten.
      has: whether a model has something to see.
    """

    make: Callable[[Any], View]
    steps: bool = False
    forgets: bool = False
    has: Callable[[Any], bool] = lambda model: True

    def suits(self, model: Any) -> bool:
        """Whether a model can be looked at so."""
        return (model.supports_step or not self.steps) and self.has(model)


KINDS = {
    'receptive field': Kind(receptive_field),
    'mask': Kind(mask),
    'step tape': Kind(in_blocks(traces.trace_steps), steps=True),
    'state': Kind(in_blocks(traces.trace_state), steps=True),
    'layer and step': Kind(comparison, steps=True, forgets=True),
    'attention': Kind(
        in_blocks(traces.trace_attention), steps=True, has=lambda model: bool(traces.self_attention_layers(model))
    ),
    'diagram': Kind(diagram),
}
