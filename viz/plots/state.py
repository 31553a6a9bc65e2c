"""The state as a picture: what every entry holds after each block, beside a ledger of shapes and bytes."""

from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .. import style
from ..page import Cell, Cells, Page
from ..shapes import Box, bracket, fit, rounded, text_width
from ..traces import StateLeaf, StateTrace
from ..view import View, expect
from .words import plural, thousands

LEFT, RULE, LEDGER = 92, 634, 650  # px: columns of blocks, the rule behind them, the ledger
SHOWN, WIDEST = 20, 60  # blocks in the window, px of a block
TOP, HEAD, GAP, BOTTOM = 150, 22, 26, 940  # px: first group, its name, between groups, where they must end
ENTRY, UNIT, LINE = 22, 12, 36  # px, heights: an entry of a buffer, a unit of a vector, a line of the ledger
NUMBERED, UNITS = 16, 8  # entries with numbers, units shown


class Group:
    """Leaves of a layer that are drawn as one: they hold the same timesteps, or vectors of one size."""

    def __init__(self, leaves: list[StateLeaf], top: float):
        self.leaves = leaves
        self.leaf = max(leaves, key=lambda leaf: leaf.nbytes)  # of keys and positions the keys
        self.entries = self.leaf.newest.shape[1]
        if self.leaf.is_buffer:
            self.rows, self.pitch = self.entries, ENTRY if self.entries <= NUMBERED else 6
        else:
            self.rows, self.pitch = (
                (min(UNITS, self.leaf.values[0].size), UNIT) if self.leaf.kind == 'vector' else (1, ENTRY)
            )
        self.top, self.y = top, top + HEAD
        self.bottom = self.y + max(
            self.rows * self.pitch + (16 if self.leaf.kind == 'vector' else 0), LINE * len(leaves)
        )

    def units(self) -> np.ndarray:
        """The numbers of largest variance as shares of the largest, `[units, blocks + 1]`."""
        values = np.nan_to_num(self.leaf.values.reshape(len(self.leaf.values), -1))
        chosen = np.sort(np.argsort(-values.var(0), kind='stable')[: self.rows])
        return values[:, chosen].T / max(np.abs(values[:, chosen]).max(), 1e-30)

    @property
    def name(self) -> str:
        return self.leaf.layer

    @property
    def manner(self) -> str:
        """How this memory works, in words."""
        leaf = self.leaf
        if leaf.is_buffer:
            return (
                f'ring of {self.entries} entries'
                if leaf.is_ring
                else f'{plural(self.entries, "entry", "entries")}, moved by every block'
            )
        if self.leaf.kind == 'counter':
            return 'a counter' if leaf.values[0].size == 1 else f'{leaf.values[0].size} counters'
        size = leaf.values[0].size
        count = f'{self.rows} of {size} numbers' if size > self.rows else plural(size, 'number', 'numbers')
        return f'{count}, grey −, blue +'


def groups(trace: StateTrace) -> list[Group]:
    """The leaves in order, those of a layer with equally many entries together; as many as fit on the page.

    Counters stand in the ledger beside the rest of their layer, if there is a rest.
    """
    found, top = [], TOP
    for _, of_layer in groupby(trace.leaves, lambda leaf: leaf.path):
        alike: dict[tuple, list[StateLeaf]] = {}
        for leaf in of_layer:
            size = leaf.values.shape[1 if leaf.is_buffer else 2]
            alike.setdefault((leaf.kind, size), []).append(leaf)
        main = [leaves for (kind, _), leaves in alike.items() if kind != 'counter']
        counters = [leaf for (kind, _), leaves in alike.items() if kind == 'counter' for leaf in leaves]
        first, *rest = main or [[]]
        for leaves in ([*first, *counters], *rest):
            group = Group(leaves, top)
            if group.bottom > BOTTOM and found:
                return found
            found.append(group)
            top = group.bottom + GAP
    return found


class StateView(View):
    """A column a block. The focus is a block: its newest input is followed through all leaves."""

    word = 'block'

    def __init__(self, trace: StateTrace, theme: str = 'light', ax: Axes | None = None):
        self.trace, self.groups = trace, groups(trace)
        self.bottom = max((g.bottom for g in self.groups), default=TOP) + 24
        page = Page(style.WIDTH, self.bottom + 84, theme, ax)
        super().__init__(page, range(trace.num_blocks), min(8, trace.num_blocks // 2))
        self.shown = min(SHOWN, trace.num_blocks)
        self.pitch = min(WIDEST, (RULE - 14 - LEFT) / self.shown)
        page.heading(title(self.groups), '')
        self._following = page.text(style.MARGIN, 49, '', style.LABEL, 'ink2', live=True)
        page.text(LEFT - 10, 92, 'block', style.TICK, 'ink2', align='right')
        page.text(style.MARGIN, 116, 'input', bold=True)
        page.lines([[(RULE, 84), (RULE, self.bottom + 64)]], 'line')
        self._ledger()
        self._maps = {group: page.areas(live=True) for group in self.groups if group.leaf.kind == 'vector'}
        self._cells, self._ticks = Cells(page), Cells(page, size=style.TICK)
        self._pointers = page.frame('ink', style.POINTER)
        self._frozen = page.lines(color='ink2', width=style.EDGE, live=True)
        self._frozen_words = page.text(0, 0, '', style.SMALL, 'ink2', live=True)
        for group in self.groups:
            self._name(group)

    # --- what stays --------------------------------------------------------------------------------------
    def _name(self, group: Group) -> None:
        page, leaf = self.page, group.leaf
        page.text(style.MARGIN, group.top + 4, group.name, bold=True)
        details = [leaf.detail, leaf.path, group.manner]
        details += ['the first shown'] if leaf.repeats > 1 else []
        x = style.MARGIN + text_width(group.name, style.LABEL, True) + 10
        words = fit(' · '.join(filter(None, details)), RULE - 14 - x, style.SMALL)
        page.text(x, group.top + 4, words, style.SMALL, 'ink2')
        if not leaf.is_buffer or group.entries > NUMBERED:
            return
        numbers = {i: str(i) for i in range(group.entries)} if leaf.is_ring else {}
        if not leaf.is_ring and group.entries > 1:
            numbers = {0: 'oldest', group.entries - 1: 'newest'}
        for entry, number in numbers.items():
            y = group.y + (entry + 0.5) * ENTRY - 1
            page.text(LEFT - 10, y, number, style.SMALL, 'ink2', align='right')

    def _ledger(self) -> None:
        page, trace = self.page, self.trace
        page.text(LEDGER, 92, 'leaf', style.TICK, 'ink2')
        page.text(LEDGER + 84, 92, 'shape', style.TICK, 'ink2')
        page.text(style.RIGHT, 92, 'bytes', style.TICK, 'ink2', align='right')
        largest = max((leaf.nbytes for leaf in trace.leaves), default=1)
        width, empty, full = style.RIGHT - LEDGER, [], []
        for group in self.groups:
            for i, leaf in enumerate(group.leaves):
                y = group.y + 8 + LINE * i
                page.text(LEDGER, y, fit('.'.join(leaf.name.split('.')[-2:]), 80, style.TICK), style.TICK)
                page.text(LEDGER + 84, y, fit(shape(leaf), 90, style.TICK), style.TICK, 'ink2')
                page.text(style.RIGHT, y, thousands(leaf.nbytes), style.TICK, align='right')
                for boxes, share in ((empty, 1.0), (full, leaf.nbytes / largest)):
                    right = LEDGER + max(1.5, width * share)
                    boxes.append([(LEDGER, y + 12), (right, y + 12), (right, y + 16), (LEDGER, y + 16)])
        page.areas(empty, 'panel')
        page.areas(full, 'hatch')
        page.lines([[(LEDGER, self.bottom), (style.RIGHT, self.bottom)]], 'edge')
        streams = f' of {thousands(trace.batch_size)} streams' if trace.batch_size > 1 else ''
        page.text(LEDGER, self.bottom + 20, 'total' + streams, bold=True)
        page.text(style.RIGHT, self.bottom + 20, thousands(trace.nbytes), bold=True, align='right')
        hidden = len(trace.leaves) - sum(len(group.leaves) for group in self.groups)
        note = f'with {hidden} more, not shown' if hidden else 'the same after every block'
        page.text(LEDGER, self.bottom + 42, note, style.TICK, 'ink2')

    # --- what follows the focus ------------------------------------------------------------------------
    def show(self, position: int) -> None:
        start = min(max(0, position - self.shown // 2), self.trace.num_blocks - self.shown)
        window = range(start, start + self.shown)
        inputs = self.trace.followed(self._inputs(position))
        self._following.set_text(following(self.trace, self.groups, inputs))
        cells = [
            self._cell(block, start, 106, self._input_mark(block, position), self._input_label(block))
            for block in window
        ]
        frames = []
        for group in self.groups:
            if group.leaf.is_buffer:
                cells += [c for block in window for c in self._entries(group, block, start, inputs)]
                frames += [f for block in window for f in self._written(group, block, start)]
            elif group.leaf.kind == 'counter':
                values = group.leaf.values.reshape(len(group.leaf.values), -1)[:, 0]
                cells += [
                    self._cell(b, start, group.y, 'valid', f'{values[b + 1]:.0f}'.replace('-', '−')) for b in window
                ]
        self._cells.set(cells)
        self._pointers.set_paths([rounded(frames)])
        for group, patches in self._maps.items():
            self._set_map(group, patches, window)
        brackets = [line for group in self._maps for line in self._frozen_runs(group, window)]
        self._frozen.set_segments(brackets)
        self._frozen_words.set_text('frozen: invalid input' if brackets else '')
        if brackets:
            self._frozen_words.set_position((brackets[0][-1][0] + 6, brackets[0][-1][1] + 8))
        named = {block: 'focus tick' if block == position else 'tick' for block in window}
        wide = text_width(str(window.stop)) + 4 > self.pitch
        named = {b: m for b, m in named.items() if not wide or b == position or (b % 4 == 0 and abs(b - position) > 2)}
        self._ticks.set([self._cell(b, start, 82, mark, str(b), extra=12) for b, mark in named.items()])

    def _inputs(self, block: int) -> range:
        """The input timesteps of a block."""
        size = self.trace.block_size
        return range(block * size, min((block + 1) * size, self.trace.time))

    def _input_label(self, block: int) -> str:
        """The last input of a block; '+' if invalid timesteps fill it up."""
        inputs = self._inputs(block)
        return f'{inputs[-1]}+' if len(inputs) < self.trace.block_size else str(inputs[-1])

    def _x(self, block: int, start: int) -> float:
        return LEFT + (block - start) * self.pitch

    def _cell(self, block: int, start: int, y: float, mark: str, label: str, extra: float = 0) -> Cell:
        fits = text_width(label) < self.pitch + extra
        x, width = self._x(block, start) + 1 - extra / 2, self.pitch - 2 + extra
        return Cell(x, y, width, ENTRY - 2, mark, label if fits else '')

    def _input_mark(self, block: int, focus: int) -> str:
        valid = self.trace.mask[list(self._inputs(block))].any()
        return 'now' if block == focus else 'valid' if valid else 'invalid'

    def _entries(self, group: Group, block: int, start: int, inputs: range) -> list[Cell]:
        """What the entries of a buffer hold after a block."""
        cells, is_exact = [], len(self.trace.followed(range(1))) == 1
        for entry, newest in enumerate(group.leaf.newest[block + 1].tolist()):
            mark = 'now' if newest in inputs else 'valid' if self.trace.mask[newest] else 'invalid'
            mark = 'future' if newest < 0 else mark
            label = str(newest) if newest >= 0 and is_exact and group.pitch == ENTRY else ''
            cell = self._cell(block, start, group.y + entry * group.pitch, mark, label)
            cells.append(cell._replace(height=group.pitch - (2 if group.pitch == ENTRY else 1)))
        return cells

    def _written(self, group: Group, block: int, start: int) -> list[Box]:
        """Frames around what a block wrote into a ring."""
        before, after = group.leaf.newest[block : block + 2]
        entries = np.flatnonzero(before != after) if group.leaf.is_ring else []
        x, width = self._x(block, start) + 1, self.pitch - 2
        return [(x, group.y + i * group.pitch, width, group.pitch - 2) for i in entries]

    def _set_map(self, group: Group, patches: Any, window: range) -> None:
        units = group.units()[:, window.start + 1 : window.stop + 1]
        boxes, gap = [], 0.8
        for row in range(len(units)):
            top, bottom = group.y + row * UNIT, group.y + (row + 1) * UNIT - gap
            lefts = [self._x(block, window.start) + gap for block in window]
            boxes += [
                [(x, top), (x + self.pitch - gap, top), (x + self.pitch - gap, bottom), (x, bottom)] for x in lefts
            ]
        patches.set(verts=boxes, facecolors=style.signed_colors(self.page.theme, units.ravel()))

    def _frozen_runs(self, group: Group, window: range) -> list:
        """Brackets under the blocks whose input is invalid and that leave a vector as it is."""
        values = group.leaf.values
        still = [b for b in window if not self.trace.mask[list(self._inputs(b))].any()]
        still = [b for b in still if np.array_equal(values[b], values[b + 1])]
        y = group.y + group.rows * UNIT + 9
        runs = [b for b in still if b - 1 not in still], [b for b in still if b + 1 not in still]
        ends = zip(*runs, strict=True)
        return [bracket(self._x(a, window.start) + 2, self._x(b + 1, window.start) - 2, y, -5) for a, b in ends]


# --- words ----------------------------------------------------------------------------------------------
def shape(leaf: StateLeaf) -> str:
    return ' × '.join(map(str, leaf.shape)) or 'scalar'


def title(drawn: list[Group]) -> str:
    """The finding."""
    buffers = [g.name for g in drawn if g.leaf.is_buffer and not g.leaf.is_ring]
    rings = [g.name for g in drawn if g.leaf.is_ring]
    vectors = [g.name for g in drawn if g.leaf.kind == 'vector']
    if rings and buffers and buffers[0] != rings[0]:
        return f'{buffers[0]} moves its entries, {rings[0]} only a pointer'
    if rings:
        return f'{rings[0]} keeps its entries in place and overwrites the oldest'
    if buffers and vectors:
        return f'{buffers[0]} remembers timesteps, {vectors[0]} a summary of everything before'
    if buffers:
        return f'{buffers[0]} remembers its last inputs; every block moves them on'
    if vectors:
        return f'{vectors[0]} remembers a few numbers, however long the stream'
    return 'Nothing is remembered from block to block' if not drawn else 'Only a clock is kept from block to block'


def following(trace: StateTrace, drawn: list[Group], inputs: range) -> str:
    """Where the inputs of the block in focus are kept, and for how long."""
    if not trace.leaves:
        return 'The layer has no state.'
    held: dict[str, int] = {}
    for group in drawn:
        blocks = group.leaf.held(inputs) if group.leaf.is_buffer else 0
        held[group.name] = max(blocks, held.get(group.name, 0))
    kept = [f'{plural(blocks, "block", "blocks")} in {name}' for name, blocks in held.items() if blocks]
    if not kept:
        return f'{thousands(trace.nbytes)} bytes of state, the same after every block.'
    last = thousands(inputs[-1])
    filled = trace.num_blocks * trace.block_size - trace.time if inputs[-1] == trace.time - 1 else 0
    more = f' {plural(filled, "invalid timestep fills", "invalid timesteps fill")} the block.' if filled else ''
    which = f'input {last}: it is' if len(inputs) == 1 else f'inputs {thousands(inputs[0])} to {last}: they are'
    return f'Follow {which} kept for {", ".join(kept[:3])}.{more}'


def plot_state(trace: StateTrace, ax: Axes | None = None, *, block: int | None = None, theme: str = 'light'):
    """Draws the state of a model after every block: buffers, rings and vectors, with their shapes and bytes.

    Args:
      trace: from `trace_state`.
      ax: axes to draw on, scaled to fit; by default a picture of its own is returned.
      block: whose newest input is followed.
      theme: 'light' or 'dark'.
    """
    expect(trace, StateTrace, 'plot_state')
    return StateView(trace, theme, ax).result(block)
