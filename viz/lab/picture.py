"""The lab's picture: a menu of views, a slider, and one image."""

import functools
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from .. import style
from ..announce import heard
from ..plots.diagram import DiagramView
from ..views import KINDS, kinds_for
from .study import Study, quick_compilation


class Picture:
    """Shows one view of a study; `choose` is called when the user wants another.

    `choice`, `slider`, `status` and `image` are its parts, `box` holds them. A move of the slider computes nothing.
    """

    def __init__(self, theme: str, choose: Callable[[], None]):
        # A picture holds some megabytes of pixels; undo and a look at another view go back to one of the last.
        self._view_of = functools.lru_cache(8)(lambda study, name: KINDS[name].make(study, theme))
        self._choose = lambda _: choose()
        self.choice = widgets.Dropdown(options=list(KINDS), description='view', layout=widgets.Layout(width='280px'))
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
        names = kinds_for(study.declaration)
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
        self.status.value = heard(self.finding)
