"""What a model consists of, to read: a table of its layers, a folding tree of them, and a table of a state."""

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import jax

from seqlayers import html
from seqlayers.combinators.repeat import Repeat
from seqlayers.inside import Wait, nbytes
from seqlayers.layer import SequenceLayer
from seqlayers.summary import LayerSummary, summarize

HEADER = ('layer', '', 'output', 'ratio', 'latency', 'parameters', 'state, bytes')
WIDEST = 40  # characters of a column of words
OPEN = 2  # levels of a folding tree that are open at first


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Summary:
    """A table of a model's layers. A line of several layers counts all of them; inside a `Repeat` all numbers are of
    one repetition. Latency is what a layer adds, in timesteps of the model's input. `?` is not known.

    Attributes:
      root: the model, with the layers inside as a tree.
    """

    root: LayerSummary

    def __repr__(self) -> str:
        lines = _aligned([HEADER, *(_cut(cells) for cells in _rows(self.root))], 3)
        return '\n'.join([*lines, '', *_notes(self.root)])

    def _repr_html_(self) -> str:
        def row(cells: tuple[str, ...]) -> list[str]:
            name = cells[0].lstrip()
            indent = f'padding-left:{0.5 + 0.6 * (len(cells[0]) - len(name)):.1f}em'
            numbers = [html.cell(cell, align='right') for cell in cells[3:]]
            return [html.cell(name, indent), html.cell(cells[1], html.MUTED), html.cell(cells[2]), *numbers]

        return html.captioned('', html.table(map(row, map(_cut, _rows(self.root))), HEADER, 3), _notes_html(self.root))


def _rows(summary: LayerSummary, depth: int = 0) -> Iterator[tuple[str, ...]]:
    """The cells of a layer and of all inside it."""
    indent = '  ' * depth
    if summary.wait:
        yield _wait_row(indent, summary.wait, summary)
    mark = '✗ ' if summary.status == 'failed' else ''
    yield (
        f'{indent}{mark}{summary.name}', words(summary.layer, bool(summary.children)),
        shape(summary.output_spec), str(summary.ratio), latency(summary.latency),
        number(summary.parameters), state_bytes(summary),
    )  # fmt: skip
    for child in summary.aside:
        yield from _rows(child, depth + 1)
    for chain, join in zip(summary.chains, summary.joins, strict=True):
        for child in chain:
            yield from _rows(child, depth + 1)
        if join:
            yield _wait_row('  ' * (depth + 1), join, chain[-1] if chain else summary)


def _wait_row(indent: str, wait: Wait, summary: LayerSummary) -> tuple[str, ...]:
    held = None if wait.buffer is None else summary.per_repetition(nbytes(wait.buffer))
    plural = '' if wait.timesteps == 1 else 's'
    return (f'{indent}(waits)', f'for {wait.timesteps} timestep{plural}', '', '', '', '', number(held))


def _notes(root: LayerSummary) -> list[str]:
    """What is to be said of the whole model."""
    notes = []
    if root.parameters is not None:
        state = '' if root.state_bytes is None else f', {root.state_bytes:,} bytes of state a stream'
        notes.append(f'{root.parameters:,} parameters in {root.parameter_bytes:,} bytes{state}.')
    failed = [s for s in root.walk() if s.status == 'failed']
    notes += [f'It cannot be built. {s.path or s.type}: {s.problem}' for s in failed]
    notes += [f'Not known: {root.problem}'] if root.problem and not failed else []
    return [*notes, root.layer.explain_streamability()]


# --- words --------------------------------------------------------------------------------------------------
def words(layer: SequenceLayer, has_children: bool) -> str:
    """A layer as it was declared, without its name; of one that is opened only what is not inside."""
    if not has_children:
        return layer.replace(name=None).declaration_text()
    if isinstance(layer, Repeat):
        return f'Repeat × {layer.num_repeats}'
    fields = {k: v for k, v in layer.declared_changes().items() if k != 'name' and isinstance(v, str | int | float)}
    return type(layer).__name__ + (f'({", ".join(f"{k}={v!r}" for k, v in fields.items())})' if fields else '')


def number(value: int | None) -> str:
    return '?' if value is None else f'{value:,}'


def latency(value: Fraction | None) -> str:
    return '–' if value is None else f'{"+" if value > 0 else ""}{value}'


def state_bytes(summary: LayerSummary) -> str:
    """`–` for layers of a model without steps."""
    return '–' if summary.offset is None else number(summary.state_bytes)


def shape(spec: Any) -> str:
    """A ChannelSpec, or an array: '(64,) float32'."""
    return '?' if spec is None else f'{tuple(spec.shape)} {spec.dtype}'


def _cut(cells: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(cell if len(cell) <= WIDEST else cell[: WIDEST - 1] + '…' for cell in cells)


# --- a layer and a state in a notebook ------------------------------------------------------------------------
def layer_html(layer: SequenceLayer) -> str:
    """A folding tree of a layer and those inside it."""
    root = summarize(layer)
    return html.captioned(_folding(root, 0), _notes_html(root))


def _folding(summary: LayerSummary, depth: int) -> str:
    facts = [] if summary.ratio == 1 else [f'ratio {summary.ratio}']
    facts += [f'latency {latency(summary.latency)}'] if summary.latency else []
    if summary.output_spec:
        facts = [shape(summary.output_spec), *facts, f'{number(summary.parameters)} parameters']
        facts += [f'{summary.state_bytes:,} bytes of state'] if summary.state_bytes else []
    described = words(summary.layer, bool(summary.children))
    line = html.text(summary.name, 'font-weight:bold') if summary.name != summary.type else ''
    line = ' '.join([line] * bool(line) + [html.text(described), html.text(' · '.join(facts), html.MUTED)])
    inside = ''.join(_folding(child, depth + 1) for child in summary.children)
    return html.folding(line, inside, depth < OPEN) if inside else f'<div>{line}</div>'


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class StateSummary:
    """A table of the arrays of a state: where they stand, shape, dtype and bytes.

    Attributes:
      rows: `(path, shape, dtype, bytes)` of each array; the path is empty for a state of one array.
    """

    rows: tuple[tuple[str, tuple[int, ...], str, int], ...]

    @property
    def nbytes(self) -> int:
        """Of all arrays."""
        return sum(row[-1] for row in self.rows)

    def _cells(self) -> list[tuple[str, str, str, str]]:
        return [(path or '(state)', str(shape), dtype, f'{size:,}') for path, shape, dtype, size in self.rows]

    def __repr__(self) -> str:
        lines = _aligned([('leaf', 'shape', 'dtype', 'bytes'), *self._cells()], 3)
        return '\n'.join([*lines, self._total()])

    def _repr_html_(self) -> str:
        rows = [
            [*(html.cell(cell) for cell in cells[:3]), html.cell(cells[3], align='right')] for cells in self._cells()
        ]
        return html.captioned('', html.table(rows, ('leaf', 'shape', 'dtype', 'bytes'), 3), html.text(self._total()))

    def _total(self) -> str:
        return f'{len(self.rows)} arrays, {self.nbytes:,} bytes'


def state_summary(state: Any) -> StateSummary:
    """The arrays of a state, or of any other pytree, as a table.

    Args:
      state: from `get_initial_state` or `step`; shapes (`jax.ShapeDtypeStruct`) will do.

    >>> import seqlayers as sl
    >>> lstm = sl.LSTM(8).build(sl.ChannelSpec((3,)), rngs=0)
    >>> state_summary(lstm.get_initial_state(batch_size=2, training=False)).nbytes
    128
    """
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return StateSummary(
        tuple(
            (jax.tree_util.keystr(path, simple=True, separator='/'), tuple(leaf.shape), str(leaf.dtype), nbytes(leaf))
            for path, leaf in leaves
        )
    )


def _aligned(rows: list[tuple[str, ...]], words: int) -> list[str]:
    """Lines of cells: the first columns are words, on the left, and the others numbers, on the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        '  '.join(
            cell.ljust(width) if i < words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], '-' * max(map(len, lines)), *lines[1:]]


def _notes_html(root: LayerSummary) -> str:
    return ''.join(f'<div style="white-space:pre-wrap">{html.text(note, html.MUTED)}</div>' for note in _notes(root))
