"""Pictures with sliders: one figure a trace, updated in place, shown through an image widget."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

import seqlayers as sl

from . import plots, traces
from .traces.run import block_size_of, built, random_input
from .view import View

BLOCKS = 24  # blocks of an input that is made up
MASKS = 24  # lengths that the mask view offers


def explore(
    layer: Any,
    x: sl.Sequence | None = None,
    *,
    view: str = 'receptive field',
    input_spec: sl.ChannelSpec | None = None,
    block_size: int | None = None,
    constants: Mapping | None = None,
    theme: str = 'light',
) -> 'Explorer':
    """Looks into a layer: its receptive field, its masks, its state, and whether `layer` and `step` agree.

    The slider only moves through what was computed before; another view or block size runs the model again.

    Args:
      layer: a built layer; or a declaration, then built with random parameters.
      x: the input to run; by default noise with a gap of invalid timesteps.
      view: the first to show: 'receptive field', 'mask', 'state' or 'layer and step'.
      input_spec: for a declaration, the input to build it for (8 channels if not given).
      block_size: input timesteps a step; by default the smallest.
      constants: side inputs of the layer.
      theme: 'light' or 'dark'.

    Raises:
      ImportError: ipywidgets is not installed.
      ValueError: the layer has no such view, or cannot step in such blocks.
    """
    return Explorer(layer, x, view, input_spec, block_size, constants, theme)


class Explorer:
    """The widget that `explore` returns; `image` and `slider` are its parts."""

    def __init__(self, layer: Any, x: Any, view: str, input_spec: Any, block_size: Any, constants: Any, theme: str):
        widgets = _ipywidgets()
        self.model = built(layer, input_spec)
        self._x, self._constants, self._theme = x, constants, theme
        self._views: dict[tuple, View] = {}
        makers = self._makers()
        if view not in makers:
            raise ValueError(
                f'viz.explore: {type(layer).__name__} has no view {view!r}; choose one of {list(makers)}. '
                + ('' if self.model.supports_step else self.model.explain_streamability())
            )
        smallest = self.model.block_size
        size = block_size_of(self.model, block_size) if self.model.supports_step else smallest
        self._x = _made_up(self.model, size) if x is None else x
        self.choice = widgets.Dropdown(options=list(makers), value=view, description='view')
        self.slider = widgets.IntSlider(continuous_update=True, layout=widgets.Layout(width='420px'))
        self.block_size = widgets.BoundedIntText(
            value=size, min=smallest, max=max(size, self._x.shape[1]), step=smallest,
            description='block size', layout=widgets.Layout(width='180px'),
        )  # fmt: skip
        self.forget_state = widgets.Checkbox(description='forget the state', indent=False)
        self.image = widgets.Image(format='png', width=900)
        controls = widgets.HBox([self.choice, self.slider])
        self.options = widgets.HBox([self.block_size, self.forget_state])
        self.box = widgets.VBox([controls, self.options, self.image])
        for control in (self.choice, self.block_size, self.forget_state):
            control.observe(self._recompute, 'value')
        self.slider.observe(self._move, 'value')
        self._recompute()

    @property
    def view(self) -> View:
        """The view that is shown."""
        key = self.choice.value, self.block_size.value, self.forget_state.value
        if key not in self._views:
            self._views[key] = self._makers()[self.choice.value]()
        return self._views[key]

    def __repr__(self):
        return f'<Explorer, {self.choice.value}: {self.view.page.figure.finding}>'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        bundle = dict(self.box._repr_mimebundle_())
        return {**bundle, 'text/plain': repr(self), 'image/png': bytes(self.image.value)}, {'image/png': {'width': 900}}

    # --- views ------------------------------------------------------------------------------------------
    def _makers(self) -> dict[str, Callable[[], View]]:
        makers = {'receptive field': self._receptive_field, 'mask': self._mask}
        return makers | ({'state': self._state, 'layer and step': self._comparison} if self.model.supports_step else {})

    def _receptive_field(self) -> View:
        trace = traces.trace_receptive_field(self.model, constants=self._constants)
        return plots.receptive_field_view(trace, theme=self._theme, panels=1)

    def _mask(self) -> View:
        """The input's own masks, and then prefixes from full to empty."""
        time = self._x.shape[1]
        lengths = np.unique(np.linspace(0, time, MASKS + 1).astype(int))[::-1]
        prefixes = np.arange(time) < lengths[:, None]
        masks = np.concatenate([np.asarray(self._x.mask), prefixes])
        return plots.MaskView(traces.trace_mask(self.model, masks, constants=self._constants), self._theme)

    def _state(self) -> View:
        trace = traces.trace_state(self.model, self._x, self.block_size.value, constants=self._constants)
        return plots.StateView(trace, self._theme)

    def _comparison(self) -> View:
        trace = traces.compare_layer_and_step(
            self.model, self._x, self.block_size.value,
            forget_state=self.forget_state.value, constants=self._constants,
        )  # fmt: skip
        return plots.ComparisonView(trace, self._theme)

    # --- events -----------------------------------------------------------------------------------------
    def _recompute(self, change: Any = None) -> None:
        """Another view or another run: the slider gets its positions."""
        steps = self.choice.value in ('state', 'layer and step')
        self.options.layout.display = 'flex' if steps else 'none'
        self.forget_state.layout.display = 'flex' if self.choice.value == 'layer and step' else 'none'
        smallest = self.model.block_size
        if self.block_size.value % smallest:
            self.block_size.value = self.block_size.value // smallest * smallest  # observed: comes back here
            return
        view = self.view
        with self.slider.hold_trait_notifications():
            self.slider.unobserve(self._move, 'value')
            self.slider.min, self.slider.max = 0, view.positions[-1]
            self.slider.min, self.slider.value = view.positions[0], view.start
            self.slider.step, self.slider.description = view.positions.step, view.word
        self.slider.observe(self._move, 'value')
        self._move()

    def _move(self, change: Any = None) -> None:
        view = self.view
        view.show(self.slider.value)
        self.image.value = view.page.png()


def _made_up(model: Any, block_size: int) -> sl.Sequence:
    """Noise of some blocks, two of them invalid."""
    time = BLOCKS * block_size
    x = random_input(model.input_spec, 1, time)
    block = np.arange(time) // block_size
    return sl.Sequence(x.values, jnp.asarray(~np.isin(block, (BLOCKS // 2, BLOCKS // 2 + 1)))[None])


def _ipywidgets() -> Any:
    try:
        import ipywidgets
    except ImportError as error:
        raise ImportError("viz.explore needs ipywidgets: pip install 'seqlayers[viz]'") from error
    return ipywidgets
