"""Pictures of the lessons, in the language of `viz`: sequences as rows of cells, and signals in lanes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

import seqlayers as sl
from viz import style
from viz.page import Cell, Cells, Page, Picture, TimeAxis, ruler

TOP, ROW, CELL = 96, 34, 26  # px: where rows begin, from one to the next, and the height of their cells
WIDEST = 46  # px of a timestep
COLUMN = 84  # px of a column beside the rows


class Row(NamedTuple):
    """One timestep a label; `beside` holds what stands at the right, a label and a mark for each column."""

    name: str
    labels: Sequence[str]
    marks: Sequence[str]
    beside: Sequence[tuple[str, str]] = ()
    detail: str = ''


def plot_rows(
    rows: Sequence[Row], title: str, subtitle: str, columns: Sequence[str] = (), breaks: Sequence[int] = ()
) -> Picture:
    """Rows over one time axis.

    Args:
      rows: from the top.
      title, subtitle: the finding, and how to read the picture.
      columns: the names over what stands `beside` the rows.
      breaks: timesteps before which a dashed line is drawn, such as where chunks begin.
    """
    row = ROW + 8 if any(r.detail for r in rows) else ROW
    bottom = TOP + row * len(rows)
    page = Page(style.WIDTH, bottom + 10, 'light')
    page.heading(title, subtitle)
    time = max(len(r.marks) for r in rows)
    room = style.RIGHT - style.LEFT - COLUMN * len(columns)
    axis = TimeAxis(style.LEFT, min(WIDEST, room / max(time, 1)), 0)
    ruler(page, axis, time, TOP - 16)
    right = [style.LEFT + time * axis.pitch + 24 + COLUMN * i for i in range(len(columns))]
    for x, name in zip(right, columns, strict=True):
        page.text(x + COLUMN / 2, TOP - 16, name, style.LABEL, bold=True, align='center')
    cells = []
    for i, r in enumerate(rows):
        y = TOP + row * i
        page.row_name(y + CELL / 2, r.name, r.detail)
        cells += axis.row(y, CELL, 1, 0, r.marks, r.labels)
        cells += [
            Cell(x + 4, y, COLUMN - 8, CELL, mark, label) for x, (label, mark) in zip(right, r.beside, strict=False)
        ]
    Cells(page, live=False).set(cells)
    page.lines([[(axis.x(t), TOP - 4), (axis.x(t), bottom)] for t in breaks], 'ink', style.DATA, 'dashed')
    return page.figure


def plot_sequence(x: sl.Sequence, names: Sequence[str] = (), title: str = '') -> Picture:
    """The first channel of a sequence, a row for each item of the batch: invalid timesteps are crossed.

    Where there is room, numbers are written, and the mask stands under its values as a row of its own.
    """
    values, masks = np.asarray(x.values).reshape(*x.shape[:2], -1)[..., 0], np.asarray(x.mask)
    names = names or [f'item {b}' for b in range(len(masks))]
    shows_numbers = masks.shape[1] <= 24
    rows = []
    for name, value, mask in zip(names, values, masks, strict=True):
        rows.append(sequence_row(name, value, mask, detail='' if shows_numbers else f'{mask.sum():,} valid'))
        if shows_numbers:
            rows.append(Row('    mask', ['T' if m else 'F' for m in mask], ['lane'] * len(mask)))
    title = title or f'{masks.sum():,} of {masks.size:,} timesteps are valid'
    return plot_rows(rows, title, 'Plain cells are valid, crossed cells are invalid.')


def sequence_row(name: str, values: Any, mask: Any, beside: Sequence[tuple] = (), detail: str = '') -> Row:
    """Values as labels, crossed where the mask is False."""
    marks = np.where(mask, 'valid', 'invalid').tolist()
    labels = [number(v) for v in values] if len(marks) <= 24 else [''] * len(marks)
    return Row(name, labels, marks, beside, detail)


def compared(target: Sequence, yours: Sequence, tolerance: float = 1e-5) -> tuple[Row, Row]:
    """The rows `target` and `yours`: what differs is marked, the first of it more."""
    same = [_same(a, b, tolerance) for a, b in zip(target, yours, strict=False)]
    same += [False] * (len(yours) - len(same))
    first = same.index(False) if False in same else None
    marks = ['fed' if ok else 'first' if t == first else 'differs' for t, ok in enumerate(same)]
    return (
        Row('target', [number(v) for v in target], ['valid'] * len(target)),
        Row('yours', [number(v) for v in yours], marks[: len(yours)]),
    )


def _same(a: Any, b: Any, tolerance: float) -> bool:
    return bool(np.isclose(a, b, rtol=tolerance, atol=tolerance))


def number(value: Any) -> str:
    """Three digits, with a true minus."""
    return 'NaN' if np.isnan(value) else f'{float(value):.3g}'.replace('-', '−')


def lanes(title: str, units: Mapping[str, str], height: float = 110) -> tuple[Picture, list[Axes]]:
    """A picture with axes below each other, to plot signals on.

    Args:
      title: the finding.
      units: for each lane, from what it shows to the unit of its horizontal axis.
      height: px of a lane.
    """
    theme = style.LIGHT
    total = 48 + len(units) * (height + 56)
    page = Page(style.WIDTH, total, 'light')
    page.find(page.text(style.MARGIN, 26, '', style.TITLE, bold=True), title)
    axes = []
    for i, (name, unit) in enumerate(units.items()):
        top = 66 + i * (height + 56)
        page.text(76, top - 8, name, style.LABEL, bold=True)
        box = (76 / style.WIDTH, 1 - (top + height) / total, (style.RIGHT - 76) / style.WIDTH, height / total)
        ax = page.figure.add_axes(box, facecolor=theme.paper)
        ax.tick_params(labelsize=style.TICK * page.point, colors=theme.ink2, length=3)
        ax.set_xlabel(unit, fontsize=style.TICK * page.point, color=theme.ink2, labelpad=1)
        ax.spines[['top', 'right']].set_visible(False)
        ax.spines[['left', 'bottom']].set_color(theme.edge)
        ax.margins(x=0)
        axes.append(ax)
    return page.figure, axes
