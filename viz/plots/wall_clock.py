"""A stretch of a live stream on the wall clock: chunks, what waits of them, blocks that run, outputs that come."""

from typing import Any, NamedTuple

import numpy as np

from .. import style
from ..page import Cell, Cells, Page
from ..shapes import rounded, text_width
from ..traces.timeline import StreamTrace
from .words import plural, thousands

RULER, CHUNKS, WAITING, BLOCKS, OUTPUTS, BOTTOM = 88, 108, 206, 230, 284, 316  # px, tops; of `waiting` the base
CHUNK, LEVEL, BLOCK, OUTPUT = 28, 24, 28, 24  # px, heights; of `waiting` the largest
FINEST = 350  # changes of a level that can be told apart
NARROWEST, STEEPEST = 8, 24  # px: the narrowest chunk, the widest thread


class Clock(NamedTuple):
    """Where a stretch of time, in ms, is on the page, between style.LEFT and style.RIGHT."""

    begin: float
    end: float
    scale: float  # px of a ms

    @classmethod
    def fitting(cls, begin: float, end: float, room: float = 0) -> 'Clock':
        """From `begin` at the left end to `end`, some pixels before the right end."""
        scale = (style.RIGHT - room - style.LEFT) / max(end - begin, 1e-9)
        return cls(begin, begin + (style.RIGHT - style.LEFT) / scale, scale)

    def x(self, time: Any) -> Any:
        return style.LEFT + (time - self.begin) * self.scale

    def span(self, begin: float, end: float) -> tuple[float, float]:
        """Left end and width of a stretch, as far as it is on the page."""
        left, right = np.clip([self.x(begin), self.x(end)], style.LEFT, style.RIGHT).tolist()
        return left, right - left

    def ticks(self) -> np.ndarray:
        """Round times, with room for their numbers."""
        widest = 24 + max(text_width(ms(t), style.TICK) for t in (self.begin, self.end))
        steps = (n * 10.0**k for k in range(-6, 12) for n in (1, 2, 4, 5))
        step = next(step for step in steps if step * self.scale > widest)
        return step * np.arange(np.ceil(self.begin / step), np.floor(self.end / step) + 1)


class WallClock:
    """The rows of a stream on a page; what is in them is live."""

    def __init__(self, page: Page, trace: StreamTrace):
        self.trace = trace
        self._name_rows(page)
        self._grid = page.lines(live=True)
        self._level, self._outline = page.areas(color='cell', live=True), page.lines(color='hatch', live=True)
        self._threads = page.lines(color='hatch', live=True)
        self._thread = page.lines(color='accent', width=style.DATA, live=True)
        self._cells = Cells(page)
        self._timesteps = page.lines(color='paper', width=style.EDGE, live=True)
        self._arrows, self._heads = page.lines(color='ink2', live=True), page.areas(color='ink2', live=True)
        self._own = page.frame()
        self._ticks = Cells(page, size=style.TICK)

    def _name_rows(self, page: Page) -> None:
        trace = self.trace
        took = f'{plural(trace.block_size, "input", "inputs")}, {ms(trace.compute)} ms'
        page.text(style.LEFT - 40, RULER, 'ms', style.TICK, 'ink2', align='right')
        page.row_name(CHUNKS + CHUNK / 2, 'chunks in', chunk_words(trace))
        page.row_name(WAITING - LEVEL / 2, 'waiting', 'inputs in no block yet')
        page.row_name(BLOCKS + BLOCK / 2, 'blocks run', took + (' here' if trace.measured else ''))
        page.row_name(OUTPUTS + OUTPUT / 2, 'outputs', f'first {trace.latency} void, dropped' if trace.latency else '')

    def show(self, clock: Clock, position: int, bars: tuple[float, float]) -> None:
        """Draws the rows of a stretch of time, with one output in focus; the grid goes on through the bars."""
        self._clock, self._position = clock, position
        times = clock.ticks()
        rows = (RULER + 12, BOTTOM), bars
        self._grid.set_segments([[(clock.x(t), a), (clock.x(t), b)] for t in times for a, b in rows])
        blocks, threads = self._blocks()
        outputs, more = self._outputs()
        self._cells.set([*self._chunks(), *blocks, *outputs])
        self._threads.set_segments([line for line, focused in threads + more if not focused])
        self._thread.set_segments([line for line, focused in threads + more if focused])
        self._set_arrows()
        numbers = self._set_waiting()
        named = [_number(clock.x(t), RULER, ms(t)) for t in times]
        self._ticks.set([*numbers, *(cell for cell in named if cell.x + cell.width < style.RIGHT + 10)])

    @property
    def _focused_output(self) -> range:
        """The output in focus; empty if there are no outputs."""
        return range(self._position, self._position + 1)[: len(self.trace.outputs.call)]

    @property
    def _focus(self) -> int:
        """The call that brings the output in focus; -1 if there is none."""
        return max((int(self.trace.outputs.call[i]) for i in self._focused_output), default=-1)

    # --- chunks ------------------------------------------------------------------------------------------
    def _shown(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The chunks on the page: their numbers, and where they begin and end."""
        ends = self.trace.ms(self.trace.calls.received[:-1])
        begins = np.append(0, ends[:-1])
        shown = np.flatnonzero((ends > self._clock.begin) & (begins < self._clock.end))
        return shown, *np.clip(self._clock.x(np.stack([begins, ends])[:, shown]), style.LEFT, style.RIGHT)

    def _chunks(self) -> list[Cell]:
        """The chunks as they are heard, the focus's own inputs framed; one bar if the chunks are too many."""
        clock, outputs, (shown, lefts, rights) = self._clock, self.trace.outputs, self._shown()
        own = [clock.span(outputs.own_begins[i], outputs.own_ends[i]) for i in self._focused_output]
        frames = [(x, CHUNKS - 3, max(width, 2), CHUNK + 6) for x, width in own]
        self._own.set_paths([rounded(frames)] if frames else [])
        self._timesteps.set_segments([])
        if not len(shown):
            return []
        width = rights[-1] - lefts[0]
        if width / len(shown) < NARROWEST:
            words = f'{thousands(len(shown))} chunks' if width > 80 else ''
            return [Cell(lefts[0], CHUNKS, width, CHUNK, 'valid', words)]
        step = self.trace.ms(1)
        if step * clock.scale >= 5:
            numbers = np.arange(np.ceil(clock.begin / step), self.trace.calls.received[-1])
            xs = clock.x(step * np.setdiff1d(numbers, self.trace.calls.received))
            inside = xs[(xs > style.LEFT + 1) & (xs < style.RIGHT)]
            self._timesteps.set_segments([[(x, CHUNKS + 6), (x, CHUNKS + CHUNK - 6)] for x in inside])
        marks = np.where(shown == self._focus, 'fed', 'valid')
        cells = zip(lefts, rights, marks, strict=True)
        return [Cell(a + 1, CHUNKS, b - a - 2, CHUNK, str(mark)) for a, b, mark in cells if b - a > 2.5]

    def _set_arrows(self) -> None:
        """From the end of each chunk to when it is there; none if they would touch."""
        shown, _, ends = self._shown()
        there = self._clock.x(self.trace.calls.arrives[shown])
        ways = list(zip(ends[there <= style.RIGHT], there[there <= style.RIGHT], strict=True))
        if len(ways) > (style.RIGHT - style.LEFT) / NARROWEST:
            ways = []
        y, tip = CHUNKS + CHUNK - 6, WAITING - LEVEL - 22
        self._arrows.set_segments([[(a, y), (b, y), (b, tip - 4)] for a, b in ways])
        self._heads.set_verts([[(b - 2.7, tip - 6), (b + 2.7, tip - 6), (b, tip)] for _, b in ways])

    # --- what waits --------------------------------------------------------------------------------------
    def _set_waiting(self) -> list[Cell]:
        """The inputs that no block has taken yet, and their numbers where there is room."""
        clock, (times, counts) = self._clock, self.trace.backlog
        inside = slice(max(0, np.searchsorted(times, clock.begin, 'right') - 1), np.searchsorted(times, clock.end))
        edges, levels = np.append(times[inside], clock.end), counts[inside]
        if len(levels) > FINEST:
            edges = np.linspace(clock.begin, clock.end, FINEST + 1)
            levels = counts[np.searchsorted(times, edges[:-1], 'right') - 1]
        edges = np.clip(clock.x(edges), style.LEFT, style.RIGHT)
        heights = LEVEL * levels / max(1, counts.max())
        line = list(zip(np.repeat(edges, 2)[1:-1], WAITING - np.repeat(heights, 2), strict=True))
        self._outline.set_segments([line])
        self._level.set_verts([[(edges[0], WAITING), *line, (edges[-1], WAITING)]])
        plateaus = zip(edges, edges[1:], heights, levels, strict=False)
        return [
            _number((a + b) / 2, WAITING - height - 9, thousands(n))
            for a, b, height, n in plateaus
            if text_width(thousands(n)) + 6 < b - a
        ]

    # --- blocks and outputs ------------------------------------------------------------------------------
    def _calls(self) -> list[int]:
        """The calls whose blocks and outputs may be on the page."""
        calls, some = self.trace.calls, np.unique(self.trace.blocks.call)
        on_page = (calls.returns[some] >= self._clock.begin) & (calls.arrives[some] <= self._clock.end)
        return some[on_page].tolist()

    def _blocks(self) -> tuple[list[Cell], list]:
        """The blocks that run, and threads to them from what waits; numbers inside, or behind those of a call."""
        clock, trace, cells, threads = self._clock, self.trace, [], []
        focus = [int(trace.outputs.block[i]) for i in self._focused_output]
        begins, ends = clock.x(trace.blocks.begins), clock.x(trace.blocks.ends)
        for call in self._calls():
            blocks = range(*np.searchsorted(trace.blocks.call, [call, call + 1]).tolist())
            flushes, arrives = call == trace.calls.close, clock.x(trace.calls.arrives[call])
            first, last = begins[blocks[0]], ends[blocks[-1]]
            if not flushes and style.LEFT <= arrives <= first <= min(arrives + STEEPEST, style.RIGHT):
                threads.append(([(arrives, WAITING), (first, BLOCKS)], False))
            inside = all(text_width(str(b), bold=True) + 4 < ends[b] - begins[b] for b in blocks)
            for b in blocks:
                mark = 'now' if b in focus else 'invalid' if flushes else 'valid'
                x, width = clock.span(trace.blocks.begins[b], trace.blocks.ends[b])
                gap = 2 if width > 8 else 0.5 if width > 3 else 0
                if ends[b] >= style.LEFT and begins[b] <= style.RIGHT:
                    label = str(b) if inside and width > text_width(str(b), bold=True) + 4 else ''
                    cells.append(Cell(x, BLOCKS, max(width - gap, 1.5), BLOCK, mark, label))
            words = ' '.join(([] if inside else [_range(blocks)]) + (['flush'] if flushes else []))
            following = min([style.RIGHT + 14, *begins[blocks[-1] + 1 : blocks[-1] + 2]])
            if words and last > style.LEFT and last + text_width(words) + 7 < following:
                cells.append(Cell(last + 4, BLOCKS + 5, text_width(words), BLOCK - 10, 'tick', words))
        return cells, threads

    def _outputs(self) -> tuple[list[Cell], list]:
        """What each call returns, void and real outputs side by side, and threads to them.

        Cells make room for each other. Where there is none, some are left out, but not the focus.
        """
        cells, threads, taken = [], [], []
        for call in sorted(self._calls(), key=lambda call: (call != self._focus, call)):
            returns, tokens = self._clock.x(self.trace.calls.returns[call]), self._tokens(call)
            if not tokens:
                continue
            width = sum(token.width + 2 for token in tokens)
            left = returns - tokens[0].width / 2
            x = max([left, *(b for a, b in taken if a < returns)])
            fits = style.LEFT - 12 <= x <= min(left + STEEPEST, style.RIGHT + 12 - width)
            if not fits or any(a < x + width and x < b for a, b in taken):
                continue
            taken.append((x, x + width))
            threads.append(([(returns, BLOCKS + BLOCK), (x + tokens[0].width / 2, OUTPUTS)], call == self._focus))
            for token in tokens:
                cells.append(token._replace(x=x))
                x += token.width + 2
        return cells, threads

    def _tokens(self, call: int) -> list[Cell]:
        """The outputs of a call as cells that have no place yet: one for void ones, one for the others."""
        trace, made = self.trace, int(self.trace.block_size * self.trace.ratio)
        first, end = made * np.searchsorted(trace.blocks.call, [call, call + 1])
        real = range(*np.searchsorted(trace.outputs.call, [call, call + 1]).tolist())
        tokens = [Cell(0, OUTPUTS, 18, OUTPUT, 'void')] if first < min(end, trace.latency) else []
        if real:
            width = max(18, text_width(_range(real), bold=True) + 8)
            tokens.append(Cell(0, OUTPUTS, width, OUTPUT, 'now' if call == self._focus else 'valid', _range(real)))
        return tokens


def ms(time: float) -> str:
    """A duration in milliseconds: '1 240', '62', '4.5', '0.062'."""
    if abs(time) >= 10 or time == round(time):
        return thousands(round(time)).replace('-', '−')
    return f'{time:.2g}'.replace('-', '−')


def chunk_words(trace: StreamTrace) -> str:
    """The size of the chunks."""
    sizes = np.diff(trace.calls.received[:-1], prepend=0)
    sizes = sizes[:-1] if len(set(sizes[:-1])) == 1 else sizes  # the last one is cut
    low, high = sizes.min(), sizes.max()
    return f'of {thousands(low)}' if low == high else f'of {thousands(low)} to {thousands(high)}'


def _range(numbers: range) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f'{numbers[0]}–{numbers[-1]}'


def _number(x: float, y: float, words: str) -> Cell:
    """A number on the page, centred."""
    width = text_width(words, style.TICK)
    return Cell(x - width / 2, y - 6, width, 12, 'tick', words)
