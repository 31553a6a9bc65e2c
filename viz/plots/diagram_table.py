"""The table of a diagram: channels, ratio, latency and amounts on the lines of the blocks, totals below."""

from fractions import Fraction
from typing import NamedTuple

from seqlayers import tables

from .. import style
from ..page import Page
from ..shapes import fit
from ..traces.diagram import DiagramTrace
from .diagram_layout import Line
from .diagram_words import amount_words, shape

TABLE = 424  # px: where the table begins
CHANNELS, RATIO, LATENCY, STATE, PARAMETERS, FLOPS = 500, 550, 616, 712, 800, 880  # px: right ends of its columns
HEADS = {
    CHANNELS: 'channels', RATIO: 'ratio', LATENCY: 'latency', STATE: 'state, bytes', PARAMETERS: 'parameters',
    FLOPS: 'FLOPs a step',
}  # fmt: skip
AMOUNTS = {STATE: 'mid', PARAMETERS: 'hatch', FLOPS: 'hatch'}  # and the colours of their bars
BAR = 74  # px of the largest bar


class Edge(NamedTuple):
    """What is known behind a layer."""

    channels: str
    ratio: Fraction


class Table:
    """Draws the table on a page."""

    def __init__(self, page: Page, trace: DiagramTrace, lines: list[Line], top: float, bottom: float):
        self._page, self._trace, self._root, self._lines = page, trace, trace.root, lines
        self._bars: dict[str, list] = {color: [] for color in AMOUNTS.values()}
        amounts = [self._amounts(line) for line in lines if line.kind not in ('total', 'join')]
        self._largest = {x: max((found[x] or 0 for found in amounts if x in found), default=0) for x in AMOUNTS}
        for x, words in HEADS.items():
            page.text(x, top - 24, words, style.TICK, 'ink2', align='right')
        edge = Edge(shape(self._root.input_spec), Fraction(1))
        self._edge(edge, Edge('?', Fraction(0)), top)
        for line in lines:
            edge = self._line(line, edge)
        for color, boxes in self._bars.items():
            page.areas(boxes, color)
        self._sum(bottom)

    def _line(self, line: Line, before: Edge) -> Edge:
        """Draws a line, and returns what flows on to the next."""
        if line.kind == 'total':
            self._total(line)
        elif line.kind == 'wait':
            self._amount_cells(line)
        elif line.kind == 'join' or line.nodes[0].path not in self._trace.problems:  # a problem is told there instead
            edge = Edge(shape(line.nodes[-1].output_spec), line.nodes[-1].ratio)
            self._edge(edge, before, line.y)
            if line.kind != 'join':
                latency = self._latency(line)
                self._cell(LATENCY, line.y, latency, latency not in ('0', '–'))
                self._amount_cells(line)
            return before if line.kind == 'aside' else edge
        return before

    def _edge(self, edge: Edge, before: Edge, y: float) -> None:
        """Channels and ratio; what is as before is pale."""
        channels = fit(edge.channels, CHANNELS - TABLE, style.LABEL)
        self._cell(CHANNELS, y, channels, edge.channels not in ('?', before.channels))
        self._cell(RATIO, y, str(edge.ratio), edge.ratio != before.ratio)

    def _amount_cells(self, line: Line) -> None:
        for x, amount in self._amounts(line).items():
            self._cell(x, line.y, self._words(x, amount), bool(amount))
            if amount:
                left, y = x - max(1.5, BAR * amount / self._largest[x]), line.y + 10
                self._bars[AMOUNTS[x]].append([(left, y), (x, y), (x, y + 3), (left, y + 3)])

    def _total(self, line: Line) -> None:
        """The line below a Repeat: its numbers, which are those above times the repetitions."""
        page, layer = self._page, line.nodes[0].layer
        page.lines([[(TABLE, line.y - 14), (style.RIGHT, line.y - 14)]], 'edge')
        page.text(TABLE, line.y, f'{layer.num_repeats} × the above', style.TICK, 'ink2')  # type: ignore[attr-defined]
        self._cell(LATENCY, line.y, self._latency(line), True)
        for x, amount in self._amounts(line).items():
            self._cell(x, line.y, self._words(x, amount), True)

    def _sum(self, y: float) -> None:
        root = self._root
        self._page.lines([[(TABLE, y - 15), (style.RIGHT, y - 15)]], 'ink', style.EDGE)
        words = {
            CHANNELS: fit(shape(root.output_spec), CHANNELS - TABLE, style.LABEL, True), RATIO: str(root.ratio),
            LATENCY: tables.latency(root.latency), STATE: self._words(STATE, root.state_bytes),
            PARAMETERS: self._words(PARAMETERS, root.parameters), FLOPS: self._words(FLOPS, self._trace.flops['']),
        }  # fmt: skip
        for x, cell in words.items():
            self._page.text(x, y, cell, bold=True, align='right')

    def _cell(self, x: float, y: float, words: str, is_news: bool) -> None:
        self._page.text(x, y, words, style.LABEL, 'ink' if is_news else 'ink3', align='right')

    def _words(self, x: int, amount: int | None) -> str:
        has_none = x != PARAMETERS and self._root.offset is None
        return '–' if has_none else amount_words(amount)

    # --- numbers ----------------------------------------------------------------------------------------
    def _amounts(self, line: Line) -> dict[int, int | None]:
        """By column, the sum over the layers of a line."""
        if line.kind == 'wait':
            return {STATE: line.wait_bytes}
        found = {
            STATE: [node.state_bytes for node in line.nodes],
            PARAMETERS: [node.parameters for node in line.nodes],
            FLOPS: [self._trace.flops.get(node.path, 0) for node in line.nodes],
        }
        return {x: total(amounts) for x, amounts in found.items()}

    def _latency(self, line: Line) -> str:
        known = [node.latency for node in line.nodes if node.latency is not None]
        return tables.latency(sum(known, Fraction(0)) if len(known) == len(line.nodes) else None)


def total(amounts: list[int | None]) -> int | None:
    """The sum; not known if one is not."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None
