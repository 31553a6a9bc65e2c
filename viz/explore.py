"""Pictures with sliders: one figure a trace, updated in place, shown through an image widget."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

import seqlayers as sl

from .announce import WORKING, heard, status
from .traces.diagram import DiagramTrace, trace_diagram
from .traces.run import block_size_of, built, built_for, random_input
from .view import View
from .viewer import Viewer, require_ipywidgets
from .views import KINDS, kinds_for

BLOCKS = 24  # blocks of an input that is made up


def explore(
    layer: Any,
    x: sl.Sequence | None = None,
    *,
    view: str | None = None,
    input_spec: sl.ChannelSpec | None = None,
    block_size: int | None = None,
    constants: Mapping | None = None,
    theme: str = 'light',
) -> Any:
    """Looks into a model: its receptive field, masks and state, its steps, and whether they agree with `layer`.

    A built layer gets an `Explorer`: pictures with a slider, which only moves through what was computed before;
    another view or block size runs the model again. A declaration alone gets the architecture lab (`viz.lab`), where
    its layers can be changed too.

    Args:
      layer: a built layer; or a declaration. With `x`, `view` or `block_size` it is built with random parameters.
      x: the input to run; by default noise with a gap of invalid timesteps.
      view: the first to show: 'receptive field' (the default), 'block diagram', 'step tape', 'layer and step', 'state',
        'attention' or 'mask'.
      input_spec: for a declaration, the input to build it for (8 channels if not given).
      block_size: input timesteps a step; by default the smallest.
      constants: side inputs of the layer.
      theme: 'light' or 'dark'.

    Raises:
      ImportError: ipywidgets is not installed.
      ValueError: the layer has no such view, or cannot step in such blocks.
    """
    require_ipywidgets()
    if isinstance(layer, sl.SequenceLayer) and not layer.is_built and x is None and view is None and block_size is None:
        from .lab import open_lab  # late, as it needs ipywidgets

        return open_lab(layer, input_spec, constants=constants, theme=theme)
    return Explorer(layer, x, view or 'receptive field', input_spec, block_size, constants, theme)


@dataclass(frozen=True, eq=False)
class Run:
    """What the views of an explorer look into."""

    model: Any
    x: sl.Sequence
    constants: Mapping | None
    block_size: int
    forget_state: bool

    @property
    def declaration(self) -> Any:
        """The model: what is built can be measured."""
        return self.model

    @property
    def diagram(self) -> DiagramTrace:
        return trace_diagram(self.model, constants=self.constants)


class Explorer(Viewer):
    """The widget that `explore` returns.

    Attributes:
      choice, slider, block_size, forget_state, status, image: its parts; `box` holds them all. Set their `value` to
        move it.
      model, x, constants: what is looked into, and what it is run on.
      theme: of the pictures.
    """

    def __init__(self, layer: Any, x: Any, view: str, input_spec: Any, block_size: Any, constants: Any, theme: str):
        super().__init__(self._make)
        self._shown = ''  # the kind of the view: the menu is ahead of it while one is computed, or has failed
        widgets = require_ipywidgets()
        self.model = built(layer, input_spec) if x is None else built_for(x, layer)
        self.constants, self.theme = constants, theme
        names = kinds_for(self.model)
        if view not in names:
            raise ValueError(
                f'viz.explore: {type(layer).__name__} has no view {view!r}; choose one of {names}. '
                + ('' if self.model.supports_step else self.model.explain_streamability())
            )
        smallest = self.model.block_size
        size = block_size_of(self.model, block_size) if self.model.supports_step else smallest
        self.x = _made_up(self.model, size) if x is None else x
        self.choice = widgets.Dropdown(options=names, value=view, description='view')
        self.block_size = widgets.BoundedIntText(
            value=size, min=smallest, max=max(size, self.x.shape[1]), step=smallest,
            description='block size', layout=widgets.Layout(width='180px'),
        )  # fmt: skip
        self.forget_state = widgets.Checkbox(description='forget the state', indent=False)
        controls = widgets.HBox([self.choice, self.slider, self.status])
        self.options = widgets.HBox([self.block_size, self.forget_state])
        self.box = widgets.VBox([controls, self.options, self.image])
        for control in (self.choice, self.block_size, self.forget_state):
            control.observe(self._recompute, 'value')
        self._recompute()

    def _make(self, kind: str, block_size: int, forget_state: bool) -> View:
        return KINDS[kind].make(Run(self.model, self.x, self.constants, block_size, forget_state), self.theme)

    def __repr__(self):
        return f'<Explorer, {self._shown}: {self.finding}>'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        """The widget, for a live kernel; without one the picture that is shown, with a slider of its own."""
        bundle, metadata = self.picture()._repr_mimebundle_()
        return {**self.box._repr_mimebundle_(), **bundle, 'text/plain': repr(self)}, metadata

    # --- events -----------------------------------------------------------------------------------------
    def _recompute(self, change: Any = None) -> None:
        """Another view, or another run."""
        kind = KINDS[self.choice.value]
        self.options.layout.display = 'flex' if kind.steps else 'none'
        self.forget_state.layout.display = 'flex' if kind.forgets else 'none'
        smallest = self.model.block_size
        if self.block_size.value % smallest:
            self.block_size.value = self.block_size.value // smallest * smallest  # observed: comes back here
            return
        self.status.value = status(WORKING)
        try:
            self.look(self.choice.value, self.block_size.value, self.forget_state.value)
            self._shown = self.choice.value
        finally:  # also of what is interrupted
            self.status.value = heard(self.finding) if self._shown else ''


def _made_up(model: Any, block_size: int) -> sl.Sequence:
    """Noise of some blocks, two of them invalid."""
    time = BLOCKS * block_size
    x = random_input(model.input_spec, 1, time)
    block = np.arange(time) // block_size
    return sl.Sequence(x.values, jnp.asarray(~np.isin(block, (BLOCKS // 2, BLOCKS // 2 + 1)))[None])
