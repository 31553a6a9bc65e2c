"""A model as a diagram: the flow on the left, a table on the right, a line for each block."""

import textwrap
from collections.abc import Collection
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.path import Path

from seqlayers import tables

from .. import style
from ..page import Page
from ..shapes import fit, fit_name, rounded, text_width
from ..traces.diagram import DiagramTrace
from ..view import View, expect
from .diagram_layout import CARD, LABEL, Layout, Line, folding
from .diagram_table import TABLE, Table
from .diagram_words import beside, block_words, blockers, names, subtitle, title
from .words import power_of_ten, thousands

TOP = 152  # px: the input
MOST = 180  # letters: more never fit
DASHED = (0, (3, 2))


class DiagramView(View):
    """The focus is a line: what is known of it is written out."""

    word = 'line'

    def __init__(
        self, trace: DiagramTrace, theme: str = 'light', ax: Axes | None = None, fold: Collection[str] | None = None
    ):
        self.trace, self.root = trace, trace.root
        self.layout = Layout(folding(trace, fold), trace.problems)
        self.bottom = self.layout.draw(self.root, TOP + 12)
        self.lines, self._blockers = self.layout.lines, blockers(self.root)
        page = Page(style.WIDTH, self.bottom + 60, theme, ax)
        super().__init__(page, range(len(self.lines)), self._most_notable())
        page.heading(title(trace), subtitle(trace))
        self._containers()
        self._wires()
        self._blocks()
        Table(page, trace, self.lines, TOP, self.bottom + 24)
        self._said = [self._words(line) for line in self.lines]
        self._frame = page.frame()
        self._path = page.text(style.MARGIN, 76, '', style.TICK, 'accent', bold=True, live=True)
        self._details = page.text(style.MARGIN, 94, '', style.TICK, 'ink2', live=True)

    def _most_notable(self) -> int:
        """The line of a problem, or of what blocks steps; or that of most latency or state."""
        culprits = [*self.trace.problems, *(node.path for node in self._blockers)]

        def weight(i: int) -> tuple:
            node, kind = self.lines[i].nodes[0], self.lines[i].kind
            at_fault = max((f'{node.path}/'.startswith(f'{path}/') for path in culprits if path), default=False)
            return at_fault, kind in ('block', 'folded'), node.latency or 0, node.state_bytes or 0, -i

        return max(range(len(self.lines)), key=weight)

    # --- what stays: the flow ----------------------------------------------------------------------------
    def _containers(self) -> None:
        page = self.page
        for node, (x, y, width, height), is_repeat in self.layout.containers:
            edge, dash = ('hatch', DASHED) if node in self._blockers else ('edge', 'solid')
            edge = 'line' if node.status == 'not reached' else edge
            edge, dash = ('alarm', DASHED) if node.path in self.trace.problems else (edge, dash)
            fill = 'panel' if is_repeat else 'paper'
            for shift in (2 * CARD, CARD, 0) if is_repeat else (0,):
                self._shape((x + shift, y + shift, width, height), fill, edge, 12, dash)
            name, kind = names(node)
            if is_repeat:
                times = f'× {node.layer.num_repeats}'  # type: ignore[attr-defined]
                page.text(x + width - 12, y + 14, times, style.HEAD, 'accent', bold=True, align='right')
                page.text(x + 12, y + 14, fit(name, width / 2 - 24, style.LABEL, True), bold=True)
            else:
                words = fit(f'{name} · {kind}' if kind else name, width / 2 - 20, style.SMALL)
                words = fit(name, width / 2 - 16, style.SMALL) if '…' in words else words
                page.text(x + width - 10, y + LABEL / 2, words, style.SMALL, 'ink2', align='right')
            if node.path in self.trace.problems:
                self._problem(y + 20, self.trace.problems[node.path])

    def _shape(
        self, box: Any, fill: str, edge: str, radius: float = 6, dash: Any = 'solid', width: float = style.EDGE
    ) -> None:
        theme = self.page.theme
        shape = PathCollection(
            [rounded([box], radius)], facecolors=getattr(theme, fill), edgecolors=getattr(theme, edge),
            linewidths=width * self.page.point, linestyles=[dash], zorder=1 if fill in ('panel', 'paper') else 2,
        )  # fmt: skip
        self.page.add(shape)

    def _wires(self) -> None:
        page, layout, end = self.page, self.layout, self.bottom
        first = layout.wires[0][0][0] if layout.wires else (TABLE - 20) / 2
        page.text(first, TOP, 'input', bold=True, align='center')
        page.text(first, end + 24, 'output', bold=True, align='center')
        wires = [*layout.wires, [(first, end), (first, end + 14)]]
        page.lines(wires, 'ink2', style.EDGE).set_zorder(1.5)
        tips = [*layout.arrows, (first, end + 16)]
        page.areas([[(x, y), (x - 3.5, y - 6), (x + 3.5, y - 6)] for x, y in tips], 'ink2').set_zorder(1.6)
        for x, y, how in layout.joins:
            circle = PathCollection(
                [Path.circle((x, y), 8)], facecolors=page.theme.paper, edgecolors=page.theme.ink2,
                linewidths=style.EDGE * page.point, zorder=2,
            )  # fmt: skip
            page.add(circle)
            if how not in ('+', '×'):
                page.text(x - 14, y, how, style.SMALL, 'ink2', align='right')
                page.areas([Path.circle((x, y), 4).to_polygons()[0]], 'ink2').set_zorder(2.1)
                continue
            strokes = {'+': [[(x - 4, y), (x + 4, y)], [(x, y - 4), (x, y + 4)]]}
            strokes['×'] = [[(x - 3, y - 3), (x + 3, y + 3)], [(x - 3, y + 3), (x + 3, y - 3)]]
            page.lines(strokes[how], 'ink2', style.EDGE).set_zorder(2.1)
        for x, y, steps in layout.delays:
            label = 'z' + power_of_ten(-steps)[2:]
            width = text_width(label, style.SMALL) + 8
            self._shape((x - width / 2, y - 12, width, 24), 'tint', 'mid', 4)
            page.text(x, y, label, style.SMALL, align='center')

    def _blocks(self) -> None:
        """What stands on the lines, and leaders to the table."""
        leaders = []
        for line in self.lines:
            if line.box is None:
                continue
            problem = self.trace.problems.get(line.nodes[0].path)
            if line.kind == 'wait' and line.shows_words:
                self.page.text(line.box[0], line.y, line.words, style.SMALL, 'ink2')
            elif line.kind not in ('wait', 'join'):
                self._block(line)
                if problem is not None:
                    self._problem(line.y, problem)
            leaders.append([(line.box[0] + line.box[2] + 6, line.y), (TABLE - 4, line.y)])
        self.page.lines(leaders, 'edge', dash='dotted')

    def _block(self, line: Line) -> None:
        node, page = line.nodes[0], self.page
        x, _, width, _ = line.box or (0, 0, 0, 0)
        waits = any(n.latency for n in line.nodes) and line.kind in ('block', 'folded')
        fill, edge, color, dash = ('tint', 'mid', 'ink', 'solid') if waits else ('cell', 'cell', 'ink', 'solid')
        if node.path in self.trace.problems:
            fill, edge, color, dash = 'alarm_tint', 'alarm', 'alarm', DASHED
        elif node.status == 'not reached':
            fill, edge, color = 'paper', 'line', 'ink3'
        elif line.kind == 'aside' or any(n in self._blockers for n in node.walk()):
            edge, dash = 'hatch', DASHED
        self._shape(line.box, fill, edge, 6, dash)
        name, kind, words = block_words(line)
        name = fit_name(name, width - 20, style.LABEL, True)
        page.text(x + 10, line.y, name, style.LABEL, color, bold=True)
        room = width - 34 - text_width(name, style.LABEL, True)
        words = beside(kind, words, room)
        page.text(x + width - 10, line.y, words, style.SMALL, 'ink2', align='right')

    def _problem(self, y: float, problem: str) -> None:
        """The message, instead of the numbers."""
        lines = textwrap.wrap(problem, 74, max_lines=3, placeholder=' …')
        for i, words in enumerate(lines):
            middle = y + 14 * (i - (len(lines) - 1) / 2)
            self.page.text(TABLE + 2, middle, fit(words, style.RIGHT - TABLE - 2, style.SMALL), style.SMALL, 'alarm')

    # --- what follows the focus ------------------------------------------------------------------------
    def show(self, position: int) -> None:
        line = self.lines[position]
        boxes = [(TABLE - 2, line.y - 15, style.RIGHT - TABLE + 8, 30)]
        boxes += [(line.box[0] - 3, line.box[1] - 3, line.box[2] + 6, line.box[3] + 6)] if line.box else []
        self._frame.set_paths([rounded(boxes, 6)])
        path, details = self._said[position]
        self._path.set_text(cut(path, True))
        self._details.set_text(cut(details))

    def _words(self, line: Line) -> tuple[str, str]:
        """All that is known of a line: where it is and what, and its numbers."""
        first, last = line.nodes[0], line.nodes[-1]
        if line.kind == 'wait':
            held = '?' if line.wait_bytes is None else thousands(line.wait_bytes)
            return (
                f'{first.path or self.trace.name}: {line.words}',
                f'A buffer of {held} bytes, so that what meets is of one time.',
            )
        if len(line.nodes) > 1:
            path = f'{first.path} … {last.path}'
        else:
            path = f'{first.path or self.trace.name}: {tables.words(first.layer, bool(first.children))}'
        facts = [f'{tables.shape(first.input_spec)} → {tables.shape(last.output_spec)}', f'ratio {last.ratio}']
        facts += [f'offset {last.offset}'] if last.offset is not None else ['no steps']
        facts += [f'block size {first.layer.block_size}']
        size = first.parameter_bytes
        facts += [f'{thousands(size)} bytes of parameters'] if size and len(line.nodes) == 1 else []
        problem = self.trace.problems.get(first.path)
        return path, problem or ' · '.join(facts)


def cut(words: str, bold: bool = False) -> str:
    """A line of the page. Of a long text about as much as fits is tried first: measuring is slow."""
    room = style.RIGHT - style.MARGIN
    width = text_width(words[:MOST], style.TICK, bold)
    letters = MOST if width <= room else int(len(words[:MOST]) * room / width) + 2
    return fit(words[:letters] + '…' * (letters < len(words)), room, style.TICK, bold)


def plot_diagram(
    trace: DiagramTrace,
    ax: Axes | None = None,
    *,
    fold: Collection[str] | None = None,
    line: int | None = None,
    theme: str = 'light',
):
    """Draws a model as blocks, with timing, shapes, state, parameters and operations of each.

    Args:
      trace: from `trace_diagram`.
      ax: axes to draw on, scaled to fit; by default a picture of its own is returned.
      fold: paths of layers to draw as one block each, whatever is inside; by default the deepest, if there are
        more than 18 lines.
      line: which one to describe in full.
      theme: 'light' or 'dark'.

    Raises:
      ValueError: `fold` names something that has nothing inside.
    """
    expect(trace, DiagramTrace, 'plot_diagram')
    return DiagramView(trace, theme, ax, fold).result(line)
