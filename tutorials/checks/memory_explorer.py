"""A convolution and an attention layer side by side: what they keep, while a reader widens what they look at."""

from functools import cache
from typing import Any

import ipywidgets as widgets
import jax
import numpy as np

import seqlayers as sl

from .pictures import Row, plot_rows

UNITS = 64
MOST = 72  # slots of the longest ring


class MemoryExplorer:
    """Sliders for the dilation of a convolution and for the past horizon of an attention layer."""

    def __init__(self, dilation: int = 2, past: int = 32):
        layout = {'layout': widgets.Layout(width='420px'), 'style': {'description_width': '170px'}}
        self.dilation = widgets.IntSlider(dilation, 1, 8, description='dilation, timesteps', **layout)
        self.past = widgets.IntSlider(past, 1, 64, description='past horizon, timesteps', **layout)
        self.image = widgets.Image(format='png', width=900)
        self.box = widgets.VBox([self.dilation, self.past, self.image])
        for slider in (self.dilation, self.past):
            slider.observe(self._draw, 'value')
        self._draw()

    def finding(self) -> str:
        conv, attention = (f'{memory(name, reach)[1]:,}' for name, reach in self._reach().items())
        return f'Conv1D keeps {conv} bytes, attention {attention}'

    def _reach(self) -> dict[str, int]:
        return {'Conv1D': self.dilation.value, 'attention': self.past.value}

    def _draw(self, change: Any = None) -> None:
        read = {'Conv1D': np.arange(5) * self.dilation.value, 'attention': np.arange(self.past.value + 1)}
        rows, ago = [], np.arange(MOST + 1)
        for name, reach in self._reach().items():
            slots, size = memory(name, reach)
            marks = np.where(np.isin(ago, read[name]), 'fed', np.where(ago <= slots, 'valid', 'future'))
            marks = ['now', *marks[1:].tolist()]
            rows.append(Row(name, [''] * len(ago), marks, detail=f'{slots} kept, {size:,} bytes'))
        what = (
            'Columns: timesteps ago, 0 arrives now. Blue: read by the next output. Grey: kept, not read. White: gone.'
        )
        picture = plot_rows(rows, self.finding(), what)
        self.image.value = picture._repr_mimebundle_()[0]['image/png']

    def __repr__(self):
        return f'MemoryExplorer({self.finding()})'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        bundle = dict(self.box._repr_mimebundle_())
        size = {'image/png': {'width': 900}}
        return {**bundle, 'text/plain': repr(self), 'image/png': bytes(self.image.value)}, size


@cache
def memory(name: str, reach: int) -> tuple[int, int]:
    """Of how many timesteps a layer's state has room, and how many bytes it takes."""
    layer = {
        'Conv1D': sl.Conv1D(UNITS, 5, dilation_rate=reach, padding='causal'),
        'attention': sl.DotProductSelfAttention(4, UNITS // 4, max_past_horizon=reach),
    }[name]
    state = layer.build(sl.ChannelSpec((UNITS,)), rngs=0).get_initial_state(1, training=False)
    leaves = jax.tree.leaves(state)
    largest = max(leaves, key=lambda leaf: leaf.nbytes)  # values `[1, slots, units]`, or keys with heads before
    return largest.shape[-2], sum(leaf.nbytes for leaf in leaves)
