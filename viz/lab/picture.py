"""The lab's picture: a menu of views, a slider, and one image."""

from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from ..plots.diagram import DiagramView
from ..viewer import Viewer
from ..views import KINDS, kinds_for
from .study import Study, quick_compilation


class Picture(Viewer):
    """Shows one view of a study; `choose` is called when the user wants another.

    `choice` is the menu, `box` holds it and the parts of the viewer.
    """

    def __init__(self, theme: str, choose: Callable[[], None]):
        super().__init__(lambda study, name: KINDS[name].make(study, theme))
        self._choose = lambda _: choose()
        self.choice = widgets.Dropdown(options=list(KINDS), description='view', layout=widgets.Layout(width='280px'))
        self.choice.observe(self._choose, 'value')
        self.box = widgets.VBox([widgets.HBox([self.choice, self.slider, self.status]), self.image])

    def show(self, study: Study) -> None:
        """The chosen view of another model, which is `study` from then on.

        Raises:
          Exception: the model cannot be built or run.
        """
        name = self._offer(study)
        with quick_compilation():
            self.look(study, name, stay=True)
        self.study = study

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
