"""Pictures of waiting: letters that pass through layers step by step, and what a longer window costs."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure

import seqlayers as sl
import viz

from .pictures import CELL, ROW, TOP, WIDEST, Row, lanes, plot_rows

MARKS = {'.': 'void', '-': 'invalid', ' ': 'tick'}
WINDOWS = np.unique([window + more for window in range(80, 881, 40) for more in (0, 1)])[:-1]  # 80, 81, 120 to 880
RATE = 16_000


def plot_letters(tape: Mapping[str, str], title: str, wrong: Mapping[str, str]) -> Figure:
    """Layers below each other, a letter a step: '.' is void, '-' invalid, ' ' nothing. Wrong letters are struck out.

    Args:
      tape: for each edge what it holds, step by step.
      title: the finding.
      wrong: more edges, where letters are not what they should be.
    """
    rows = [_letters(name, steps, 'valid') for name, steps in tape.items()]
    rows += [_letters(name, steps, 'differs') for name, steps in wrong.items()]
    what = 'Columns are steps. Dashed cells are void, crossed cells are invalid.'
    picture = plot_rows(rows, title, what)
    for i, steps in enumerate(wrong.values(), start=len(tape)):
        y = TOP + ROW * i + CELL / 2
        for x in (viz.style.LEFT + (t + 0.5) * WIDEST for t, letter in enumerate(steps) if letter not in MARKS):
            picture.axes[0].plot([x - 11, x + 11], [y + 7, y - 7], color=viz.style.LIGHT.alarm, linewidth=1.1, zorder=9)
    return picture


def _letters(name: str, steps: str, mark: str) -> Row:
    labels = ['' if letter in MARKS else letter for letter in steps]
    return Row(name, labels, [MARKS.get(letter, mark) for letter in steps])


class LatencyExplorer:
    """Sliders for the window and the look-ahead of a model, beside the staircase of its first output.

    Args:
      declare: from the window in samples and the look-ahead in timesteps to a declaration of output ratio 1 / block.
    """

    def __init__(self, declare: Callable[[int, int], sl.SequenceLayer], window: int = 400, look_ahead: int = 2):
        layout = {'layout': widgets.Layout(width='420px'), 'style': {'description_width': '150px'}}
        self._first_output = cache(lambda window, look_ahead: first_output(declare(window, look_ahead)))
        self.window = widgets.IntSlider(window, WINDOWS[0], WINDOWS[-1], description='window, samples', **layout)
        self.look_ahead = widgets.IntSlider(look_ahead, 0, 4, description='look-ahead, steps', **layout)
        self.image = widgets.Image(format='png', width=900)
        self.box = widgets.VBox([self.window, self.look_ahead, self.image])
        for slider in (self.window, self.look_ahead):
            slider.observe(self._draw, 'value')
        self._draw()

    def finding(self) -> str:
        samples = self._first_output(self.window.value, self.look_ahead.value)
        setting = f'Window {self.window.value}, look-ahead {self.look_ahead.value}'
        return f'{setting}: the first output after {samples:,} samples, {samples * 1000 // RATE} ms'

    def _draw(self, change: Any = None) -> None:
        picture, (stairs,) = lanes(self.finding(), {'samples until the first output': 'window, samples'}, 180)
        color, look_ahead = viz.style.LIGHT, self.look_ahead.value
        heights = [self._first_output(int(window), look_ahead) for window in WINDOWS]
        stairs.step(WINDOWS, heights, where='post', color=color.ink2, linewidth=1.4)
        here = self.window.value, self._first_output(self.window.value, look_ahead)
        stairs.plot(*here, 'o', color=color.accent, markersize=9, clip_on=False, zorder=5)
        stairs.set(ylim=(0, 4_480), yticks=np.arange(0, 4_481, 640), xticks=np.arange(80, 881, 80))
        stairs.set_yticklabels([f'{tick:,}' for tick in stairs.get_yticks()])
        stairs.grid(axis='y', color=color.line, linewidth=0.6)
        self.image.value = picture._repr_mimebundle_()[0]['image/png']

    def __repr__(self):
        return f'LatencyExplorer({self.finding()})'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        bundle = dict(self.box._repr_mimebundle_())
        size = {'image/png': {'width': 900}}
        return {**bundle, 'text/plain': repr(self), 'image/png': bytes(self.image.value)}, size


def first_output(layer: sl.SequenceLayer) -> int:
    """After how many inputs the first output comes."""
    return int((layer.output_latency + 1) / layer.output_ratio)
