"""The step tape: what every edge of a model emits, step by step, what it is made of, and what is kept for later."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection

from .. import style
from ..page import Cell, Cells, Page, TimeAxis, round_step
from ..shapes import fit, labels, rounded, text_width
from ..traces.dependencies import Intervals
from ..traces.steps import RowSteps, StepTrace
from ..view import View, expect
from .step_memory import MemoryPane
from .step_overview import Overview
from .words import thousands

SHORT, SHOWN = 20, 50  # steps shown with their numbers and with the state; in the window of a longer stream
WIDEST, TAPE = 28, 480  # px: a step, all steps beside the state
TOP, ROW, CELL = 118, 68, 26  # px: the first row, distance of rows, height of cells
LOW_ROW, LOW_CELL, OVERVIEW = 56, 22, 70  # the same for long streams, and the strips of the whole over them


class StepTapeView(View):
    """Columns are steps, rows edges. The focus is a block: what it emits, of what, and what is kept after it.

    A stream of up to 20 steps is shown with the state; of a longer one a window, under strips of the whole.
    """

    word = 'block'

    def __init__(self, trace: StepTrace, theme: str = 'light', ax: Axes | None = None):
        self.trace = trace
        self.short = trace.num_steps <= SHORT
        self.shown = trace.num_steps
        if not self.short:  # whole blocks; three of them, should they be long
            blocks = max(SHOWN // trace.block_size, 3)
            self.shown = min(blocks * trace.block_size, trace.num_steps)
        room = TAPE if self.short else style.RIGHT - style.LEFT - 20
        self.pitch = min(WIDEST, room / self.shown)
        if self.pitch > 5:
            self.pitch = math.floor(2 * self.pitch) / 2  # gaps would vary
        self.right = style.LEFT + self.shown * self.pitch
        self.long = self.shown < trace.num_steps
        self.top, self.distance, self.cell = TOP, ROW, CELL
        if not self.short:
            self.top, self.distance, self.cell = TOP + OVERVIEW * self.long, LOW_ROW, LOW_CELL
        self.bottom = self._y(len(trace.rows) - 1) + self.cell
        page = Page(style.WIDTH, self.bottom + (58 if trace.latency else 30), theme, ax)
        super().__init__(page, range(trace.num_blocks), _typical(trace))
        self._title, self._subtitle = page.heading('', '', live=True)
        self._overview = Overview(page, trace, self.right, self.top) if self.long else None
        self._name_rows()
        self._panel = page.areas(color='panel', live=True)
        self._cone = page.areas(live=True)
        self._bypass = page.lines(color='mid', width=style.DATA, dash='dashed', live=True)
        self._dots = page.lines(color='ink2', width=style.EDGE, dash='dotted', live=True)
        self._arrow = page.lines(color='ink2', width=style.EDGE, live=True)
        self._head = page.areas(color='ink2', live=True)
        self._cells, self._ticks = Cells(page), Cells(page, size=style.TICK)
        self._frame = page.frame()
        self._latency = page.text(0, self.bottom + 31, '', style.LABEL, bold=True, live=True)
        self._way = page.text(0, self.bottom + 31, '', style.LABEL, 'ink2', live=True)
        self._notes = [page.text(0, 0, '', style.SMALL, 'ink2', align='center', live=True) for _ in range(4)]
        accent = page.theme.accent
        self._more = page.add(PathCollection([], facecolors=accent, linewidths=0, zorder=2.4), live=True)
        self._memory = MemoryPane(page, trace, [self._y(i) for i in range(len(trace.rows))]) if self.short else None

    # --- what stays --------------------------------------------------------------------------------------
    def _name_rows(self) -> None:
        page = self.page
        page.text(style.LEFT - 22, self.top - 20, 'step', style.TICK, 'ink2', align='right')
        for i, row in enumerate(self.trace.rows):
            offset = f'offset {row.offset}' if row.offset else ''
            room = style.LEFT - style.MARGIN - 12 * row.edge.depth - 14 - text_width(' · ' + offset)
            detail = ' · '.join(filter(None, (fit(row.edge.detail, room, style.SMALL), offset)))
            page.row_name(self._y(i) + self.cell / 2, row.edge.name, detail, row.edge.depth)

    def _y(self, row: int) -> float:
        return self.top + self.distance * row

    def _under(self, row: int) -> float:
        return self._y(row) + self.cell + 10

    # --- what follows the focus ----------------------------------------------------------------------------
    def show(self, position: int) -> None:
        trace = self.trace
        first, block = position * trace.block_size, trace.block_size
        start = min(max(0, first - int(0.7 * self.shown) // block * block), trace.num_steps - self.shown)
        axis = TimeAxis(style.LEFT, self.pitch, start)
        cone = trace.cone(position)
        title, subtitle = words(trace, position)
        self.page.find(self._title, title)
        self._subtitle.set_text(subtitle)
        self._cells.set(
            [c for i, row in enumerate(trace.rows) for c in self._row(axis, i, row, position, cone.sets[i])]
        )
        self._set_cone(axis, cone)
        self._set_ticks(axis, first)
        left, width = axis.x(first), block * self.pitch
        top, bottom = self.top - (32 if self.short else 9), self.bottom + 10
        self._frame.set_paths([rounded([(left, top, width, bottom - top)])])
        right, top = left + width, self.top - 9
        self._panel.set_verts([[(left, top), (right, top), (right, bottom), (left, bottom)]])
        self._set_latency(axis, position)
        self._set_notes(axis, position)
        self._set_more(start, cone.sets)
        if self._overview:
            self._overview.show(start, self.shown, position)
        if self._memory:
            self._memory.show(position, cone)

    def _row(self, axis: TimeAxis, index: int, row: RowSteps, block: int, seen: Intervals) -> list[Cell]:
        """The cells of an edge that lie in the window."""
        ratio = row.edge.ratio
        first, stop = (int(step * ratio) for step in (axis.start, axis.start + self.shown))
        times = np.arange(first, stop) - row.offset
        marks = np.where(row.mask[first:stop], 'valid', 'invalid').astype(object)
        fed = np.zeros(len(times), bool)
        for a, b in seen:
            fed |= (times >= a) & (times <= b)
        last = index == len(self.trace.rows) - 1
        marks[fed & (marks == 'valid')] = 'now' if last else 'fed'
        marks[times < 0] = 'void'
        arrived = times < row.emitted(block).stop
        marks[~arrived] = 'future'
        ends = self.trace.time if index == 0 else math.inf  # behind it comes the flush, which has no numbers
        shown = (times >= 0) & (times < ends) & (arrived | (index == 0))
        fits = text_width(str(stop)) + 5 < self.pitch / ratio
        numbers = [str(t) if s else '' for t, s in zip(times, shown, strict=True)] if fits else None
        return axis.row(self._y(index), self.cell, ratio, first, marks.tolist(), numbers)

    def _x(self, axis: TimeAxis, row: int, time: float) -> float:
        """Where a timestep of an edge begins, in the window."""
        run = self.trace.rows[row]
        step = (max(time, 0) + run.offset) / run.edge.ratio if math.isfinite(time) else 0
        return axis.x(float(min(max(step, axis.start), axis.start + self.shown)))

    def _hull(self, axis: TimeAxis, row: int, intervals: Intervals) -> tuple[float, float]:
        return self._x(axis, row, intervals[0][0]), self._x(axis, row, intervals[-1][1] + 1)

    def _set_cone(self, axis: TimeAxis, cone: Any) -> None:
        """Areas between neighbours, dashed lines past other branches."""
        areas, bypass = [], []
        for row, source, read in cone.links:
            if not read or read[-1][1] < 0:  # it reads what is before the start
                continue
            (left, right), (begin, end) = self._hull(axis, source, read), self._hull(axis, row, cone.sets[row])
            top, bottom = self._y(source) + self.cell, self._y(row)
            if row - source == 1:
                areas.append([(left, top), (right, top), (end, bottom), (begin, bottom)])
            else:
                bypass += [[(left, top), (begin, bottom)], [(right, top), (end, bottom)]]
        self._cone.set_verts(areas)
        self._bypass.set_segments(bypass)

    def _set_ticks(self, axis: TimeAxis, first: int) -> None:
        """Numbers of steps: all of them, or some and the first of the block."""
        window = range(int(axis.start), int(axis.start) + self.shown)
        step = round_step(self.pitch, window.stop)
        step = step if step == 1 else max(4, step)
        focus = range(first, first + self.trace.block_size if step == 1 else first + 1)
        marks = {t: 'tick' for t in window if t % step == 0 and (step == 1 or abs(t - first) >= step)}
        marks |= dict.fromkeys(focus, 'focus tick')
        size = {t: text_width(str(t), style.TICK, True) + 4 for t in marks}
        x, y = {t: axis.x(t + 0.5) - size[t] / 2 for t in marks}, self.top - 30
        self._ticks.set([Cell(x[t], y, size[t], 20, mark, str(t)) for t, mark in marks.items()])

    def _set_latency(self, axis: TimeAxis, block: int) -> None:
        """From where the block's first output has its own input to where it leaves."""
        outputs, run = self.trace.outputs(block), self.trace.rows[-1]
        arrived, left = (int((outputs.start + late) / run.edge.ratio) for late in (0, run.offset))
        shown = bool(outputs) and self.trace.latency > 0 and arrived >= axis.start
        a, b, y = axis.x(arrived + 0.5), axis.x(left + 0.5), self.bottom + 31
        if b - a < 10:  # too narrow for an arrow
            a = b
        dots = [[(a, self.top + self.cell), (a, y + 8)], [(b, self.bottom), (b, y + 8)]]
        self._dots.set_segments(dots if shown else [])
        self._arrow.set_segments([[(a, y), (b - 6, y)]] if shown and a < b else [])
        self._head.set_verts([[(b, y), (b - 7, y - 4), (b - 7, y + 4)]] if shown and a < b else [])
        latency = f'latency {left - arrived}'
        way = f'input {arrived} arrives at step {arrived}, output {outputs.start} leaves at step {left}'
        wide, wider = text_width(latency, style.LABEL, True), text_width(way, style.LABEL)
        x = b + 9 if b + 9 + wide < style.RIGHT else a - 9 - wide
        before, behind = min(a, x) - 9 - wider, x + wide + 14
        fits = before > style.MARGIN or behind + wider < style.RIGHT
        self._latency.set(text=latency if shown else '', x=x)
        self._way.set(text=way if shown and fits else '', x=before if before > style.MARGIN else behind)

    def _set_notes(self, axis: TimeAxis, block: int) -> None:
        """What marks mean, where they first occur; beside the frame, the line of the arrival and each other."""
        arrived = (block + 1) * self.trace.block_size
        lines = [axis.x(arrived - self.trace.block_size), axis.x(arrived)]
        lines += [segment[0][0] for segment in self._dots.get_segments()[:1]]
        taken = [(x, x, row) for x in lines for row in range(len(self.trace.rows))]
        placed = []
        for row, begin, end, note in self._marked(axis, arrived):
            half = text_width(note) / 2 + 4
            ends = sorted([axis.x(begin), axis.x(end), *(x for x in lines if axis.x(begin) < x < axis.x(end))])
            for middle in ((ends[0] + ends[-1]) / 2, *((a + b) / 2 for a, b in pairwise(ends))):
                left, right = max(middle, style.LEFT + half) - half, max(middle, style.LEFT + half) + half
                if right < self.right + 6 and not any(r == row and a < right and left < b for a, b, r in taken):
                    placed.append(((left + right) / 2, self._under(row), note))
                    taken.append((left, right, row))
                    break
        placed += [(0, 0, '')] * (len(self._notes) - len(placed))
        for text, (x, y, note) in zip(self._notes, placed, strict=True):
            text.set(text=note, x=x, y=y + 0.36 * style.SMALL)

    def _marked(self, axis: TimeAxis, arrived: int) -> list[tuple[int, float, float, str]]:
        """The row, first and last step, and name of what needs a name."""
        trace, start, stop = self.trace, int(axis.start), int(axis.start) + self.shown
        found = []
        void = next((i for i, row in enumerate(trace.rows) if row.offset), None)
        if void is not None and start == 0:
            run = trace.rows[void]
            here = min(run.offset, math.floor(arrived * run.edge.ratio))
            found.append((void, 0, float(here / run.edge.ratio), 'void'))
        if self.short:
            invalid = np.flatnonzero(~trace.rows[0].mask[: min(arrived, trace.time)])
            found += [(0, t, t + 1, 'invalid') for t in invalid[:1]]
        if arrived > trace.time and stop > trace.time:
            found.append((0, max(trace.time, start), min(arrived, stop), 'flush'))
        if arrived < min(stop, trace.time):
            found.append((0, arrived, stop, 'not yet arrived'))
        return found

    def _set_more(self, start: int, sets: tuple[Intervals, ...]) -> None:
        """How many timesteps that were seen lie before the window. As outlines: ten live texts are slow."""
        placed = []
        for i, (row, seen) in enumerate(zip(self.trace.rows, sets, strict=True)):
            if before := seen_before(row, seen, start):
                words = f'◂ {thousands(before)} more'
                placed.append((style.LEFT + text_width(words) / 2 + 1, self._under(i), words))
        self._more.set_paths([labels(placed, style.SMALL)])


def seen_before(row: RowSteps, seen: Intervals, start: int) -> int:
    """How many of the timesteps seen at an edge come before the step `start`."""
    first = math.ceil(start * row.edge.ratio) - row.offset
    return int(sum(min(b, first - 1) - max(a, 0) + 1 for a, b in seen if max(a, 0) < first))


def _typical(trace: StepTrace) -> int:
    """A block with a valid output, after two thirds of those before the flush."""
    run = trace.rows[-1]
    valid = [b for b in range(trace.num_blocks) if any(run.mask[t + run.offset] for t in trace.outputs(b))]
    before = [b for b in valid if b * trace.block_size < trace.time] or valid
    return before[2 * len(before) // 3] if before else trace.num_blocks - 1


# --- words ------------------------------------------------------------------------------------------------
NUMBERS = ('no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten', 'eleven', 'twelve')


def number(n: int) -> str:
    return NUMBERS[n] if n < len(NUMBERS) else thousands(n)


def listed(one: str, timesteps: range) -> str:
    """'output 8', 'outputs 8 and 9', 'outputs 8 to 12'."""
    if len(timesteps) == 1:
        return f'{one} {thousands(timesteps[0])}'
    joint = ' and ' if len(timesteps) == 2 else ' to '
    return f'{one}s {thousands(timesteps[0])}{joint}{thousands(timesteps[-1])}'


def words(trace: StepTrace, block: int) -> tuple[str, str]:
    """The finding about a block, and how to read the picture."""
    outputs, waits = trace.outputs(block), trace.waits(block)
    wait = max(waits, default=trace.latency)
    steps = f'{number(wait)} {"step" if wait == 1 else "steps"}'
    steps = f'up to {steps}' if len(set(waits)) > 1 else steps
    reading = 'Columns are steps; the number in a cell is the time it carries.'
    if trace.num_steps > SHORT:
        reading = 'Columns are steps; numbers in cells are the times that they carry.'
    if not outputs:
        name = next(row.edge.name for row in trace.rows if row.offset)
        return f'Block {block} emits nothing yet: outputs leave {steps} late', f'{reading} {name} waits first.'
    them = 'this output has' if len(outputs) == 1 else 'these outputs have'
    reading += f' Blue: what {them} seen.'
    emits = f'Block {thousands(block)} emits {listed("output", outputs)}'
    ratio = trace.rows[-1].edge.ratio
    own = range(int(outputs[0] / ratio), math.ceil((outputs[-1] + 1) / ratio))
    if not wait:
        return f'{emits} as soon as {listed("input", own)} {"is" if len(own) == 1 else "are"} there', reading
    if block * trace.block_size >= trace.time:
        return f'The flush pushes out {listed("output", outputs)}, {steps} late', reading
    return f'{emits}, {steps} after {listed("input", own)} arrived', reading


def plot_steps(trace: StepTrace, ax: Axes | None = None, *, block: int | None = None, theme: str = 'light'):
    """Draws a run in steps: what every edge emitted up to a block, what the block's outputs have seen, and the state.

    Args:
      trace: from `trace_steps`.
      ax: axes to draw on, scaled to fit; by default a picture of its own is returned.
      block: the one in focus; by default one in the middle of those that emit outputs.
      theme: 'light' or 'dark'.
    """
    expect(trace, StepTrace, 'plot_steps')
    return StepTapeView(trace, theme, ax).result(block)
