"""The receptive field as a picture: a cone through every layer, the measured gradient over it."""

import math

import numpy as np
from matplotlib.axes import Axes

from .. import style
from ..page import Cell, Cells, Page, TimeAxis
from ..shapes import bracket, text_width
from ..traces import OutputField, ReceptiveFieldTrace
from ..traces.dependencies import Intervals
from ..traces.receptive_field import ROUNDING
from ..view import View, expect
from .words import signed, span

PANELS = 4  # phases shown side by side; of more the narrowest and the widest
TOP, BARS, ROW, CELL = 118, 78, 62, 24  # px: the bracket, height of bars, distance of rows, height of cells
WIDEST = 34  # px of an input timestep


class ReceptiveFieldView(View):
    """Panels side by side, each with the field of one output. The focus moves the output of all of them."""

    word = 'output'

    def __init__(self, trace: ReceptiveFieldTrace, outputs: list[int], theme: str = 'light', ax: Axes | None = None):
        self.trace, self.outputs = trace, outputs
        gap = 40
        width = (style.RIGHT - style.LEFT - gap * (len(outputs) - 1)) / len(outputs)
        time = max(trace.time, round(width / WIDEST))
        self.size = style.HEAD if len(outputs) <= 2 else style.TICK
        table = self._table_lines() if len(trace.table) > PANELS and len(outputs) > 1 else []
        self.rows_top = TOP + 12 + (BARS if trace.fields[0].measured is not None else 0)
        height = self.rows_top + ROW * (len(trace.edges) - 1) + CELL + 24 + (18 + 22 * len(table) if table else 0)
        page = Page(style.WIDTH, height, theme, ax)
        ratio = trace.edges[-1].ratio
        spare = (time - trace.time) // 2 * ratio  # a short field stands in the middle
        start = outputs[0] + int(spare // trace.period) * trace.period
        step = 1 if len(trace.fields) == trace.period else trace.period  # of unknown phases nothing can be shown
        super().__init__(page, range(start % step, math.floor(time * ratio), step), start)
        page.heading(title(trace), subtitle(trace))
        self._name_rows()
        pitch = width / time
        lefts = [style.LEFT + i * (width + gap) for i in range(len(outputs))]
        self._panels = [_Panel(self, TimeAxis(left, pitch, 0), time) for left in lefts]
        if table:
            page.text(style.MARGIN, height - 22 * len(table), 'all phases', style.HEAD, bold=True)
        for i, line in enumerate(table):
            for j, words in enumerate(line):
                x = style.LEFT + j * (style.RIGHT - style.LEFT) / len(table[0])
                page.text(x, height - 22 * (len(table) - i), words, style.TICK, 'ink2')

    def show(self, position: int) -> None:
        for panel, output in zip(self._panels, self.outputs, strict=True):
            if field := self.trace.at(position + output - self.outputs[0]):
                panel.show(field)

    def _name_rows(self) -> None:
        if self.trace.fields[0].measured is not None:
            self.page.row_name(TOP + BARS / 2, 'measured', '|gradient|, log')
        for i, edge in enumerate(self.trace.edges):
            self.page.row_name(self.rows_top + ROW * i + CELL / 2, edge.name, edge.detail, edge.depth)

    def _table_lines(self) -> list[list[str]]:
        """The fields of the first phases in words, in lines of equal length."""
        words = [f'{phase}:  {span(field)}' for phase, field in self.trace.table.items()]
        if len(words) > 12:
            words = [*words[:11], f'… of {len(words)}']
        widest = max(text_width(w, style.TICK) for w in words)
        columns = int((style.RIGHT - style.LEFT) / (widest + 24))
        return [words[i : i + columns] for i in range(0, len(words), columns)]


class _Panel:
    """The field of one output."""

    def __init__(self, view: ReceptiveFieldView, axis: TimeAxis, time: int):
        page = view.page
        self.view, self.axis, self.time = view, axis, time
        self.right = axis.x(time)
        if view.trace.fields[0].measured is not None:
            page.lines([[(axis.left, TOP + 4 + BARS), (self.right, TOP + 4 + BARS)]], 'edge')
        self.cone = page.areas(live=True)
        self.bypass = page.lines(color='mid', width=style.DATA, dash='dashed', live=True)
        self.own = page.lines(color='accent', width=style.EDGE, dash='dotted', live=True)
        self.bars = page.areas(color='ink2', live=True)
        self.alarms = page.areas(color='alarm', live=True)
        self.bracket = page.lines(color='accent', width=1.6, live=True)
        self.cells = Cells(page)
        self.name = page.text(0, TOP - 20, '', view.size, bold=True, live=True)
        self.range = page.text(0, TOP - 20, '', view.size, 'accent', bold=True, align='right', live=True)

    def show(self, field: OutputField) -> None:
        self._head(field)
        own = self.axis.x(field.own + 0.5)
        edges = self.view.trace.edges
        self.own.set_segments([[(own, TOP), (own, self._y(len(edges) - 1))]])
        self._bars(field)
        self.cells.set([cell for row in range(len(edges)) for cell in self._row(row, field)])
        cones = [(row - source, c) for row, source, read in field.links if (c := self._cone(row, source, read, field))]
        self.cone.set_verts([cone for distance, cone in cones if distance == 1])
        bypass = [cone for distance, cone in cones if distance > 1]
        self.bypass.set_segments([line for a, b, c, d in bypass for line in ((a, d), (b, c))])

    def _y(self, row: int) -> float:
        return self.view.rows_top + ROW * row

    def _extent(self, row: int, intervals: Intervals) -> tuple[float, float] | None:
        """Left and right end on the page of timesteps of a row; None if there are none."""
        if not intervals:
            return None
        ratio = float(self.view.trace.edges[row].ratio)
        ends = intervals[0][0] / ratio, (intervals[-1][1] + 1) / ratio
        left, right = (self.axis.x(min(max(end, 0), self.time)) for end in ends)
        return (left, right) if right > left else None

    def _head(self, field: OutputField) -> None:
        extent = self._extent(0, field.sets[0])
        self.bracket.set_segments([bracket(*extent, TOP)] if extent else [])
        name, numbers = phase_name(field.output, self.view.trace.period), span(field.field)
        name = name if self.view.size == style.HEAD else name.removeprefix('outputs ')
        needed = sum(text_width(words, self.view.size, True) for words in (name, numbers)) + 16
        left, right = extent or (self.axis.left, self.axis.left)
        left = max(self.axis.left, min(left, self.right - needed))
        self.name.set(text=name, x=left)
        self.range.set(text=numbers, x=max(right, left + needed))

    def _bars(self, field: OutputField) -> None:
        if field.measured is None:
            return
        size = np.maximum(field.measured / max(field.measured.max(), 1e-30), ROUNDING)
        heights = BARS - 12 + 9 * np.log10(size)
        # A bar is at least three pixels wide, and shows the tallest of its timesteps.
        group = math.ceil(3 / self.axis.pitch)
        bars: dict[int, float] = {}
        for t in self.view.trace.support(field):
            bars[t // group] = max(heights[t - field.measured_from], bars.get(t // group, 0))
        shown = {p: h for p, h in bars.items() if 0 <= p * group < self.time}
        alarming = {t // group for t in self.view.trace.outside(field)}
        self.bars.set_verts([self._bar(p * group, group, h) for p, h in shown.items() if p not in alarming])
        self.alarms.set_verts([self._bar(p * group, group, h) for p, h in shown.items() if p in alarming])

    def _bar(self, start: int, steps: int, height: float) -> list[tuple[float, float]]:
        inset = 0.2 * self.axis.pitch if steps == 1 else 0
        left, right, base = self.axis.x(start) + inset, self.axis.x(start + steps) - inset, TOP + 4 + BARS
        return [(left, base), (left, base - height), (right, base - height), (right, base)]

    def _row(self, row: int, field: OutputField) -> list[Cell]:
        edges = self.view.trace.edges
        count = math.floor(self.time * edges[row].ratio)
        marks = np.full(count, 'valid', object)
        for a, b in field.sets[row]:
            marks[int(max(a, 0)) : int(max(min(b, count - 1), -1)) + 1] = 'fed'
        if row == len(edges) - 1 and 0 <= field.output < count:
            marks[field.output] = 'now'
        labels = [str(t) for t in range(count)]
        if text_width(labels[-1]) + 4 > self.axis.pitch / edges[row].ratio:  # only the ends of what is seen
            labels = [label if i in _ends(marks) else '' for i, label in enumerate(labels)]
        return self.axis.row(self._y(row), CELL, edges[row].ratio, 0, marks.tolist(), labels)

    def _cone(self, row: int, source: int, read: Intervals, field: OutputField) -> list | None:
        """What links a row to the timesteps of a source that it reads."""
        below, above = self._extent(row, field.sets[row]), self._extent(source, read)
        if not below or not above:
            return None
        bottom, top = self._y(row), self._y(source) + CELL
        return [(above[0], top), (above[1], top), (below[1], bottom), (below[0], bottom)]


def _ends(marks: np.ndarray) -> tuple[int, ...]:
    seen = np.flatnonzero(marks != 'valid')
    return (seen[0], seen[-1]) if len(seen) else ()


# --- words ----------------------------------------------------------------------------------------------
def phase_name(output: int, period: int) -> str:
    """'even outputs', or 'output 8' where only one is meant."""
    if period == 1:
        return 'every output'
    if period == 2:
        return ('even outputs', 'odd outputs')[output % 2]
    return f'outputs {period}n + {output % period}' if output % period else f'outputs {period}n'


def amount(field: OutputField) -> str:
    """How much an output sees: '13 inputs', '5 of 9 inputs', 'all inputs up to +2'."""
    if field.field is None:
        return 'no input'
    first, last = field.field
    if math.isinf(first) and math.isinf(last):
        return 'all inputs'
    if math.isinf(first):
        return 'all of the past' if last == 0 else f'all inputs up to {signed(last)}'
    if math.isinf(last):
        return f'all inputs from {signed(first)} on'
    read, size = sum(b - a + 1 for a, b in field.sets[0]), int(field.size)
    inputs = 'input' if size == 1 else 'inputs'
    return f'{size} {inputs}' if read == size else f'{read} of {size} {inputs}'


def title(trace: ReceptiveFieldTrace) -> str:
    """The finding."""
    for field in trace.fields:
        if wrong := trace.outside(field):
            return f'Output {field.output} depends on input {wrong[0]}, which the calculation excludes'
    sizes = {amount(f): f for f in trace.fields}
    if len(sizes) == 1:
        return f'Each output sees {next(iter(sizes))}'
    if trace.period == 2:
        by_size = sorted(trace.fields, key=lambda f: -f.size)
        first, second = (phase_name(f.output, 2).split()[0] for f in by_size)
        most, least = amount(by_size[0]), amount(by_size[1]).removesuffix(' inputs')
        least = 'none' if least == 'no input' else f'only {least}'
        return f'{first.capitalize()} outputs see {most}, {second} ones {least}'
    narrow, wide = (amount(f(trace.fields, key=lambda f: f.size)) for f in (min, max))
    least = narrow.removesuffix(' inputs').removesuffix(' input')
    sees = f'{least} to {wide}' if least.isdigit() and ' of ' not in wide else f'from {narrow} up to {wide}'
    return f'Outputs see {sees}, by their phase of {trace.period}'


def subtitle(trace: ReceptiveFieldTrace) -> str:
    """How to read the picture."""
    calculated = 'Bracket: the receptive field by calculation, relative to the input at the output’s own time'
    measured = {
        'not measured': '',
        'equal': ' Bars: gradient, equal in support.',
        'upper bound': ' Bars: gradient, inside it.',
        'exceeded': ' Bars: gradient; orange: outside.',
    }
    return f'{calculated} (dotted).{measured[trace.status]}'


def receptive_field_view(
    trace: ReceptiveFieldTrace, ax: Axes | None = None, theme: str = 'light', panels: int = PANELS
) -> ReceptiveFieldView:
    """A panel for each phase; of more phases than `panels` the widest, and the narrowest if it has room."""
    fields = sorted(trace.fields, key=lambda f: f.output)
    if len(fields) > panels:
        by_size = sorted(fields, key=lambda f: f.size)
        fields = [by_size[0], by_size[-1]] if panels > 1 else [by_size[-1]]
    return ReceptiveFieldView(trace, [f.output for f in fields], theme, ax)


def plot_receptive_field(trace: ReceptiveFieldTrace, ax: Axes | None = None, *, theme: str = 'light'):
    """Draws a receptive field: for each output phase its cone through the layers, and measured gradients.

    Args:
      trace: from `trace_receptive_field`.
      ax: axes to draw on, scaled to fit; by default a picture of its own is returned.
      theme: 'light' or 'dark'.
    """
    expect(trace, ReceptiveFieldTrace, 'plot_receptive_field')
    return receptive_field_view(trace, ax, theme).result()
