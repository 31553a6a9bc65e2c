"""The widgets of the lab and where they stand; what they do is said in `lab.py`."""

from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from .catalogue import CATALOGUE
from .gallery import GALLERY
from .panel import FieldPanel
from .picture import Picture

DTYPES = ('float32', 'bfloat16', 'float16', 'int32')
RUNS = 'Runs as Python in this notebook’s kernel, as do the text fields of layers: apply only what you trust.'
TALL = 330  # px of the row above the picture


class Layout:
    """All widgets by name; `box` holds them."""

    def __init__(self, theme: str, edit_field: Callable[[], None], show_picture: Callable[[], None]):
        self.gallery: Any = _menu([('start from ...', ''), *((name, name) for name in GALLERY)], '175px')
        self.undo, self.redo = _button('undo', 'undo'), _button('redo', 'repeat')
        self.tree = widgets.Select(rows=11, layout=_wide(), tooltip='the layers of the model')
        self.up, self.down = _button('up', 'arrow-up'), _button('down', 'arrow-down')
        self.duplicate, self.remove = _button('copy', 'clone'), _button('remove', 'trash')
        self.family: Any = _menu(list(CATALOGUE), '49%')
        self.layer: Any = _menu(list(CATALOGUE[self.family.value]), '49%')
        self.behind = _button('add', 'plus', 'put the layer behind the chosen one')
        self.inside = _button('inside', 'sign-in', 'put the layer inside the chosen one, at the end')
        self.around = _button('around', 'object-group', 'put the layer around the chosen one')
        self.fields = FieldPanel(edit_field)
        self.numbers = widgets.HTML()
        self.alert = widgets.HTML(layout=_wide())
        self.picture = Picture(theme, show_picture)
        self.code = widgets.Textarea(rows=14, continuous_update=False, layout=_wide(), tooltip='the model in Python')
        self.code.add_class('jp-mod-styled')
        self.apply = _button('apply', 'check', 'run the code: the model becomes what it says')
        self.channels = widgets.Text(description='channels', continuous_update=False, layout=_wide('260px'))
        self.dtype = widgets.Dropdown(options=DTYPES, description='dtype', layout=_wide('200px'))
        self.prove = _button('prove the contract', 'check-circle', width='180px')
        self.proof = widgets.HTML(layout=_wide())
        self.box = self._placed()

    def _placed(self) -> widgets.VBox:
        """Tree, fields and numbers side by side; the picture below; code, input and proof behind tabs."""
        left = widgets.VBox(
            [
                widgets.HBox([self.gallery, self.undo, self.redo]),
                self.tree,
                widgets.HBox([self.up, self.down, self.duplicate, self.remove]),
                widgets.HBox([self.family, self.layer]),
                widgets.HBox([self.behind, self.inside, self.around]),
            ],
            layout=widgets.Layout(flex='0 0 330px'),
        )
        middle = widgets.VBox([self.fields.box], layout=_scrolled('1 1 300px'))
        right = widgets.VBox([self.numbers], layout=_scrolled('0 0 230px'))
        tabs = widgets.Tab(
            [
                widgets.VBox([self.code, widgets.HBox([self.apply, widgets.HTML(RUNS)])]),
                widgets.HBox([self.channels, self.dtype]),
                widgets.VBox([self.prove, self.proof]),
            ],
            titles=('Python', 'input', 'proof'),
        )
        return widgets.VBox([widgets.HBox([left, middle, right]), self.alert, self.picture.box, tabs])


def _button(words: str, icon: str, tooltip: str = '', width: str = 'auto') -> widgets.Button:
    layout = widgets.Layout(width=width, align_self='flex-start')
    return widgets.Button(description=words, icon=icon, tooltip=tooltip or words, layout=layout)


def _menu(options: list, width: str) -> widgets.Dropdown:
    return widgets.Dropdown(options=options, layout=widgets.Layout(width=width))


def _wide(width: str = '98%') -> Any:
    return widgets.Layout(width=width)


def _scrolled(flex: str) -> Any:
    return widgets.Layout(flex=flex, max_height=f'{TALL}px', overflow='auto', padding='0 0 0 8px')
