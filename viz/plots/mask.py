"""The mask at every edge as a picture: where timesteps become invalid, and why the rest stay."""

import math

import numpy as np
from matplotlib.axes import Axes

from .. import style
from ..page import Cells, Page, TimeAxis, ruler
from ..shapes import text_width
from ..traces import MaskTrace
from ..view import View, expect
from .words import thousands

TOP, ROW, CELL = 100, 54, 24
WIDEST = 34  # px of an input timestep
WORDS = {'invalid': 'invalid', 'lost': 'lost here', 'fed': 'gained here'}  # said at the first cell of a mark


class MaskView(View):
    """One row an edge. The focus is the item of the batch."""

    word = 'sequence'

    def __init__(self, trace: MaskTrace, theme: str = 'light', ax: Axes | None = None):
        self.trace = trace
        page = Page(style.WIDTH, TOP + ROW * len(trace.edges) + 12, theme, ax)
        super().__init__(page, range(len(trace.masks[0])), 0)
        time = max(math.ceil(mask.shape[1] / edge.ratio) for mask, edge in zip(trace.masks, trace.edges, strict=True))
        counts = 24 + max(text_width(count(mask[0]) + ' valid', style.TICK) for mask in trace.masks)
        self.axis = TimeAxis(style.LEFT, min(WIDEST, (style.RIGHT - counts - style.LEFT) / max(time, 1)), 0)
        self.heading = page.heading(
            '', 'A number is the time that a cell carries; crossed cells are invalid.', live=True
        )
        for i, edge in enumerate(trace.edges):
            page.row_name(self._y(i) + CELL / 2, edge.name, edge.detail, edge.depth)
        if self.axis.pitch < 18:  # too narrow for numbers in the cells
            ruler(page, self.axis, time, TOP - 16)
        self._cells = Cells(page)
        self._counts = [
            page.text(style.RIGHT, self._y(i) + CELL / 2, '', style.TICK, 'ink2', align='right', live=True)
            for i in range(len(trace.edges))
        ]
        self._words = {mark: page.text(0, 0, '', style.SMALL, 'ink2', live=True) for mark in WORDS}

    def show(self, position: int) -> None:
        cells, first = [], {}
        for row, mask in enumerate(self.trace.masks):
            marks = np.where(mask[position], 'valid', 'invalid').astype(object)
            marks[self.trace.lost(row, position)] = 'lost'
            marks[self.trace.gained(row, position)] = 'fed'
            labels = [str(t) for t in range(len(marks))]
            drawn = self.axis.row(self._y(row), CELL, self.trace.edges[row].ratio, 0, marks.tolist(), labels)
            cells += drawn
            for cell in drawn:
                first.setdefault(cell.mark, cell)
            self._counts[row].set_text(count(mask[position]) + ' valid')
        self._cells.set(cells)
        for mark, text in self._words.items():
            text.set_text(WORDS[mark] if mark in first else '')
            if mark in first:
                text.set_position((first[mark].x, first[mark].y + CELL + 16))
        self.page.find(self.heading[0], title(self.trace, position))

    def _y(self, row: int) -> float:
        return TOP + ROW * row


def count(mask: np.ndarray) -> str:
    """How many timesteps are valid: '9 of 12'."""
    return f'{thousands(int(mask.sum()))} of {thousands(len(mask))}'


def title(trace: MaskTrace, item: int) -> str:
    """The finding."""
    found = f'{count(trace.masks[0][item])} inputs and {count(trace.masks[-1][item])} outputs are valid'
    rows = range(1, len(trace.edges))
    changing = [trace.edges[r].name for r in rows if (trace.lost(r, item) | trace.gained(r, item)).any()]
    if not changing:
        return f'{found}; no layer changes the mask'
    if len(changing) == 1:
        return f'{found}; {changing[0]} changes the mask'
    return f'{found}; {len(changing)} layers change the mask'


def plot_mask(trace: MaskTrace, ax: Axes | None = None, *, item: int = 0, theme: str = 'light'):
    """Draws the masks of one item of the batch, a row for each edge of the model.

    Args:
      trace: from `trace_mask`.
      ax: axes to draw on, scaled to fit; by default a picture of its own is returned.
      item: of the batch.
      theme: 'light' or 'dark'.
    """
    expect(trace, MaskTrace, 'plot_mask')
    return MaskView(trace, theme, ax).result(item)
