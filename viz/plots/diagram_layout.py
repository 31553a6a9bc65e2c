"""Where the blocks of a diagram stand: a line for each, containers around them, and the wires between."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import seqlayers as sl
from seqlayers.inside import Wait, nbytes
from seqlayers.summary import LayerSummary

from .. import style
from ..shapes import Box, text_width
from ..traces.diagram import DiagramTrace
from .words import plural

LEFT, RIGHT, CENTRE = 34, 390, 212  # px: the flow, and the wire in its middle
BLOCK, GAP, LABEL, PAD = 28, 11, 22, 9  # px, heights: a block, before one, the name of a container, in a container
RAIL, COLUMN = 30, 96  # px, widths: of a branch without layers, and at least of one with layers
CARD = 5  # px between the cards of a Repeat
MOST, RUN = 18, 24  # lines before folding; layers in a row before the middle ones are put together
UNNAMED = re.compile(r'((layers|shortcut_layers)_\d+|child_layer|network)?')

Nodes = Sequence[LayerSummary]  # one layer, or a run of them


class Line(NamedTuple):
    """A line of the diagram.

    Attributes:
      kind: 'block', 'folded', 'aside', 'wait' (a buffer), 'join' (where branches meet) or 'total' (of a Repeat).
      nodes: the layer, or several that stand as one.
      y: its middle.
      box: on the page; None for a line of the table alone.
      words: of a wait; they are shown if there is room.
    """

    kind: str
    nodes: Nodes
    y: float
    box: Box | None
    wait: Wait | None = None
    words: str = ''
    shows_words: bool = True

    @property
    def wait_bytes(self) -> int | None:
        if self.wait is None or self.wait.buffer is None:
            return None
        return self.nodes[0].per_repetition(nbytes(self.wait.buffer))


class Container(NamedTuple):
    """A box around layers; `cards` of a Repeat."""

    node: LayerSummary
    box: Box
    cards: bool


@dataclass
class Layout:
    """Everything that stays."""

    folded: Collection[str]
    problems: Collection[str]
    lines: list[Line] = field(default_factory=list)
    containers: list[Container] = field(default_factory=list)
    wires: list[list[tuple[float, float]]] = field(default_factory=list)
    arrows: list[tuple[float, float]] = field(default_factory=list)  # their tips
    joins: list[tuple[float, float, str]] = field(default_factory=list)  # where branches meet, and how
    delays: list[tuple[float, float, int]] = field(default_factory=list)  # boxes on wires

    def draw(self, node: LayerSummary, y: float) -> float:
        """Places a model below `y` and returns where its output is."""
        if is_plain(node, None) and node.children:
            return self._chain(node.chains[0], LEFT, RIGHT, CENTRE, y, node)
        return self._node(node, LEFT, RIGHT, CENTRE, y, None)

    def _node(
        self, node: LayerSummary, x0: float, x1: float, cx: float, y: float, parent: LayerSummary | None
    ) -> float:
        if node.wait:
            y = self._wait(node.wait, node, cx, y, x1)
        if not node.children or node.path in self.folded:
            kind = 'folded' if node.children else 'block'
            return self._block(kind, (node,), x0, x1, cx, y)
        if is_plain(node, parent):
            return self._chain(node.chains[0], x0, x1, cx, y, node)
        place = len(self.containers)
        self.wires.append([(cx, y), (cx, y + GAP)])
        top = y + GAP
        inside, right = top + self._label(node), x1 - PAD
        for aside in node.aside:
            inside = self._aside(aside, x0 + PAD, right, inside)
        if len(node.chains) == 1:
            (chain,), (join,) = node.chains, node.joins
            self.wires.append([(cx, top), (cx, inside)])
            bottom = self._chain(chain, x0 + PAD, right, cx, inside, node)
            bottom = self._wait(join, chain[-1], cx, bottom, right) if join else bottom
        else:
            bottom = self._branches(node, x0, x1, cx, top)
        is_repeat = isinstance(node.layer, sl.Repeat)
        end = bottom + PAD + (2 if is_repeat else 0)
        self.containers.insert(place, Container(node, (x0, top, x1 - x0, end - top), is_repeat))
        if is_repeat:
            self.lines.append(Line('total', (node,), end + 2 * CARD + 14, None))
            end += 2 * CARD + 24
        self.wires.append([(cx, bottom), (cx, end)])
        return end

    def _chain(self, chain: Nodes, x0: float, x1: float, cx: float, y: float, parent: LayerSummary) -> float:
        for nodes in runs(chain, self.problems):
            if len(nodes) > 1:
                y = self._block('folded', nodes, x0, x1, cx, y)
            else:
                y = self._node(nodes[0], x0, x1, cx, y, parent)
        return y

    def _block(self, kind: str, nodes: Nodes, x0: float, x1: float, cx: float, y: float) -> float:
        top = y + GAP
        self.wires.append([(cx, y), (cx, top - 2)])
        self.arrows.append((cx, top))
        self.lines.append(Line(kind, nodes, top + BLOCK / 2, (x0 + PAD, top, x1 - x0 - 2 * PAD, BLOCK)))
        return top + BLOCK

    def _aside(self, node: LayerSummary, x0: float, x1: float, y: float) -> float:
        """A layer that is not on the way of the data: beside the wire."""
        left = (x0 + x1) / 2 + 16
        self.lines.append(Line('aside', (node,), y + 4 + BLOCK / 2, (left, y + 4, x1 - left - PAD, BLOCK)))
        return y + 4 + BLOCK

    def _wait(self, wait: Wait, node: LayerSummary, cx: float, y: float, x1: float) -> float:
        top = y + GAP
        self.wires.append([(cx, y), (cx, top + 24)])
        self.delays.append((cx, top + 12, wait.timesteps))
        self._waiting(wait, node, 'waits', cx + 20, top + 12, x1)
        return top + 24

    def _waiting(self, wait: Wait, node: LayerSummary, verb: str, x: float, y: float, x1: float) -> None:
        """The line of a buffer; without words where there is no room for them."""
        words = f'{verb} {plural(wait.timesteps, "step", "steps")}'
        width = text_width(words, style.SMALL)
        shown = x + width <= x1 - 4
        self.lines.append(Line('wait', (node,), y, (x, y - 12, width if shown else 0, 24), wait, words, shown))

    def _label(self, node: LayerSummary) -> float:
        """The height of a container's name; a message stands beside it in three lines."""
        return LABEL + (24 if node.path in self.problems else 0)

    def _is_flat(self, node: LayerSummary, parent: LayerSummary) -> bool:
        """Whether a layer is drawn without boxes in it, so that it may be narrow."""
        if not node.children or node.path in self.folded:
            return True
        return is_plain(node, parent) and all(self._is_flat(child, node) for child in node.children)

    # --- branches ---------------------------------------------------------------------------------------
    def _branches(self, node: LayerSummary, x0: float, x1: float, cx: float, y: float) -> float:
        """Chains side by side, those without layers as rails on the left; too many are stacked."""
        rails = [i for i, chain in enumerate(node.chains) if not chain]
        columns = [i for i, chain in enumerate(node.chains) if chain]
        left = x0 + RAIL * len(rails)
        width = (x1 - (5 if len(columns) == 1 else 0) - left) / max(1, len(columns))  # a box in it has a margin
        split = y + self._label(node)
        self.wires.append([(cx, y), (cx, split)])
        if len(columns) > 1 and (width < COLUMN or not all(self._is_flat(c, node) for c in node.children)):
            return self._stacked(node, columns, x0, x1, cx, split)
        centres = {i: x0 + RAIL * (n + 0.5) + 2 for n, i in enumerate(rails)}
        ends, bottom = {}, split
        for n, i in enumerate(columns):
            begin, end = left + n * width, left + (n + 1) * width
            centres[i] = cx if len(columns) == 1 else (begin + end) / 2
            self.wires.append([(centres[i], split), (centres[i], bottom)])
            bottom = ends[i] = self._chain(node.chains[i], begin, end, centres[i], bottom, node)
            if (join := node.joins[i]) is not None:
                bottom = ends[i] = self._wait(join, node.chains[i][-1], centres[i], bottom, end)
        across = [cx, *centres.values()]
        self.wires.append([(min(across), split), (max(across), split)])
        meet = self._join(node, cx, bottom, x1)
        for i, centre in centres.items():
            start = ends.get(i, split)
            self.wires.append([(centre, start), (centre, meet), (cx, meet)])
            if not node.chains[i] and (join := node.joins[i]):
                self.delays.append((centre, (start + meet) / 2, join.timesteps))
        return meet + 8

    def _stacked(self, node: LayerSummary, columns: list[int], x0: float, x1: float, cx: float, split: float) -> float:
        """Branches below each other, between a wire that feeds them and one that collects what they give."""
        feed, collect, bottom, taken, given = x0 + 10, x1 - 10, split, [], []
        for i in columns:
            taken.append(bottom)
            bottom = self._chain(node.chains[i], x0 + 14, x1 - 14, cx, bottom, node)
            if (join := node.joins[i]) is not None:
                bottom = self._wait(join, node.chains[i][-1], cx, bottom, x1 - 14)
            bottom += 6
            self.wires.append([(cx, bottom - 6), (cx, bottom), (collect, bottom)])
            given.append(bottom)
            bottom += 6
        meet = self._join(node, cx, bottom, x1)
        self.wires += [[(feed, y), (cx, y)] for y in taken] + [[(feed, split), (feed, taken[-1])]]
        self.wires.append([(collect, given[0]), (collect, meet), (cx, meet)])
        return meet + 8

    def _join(self, node: LayerSummary, cx: float, y: float, x1: float) -> float:
        """The mark where branches meet; how long a shortcut waits, and what channels come out, stand beside it."""
        meet = y + 18
        self.joins.append((cx, meet, meeting(node.layer)))
        waits = [join for chain, join in zip(node.chains, node.joins, strict=True) if join and not chain]
        for wait in waits:
            verb = 'shortcut waits' if isinstance(node.layer, sl.Residual) else 'input waits'
            self._waiting(wait, node, verb, cx + 14, meet, x1)
        if (
            not waits
            and node.output_spec
            and any(chain and chain[-1].output_spec != node.output_spec for chain in node.chains)
        ):
            self.lines.append(Line('join', (node,), meet, (cx - 10, meet - 10, 20, 20)))
        return meet


def is_plain(node: LayerSummary, parent: LayerSummary | None) -> bool:
    """Whether a container is drawn without a box: a chain that has no name, or is all that is in its parent."""
    if type(node.layer) is not sl.Serial or node.aside:
        return False
    return parent is None or node.layer.name is None or (len(parent.chains) == 1 and len(parent.chains[0]) == 1)


def runs(chain: Nodes, problems: Collection[str] = ()) -> Iterator[Nodes]:
    """The layers of a chain one by one; of a long one those in the middle as one, but for those with a problem."""
    keep = RUN // 3 if len(chain) > RUN else len(chain)

    def is_shown(i: int) -> bool:
        inside = f'{chain[i].path}/'
        return i < keep or i >= len(chain) - keep or any(f'{path}/'.startswith(inside) for path in problems)

    for shown, group in groupby(range(len(chain)), is_shown):
        nodes = tuple(chain[i] for i in group)
        yield from ((node,) for node in nodes) if shown else (nodes,)


def meeting(layer: sl.SequenceLayer) -> str:
    """How branches become one: '+', '×', or a word."""
    how = str(getattr(layer, 'combination', 'add' if isinstance(layer, sl.Residual) else 'concat'))
    how = how.rpartition('.')[2].lower()
    return {'add': '+', 'product': '×'}.get(how, how)


# --- folding ------------------------------------------------------------------------------------------------
def folding(trace: DiagramTrace, fold: Collection[str] | None) -> set[str]:
    """The paths to draw as one block.

    Raises:
      ValueError: one of `fold` is no layer with others inside.
    """
    openable = {node.path: level for node, level in boxes(trace.root, None, 0)}
    if fold is not None:
        if unknown := sorted(set(fold) - openable.keys()):
            raise ValueError(f'plot_diagram: cannot fold {unknown}; layers with others inside are: {sorted(openable)}')
        return set(fold)
    # What is around a problem stays open.
    shown = {path[:i] for path in trace.problems for i, letter in enumerate(path) if letter == '/'} | {*trace.problems}
    folded: set[str] = set()
    for level in sorted(set(openable.values()), reverse=True):
        if count_lines(trace.root, folded, trace.problems) <= MOST:
            break
        folded |= {path for path in openable if openable[path] == level and path not in shown}
    return folded


def boxes(node: LayerSummary, parent: LayerSummary | None, level: int) -> Iterator[tuple[LayerSummary, int]]:
    """The containers inside a layer, each with the number of boxes around it."""
    has_box = bool(node.children) and not is_plain(node, parent)
    if has_box and parent:
        yield node, level
    for child in node.children:
        yield from boxes(child, node, level + has_box)


def count_lines(node: LayerSummary, folded: Collection[str], problems: Collection[str] = ()) -> int:
    """The lines that a layer takes."""
    waits = bool(node.wait)
    if not node.children or node.path in folded:
        return 1 + waits
    groups = [nodes for chain in node.chains for nodes in runs(chain, problems)]
    inside = sum(1 if len(nodes) > 1 else count_lines(nodes[0], folded, problems) for nodes in groups)
    total = isinstance(node.layer, sl.Repeat)
    return inside + len(node.aside) + sum(map(bool, node.joins)) + total + waits
