"""All padding modes side by side: input mask, windows, and the output mask that they decide."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes

from .. import style
from ..page import Cell, Cells, Page, round_step
from ..shapes import Box, bracket, text_width
from ..traces.mask_table import MaskTableTrace, ModeMask
from ..view import View, expect
from .words import thousands

ORDER = (  # of the paddings; those in one row of the page lie alike
    'causal', 'semicausal', 'same', 'reverse_causal',
    'causal_valid', 'semicausal_full', 'valid', 'reverse_causal_valid',
)  # fmt: skip
COLUMN, AREA = 446, 306  # px: from one column to the next, the width of the timesteps in it
TOP, HEAD, CELL, LEVEL, GAP = 122, 18, 23, 9, 44  # px: first panel, its name, cells, a level of brackets, after a panel
NARROWEST, NARROW, READABLE, WIDEST = 4, 12, 15, 25  # px of a timestep
LEVELS = 3  # of brackets, with which all windows are still drawn


class Layout:
    """What all panels share: how much of time they show, how wide it is, and what is how far below their top."""

    def __init__(self, trace: MaskTableTrace):
        time, span = len(trace.mask), (trace.kernel_size - 1) * trace.dilation + 1
        self.first = -max(mode.pads[0] for mode in trace.modes)
        self.end = max(max(time + m.pads[1], (len(m.mask) - 1) * trace.stride + 1) for m in trace.modes)
        self.shown = min(self.end - self.first, max(AREA // READABLE, span + 8), AREA // NARROWEST)
        self.pitch = min(WIDEST, AREA / self.shown)
        self.gap = 1 if self.pitch > 8 else 0.5
        self.numbered = text_width(str(time - 1)) + 4 < self.pitch
        levels = -(-span // trace.stride)
        self.levels = levels if levels <= LEVELS else 1
        self.all_windows, self.all_threads = levels <= LEVELS, levels < LEVELS
        self.inputs = HEAD + (0 if self.numbered else 15)
        self.brackets = self.inputs + CELL + 8
        self.outputs = self.brackets + LEVEL * self.levels + 15
        self.height = self.outputs + CELL + GAP

    def start(self, time: int) -> int:
        """The first timestep to show if one is in focus."""
        return int(np.clip(time - self.shown // 2, self.first, self.end - self.shown))


class Panel:
    """One padding mode at a place on the page. `start` is the first timestep shown, `focus` an output."""

    def __init__(self, trace: MaskTableTrace, layout: Layout, mode: ModeMask, x: float, y: float):
        self.trace, self.layout, self.mode, self.left, self.top = trace, layout, mode, x, y
        self.start = self.focus = 0

    def show(self, focus: int) -> None:
        self.start, self.focus = self.layout.start(focus * self.trace.stride), focus

    def describe(self, page: Page) -> None:
        """What is known without a mask: rule, latency and buffer."""
        mode, x, y = self.mode, self.left + AREA + 12, self.top + self.layout.inputs + CELL / 2
        page.text(self.left, self.top, mode.name, bold=True)
        page.text(x, y, rule_words(mode, self.trace.stride), style.TICK)
        late = mode.latency > 0
        page.text(x, y + 19, f'latency {mode.latency}', style.TICK, 'accent' if late else 'ink2', bold=late)
        page.text(x, y + 38, f'buffer {mode.buffer}' if mode.supports_step else 'no steps', style.TICK, 'ink2')

    # --- cells -------------------------------------------------------------------------------------------
    def cells(self) -> Iterator[Cell]:
        """The input, the padding around it, and the outputs, each under the input of its own time."""
        mode, mask, stride = self.mode, self.trace.mask, self.trace.stride
        read = set(mode.taps[self.focus].tolist()) if self.focus < len(mode.mask) else set()
        for t in self._shown(range(len(mask))):
            mark = ('fed' if mask[t] else 'lost') if t in read else 'valid' if mask[t] else 'invalid'
            yield self._cell(t, self.layout.inputs, mark, str(t))
        for t, box in self.padding():
            mark = 'fed' if t in read else 'valid' if mode.pads_valid else 'tick'
            yield Cell(*box, mark, str(int(mode.pads_valid)) if self.layout.pitch > NARROW else '')
        for output in self._outputs():
            valid = mode.mask[output]
            mark = ('now' if valid else 'lost') if output == self.focus else 'valid' if valid else 'invalid'
            yield self._cell(output * stride, self.layout.outputs, mark, str(output))

    def padding(self) -> Iterator[tuple[int, Box]]:
        """The timesteps of padding, and their boxes."""
        time, inset = len(self.trace.mask), self.layout.pitch * 0.14
        top, width = self.top + self.layout.inputs + 3.5, self.layout.pitch - 2 * inset
        for side in (range(-self.mode.pads[0], 0), range(time, time + self.mode.pads[1])):
            yield from ((t, (self._x(t) + inset, top, width, CELL - 7)) for t in self._shown(side))

    def outlines(self) -> Iterator[list[tuple[float, float]]]:
        """The borders of the padding; of a run of narrow cells only the whole."""
        boxes = [box for _, box in self.padding()]
        if self.layout.pitch <= NARROW:
            middle = self._x(0)
            sides = [b for b in boxes if b[0] < middle], [b for b in boxes if b[0] > middle]
            boxes = [(s[0][0], s[0][1], s[-1][0] + s[-1][2] - s[0][0], s[0][3]) for s in sides if s]
        for x, y, width, height in boxes:
            yield [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)]

    def numbers(self) -> list[Cell]:
        """Numbers over the inputs, if the cells are too narrow for them."""
        if self.layout.numbered:
            return []
        step, shown = round_step(self.layout.pitch, len(self.trace.mask)), self._shown(range(len(self.trace.mask)))
        times = [t for t in shown if t % step == 0]
        return [Cell(self._x(t + 0.5) - 15, self.top + self.layout.inputs - 15, 30, 12, 'tick', str(t)) for t in times]

    # --- windows -----------------------------------------------------------------------------------------
    def windows(self) -> list[int]:
        """The outputs whose windows are drawn: all that lie in the panel, or if these are too many that in focus."""
        end, taps, all_windows = self.start + self.layout.shown, self.mode.taps, self.layout.all_windows
        inside = [i for i in self._outputs() if all_windows and self.start <= taps[i, 0] and taps[i, -1] < end]
        return [i for i in self._outputs() if i in inside or i == self.focus]

    def window(self, output: int) -> Iterator[list[tuple[float, float]]]:
        """The bracket under a window, ticks at its taps if they lie apart, and the thread to its output."""
        y, taps = self._level(output), self.mode.taps[output].tolist()
        inset = 3 / self.layout.pitch if self.trace.dilation == 1 else 0.5
        left, right = self._x(taps[0] + inset), self._x(taps[-1] + 1 - inset)
        yield bracket(left, right, y, -5)
        if self.trace.dilation > 1:
            yield from ([(self._x(t + 0.5), y - 5), (self._x(t + 0.5), y)] for t in taps[1:-1])
        if self.layout.all_threads or output == self.focus:
            own = self._x(output * self.trace.stride + 0.5)
            yield [((left + right) / 2, y), (own, self.top + self.layout.outputs)]

    def dot(self, output: int) -> list[tuple[float, float]]:
        """A dot over the bracket, where the tap is that decides."""
        x, y = self._x(self.mode.deciding[output, 0] + 0.5), self._level(output) - 4.5
        angles = np.linspace(0, 2 * np.pi, 13)
        return list(zip(x + 2.8 * np.cos(angles), y + 2.8 * np.sin(angles), strict=True))

    # --- places ------------------------------------------------------------------------------------------
    def _shown(self, times: range) -> range:
        """Those timesteps that are in the panel."""
        return range(max(times.start, self.start), min(times.stop, self.start + self.layout.shown))

    def _outputs(self) -> range:
        """The outputs in the panel."""
        stride, shown = self.trace.stride, self._shown(range(len(self.mode.mask) * self.trace.stride))
        return range(-(-shown.start // stride), -(-shown.stop // stride))

    def _x(self, time: float) -> float:
        """Where a timestep begins; the end of the panel, if it lies outside."""
        return self.left + min(max(time - self.start, 0), self.layout.shown) * self.layout.pitch

    def _cell(self, time: int, below: float, mark: str, label: str) -> Cell:
        gap, width = self.layout.gap, self.layout.pitch
        label = label if self.layout.numbered else ''
        return Cell(self._x(time) + gap, self.top + below, width - 2 * gap, CELL, mark, label)

    def _level(self, output: int) -> float:
        return self.top + self.layout.brackets + LEVEL * (output % self.layout.levels)


class MaskTableView(View):
    """Panels in two columns: where one tap decides, and where the whole window does. The focus is an output."""

    word = 'output'

    def __init__(self, trace: MaskTableTrace, theme: str = 'light', ax: Axes | None = None):
        modes = sorted(trace.modes, key=lambda m: ORDER.index(m.padding) if m.padding in ORDER else len(ORDER))
        columns = [column for tap in (True, False) if (column := [m for m in modes if (m.rule == 'tap') == tap])]
        layout, rows = Layout(trace), max(map(len, columns))
        page = Page(style.WIDTH, TOP + rows * layout.height - GAP + 26, theme, ax)
        super().__init__(page, range(max(len(mode.mask) for mode in modes)), first_difference(trace))
        page.heading(title(trace), subtitle(trace))
        self.panels = []
        for i, column in enumerate(columns):
            x = style.MARGIN + COLUMN * i
            self._head(x, column[0].rule == 'tap')
            self.panels += [Panel(trace, layout, m, x, TOP + layout.height * row) for row, m in enumerate(column)]
        for panel in self.panels:
            panel.describe(page)
        right = style.RIGHT if len(columns) == 2 else style.MARGIN + AREA + 124
        page.lines([[(style.MARGIN, y), (right, y)] for y in [TOP - 22 + layout.height * row for row in range(rows)]])
        self._lines = {
            'valid': page.lines(color='mid', width=style.EDGE, live=True),
            'invalid': page.lines(color='hatch', width=style.EDGE, live=True),
        }
        self._cells, self._numbers = Cells(page), Cells(page, size=style.TICK)
        self._lines['focus'] = page.lines(color='accent', width=style.POINTER, live=True)
        self._padding = page.lines(color='ink3', dash='dotted', live=True)
        self._dots, self._dot = page.areas(color='ink3', live=True), page.areas(color='accent', live=True)

    def _head(self, x: float, tap: bool) -> None:
        words = 'one tap decides' if tap else 'the whole window decides'
        self.page.text(x, 82, words, style.HEAD, bold=True)
        if tap:
            beside = x + text_width(words, style.HEAD, True) + 12
            self.page.text(beside, 82, 'the dot marks it', style.LABEL, 'ink2')

    def show(self, position: int) -> None:
        lines: dict[str, list] = {kind: [] for kind in self._lines}
        dots, dot = [], []
        for panel in self.panels:
            panel.show(position)
            for output in panel.windows():
                focused = output == position
                kind = 'focus' if focused else 'valid' if panel.mode.mask[output] else 'invalid'
                lines[kind] += panel.window(output)
                if panel.mode.rule == 'tap':
                    (dot if focused else dots).append(panel.dot(output))
        for kind, artist in self._lines.items():
            artist.set_segments(lines[kind])
        self._dots.set_verts(dots)
        self._dot.set_verts(dot)
        self._cells.set([cell for panel in self.panels for cell in panel.cells()])
        self._numbers.set([cell for panel in self.panels for cell in panel.numbers()])
        self._padding.set_segments([line for panel in self.panels for line in panel.outlines()])


def first_difference(trace: MaskTableTrace) -> int:
    """The first output that is valid in one mode and not in another; 0 if there is none."""
    outputs = range(max(len(mode.mask) for mode in trace.modes))
    return next((i for i in outputs if len({bool(m.mask[i]) for m in trace.modes if i < len(m.mask)}) == 2), 0)


# --- words ----------------------------------------------------------------------------------------------
def rule_words(mode: ModeMask, stride: int) -> str:
    """When output i is valid."""
    own = 'i' if stride == 1 else f'{stride}i'
    words = {'tap': f'input {own} valid', 'all': 'all taps valid', 'any': 'any tap valid'}[mode.rule]
    return 'all taps, pads = 1' if mode.pads_valid else words


def title(trace: MaskTableTrace) -> str:
    """The finding."""
    found = []
    for tap, words in ((True, 'one tap decides'), (False, 'the whole window decides')):
        masks = [mode.mask for mode in trace.modes if (mode.rule == 'tap') == tap]
        counts = sorted(int(mask.sum()) for mask in masks)
        if counts:
            count = ' to '.join(map(thousands, sorted({counts[0], counts[-1]})))
            found.append(f'{count} outputs valid where {words}' if not found else f'{count} where {words}')
    return ', '.join(found)


def subtitle(trace: MaskTableTrace) -> str:
    """How to read the picture."""
    window = f'Kernel {trace.kernel_size}, stride {trace.stride}'
    window += f', dilation {trace.dilation}' if trace.dilation > 1 else ''
    return f'{window}. Brackets: windows. Dotted: padding. Crossed: invalid. Latency in outputs, buffer in inputs.'


def plot_mask_table(trace: MaskTableTrace, ax: Axes | None = None, *, output: int | None = None, theme: str = 'light'):
    """Draws input mask, windows and output mask of every padding mode, side by side.

    Args:
      trace: from `trace_mask_table`.
      ax: axes to draw on, scaled to fit; by default a picture of its own is returned.
      output: whose window to emphasise; by default the first that is valid in one mode and not in another.
      theme: 'light' or 'dark'.
    """
    expect(trace, MaskTableTrace, 'plot_mask_table')
    return MaskTableView(trace, theme, ax).result(output)
