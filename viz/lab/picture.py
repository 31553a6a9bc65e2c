"""The lab's picture: a menu of views, a slider, and one image."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import ipywidgets as widgets

from .. import plots, style, traces
from ..plots.diagram import DiagramView
from ..view import View
from ..views import view, with_prefixes
from .study import Study, quick_compilation


def _diagram(study: Study, theme: str) -> View:
    return view(study.diagram, theme)


def _receptive_field(study: Study, theme: str) -> View:
    return plots.receptive_field_view(traces.trace_receptive_field(study.declaration), theme=theme, panels=1)


def _of_run(trace: Callable[..., Any]) -> Callable[[Study, str], View]:
    """A view of a trace of the model on the study's input."""

    def make(study: Study, theme: str) -> View:
        return view(trace(study.model, study.x, constants=study.constants(1, study.time)), theme)

    return make


def _mask(study: Study, theme: str) -> View:
    """The gap in the middle, and then prefixes from full to empty."""
    masks = with_prefixes(study.x.mask)
    return view(traces.trace_mask(study.model, masks, constants=study.constants(*masks.shape)), theme)


class Kind(NamedTuple):
    """A kind of view: how it is made of a study in a theme, and which declarations have something to see in it."""

    make: Callable[[Study, str], View]
    suits: Callable[[Any], bool] = lambda declaration: True


def _can_step(declaration: Any) -> bool:
    return declaration.supports_step


def _attends(declaration: Any) -> bool:
    return declaration.supports_step and bool(traces.self_attention_layers(declaration))


VIEWS = {
    'block diagram': Kind(_diagram),
    'receptive field': Kind(_receptive_field),
    'step tape': Kind(_of_run(traces.trace_steps), _can_step),
    'layer and step': Kind(_of_run(traces.compare_layer_and_step), _can_step),
    'state': Kind(_of_run(traces.trace_state), _can_step),
    'attention': Kind(_of_run(traces.trace_attention), _attends),
    'mask': Kind(_mask),
}


class Picture:
    """Shows one view of a study; `choose` is called when the user wants another.

    `choice`, `slider`, `status` and `image` are its parts, `box` holds them. A move of the slider computes nothing.
    """

    def __init__(self, theme: str, choose: Callable[[], None]):
        # A picture holds some megabytes of pixels; undo and a look at another view go back to one of the last.
        self._view_of = functools.lru_cache(8)(lambda study, name: VIEWS[name].make(study, theme))
        self._choose = lambda _: choose()
        self.choice = widgets.Dropdown(options=list(VIEWS), description='view', layout=widgets.Layout(width='280px'))
        self.slider = widgets.IntSlider(layout=widgets.Layout(width='440px'))
        self.image = widgets.Image(format='png', width=style.WIDTH, layout=widgets.Layout(max_width='100%'))
        self.status = widgets.HTML()
        self.box = widgets.VBox([widgets.HBox([self.choice, self.slider, self.status]), self.image])
        self.choice.observe(self._choose, 'value')
        self.slider.observe(self._move, 'value')

    @property
    def finding(self) -> str:
        """What the picture says."""
        return self.view.page.figure.finding

    def show(self, study: Study) -> None:
        """The chosen view of another model, which is `study` from then on.

        Raises:
          Exception: the model cannot be built or run.
        """
        name = self._offer(study)
        with quick_compilation():
            self.view, self.study = self._view_of(study, name), study
        self._place_slider()
        self._move()

    def point_at(self, name: str) -> None:
        """Moves the focus of a block diagram to the layer of that path, or to the block that it is folded into."""
        if isinstance(self.view, DiagramView):
            places = {node.path: i for i, line in reversed([*enumerate(self.view.lines)]) for node in line.nodes}
            while name and name not in places:
                name = name.rpartition('/')[0]
            self.slider.value = places.get(name, self.slider.value)

    def _offer(self, study: Study) -> str:
        """Puts the views that the model has into the menu; the chosen one, or the first if that is none of them."""
        names = [name for name, kind in VIEWS.items() if kind.suits(study.declaration)]
        chosen: Any = self.choice.value if self.choice.value in names else names[0]
        if list(self.choice.options) != names:
            self.choice.unobserve(self._choose, 'value')
            self.choice.options, self.choice.value = names, chosen
            self.choice.observe(self._choose, 'value')
        return chosen

    def _place_slider(self) -> None:
        """The slider on the positions of the view: where it was, if that is one of them."""
        positions, here = self.view.positions, self.slider.value
        self.slider.unobserve(self._move, 'value')
        self.slider.min, self.slider.max = min(self.slider.min, positions[0]), positions[-1]
        self.slider.min, self.slider.step = positions[0], positions.step
        same = self.slider.description == self.view.word and here in positions
        self.slider.value, self.slider.description = here if same else self.view.start, self.view.word
        self.slider.observe(self._move, 'value')

    def _move(self, change: object = None) -> None:
        self.view.show(self.slider.value)
        self.image.value = self.view.page.png()
