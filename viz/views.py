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
class Kind(NamedTuple):
    """A kind of view that `explore` and its lab offer for a model.

    Attributes:
      make: the view of a subject in a theme. A subject has a `declaration` (or the model in its place), and what
        comes from it: `model`, `x`, `constants`, `block_size`, `forget_state`, `diagram`.
      steps: whether it runs the model in blocks.
      forgets: whether the state may be forgotten.
      has: whether a model has something to see.
    """

    make: Callable[[Any, str], View]
    steps: bool = False
    forgets: bool = False
    has: Callable[[Any], bool] = lambda model: True

    def suits(self, model: Any) -> bool:
        """Whether a model can be looked at so."""
        return (model.supports_step or not self.steps) and self.has(model)


def _receptive_field(subject: Any, theme: str) -> View:
    """One panel only: the slider goes through the phases."""
    trace = traces.trace_receptive_field(subject.declaration, constants=subject.constants)
    return plots.receptive_field_view(trace, theme=theme, panels=1)


def _mask(subject: Any, theme: str) -> View:
    """The input's own masks, and then prefixes, with the side inputs of its first item."""
    batch, masks = len(subject.x.mask), with_prefixes(subject.x.mask)

    def for_all(a: Any) -> Any:
        is_of_items = np.shape(a)[:1] == (batch,) != (1,)  # one item serves a batch of any size
        return jnp.concatenate([a, jnp.repeat(a[:1], len(masks) - batch, 0)]) if is_of_items else a

    constants = jax.tree.map(for_all, subject.constants)
    return view(traces.trace_mask(subject.model, masks, constants=constants), theme)


def with_prefixes(masks: Any) -> np.ndarray:
    """Masks `[batch, time]`, and behind them prefixes from full to empty."""
    time = masks.shape[1]
    lengths = np.unique(np.linspace(0, time, MASKS + 1).astype(int))[::-1]
    return np.concatenate([np.asarray(masks), np.arange(time) < lengths[:, None]])


def _in_blocks(trace: Callable[..., Any]) -> Callable[[Any, str], View]:
    """A view of a trace of the model, the input and the block size."""

    def make(subject: Any, theme: str) -> View:
        return view(trace(subject.model, subject.x, subject.block_size, constants=subject.constants), theme)

    return make


def _comparison(subject: Any, theme: str) -> View:
    trace = traces.compare_layer_and_step(
        subject.model, subject.x, subject.block_size, forget_state=subject.forget_state, constants=subject.constants
    )
    return view(trace, theme)


KINDS = {
    'block diagram': Kind(lambda subject, theme: view(subject.diagram, theme)),
    'receptive field': Kind(_receptive_field),
    'step tape': Kind(_in_blocks(traces.trace_steps), steps=True),
    'layer and step': Kind(_comparison, steps=True, forgets=True),
    'state': Kind(_in_blocks(traces.trace_state), steps=True),
    'attention': Kind(
        _in_blocks(traces.trace_attention), steps=True, has=lambda model: bool(traces.self_attention_layers(model))
    ),
    'mask': Kind(_mask),
}


def kinds_for(model: Any) -> list[str]:
    """The names of the kinds that suit a model."""
    return [name for name, kind in KINDS.items() if kind.suits(model)]
