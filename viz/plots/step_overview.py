"""The whole of a long stream as two strips, over the window that is shown of it."""

from itertools import pairwise

import numpy as np

from .. import style
from ..page import Cell, Cells, Page
from ..shapes import rounded
from ..traces.steps import RowSteps, StepTrace
from .words import thousands

TOP, STRIP = 80, 14  # px: the first strip, its height


class Overview:
    """What came in and what went out: where it was invalid or void, and a frame around the window."""

    def __init__(self, page: Page, trace: StepTrace, right: float, below: float):
        self._right, self._below, self._block = right, below, trace.block_size
        self._scale = (right - style.LEFT) / trace.num_steps
        page.row_name(TOP + STRIP, 'whole stream', f'{thousands(trace.num_steps)} steps')
        strips = [(TOP, 'in', trace.rows[0]), (TOP + STRIP + 2, 'out', trace.rows[-1])]
        for y, name, _ in strips:
            page.text(right + 8, y + STRIP / 2, name, style.SMALL, 'ink2')
        Cells(page, live=False).set([cell for y, _, row in strips for cell in self._strip(y, row)])
        self._lens = page.areas(color='panel', live=True)
        self._now = page.lines(color='accent', width=2, live=True)
        self._frame = page.frame('ink', style.DATA)

    def _strip(self, y: float, row: RowSteps) -> list[Cell]:
        """Runs of one mark."""
        marks = np.where(row.mask, 'valid', 'invalid').astype(object)
        marks[: row.offset] = 'void'
        starts = [0, *(np.flatnonzero(marks[1:] != marks[:-1]) + 1), len(marks)]
        scale = self._scale / float(row.edge.ratio)
        runs = [(style.LEFT + a * scale, (b - a) * scale, str(marks[a])) for a, b in pairwise(starts)]
        return [Cell(x, y, max(width, 1.5), STRIP, mark) for x, width, mark in runs]

    def show(self, start: int, shown: int, block: int) -> None:
        left, right = (style.LEFT + step * self._scale for step in (start, start + shown))
        now, bottom = style.LEFT + (block + 0.5) * self._block * self._scale, TOP + 2 * STRIP + 6
        self._frame.set_paths([rounded([(left - 1, TOP - 4, max(right - left, 3) + 2, bottom - TOP + 4)])])
        self._now.set_segments([[(now, TOP), (now, bottom - 4)]])
        lens = [
            (left, bottom + 1),
            (right, bottom + 1),
            (self._right, self._below - 34),
            (style.LEFT, self._below - 34),
        ]
        self._lens.set_verts([lens])
