"""What a neighbour in the batch changes: a map of the layers that it reaches, and a slider for its length."""

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np

from viz import style
from viz.page import Cells, Page, Picture, TimeAxis

from .pictures import CELL, ROW, TOP, Row, compared, number, plot_rows

CLIP = (1.0, 2.0, 3.0)


def plot_leaks(differences: Mapping[str, np.ndarray], title: str, shown: int = 12) -> Picture:
    """The last timesteps of a clip, a row for each layer: where its outputs are not what the clip gives alone.

    Args:
      differences: for each layer, how far each output `[time]` is off, as a share of the largest output.
      title: the finding.
      shown: how many timesteps.
    """
    time = len(next(iter(differences.values())))
    first = time - shown
    page = Page(style.WIDTH, TOP + ROW * len(differences) + 10, 'light')
    page.heading(title, 'Framed: not what the clip gives alone, and how far off in percent of the largest output.')
    axis = TimeAxis(style.LEFT, 46, first)
    for t in range(first, time):
        page.text(axis.x(t + 0.5), TOP - 16, str(t), style.TICK, 'ink2', align='center')
    right = axis.x(time) + 16
    page.text(right, TOP - 16, 'wrong', style.LABEL, bold=True)
    cells = []
    for i, (name, difference) in enumerate(differences.items()):
        y, wrong = TOP + ROW * i, difference > 1e-6
        page.row_name(y + CELL / 2, name)
        labels = [f'{100 * d:.0f}%' if bad else '' for d, bad in zip(difference, wrong, strict=True)]
        marks = np.where(wrong, 'differs', 'valid').tolist()
        cells += axis.row(y, CELL, 1, first, marks[first:], labels[first:])
        page.text(right, y + CELL / 2, f'{wrong.sum()} of {time}', style.TICK, 'ink2')
    Cells(page, live=False).set(cells)
    return page.figure


def smooth_twice(values: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Two layers, each the sum of a timestep and its two neighbours, plus a bias of 1, under a ReLU.

    With a mask each layer reads 0 where nothing is valid.
    """
    for _ in range(2):
        read = values if mask is None else np.where(mask, values, 0)
        values = np.maximum(np.convolve(read, [1, 1, 1], 'same') + 1, 0)
    return values


class NeighbourExplorer:
    """The clip `1 2 3` beside a neighbour whose length can be moved, with the mask or without it."""

    def __init__(self, length: int = 6):
        self.length = widgets.IntSlider(
            value=length, min=len(CLIP), max=12, description='neighbour, timesteps',
            style={'description_width': 'initial'}, layout=widgets.Layout(width='420px'),
        )  # fmt: skip
        self.masked = widgets.Checkbox(value=True, description='the layers read the mask', indent=False)
        self.image = widgets.Image(format='png', width=900)
        self.box = widgets.VBox([widgets.HBox([self.length, self.masked]), self.image])
        for control in (self.length, self.masked):
            control.observe(self._draw, 'value')
        self._draw()

    @property
    def outputs(self) -> np.ndarray:
        """Of the clip, in the batch."""
        padded = np.pad(CLIP, (0, self.length.value - len(CLIP)))
        mask = np.arange(len(padded)) < len(CLIP)
        return smooth_twice(padded, mask if self.masked.value else None)[: len(CLIP)]

    def finding(self) -> str:
        moved = int((self.outputs != smooth_twice(np.array(CLIP))).sum())
        reading = 'the mask is read' if self.masked.value else 'nobody reads the mask'
        return f'A neighbour of {self.length.value} timesteps, {reading}: {moved} of 3 outputs move'

    def _draw(self, change: Any = None) -> None:
        padding = self.length.value - len(CLIP)
        clip = [number(v) for v in CLIP] + ['0'] * padding
        alone, beside = compared(smooth_twice(np.array(CLIP)), self.outputs)
        rows = [
            Row('the clip in the batch', clip, ['valid'] * len(CLIP) + ['invalid'] * padding),
            alone._replace(name='outputs, alone'),
            beside._replace(name='outputs, in the batch'),
        ]
        subtitle = 'Plain cells are valid, crossed cells are invalid. Two 3-tap layers with bias 1 and ReLU.'
        picture = plot_rows(rows, self.finding(), subtitle)
        self.image.value = picture._repr_mimebundle_()[0]['image/png']

    def __repr__(self):
        return f'NeighbourExplorer({self.finding()})'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        bundle = dict(self.box._repr_mimebundle_())
        size = {'image/png': {'width': 900}}
        return {**bundle, 'text/plain': repr(self), 'image/png': bytes(self.image.value)}, size
