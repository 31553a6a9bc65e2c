"""A live stream as a picture: the wall clock above, and below it what the delay of each output is made of."""

from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes

from .. import style
from ..page import Cell, Cells, Page
from ..shapes import rounded, text_width
from ..traces.timeline import StreamTrace
from ..view import View, expect
from .wall_clock import Clock, WallClock, ms
from .words import thousands

ALL, STRETCH = 12, 6  # outputs, up to which all are shown; else the time of so many, and of so many calls
BARS, BAR, PITCH = 368, 16, 24  # px: the first bar, its height, from one to the next
ROOM = 96  # px behind a bar for its total
HISTOGRAM, BIN = 64, 6  # px: its height, the width of a bar
PARTS = ('its inputs', 'valid'), ('look-ahead', 'fed'), ('waits for its chunk', 'future')
MACHINE, BEHIND = (('queue, compute', 'bar'),), (('queue', 'first'), ('compute', 'bar'))


class TimelineView(View):
    """The focus is an output.

    A long stream is shown around it; of its delays the longest, the median, the shortest, and all as a histogram.
    """

    word = 'output'

    def __init__(self, trace: StreamTrace, theme: str = 'light', ax: Axes | None = None):
        self.trace = trace
        count = len(trace.outputs.total)
        self.long = count > ALL
        self.rows = notable(trace) if self.long else [('output', output) for output in range(count)]
        self.bottom = BARS + PITCH * (len(self.rows) + self.long)
        page = Page(style.WIDTH, self.bottom + (HISTOGRAM + 84 if self.long else 40), theme, ax)
        super().__init__(page, range(max(1, count)), count // 2)
        page.heading(title(trace), subtitle(trace))
        self._parts()
        outputs = trace.outputs
        own = (outputs.own_ends - outputs.own_begins).max(initial=0)
        self._delays = Clock.fitting(-own, outputs.total.max(initial=0), ROOM)  # from the end of its own inputs
        if self.long:
            self._histogram()
        self._wall = WallClock(page, trace)
        self._cells, self._labels = Cells(page), Cells(page, size=style.LABEL)
        self._waits = page.frame('hatch', style.EDGE)
        self._reading = page.text(style.MARGIN, page.height - 16, '', style.LABEL, 'ink2', live=True)

    # --- what stays --------------------------------------------------------------------------------------
    def _parts(self) -> None:
        """The parts of a delay, and how they are drawn."""
        page, behind = self.page, self.trace.falls_behind
        page.text(style.MARGIN, BARS - 22, 'where the time goes', bold=True)
        x, samples = style.LEFT, []
        for words, mark in PARTS + (BEHIND if behind else MACHINE):
            samples.append(Cell(x, BARS - 29, 18, 14, mark))
            page.text(x + 26, BARS - 22, words, style.TICK, 'ink2')
            x += text_width(words, style.TICK) + 56
        Cells(page, live=False).set(samples)
        page.frame('hatch', style.EDGE, live=False).set_paths([rounded([samples[2][:4]])])

    def _histogram(self) -> None:
        page, clock, base = self.page, self._delays, self.bottom + HISTOGRAM + 22
        edges = np.arange(float(style.LEFT), style.RIGHT + BIN, BIN)
        self._bin = np.digitize(clock.x(self.trace.outputs.total), edges) - 1
        counts = np.bincount(self._bin, minlength=len(edges))
        heights = np.maximum(HISTOGRAM * counts / counts.max(), 1.5)
        self._bins = [Cell(x, base - h, BIN - 1, h, 'bar') for x, h in zip(edges, heights, strict=True)]
        page.lines([[(clock.x(t), BARS - 6), (clock.x(t), base)] for t in clock.ticks()])
        Cells(page, live=False).set([self._bins[i] for i in np.flatnonzero(counts)])
        flushed = int(np.count_nonzero(self.trace.flushed))
        of = f'of {thousands(len(self._bin))} outputs' + (f', {thousands(flushed)} flushed' if flushed else '')
        page.row_name(base - HISTOGRAM / 2, 'all delays', of)
        page.lines([[(style.LEFT, base), (style.RIGHT, base)]], 'edge')
        most = int(np.argmax(counts))
        page.text(
            float(edges[most]) + 3, base - HISTOGRAM - 9, thousands(counts[most]), style.SMALL, 'ink2', align='center'
        )
        page.text(style.LEFT - 40, base + 13, 'ms', style.TICK, 'ink2', align='right')
        for t in clock.ticks():
            page.text(clock.x(t), base + 13, ms(t), style.TICK, 'ink2', align='center')

    # --- what follows the focus --------------------------------------------------------------------------
    def show(self, position: int) -> None:
        clock = self._clock(position)
        self._wall.show(clock, position, (BARS - 6, BARS - 6 if self.long else self.bottom))
        cells, labels = [], []
        rows = [(name, output, not self.long and output == position) for name, output in self.rows]
        rows += [('output', position, True)] if self.long else []
        for i, (name, output, focused) in enumerate(rows):
            origin = float(self.trace.outputs.own_ends[output]) if self.long else 0.0
            scale, y = self._delays if self.long else clock, BARS + PITCH * i
            cells += self._bar(scale, origin, output, y, focused)
            end = scale.x(float(self.trace.outputs.returns[output]) - origin)
            labels += self._bar_labels(name, output, end, y, focused)
        self._waits.set_paths([rounded([cell[:4] for cell in cells if cell.mark == 'future'])])
        if self.long:
            cells.append(self._bins[self._bin[position]]._replace(mark='now'))
        self._cells.set(cells)
        self._labels.set(labels)
        self._reading.set_text(reading(self.trace, position))

    def _clock(self, position: int) -> Clock:
        """The whole stream; or of a long one the time of a dozen outputs around the focus."""
        outputs, end = self.trace.outputs, float(self.trace.calls.returns[-1])
        if not self.long:
            return Clock.fitting(0, end, ROOM)
        begin, returns = float(outputs.own_begins[position]), float(outputs.returns[position])
        steps = max(ALL / len(outputs.total), STRETCH / np.count_nonzero(self.trace.emitted))
        width = max(steps * end, 1.3 * (returns - begin))
        begin = max(0.0, min(begin - 0.15 * width, 1.02 * end - width))
        return Clock.fitting(begin, begin + width)

    def _bar(self, clock: Clock, origin: float, output: int, y: float, focused: bool) -> list[Cell]:
        """The parts of a delay, side by side."""
        o = self.trace.outputs
        times = [t[output] - origin for t in (o.own_begins, o.own_ends, o.needed, o.ready, o.starts, o.returns)]
        machine = 'now' if focused else 'bar'
        marks = ['valid', 'fed', 'future', 'first', machine]
        if not self.trace.falls_behind:  # queue and computing as one
            del times[4], marks[3]
        spans = [clock.span(a, b) for a, b in pairwise(times)]
        return [Cell(x + 0.5, y, w - 1, BAR, mark) for (x, w), mark in zip(spans, marks, strict=True) if w > 1.5]

    def _bar_labels(self, name: str, output: int, end: float, y: float, focused: bool) -> list[Cell]:
        """The name of a row in the gutter, and the total behind its end."""
        mark = 'focus tick' if focused else 'tick'
        name = f'{name} {thousands(output)}'
        total = f'{ms(self.trace.outputs.total[output])} ms' + (', flush' if self.trace.flushed[output] else '')
        widths = [text_width(words, style.LABEL, focused) for words in (name, total)]
        return [
            Cell(style.LEFT - 10 - widths[0], y, widths[0], BAR, mark, name),
            Cell(end + 8, y, widths[1], BAR, mark, total),
        ]


def notable(trace: StreamTrace) -> list[tuple[str, int]]:
    """The three longest delays, the median and the shortest before the stream ends; with words for them."""
    total = np.where(trace.flushed, -1, trace.outputs.total)
    order = np.argsort(-total, kind='stable')[: max(1, int((total >= 0).sum()))].tolist()
    return [
        *[('worst: output', output) for output in order[:3]],
        ('median: output', order[len(order) // 2]),
        ('best: output', order[-1]),
    ]


# --- words ----------------------------------------------------------------------------------------------
def title(trace: StreamTrace) -> str:
    """The finding."""
    outputs, live = trace.outputs, ~trace.flushed
    if not len(live):
        return 'The stream is too short for any output'
    if not live.any():
        return 'Every output comes at the end: the stream is over before its first block brings one'
    total = outputs.total[live]
    low, high = ms(total.min()), ms(total.max())
    if trace.falls_behind:
        late = f'{ms(total[0])} ms late at first, {ms(total[-1])} ms in the end'
        return f'Falls behind by {ms(trace.falls_behind)} ms a block: {late}'
    if low == high:
        rest = '' if ms(outputs.total.min()) == ms(outputs.total.max()) == low else ' until the stream closes'
        return f'Every output comes {low} ms after its inputs{rest}'
    ahead = outputs.look_ahead[live]
    causes = {
        'how the chunks fall': np.ptp(outputs.waiting[live]),
        'the machine': np.ptp((outputs.queue + outputs.compute)[live]),
        'their place in a block of the model': np.ptp(ahead),
    }
    same = '' if np.ptp(ahead) > 1e-6 else ', same look-ahead' if ahead.any() else ', no look-ahead'
    return f'Same model{same}: {low} to {high} ms, depending on {max(causes, key=causes.__getitem__)}'


def subtitle(trace: StreamTrace) -> str:
    """How to read the picture."""
    size, step = trace.block_size, trace.ms(1)
    come = f'Inputs of {ms(step)} ms arrive' if step >= 1 else f'{thousands(round(trace.rate))} inputs a second arrive'
    run = f'every {thousands(size)} run as a block' if size > 1 else 'each runs as a block'
    return f'{come} in chunks; {run}. A delay counts from the end of an output’s own inputs.'


def reading(trace: StreamTrace, output: int) -> str:
    """The delay of one output in numbers."""
    o = trace.outputs
    if not len(o.total):
        return 'There are no outputs.'
    parts = zip(('look-ahead', 'chunk', 'queue', 'compute'), (o.look_ahead, o.waiting, o.queue, o.compute), strict=True)
    sums = ', '.join(f'{name} {ms(part[output])}' for name, part in parts)
    at = 'the close' if trace.flushed[output] else f'push {thousands(o.call[output] + 1)}'
    return f'Output {thousands(output)} comes with {at}, {ms(o.total[output])} ms after its inputs: {sums} ms.'


def plot_stream(trace: StreamTrace, ax: Axes | None = None, *, output: int | None = None, theme: str = 'light'):
    """Draws a live stream on the wall clock, and what the delay of each output is made of.

    Args:
      trace: from `trace_stream`.
      ax: axes to draw on, scaled to fit; by default a picture of its own is returned.
      output: the output timestep to follow.
      theme: 'light' or 'dark'.
    """
    expect(trace, StreamTrace, 'plot_stream')
    return TimelineView(trace, theme, ax).result(output)
