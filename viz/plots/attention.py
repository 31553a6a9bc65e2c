"""Who looks at whom as a picture: queries by keys, in the whole run and in steps, with one query in focus."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection

from .. import style
from ..page import Cell, Cells, Page, round_step
from ..shapes import Box, rounded, text_width
from ..traces.attention import AttentionTrace, Looks
from ..view import View, expect
from .words import plural, size, thousands

LEFTS, WIDTH = (92, 526), 340  # px: where the two matrices begin, how wide they may be
TOP, BARS = 150, 44  # px: the first row; the weights of the focus
WIDEST, CLOSE, FEW = 27, (4, 10), 24  # px of a key, of one of many; how many are few
INSET = 2  # px between cells, where there is room


class AttentionView(View):
    """Two matrices over the same keys. The focus is a query, framed in both, with its weights below."""

    word = 'query'

    def __init__(self, trace: AttentionTrace, theme: str = 'light', ax: Axes | None = None):
        self.trace = trace
        self.is_close = trace.time > FEW
        reach = trace.time if trace.past == -1 else trace.past + trace.future
        close = int(np.clip(WIDTH // (reach + 8), *CLOSE))
        self.pitch = close if self.is_close else min(WIDEST, WIDTH // trace.time)
        self.shown = min(trace.time, WIDTH // self.pitch)
        rows = trace.time + trace.offset + trace.future
        self.rows = min(rows, self.shown) if self.is_close else rows
        self.bottom = TOP + self.rows * self.pitch
        page = Page(style.WIDTH, self.bottom + BARS + 52, theme, ax)
        super().__init__(page, range(trace.time), min(trace.time - 1, (trace.time * 3) // 5))
        self._title, self._subtitle = page.heading(title(trace), '', live=True)
        self._matrices = [_Matrix(self, 0, 'layer', 'one row per query'), _Matrix(self, 1, 'step', waits(trace))]
        y = self.bottom + BARS + 30
        heads = len(trace.layer_looks.weights)
        page.text(LEFTS[0] - 12, self.bottom + BARS / 2 + 14, 'weight', style.TICK, 'ink2', align='right')
        self._weight = page.text(LEFTS[0], y, '', style.TICK, 'ink2', live=True)
        notes = ['outlined: kept, not read'] if self._matrices[1].keeps_more else []
        notes += [f'mean of {heads} heads'] if heads > 1 else []
        page.text(LEFTS[1], y, ' · '.join(notes), style.TICK, 'ink2')

    def show(self, position: int) -> None:
        trace = self.trace
        start = min(max(0, position - int(0.7 * self.shown)), trace.time - self.shown)
        step = trace.step_of(position)
        last = start + max(0, step - start - self.rows + 3)  # so that the focus is among the steps that are shown
        total = trace.time + trace.offset + trace.future
        for matrix, first in zip(self._matrices, (start, min(last, total - self.rows)), strict=True):
            matrix.show(position, start, first)
        self._subtitle.set_text(subtitle(trace, position))
        self._weight.set_text(weight(trace, position, start))


class _Matrix:
    """One of the two runs: a row for each query, or for each step."""

    def __init__(self, view: AttentionView, place: int, name: str, detail: str):
        self.view, self.trace, self.page = view, view.trace, view.page
        self.left, self.pitch, self.in_steps = LEFTS[place], view.pitch, name == 'step'
        self.looks: Looks = self.trace.step_looks if self.in_steps else self.trace.layer_looks
        self.rows = view.rows if self.in_steps else min(view.shown, view.rows)
        self.width = view.shown * self.pitch
        self.right = self.left + self.width
        page = self.page
        page.text(self.left, 88, name, style.HEAD, bold=True)
        page.text(self.left + text_width(name, style.HEAD, True) + 10, 88, detail, style.LABEL, 'ink2')
        page.text(self.left + self.width / 2, 116, 'key', style.TICK, 'ink2', align='center')
        page.text(self.left - 12, TOP - 16, 'step' if self.in_steps else 'query', style.TICK, 'ink2', align='right')
        if self.in_steps:
            page.text(self.left - 50, TOP - 16, 'query', style.TICK, 'ink2', align='right')
        self._inside = np.stack([self.trace.in_horizon(query) for query in range(self.trace.time)])
        self._kept = np.zeros_like(self.looks.seen)
        if self.in_steps:
            for query, kept in enumerate(self._kept):
                held = self.trace.held(query)
                kept[held[held < self.trace.time]] = True
        self._kept &= ~self.looks.seen
        self._grid()
        colors = [getattr(page.theme, color) for color in ('tint', 'mid', 'accent')]
        self._fills = page.add(PathCollection([], facecolors=colors, linewidths=0, zorder=2), live=True)
        self._cells, self._ticks = Cells(page), Cells(page, size=style.TICK)
        self._present = page.lines(color='ink', width=style.POINTER, live=True)
        self._bars = page.areas(color='accent', live=True)
        self._frame = page.frame()
        base = view.bottom + BARS + 14
        page.lines([[(self.left, base), (self.right, base)]], 'edge')

    @property
    def keeps_more(self) -> bool:
        """Whether there are keys that are kept and not read."""
        return bool(self._kept.any())

    # --- what stays --------------------------------------------------------------------------------------
    def _grid(self) -> None:
        """Dots where nothing is seen, names in empty places, and lines between chunks."""
        if self.view.is_close:
            return
        taken = np.array([self._taken(row) for row in range(self.rows)])
        notes = self._notes(taken)
        for words, row, x in notes:
            self.page.text(x, self._y(row + 0.5), words, style.SMALL, 'ink2')
        dots = []
        for row, column in zip(*np.nonzero(~taken), strict=True):
            x, y = self.left + (column + 0.5) * self.pitch, self._y(row + 0.5)
            if not any(r == row and a - 6 < x < a + text_width(words) + 6 for words, r, a in notes):
                dots.append([(x - 0.8, y - 0.8), (x + 0.8, y - 0.8), (x + 0.8, y + 0.8), (x - 0.8, y + 0.8)])
        self.page.areas(dots, 'edge')
        if self.trace.chunk > 1:
            columns = range(self.trace.chunk, self.trace.time, self.trace.chunk)
            lines = [self.left + column * self.pitch - INSET / 2 for column in columns]
            self.page.lines([[(x, self._y(0)), (x, self._y(self.rows))] for x in lines], 'edge')

    def _taken(self, row: int) -> np.ndarray:
        """Where a row has something to show."""
        query = self._query(row)
        return np.ones(self.trace.time, bool) if query < 0 else self._inside[query] | self._kept[query]

    def _notes(self, taken: np.ndarray) -> list[tuple[str, int, float]]:
        """Words with their row and left end, where a run of empty cells has room for them."""
        ends, rows, trace = self.view.shown, range(1, self.rows), self.trace
        wishes = [('has not arrived' if self.in_steps else 'right of the line: the future', rows, ends)]
        if not self.in_steps and not trace.valid.all():
            column = int(np.argmin(trace.valid))
            below = int(np.flatnonzero(taken[:, column])[-1]) + 1
            wishes.append(('invalid key', range(below, min(below + 1, self.rows)), column + 1))
        wishes.append(('too long ago', rows[::-1], 0))
        placed, free = [], ~taken
        for words, candidates, end in wishes:
            needed = int(text_width(words) / self.pitch) + 1
            columns = slice(end - needed, end) if end else slice(0, needed)
            row = next((row for row in candidates if end >= 0 and free[row, columns].sum() == needed), None)
            if row is not None:
                free[row, columns] = False
                x = self.left + end * self.pitch - text_width(words) - 4 if end else self.left + 4
                placed.append((words, row, x))
        return placed

    # --- where things are -----------------------------------------------------------------------------------
    def _y(self, row: float) -> float:
        return TOP + row * self.pitch

    def _query(self, row: int) -> int:
        """The query that is answered in a row; negative if it is void."""
        return row - self.trace.step_of(0) if self.in_steps else row

    def _boundary(self, row: int) -> int:
        """How many keys are present: not of the future."""
        if self.in_steps:
            return min(self.trace.arrived(row), self.trace.time)
        return (row // self.trace.chunk + 1) * self.trace.chunk

    # --- what follows the focus ---------------------------------------------------------------------------
    def show(self, focus: int, start: int, first: int) -> None:
        """`start` is the first key shown, `first` the first row."""
        trace, keys = self.trace, np.arange(start, start + self.view.shown)
        queries = np.array([self._query(row) for row in range(first, first + self.rows)])
        exists = (queries >= 0) & (queries < trace.time)

        def shown(matrix: np.ndarray) -> np.ndarray:
            return np.where(exists[:, None], matrix[np.clip(queries, 0, trace.time - 1)][:, keys], False)

        seen, focused = shown(self.looks.seen), (queries == focus)[:, None]
        future = keys >= (queries[:, None] // trace.chunk + 1) * trace.chunk
        fills = seen & ~future & ~focused, seen & future & ~focused, seen & focused
        radius = 0 if self.view.is_close else 3
        self._fills.set_paths([rounded(self._boxes(which), radius) for which in fills])
        width = self.width - INSET
        cells = [
            Cell(self.left, self._y(i), width, self.pitch - INSET, 'void') for i in np.flatnonzero(queries < 0).tolist()
        ]
        cells += [Cell(*box, 'invalid') for box in self._boxes(shown(self._inside) & ~trace.valid[keys], upright=True)]
        cells += [Cell(*box, 'future') for box in self._boxes(shown(self._kept))]
        self._cells.set(cells)
        self._set_present(start, first)
        row = focus + (self.trace.step_of(0) if self.in_steps else 0) - first
        self._frame.set_paths([rounded([(self.left - 4, self._y(row) - 2, self.width + 6, self.pitch + 2)])])
        self._ticks.set(self._numbers(focus, start, first))
        self._bars.set_verts(self._weights(focus, start))

    def _boxes(self, which: np.ndarray, upright: bool = False) -> list[Box]:
        """Where a matrix is True: a box each, or, where they are many, one for each run along a row or a column."""
        side = self.pitch - INSET
        if not self.view.is_close:
            return [(self.left + j * self.pitch, self._y(i), side, side) for i, j in np.argwhere(which).tolist()]
        changes = np.diff(np.pad(which.T if upright else which, ((0, 0), (1, 1))).astype(int))
        runs = np.hstack([np.argwhere(changes > 0), np.argwhere(changes < 0)[:, 1:]]).tolist()
        if upright:
            return [(self.left + i * self.pitch, self._y(a), self.pitch, (b - a) * self.pitch) for i, a, b in runs]
        return [(self.left + a * self.pitch, self._y(i), (b - a) * self.pitch, self.pitch) for i, a, b in runs]

    def _set_present(self, start: int, first: int) -> None:
        """The staircase: what is to its right lies in the future."""
        points, before = [], start
        for row in range(first, first + self.rows):
            column = min(max(self._boundary(row), start), start + self.view.shown)
            xs = [self.left + (c - start) * self.pitch - INSET / 2 for c in (before, column)]
            y = self._y(row - first) - INSET / 2
            points += [(xs[0], y), (xs[1], y), (xs[1], y + self.pitch)]
            before = column
        self._present.set_segments([points])

    def _numbers(self, focus: int, start: int, first: int) -> list[Cell]:
        """Numbers of keys, queries and steps: as many as there is room for, and the focus."""
        trace, cells = self.trace, []
        every = round_step(self.pitch, trace.time) if self.pitch < 18 else 1
        for key in range(-(-start // every) * every, start + self.view.shown, every):
            x = self.left + (key - start + 0.5) * self.pitch - INSET / 2
            cells.append(Cell(x - 14, TOP - 26, 28, 20, 'tick', str(key)))
        for row in range(first, first + self.rows):
            query = self._query(row)
            near = query != focus and self.pitch < 18 and abs(query - focus) * self.pitch < 16
            if query >= trace.time or near or (row % every and query != focus):
                continue
            mark, y = 'focus tick' if query == focus else 'tick', self._y(row - first + 0.5) - 10 - INSET / 2
            cells.append(self._number(self.left - 12, y, mark, str(row)))
            if self.in_steps:
                cells.append(self._number(self.left - 50, y, mark, str(query) if query >= 0 else 'void'))
        return cells

    def _number(self, right: float, y: float, mark: str, label: str) -> Cell:
        width = text_width(label, style.TICK, mark == 'focus tick')
        return Cell(right - width, y, width, 20, mark, label)

    def _weights(self, focus: int, start: int) -> list:
        """Bars of the weights of the focused query, the largest of both runs as high as there is room."""
        largest = max(
            looks.weights[:, focus].mean(0).max() for looks in (self.trace.layer_looks, self.trace.step_looks)
        )
        shares = self.looks.weights[:, focus, start : start + self.view.shown].mean(0) / max(largest, 1e-30)
        base, side = self.view.bottom + BARS + 14, self.pitch - INSET
        lefts = self.left + np.flatnonzero(shares) * self.pitch
        heights = BARS * shares[shares > 0]
        return [
            [(x, base), (x, base - h), (x + side, base - h), (x + side, base)]
            for x, h in zip(lefts, heights, strict=True)
        ]


# --- words ------------------------------------------------------------------------------------------------
def title(trace: AttentionTrace) -> str:
    """The finding."""
    steps = plural(trace.future, 'step', 'steps')
    if trace.first_difference is not None:
        return f'Query {thousands(trace.first_difference)} sees other keys in steps than in the whole run'
    if trace.future and trace.chunk > 1:
        chunks = plural(trace.future // trace.chunk, 'block', 'blocks')
        return f'Looking {chunks} of {trace.chunk} steps ahead means waiting {steps}'
    if trace.future:
        return f'Looking {steps} ahead means waiting {steps}: the band slides below the diagonal'
    if trace.past == -1:
        return 'Every query sees all of the past, so what is kept grows with the stream'
    if trace.chunk > 1:
        return 'Queries see no further than their own block, and wait for no other'
    return 'Looking only back means no waiting: the band is the same in both'


def waits(trace: AttentionTrace) -> str:
    """What a row of the matrix of steps is."""
    waiting = f'the query waits {plural(trace.future, "step", "steps")}' if trace.future else 'the query does not wait'
    return f'one row per step; {waiting}'


def subtitle(trace: AttentionTrace, query: int) -> str:
    """The horizons, and when the query in focus is answered."""
    past = 'all of the past' if trace.past == -1 else f'past horizon {thousands(trace.past)}'
    same = np.array_equal(trace.layer_looks.seen[query], trace.step_looks.seen[query])
    reads = f'Query {thousands(query)} reads {"the same" if same else "other"} keys in both'
    horizons = f'{past[0].upper()}{past[1:]}, future horizon {thousands(trace.future)}.'
    return f'{horizons} {reads}; in steps it is answered at step {thousands(trace.step_of(query))}.'


def weight(trace: AttentionTrace, query: int, start: int) -> str:
    """The weights of the query in focus in numbers."""
    weights = trace.layer_looks.weights[:, query].mean(0)
    if not weights.any():
        return f'query {thousands(query)} sees no key'
    words = f'most on key {thousands(int(weights.argmax()))}: {size(float(weights.max()))}'
    sinks = float(trace.layer_looks.sinks[:, query].mean())
    words += f', on sinks {size(sinks)}' if sinks else ''
    before = int(trace.layer_looks.seen[query, :start].sum())
    return words + (f', ◂ {thousands(before)} more keys' if before else '')


def plot_attention(trace: AttentionTrace, ax: Axes | None = None, *, query: int | None = None, theme: str = 'light'):
    """Draws what each query of a self-attention layer sees, in the whole run beside the run in steps.

    Args:
      trace: from `trace_attention`.
      ax: axes to draw on, scaled to fit; by default a picture of its own is returned.
      query: the one in focus.
      theme: 'light' or 'dark'.
    """
    expect(trace, AttentionTrace, 'plot_attention')
    return AttentionView(trace, theme, ax).result(query)
