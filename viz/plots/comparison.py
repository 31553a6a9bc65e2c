"""Layer against step as a picture: aligned by the latency, the difference on top, layer by layer below."""

import math

import numpy as np
from matplotlib.axes import Axes

from .. import style
from ..page import Cell, Cells, Page, TimeAxis, round_step
from ..shapes import rounded, text_width
from ..traces import ComparisonTrace, RowComparison
from ..view import View, expect
from .words import power_of_ten, size, thousands

SHOWN = 26  # output timesteps in the window
OVERVIEW, CHART, LANE, STRIP = 44, 120, 62, 24  # px, heights
FLOOR = -9  # the smallest difference drawn, as a power of ten


class ComparisonView(View):
    """A window of the output's time, under the whole run if that is longer. The focus is a timestep."""

    word = 'timestep'

    def __init__(self, trace: ComparisonTrace, theme: str = 'light', ax: Axes | None = None):
        self.trace, output = trace, trace.output
        time = len(output.difference)
        self.shown = max(1, min(SHOWN, time))
        self.pitch = min(40.0, (style.RIGHT - style.LEFT) / self.shown)
        self.right = style.LEFT + self.shown * self.pitch
        self.item, self.channel = _largest(output)
        self.long = time > self.shown
        self.chart = 92 + (OVERVIEW + 44 if self.long else 0)
        self.lanes = [self.chart + CHART + 26, self.chart + CHART + 26 + LANE + 18]
        self.ticks = self.lanes[1] + LANE + 6
        self.strips = self.ticks + 54
        bottom = self.strips + (STRIP + 4) * len(trace.rows)
        page = Page(style.WIDTH, bottom + 80, theme, ax)
        super().__init__(page, range(max(1, time)), output.first or 0)
        page.heading(title(trace), subtitle(trace))
        self._rows(bottom)
        self._chart_axis()
        if self.long:
            self._overview()
        self._background = Cells(page)
        self._guide = page.lines(color='alarm', width=style.DATA, dash='dotted', live=True)
        self._cells, self._ticks = Cells(page), Cells(page, size=style.TICK)
        self._curves = page.curve('ink2', dots=5), page.curve('hatch'), page.curve('accent', dots=5)
        self._wrong = page.curve('alarm', width=0, dots=5)
        self._frame = page.frame()
        self._reading = page.text(style.LEFT, bottom + 58, '', style.TICK, 'ink2', live=True)

    # --- what stays ------------------------------------------------------------------------------------
    def _rows(self, bottom: float) -> None:
        page, trace = self.page, self.trace
        page.row_name(self.chart + CHART / 2, 'difference', 'of outputs')
        page.row_name(self.lanes[0] + LANE / 2, 'layer', 'whole sequence')
        moved = f'moved left by {trace.latency}' if trace.latency else f'blocks of {trace.block_size}'
        page.row_name(self.lanes[1] + LANE / 2, 'step', moved)
        page.text(style.MARGIN, self.strips - 20, 'layer by layer', bold=True)
        for i, row in enumerate(trace.rows):
            color = 'alarm' if row is trace.first_row else 'ink'
            page.row_name(self._strip(i) + STRIP / 2, row.edge.name, '', row.edge.depth + 1, color)
        finding, cause = callout(trace)
        page.text(style.LEFT, bottom + 18, finding, style.HEAD, 'alarm' if trace.first_row else 'ink', bold=True)
        page.text(style.LEFT, bottom + 38, cause, style.LABEL, 'ink2')

    def _strip(self, row: int) -> float:
        return self.strips + (STRIP + 4) * row

    def _chart_axis(self) -> None:
        page = self.page
        difference = self.trace.output.difference
        largest = difference[np.isfinite(difference)].max(initial=0)
        self.top = max(-1, math.ceil(math.log10(largest))) if largest > 0 else -1
        powers = range(FLOOR + 1, self.top + 1, 2)
        levels = {self._level(10.0**power): power_of_ten(power) for power in powers}
        page.lines([[(style.LEFT, y), (self.right, y)] for y in levels])
        tolerance = self._level(self.trace.output.tolerance)
        page.lines([[(style.LEFT, tolerance), (self.right, tolerance)]], 'ink2', style.EDGE, 'dashed')
        names = {y: name for y, name in levels.items() if abs(y - tolerance) > 14} | {tolerance: 'tolerance'}
        for y, name in names.items():
            page.text(style.LEFT - 10, y, name, style.TICK, 'ink2', align='right')

    def _level(self, difference: float) -> float:
        power = np.clip(math.log10(max(difference, 10.0**FLOOR)), FLOOR, self.top)
        return self.chart + CHART * (self.top - power) / (self.top - FLOOR)

    def _overview(self) -> None:
        """The difference over the whole run, a column a pixel; ticks where blocks begin."""
        page, output = self.page, self.trace.output
        top = 78
        page.row_name(top + OVERVIEW / 2, 'whole run', f'{thousands(len(output.difference))} timesteps')
        time, width = len(output.difference), style.RIGHT - style.LEFT
        edges = np.linspace(0, time, min(time, width) + 1).astype(int)
        scale = width / time
        tallest = np.maximum.reduceat(np.where(output.mask_differs, np.inf, output.difference), edges[:-1])
        share = (np.log10(np.clip(tallest, 10.0**FLOOR, 10.0**self.top)) - FLOOR) / (self.top - FLOOR)
        boxes = [
            [(style.LEFT + a * scale, top + OVERVIEW), (style.LEFT + a * scale, top + OVERVIEW * (1 - s)),
             (style.LEFT + b * scale, top + OVERVIEW * (1 - s)), (style.LEFT + b * scale, top + OVERVIEW)]
            for a, b, s in zip(edges, edges[1:], share, strict=False)
        ]  # fmt: skip
        wrong = tallest > output.tolerance
        page.areas([box for box, w in zip(boxes, wrong, strict=True) if not w], 'hatch')
        page.areas([box for box, w in zip(boxes, wrong, strict=True) if w], 'alarm')
        page.lines([[(style.LEFT, top + OVERVIEW), (style.RIGHT, top + OVERVIEW)]], 'edge')
        block = self.trace.block_size * float(output.edge.ratio)
        starts = style.LEFT + np.arange(0, time, block) * scale
        if len(starts) < width / 3:
            page.lines([[(x, top + OVERVIEW), (x, top + OVERVIEW + 4)] for x in starts], 'ink3')
        self._lens = page.areas(color='panel', live=True)
        self._window = page.frame('ink', style.DATA)

    # --- what follows the focus -----------------------------------------------------------------------
    def show(self, position: int) -> None:
        output = self.trace.output
        time = len(output.difference)
        start = min(max(0, position - 6), time - self.shown)
        axis = TimeAxis(style.LEFT, self.pitch * float(output.edge.ratio), start / float(output.edge.ratio))
        window = range(start, start + self.shown)
        cells = [cell for i, row in enumerate(self.trace.rows) for cell in self._strip_cells(i, row, axis)]
        cells += [self._bar(t, start) for t in window]
        self._cells.set(cells)
        self._set_lanes(window)
        self._set_ticks(window, position)
        self._set_guides(window, position)
        self._reading.set_text(self._read(position))
        if self.long:
            scale = (style.RIGHT - style.LEFT) / time
            left, right = style.LEFT + start * scale, style.LEFT + (start + self.shown) * scale
            self._window.set_paths([rounded([(left - 2, 74, max(right - left, 2) + 4, OVERVIEW + 8)])])
            y = 82 + OVERVIEW
            self._lens.set_verts([[(left - 2, y), (right + 2, y), (self.right, y + 26), (style.LEFT, y + 26)]])

    def _x(self, timestep: float, start: int) -> float:
        return style.LEFT + (timestep - start) * self.pitch

    def _mark(self, row: RowComparison, timestep: int, otherwise: str) -> str:
        if not row.differs[timestep]:
            return otherwise
        return 'first' if row is self.trace.first_row and timestep == row.first else 'differs'

    def _strip_cells(self, i: int, row: RowComparison, axis: TimeAxis) -> list[Cell]:
        """The cells of a layer that lie in the window."""
        ratio = float(row.edge.ratio)
        span = (self.right - style.LEFT) / axis.pitch
        first = math.ceil(axis.start * ratio - 1e-9)
        last = min(len(row.differs), math.floor((axis.start + span) * ratio + 1e-9))
        marks = [self._mark(row, t, 'valid') for t in range(first, last)]
        signs = ['' if not row.differs[t] else 'm' if row.mask_differs[t] else '✕' for t in range(first, last)]
        return axis.row(self._strip(i), STRIP, row.edge.ratio, first, marks, signs)

    def _bar(self, timestep: int, start: int) -> Cell:
        output = self.trace.output
        size, mask_differs = output.difference[timestep], output.mask_differs[timestep]
        mark = self._mark(output, timestep, 'bar')
        if output.first == timestep:
            mark = 'first'
        top = self.chart if mask_differs or np.isinf(size) else self._level(size)
        label = 'm' if mask_differs else '∞' if np.isinf(size) else ''
        label = label if text_width(label) < self.pitch - 8 else ''
        bottom = self.chart + CHART
        return Cell(self._x(timestep, start) + 4, top, self.pitch - 8, max(bottom - top, 1.5), mark, label)

    def _set_lanes(self, window: range) -> None:
        trace, output = self.trace, self.trace.output
        start, times = window.start, np.array(window)
        layer, step = (v[self.item, window.start : window.stop, self.channel] for v in (output.layer, output.step))
        masks = output.layer_mask[self.item], output.step_mask[self.item]
        values = np.concatenate([layer, step])
        values = values[np.isfinite(values)]
        low, high = (values.min(), values.max()) if len(values) else (0, 1)
        x = self._x(times, start) + self.pitch / 2  # type: ignore[arg-type]
        cells = []
        for top, mask, is_step in zip(self.lanes, masks, (False, True), strict=True):
            for t in window:
                kind = 'wrong' if is_step and trace.output.differs[t] else ''
                mark = f'{kind} lane'.strip() if mask[t] else f'{kind} invalid'.strip()
                cells.append(Cell(self._x(t, start) + 1, top, self.pitch - 2, LANE, mark))
        if trace.latency and not start:
            cells.append(Cell(style.LEFT - 50, self.lanes[1], 48, LANE, 'void', f'{trace.latency} void'))
        self._background.set(cells)
        heights = [(LANE - 20) * (high - v) / ((high - low) or 1) + 10 for v in (layer, layer, step)]
        shown = [np.where(m[times], h, np.nan) for m, h in zip((masks[0], *masks), heights, strict=True)]
        tops = self.lanes[0], self.lanes[1], self.lanes[1]
        for curve, top, height in zip(self._curves, tops, shown, strict=True):
            curve.set_data(x, top + height)
        self._wrong.set_data(x, np.where(trace.output.differs[times], self.lanes[1] + shown[2], np.nan))

    def _set_ticks(self, window: range, position: int) -> None:
        step = round_step(self.pitch, window.stop)
        named = {t: 'tick' for t in window if t % step == 0}
        for t, mark in ((self.trace.output.first, 'alarm tick'), (position, 'focus tick')):
            if t is not None and t in window and named.get(t) != 'alarm tick':
                named = {u: m for u, m in named.items() if abs(u - t) >= step or m != 'tick'} | {t: mark}
        x = {t: self._x(t, window.start) + self.pitch / 2 for t in named}
        self._ticks.set([Cell(x[t] - 22, self.ticks, 44, 18, mark, str(t)) for t, mark in named.items()])

    def _set_guides(self, window: range, position: int) -> None:
        first, row = self.trace.output.first, self.trace.first_row
        segments = []
        if first is not None and first in window:
            x = self._x(first, window.start) + self.pitch / 2
            segments.append([(x, self.chart + CHART), (x, self.ticks - 2)])
        if row is not None:  # down to its first cell; at another time, if the layers between wait or drop
            time = ((row.first or 0) + 0.5) / row.edge.ratio * self.trace.output.edge.ratio
            if window.start <= time < window.stop:
                x = self._x(float(time), window.start)
                segments.append([(x, self.ticks + 20), (x, self._strip(self.trace.rows.index(row)))])
        self._guide.set_segments(segments)
        bottom = self._strip(len(self.trace.rows)) + 1
        box = (self._x(position, window.start), self.chart - 4, self.pitch, bottom - self.chart + 4)
        self._frame.set_paths([rounded([box])] if position != first else [])

    def _read(self, t: int) -> str:
        """The two values under the focus, in numbers."""
        output = self.trace.output
        layer, step = (float(v[self.item, t, self.channel]) for v in (output.layer, output.step))
        words = f'Timestep {thousands(t)}: layer {layer:.3g}, step {step:.3g}'.replace('-', '−')
        return words + (f'  (channel {self.channel})' if output.layer.shape[-1] > 1 else '')


def _largest(row: RowComparison) -> tuple[int, int]:
    """The batch item and channel that differ most: the ones to show."""
    errors = row.errors.max(1)
    item, channel = np.unravel_index(np.argmax(errors), errors.shape)
    return int(item), int(channel)


# --- words ----------------------------------------------------------------------------------------------
def title(trace: ComparisonTrace) -> str:
    """The finding."""
    row, first = trace.first_row, trace.output.first
    if row is None:
        return f'Layer and step agree on all {thousands(len(trace.output.differs))} timesteps'
    if first is None:
        return f'Layer and step agree in the output, but not in {row.edge.name}'
    if first == 0:
        return f'Layer and step differ from the start; {row.edge.name} is the first to differ'
    return f'Layer and step agree until timestep {thousands(first)}; {row.edge.name} is the first to differ'


def subtitle(trace: ComparisonTrace) -> str:
    """How large it is."""
    output = trace.output
    largest = f'Largest difference {size(output.difference.max(initial=0))}, tolerance {size(output.tolerance)}.'
    if output.mask_differs.any():
        largest += f' The masks differ at {thousands(int(output.mask_differs.sum()))} timesteps (m).'
    count = int(output.differs.sum())
    return largest + (f' {thousands(count)} of {thousands(len(output.differs))} outputs differ.' if count else '')


def callout(trace: ComparisonTrace) -> tuple[str, str]:
    """Where it begins, and in which block."""
    row, first = trace.first_row, trace.first_timestep
    if row is None or first is None:
        return 'No layer differs.', f'Blocks of {trace.block_size}, {trace.latency} void outputs dropped.'
    finding = f'First: {trace.first_layer}, timestep {thousands(first)}.'
    call, place = divmod(first + (row.edge.offset or 0), int(trace.block_size * row.edge.ratio))
    where = f'It is the first output of call {call}' if place == 0 else f'It comes in call {call}, after {place} others'
    if trace.forget_state:
        return finding, f'{where}; every call was handed the initial state.'
    return finding, where + (f': call {call - 1} handed something on wrongly.' if call and not place else '.')


def plot_comparison(
    trace: ComparisonTrace, ax: Axes | None = None, *, timestep: int | None = None, theme: str = 'light'
):
    """Draws the whole run over the block-wise run, their difference, and which layer it comes from.

    Args:
      trace: from `compare_layer_and_step`.
      ax: axes to draw on, scaled to fit; by default a picture of its own is returned.
      timestep: output timestep to show; by default the first that differs.
      theme: 'light' or 'dark'.
    """
    expect(trace, ComparisonTrace, 'plot_comparison')
    return ComparisonView(trace, theme, ax).result(timestep)
