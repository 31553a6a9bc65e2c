"""A sequence in a notebook: its shape, its mask as strips, and a few values; small, however large it is."""

from itertools import groupby
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from seqlayers import html

ITEMS, TIMESTEPS, CHANNELS = 4, 3, 4  # that are shown
CELLS, WIDTH = 60, 360  # at most so many parts of a strip, px

# What is not valid is hatched, what is so in part half as densely, in the colour of the text around it.
_FILLS = {
    'valid': 'background:currentColor;opacity:0.4',
    'invalid': 'background:repeating-linear-gradient(45deg,currentColor 0 1px,transparent 1px 5px);opacity:0.7',
    'partly valid': 'background:repeating-linear-gradient(45deg,currentColor 0 3px,transparent 3px 6px);opacity:0.4',
}


def sequence_html(x: Any) -> str:
    """A `Sequence` as HTML. One without values, inside of a transformation, is its repr."""
    arrays = (x.values, x.mask)
    if not all(isinstance(a, np.ndarray | jax.Array) and not isinstance(a, Tracer) for a in arrays) or x.mask.ndim != 2:
        return html.text(repr(x))
    batch, time = x.mask.shape
    caption = html.text(type(x).__name__, 'font-weight:bold')
    caption += html.text(f' {x.dtype}{list(x.shape)}: batch {batch}, time {time}, channels {x.channel_shape}')
    rows = [_item(i, np.asarray(mask)) for i, mask in enumerate(x.mask[:ITEMS])]
    if batch > ITEMS:
        rows.append([html.cell(f'{batch - ITEMS} more', html.MUTED)])
    return html.captioned(caption, html.table(rows), _values(x))


def _item(index: int, mask: np.ndarray) -> list[str]:
    valid = html.cell(f'{mask.sum()} of {len(mask)} valid', html.MUTED)
    return [html.cell(f'item {index}'), f'<td>{_strip(mask)}</td>', valid]


def _strip(mask: np.ndarray) -> str:
    """A bar of pieces for runs of timesteps; of a long mask each part stands for several."""
    parts = np.array_split(mask, min(len(mask), CELLS)) if len(mask) else []
    kinds = ['valid' if part.all() else 'partly valid' if part.any() else 'invalid' for part in parts]
    pieces, width = [], WIDTH // CELLS if len(parts) == CELLS else min(12, WIDTH // max(1, len(parts)))
    for kind, run in groupby(kinds):
        size = f'width:{width * len(list(run))}px;height:12px'
        pieces.append(f'<span title="{kind}" style="display:inline-block;{size};{_FILLS[kind]}"></span>')
    return f'<span style="white-space:nowrap">{"".join(pieces)}</span>'


def _values(x: Any) -> str:
    """The first channels of the first timesteps of the first item."""
    if not x.values.size:
        return ''
    count = min(TIMESTEPS, x.shape[1])
    flat = np.asarray(x.values[0, :count]).reshape(count, -1)
    more = ', …' if flat.shape[1] > CHANNELS else ''
    rows = [', '.join(map(_number, row[:CHANNELS])) + more for row in flat]
    words = '; '.join(f'[0, {t}] = {row}' for t, row in enumerate(rows))
    return html.text(f'values{words}' + (' …' if x.shape[1] > count else ''), html.MUTED)


def _number(value: Any) -> str:
    return str(value) if np.asarray(value).dtype.kind in 'biu' else f'{value:.3g}'
