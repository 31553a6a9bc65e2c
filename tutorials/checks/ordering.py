"""Where to look ahead: sliders for the place of an attention among strides, beside the block diagram."""

from typing import Any

import ipywidgets as widgets

import seqlayers as sl
from viz.page import Picture
from viz.plots.diagram import plot_diagram
from viz.traces.diagram import trace_diagram

FRAME = 10  # ms
WIDTH = 16  # channels


class OrderExplorer:
    """An attention, in a residual, before, between or behind two convolutions of stride 2."""

    def __init__(self, strides_before: int = 2, look_ahead: int = 2):
        layout = {'layout': widgets.Layout(width='420px'), 'style': {'description_width': '170px'}}
        self.strides_before = widgets.IntSlider(strides_before, 0, 2, description='strides before it', **layout)
        self.look_ahead = widgets.IntSlider(look_ahead, 0, 4, description='look-ahead, its timesteps', **layout)
        self.image = widgets.Image(format='png', width=900)
        self.box = widgets.VBox([self.strides_before, self.look_ahead, self.image])
        for slider in (self.strides_before, self.look_ahead):
            slider.observe(self._draw, 'value')
        self._draw()

    @property
    def declaration(self) -> sl.Serial:
        strides: list[sl.SequenceLayer] = [sl.Conv1D(WIDTH, 5, strides=2, padding='causal') for _ in range(2)]
        attention = sl.DotProductSelfAttention(2, 8, max_past_horizon=32, max_future_horizon=self.look_ahead.value)
        place = self.strides_before.value
        return sl.Serial([*strides[:place], sl.Residual([attention, sl.DenseShaped([WIDTH])]), *strides[place:]])

    def finding(self) -> str:
        frames = self.declaration.input_latency
        place = f'{self.look_ahead.value} ahead, behind {self.strides_before.value} strides'
        return f'{place}: {frames} frames of latency, {frames * FRAME} ms'

    def picture(self) -> Picture:
        return plot_diagram(trace_diagram(self.declaration, sl.ChannelSpec((WIDTH,))))

    def _draw(self, change: Any = None) -> None:
        self.image.value = self.picture().png()

    def __repr__(self):
        return f'OrderExplorer({self.finding()})'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        bundle = dict(self.box._repr_mimebundle_())
        size = {'image/png': {'width': 900}}
        return {**bundle, 'text/plain': repr(self), 'image/png': bytes(self.image.value)}, size
