"""Pictures of lesson 13: what dropout keeps, and what padding does to the learning rate."""

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np

from viz import style

from .pictures import Row, lanes, plot_rows

LONG, SHORT = 100, 10  # timesteps of the two clips of the lesson


def plot_kept(rows: Mapping[str, np.ndarray], title: str, block: int):
    """What dropout keeps (1) and drops (0), timesteps in blocks; a row for each way to draw."""
    drawn = [
        Row(name, [str(bit) for bit in kept], ['fed' if bit else 'future' for bit in kept])
        for name, kept in rows.items()
    ]
    time = len(drawn[0].labels)
    return plot_rows(
        drawn, title, '1 is kept, 0 is dropped. Dashed lines: a new block.', breaks=range(block, time, block)
    )


class PaddingExplorer:
    """Two clips of 100 and 10 timesteps, padded to a length that can be moved."""

    def __init__(self, length: int = 100):
        self.length = widgets.IntSlider(
            length, LONG, 400, step=10, description='padded to, timesteps',
            style={'description_width': 'initial'}, layout=widgets.Layout(width='420px'),
        )  # fmt: skip
        self.image = widgets.Image(format='png', width=900)
        self.box = widgets.VBox([self.length, self.image])
        self.length.observe(self._draw, 'value')
        self._draw()

    def finding(self) -> str:
        share = rate_of_mean(self.length.value)
        return f'{1 - share:.0%} of the batch is padding: .mean() learns at {share:.2f} of the learning rate'

    def _draw(self, change: Any = None) -> None:
        length, theme = self.length.value, style.LIGHT
        picture, (batch, rate) = lanes(
            self.finding(), {'the batch (hatched: padding)': 'timesteps', 'share of the learning rate': 'padded to'}, 90
        )
        for row, clip in enumerate((SHORT, LONG)):
            batch.broken_barh([(0, clip)], (row + 0.1, 0.8), facecolor=theme.mid)
            batch.broken_barh(
                [(clip, length - clip)], (row + 0.1, 0.8), facecolor=theme.cell, hatch='xxx', ec=theme.hatch
            )
        batch.set(xlim=(0, 410), ylim=(0, 2), yticks=[])
        lengths = np.arange(LONG, 401)
        rate.plot(lengths, rate_of_mean(lengths), color=theme.ink2, linewidth=1.2)
        rate.axhline(1, color=theme.accent, linestyle='dashed', linewidth=1.2)
        rate.text(400, 0.9, 'one sum, one count', color=theme.accent, ha='right', va='top', fontsize=8)
        rate.text(400, 0.22, '.mean()', color=theme.ink2, ha='right', va='bottom', fontsize=8)
        rate.plot(length, rate_of_mean(length), 'o', color=theme.alarm, markersize=7)
        rate.set(xlim=(0, 410), ylim=(0, 1.1))
        self.image.value = picture._repr_mimebundle_()[0]['image/png']

    def __repr__(self):
        return f'PaddingExplorer({self.finding()})'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        bundle = dict(self.box._repr_mimebundle_() or {})
        size = {'image/png': {'width': 900}}
        return {**bundle, 'text/plain': repr(self), 'image/png': bytes(self.image.value)}, size


def rate_of_mean(length: Any) -> Any:
    """By how much the mean over the rectangle scales a gradient: the share of what is valid."""
    return (LONG + SHORT) / (2 * length)
