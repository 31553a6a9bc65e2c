"""Attention weights on a text, row by row as the steps emit them."""

from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

import viz

from .pictures import lanes

COLORS = LinearSegmentedColormap.from_list('weights', [viz.style.LIGHT.panel, viz.style.LIGHT.accent])


class WeightsExplorer:
    """A slider over steps; each emits one row of weights, the first `latency` of them void.

    Args:
      weights: `[steps, letters]`, in the order of the steps.
      latency: how many rows are void.
      text: what the columns stand for.
    """

    def __init__(self, weights: np.ndarray, latency: int, text: str, step: int = 12):
        self.weights, self.latency, self.text = np.asarray(weights), latency, text
        layout = {'layout': widgets.Layout(width='420px'), 'style': {'description_width': '120px'}}
        self.step = widgets.IntSlider(step, 0, len(self.weights) - 1, description='step', **layout)
        self.image = widgets.Image(format='png', width=900)
        self.box = widgets.VBox([self.step, self.image])
        self.step.observe(self._draw, 'value')
        self._draw()

    def finding(self) -> str:
        step = self.step.value
        if step < self.latency:
            return f'Step {step} emits a void row: no output is there yet'
        row = self.weights[step]
        letter = int(row.argmax())
        return (
            f'Step {step} emits row {step - self.latency}: most weight, {row[letter]:.2f}, '
            f'on letter {letter}, "{self.text[letter]}"'
        )

    def _draw(self, change: Any = None) -> None:
        picture, (ax,) = lanes(self.finding(), {'output, row by row': 'letter of the text'}, height=340)
        rows = np.full((len(self.weights) - self.latency, len(self.text)), np.nan)
        arrived = self.weights[self.latency : self.step.value + 1]
        rows[: len(arrived)] = arrived
        ax.imshow(rows, cmap=COLORS, vmin=0, aspect='auto', interpolation='nearest')
        ax.set_xticks(range(len(self.text)), [letter if letter != ' ' else '␣' for letter in self.text])
        ax.set_yticks(range(0, len(rows), 4))
        if len(arrived):
            ax.axhline(len(arrived) - 0.5, color=viz.style.LIGHT.ink, linewidth=1.2)
        if len(arrived) < len(rows):
            y = (len(arrived) + len(rows) - 1) / 2
            ax.text(0, y, 'has not come out yet', va='center', color=viz.style.LIGHT.ink2, fontsize=9)
        self.image.value = picture._repr_mimebundle_()[0]['image/png']

    def __repr__(self):
        return f'WeightsExplorer({self.finding()})'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        bundle = dict(self.box._repr_mimebundle_())
        size = {'image/png': {'width': 900}}
        return {**bundle, 'text/plain': repr(self), 'image/png': bytes(self.image.value)}, size
