"""A view at the position of a slider, as widgets: what `explore` and the lab have in common."""

import functools
from collections.abc import Callable
from typing import Any

from . import style
from .announce import heard
from .page import Picture
from .view import View


class Viewer:
    """Shows one view at a time. A move of its slider draws what was computed before.

    `slider`, `status` and `image` are its parts, to be laid out by who uses it; `view` is what it shows.
    """

    view: View

    def __init__(self, make: Callable[..., View]):
        """`make` gives a view of hashable arguments; the last views are kept, for undo and for a look at another."""
        widgets = require_ipywidgets()
        self._view_of = functools.lru_cache(8)(make)  # a view holds some megabytes of pixels
        self.slider = widgets.IntSlider(layout=widgets.Layout(width='440px'))
        self.image = widgets.Image(format='png', width=style.WIDTH, layout=widgets.Layout(max_width='100%'))
        self.status = widgets.HTML()
        self.slider.observe(self._move, 'value')

    @property
    def finding(self) -> str:
        """What the view says at this position."""
        return self.view.page.figure.finding

    def picture(self) -> Picture:
        """The picture that is shown."""
        return self.view.picture(self.slider.value)

    def look(self, *what: Any, stay: bool = False) -> None:
        """Turns to another view, at its start or where the slider is. If that fails, the last one stays."""
        view, here = self._view_of(*what), self.slider.value
        stay = stay and self.slider.description == view.word and here in view.positions
        position = here if stay else view.start
        self._show(view, position)
        self.slider.unobserve(self._move, 'value')
        self.slider.min, self.slider.max = min(self.slider.min, view.positions[0]), view.positions[-1]
        self.slider.min, self.slider.step = view.positions[0], view.positions.step
        self.slider.value, self.slider.description = position, view.word
        self.slider.observe(self._move, 'value')

    def _show(self, view: View, position: int) -> None:
        view.show(position)
        self.image.value = view.page.png()
        self.view = view
        self.status.value = heard(self.finding)

    def _move(self, change: object = None) -> None:
        self._show(self.view, self.slider.value)


def require_ipywidgets() -> Any:
    """The package, imported late: without it, all but widgets works."""
    try:
        import ipywidgets
    except ImportError as error:
        raise ImportError("viz.explore needs ipywidgets: pip install 'seqlayers[viz]'") from error
    return ipywidgets
