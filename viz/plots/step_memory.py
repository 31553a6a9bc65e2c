"""The state after a block, level with the layer that keeps it."""

from collections import defaultdict

import numpy as np

from .. import style
from ..page import Cell, Cells, Page
from ..shapes import fit, text_width
from ..traces.dependencies import Cone, Intervals
from ..traces.memory import Memory
from ..traces.steps import StepTrace
from .words import plural

RULE, LEFT = 676, 690  # px: the rule behind the tape, and where the state begins
SLOT, LINE, LINES = 20, 20, 3  # px: a slot, a line of them; lines that fit beside a row
WIDTH = style.RIGHT - LEFT
PER_LINE = int(WIDTH / SLOT)
NARROW, DROPPED = 4, 52  # px: a slot without a number; room for the word under dropped slots


class MemoryPane:
    """Buffers as slots with the timesteps they carry, everything else in words."""

    def __init__(self, page: Page, trace: StepTrace, tops: list[float]):
        self._trace, self._tops = trace, tops
        self._of_row: dict[int, list[Memory]] = defaultdict(list)
        for memory in trace.memories:
            self._of_row[memory.row].append(memory)
        page.lines([[(RULE, tops[0] - 30), (RULE, tops[-1] + 26)]], 'line')
        self._title = page.text(LEFT, tops[0] - 20, '', style.TICK, 'ink2', live=True)
        self._cells = Cells(page)
        self._struck = page.lines(color='ink3', width=style.EDGE, live=True)
        self._legend = [page.text(0, 0, '', style.SMALL, 'ink2', live=True) for _ in range(3)]
        for row in range(1, len(tops)):
            self._name(page, row)

    def _drawn(self, row: int) -> list[tuple[Memory, float, float, int]]:
        """The buffers of a row that fit beside it: with top, width of a slot, and slots in a line."""
        found, line = [], 0
        buffers = [m for m in self._of_row[row] if m.entries]
        for memory in buffers:
            entries = memory.entries
            per_line = PER_LINE if entries <= PER_LINE else -(-entries // 2)
            pitch = SLOT if per_line <= PER_LINE else WIDTH // per_line
            lines = -(-entries // per_line)
            if pitch >= NARROW and line + lines <= LINES:
                top = self._tops[row] + (2 if len(buffers) == 1 and lines == 1 else -4)
                found.append((memory, top + line * LINE, pitch, per_line))
                line += lines
        return found

    def _name(self, page: Page, row: int) -> None:
        """The names of the buffers that are drawn, and what else is kept, in words."""
        drawn = self._drawn(row)
        for memory, top, pitch, per_line in drawn:
            x = LEFT + self._room(memory) + min(per_line, memory.entries) * pitch + 4
            name = 'ring' if memory.kind == 'ring' else memory.name
            if x + text_width(name) < style.RIGHT + 4:
                page.text(x, top + 9, name, style.SMALL, 'ink2')
        shown = [memory for memory, *_ in drawn]
        rest = [m for m in self._of_row[row] if m not in shown and m.kind != 'counter']
        lines = sum(-(-m.entries // per_line) for m, _, _, per_line in drawn)
        if drawn and (not rest or lines == LINES):
            return
        clock = any(m.kind == 'counter' for m in self._of_row[row])
        numbers = sum(m.size for m in rest)
        folded = ' in its layers' if any(m.kind == 'folded' for m in rest) else ''
        said = plural(numbers, 'number', 'numbers') + folded if rest else 'a clock' if clock else 'none'
        y = self._tops[row] + (13 if not drawn else lines * LINE + 8)
        page.text(LEFT, y, fit(said, WIDTH, style.SMALL), style.SMALL, 'ink2' if rest else 'ink3')

    # --- what follows the focus ------------------------------------------------------------------------------
    def show(self, block: int, cone: Cone) -> None:
        self._title.set_text(f'state after block {block}')
        cells, struck, legend = [], [], {}
        for row in range(1, len(self._tops)):
            read = {source: intervals for r, source, intervals in cone.links if r == row}
            for memory, top, pitch, per_line in self._drawn(row):
                of_memory, gone = self._slots(memory, block, top, pitch, per_line, read.get(memory.source, ()))
                cells += of_memory
                struck += gone
                if not legend and memory.kind == 'buffer' and len(self._drawn(row)) == 1:
                    legend = _named(memory, block, of_memory, gone, top)
        self._cells.set(cells)
        self._struck.set_segments(struck)
        self._set_legend(legend)

    def _slots(self, memory: Memory, block: int, top: float, pitch: float, per_line: int, read: Intervals) -> tuple:
        """The cells of a buffer, those that the block dropped in front; and lines through these."""
        before, after = memory.times[block], memory.times[block + 1]
        room = self._room(memory)
        gone = [t for t in before if t >= 0 and t not in after] if room else []
        slots = [(LEFT + i * pitch, top, time, 'tick') for i, time in enumerate(gone)]
        for i, time in enumerate(after):
            x, y = LEFT + room + i % per_line * pitch, top + i // per_line * LINE
            slots.append((x, y, time, self._mark(memory, time, before, read)))
        width = pitch - (2 if pitch > 8 else 1)
        fits = text_width(str(after.max())) + 3 <= width
        cells = [Cell(x, y, width, LINE - 2, mark, str(t) if t >= 0 and fits else '') for x, y, t, mark in slots]
        struck = [[(c.x + 1, c.y + 9), (c.x + c.width - 1, c.y + 9)] for c in cells[: len(gone)]]
        return cells, struck

    def _room(self, memory: Memory) -> int:
        """Pixels in front of a buffer for the slots that a block drops; 0 if these are not shown."""
        dropped = SLOT * min(memory.entries, self._trace.rows[memory.source].per_block)
        room = max(DROPPED, dropped + 6)
        return room if memory.kind == 'buffer' and room + memory.entries * SLOT <= WIDTH else 0

    def _mark(self, memory: Memory, time: int, before: np.ndarray, read: Intervals) -> str:
        run = self._trace.rows[memory.source]
        if time < 0:
            return 'future'
        if not run.mask[time + run.offset]:
            return 'invalid'
        if time not in before:
            return 'now'
        return 'fed' if any(a <= time <= b for a, b in read) else 'valid'

    def _set_legend(self, legend: dict[str, tuple[float, float]]) -> None:
        end = 0.0
        for text, name in zip(self._legend, ('dropped', 'kept', 'written'), strict=True):
            x, y = legend.get(name, (0, 0))
            fits = bool(legend.get(name)) and x > end
            text.set(text=name if fits else '', x=x, y=y + 0.36 * style.SMALL)
            end = x + text_width(name) + 6 if fits else end


def _named(memory: Memory, block: int, cells: list[Cell], gone: list, top: float) -> dict[str, tuple[float, float]]:
    """Where the names of dropped, kept and written slots stand."""
    before, after = memory.times[block], memory.times[block + 1]
    names = ['dropped'] * len(gone) + ['' if t < 0 else 'kept' if t in before else 'written' for t in after]
    return {name: (cells[names.index(name)].x, top + LINE + 8) for name in names if name}
