"""Who sees whom: squares of outputs and inputs, and sliders for a chain of convolutions."""

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np

import seqlayers as sl
import viz
from viz import style
from viz.page import Cells, Page, Picture, TimeAxis

FIRST, SIDE, GAP = 56, 208, 76  # px: the left end of the first square, its side, and the room between two
TOP = 116  # px: where the squares begin
FRAMES = 100  # in a second
DILATIONS = {  # of the first layer, and how many times that of the one before
    'always 1': (1, 1), 'always 8': (8, 1), 'doubled in each layer': (1, 2), 'tripled in each layer': (1, 3),
}  # fmt: skip


def plot_influence(squares: Mapping[str, np.ndarray], title: str, marks: Mapping[str, np.ndarray] | None = None) -> Any:
    """Up to three squares: row o, column i is filled where output o sees input i.

    Args:
      squares: for each name bool `[outputs, inputs]`.
      title: the finding.
      marks: of some squares the pairs that are wrong; they are framed.
    """
    page = Page(style.WIDTH, TOP + SIDE + 24, 'light')
    page.heading(title, 'Rows are outputs, columns are inputs. A dot: this output sees this input.')
    cells = []
    for n, (name, sees) in enumerate(squares.items()):
        left = FIRST + n * (SIDE + GAP)
        pitch = SIDE / max(*sees.shape, 1)
        axis = TimeAxis(left, pitch, 0)
        page.text(left, TOP - 34, f'{name}: {sees.sum()} of {sees.size}', bold=True)
        for t in range(sees.shape[1]):
            page.text(axis.x(t + 0.5), TOP - 12, str(t), style.TICK, 'ink2', align='center')
        wrong = (marks or {}).get(name, np.zeros_like(sees))
        for o, row in enumerate(sees):
            y = TOP + o * pitch
            page.text(left - 8, y + pitch / 2, str(o), style.TICK, 'ink2', align='right')
            kinds = np.where(wrong[o], 'differs', np.where(row, 'fed', 'future')).tolist()
            cells += axis.row(y, pitch - 2, 1, 0, kinds, np.where(row, '●', '').tolist())
    Cells(page, live=False).set(cells)
    return page.figure


class FieldExplorer:
    """Sliders for a chain of convolutions with kernel 3, beside the cone of what one output sees."""

    def __init__(self, layers: int = 3):
        layout = {'layout': widgets.Layout(width='420px'), 'style': {'description_width': '170px'}}
        self.layers = widgets.IntSlider(layers, 1, 6, description='layers', **layout)
        self.strides = widgets.IntSlider(0, 0, 2, description='of them with stride 2', **layout)
        self.dilation = widgets.Dropdown(options=DILATIONS, description='dilation', **layout)
        paddings = ['causal', 'same', 'reverse_causal']
        self.padding = widgets.Dropdown(options=paddings, description='padding', **layout)
        self.image = widgets.Image(format='png', width=900)
        self.controls = self.layers, self.strides, self.dilation, self.padding
        self.box = widgets.VBox([*self.controls, self.image])
        for control in self.controls:
            control.observe(self._draw, 'value')
        self._draw()

    @property
    def declaration(self) -> sl.Serial:
        return sl.Serial(
            [
                sl.Conv1D(
                    1, 3, strides=1 + (i < self.strides.value), dilation_rate=self._dilation(i),
                    padding=self.padding.value,
                )
                for i in range(self.layers.value)
            ]
        )  # fmt: skip

    def _dilation(self, layer: int) -> int:
        """A layer has a stride or a dilation, not both."""
        first, growth = self.dilation.value
        return 1 if layer < self.strides.value else first * growth ** (layer - self.strides.value)

    def finding(self) -> str:
        past, future = self.declaration.receptive_field  # type: ignore[misc]
        seconds = f'{(future - past + 1) / FRAMES:.2f} s'
        latency = self.declaration.output_latency
        return f'{self.layers.value} layers see {-past} frames back and {future} ahead, {seconds}; latency {latency}'

    def picture(self) -> Picture:
        return viz.plot_receptive_field(viz.trace_receptive_field(self.declaration))

    def _draw(self, change: Any = None) -> None:
        self.image.value = self.picture().png()

    def __repr__(self):
        return f'FieldExplorer({self.finding()})'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        bundle = dict(self.box._repr_mimebundle_())
        size = {'image/png': {'width': 900}}
        return {**bundle, 'text/plain': repr(self), 'image/png': bytes(self.image.value)}, size
