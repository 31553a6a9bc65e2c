"""Things to play with that `viz.explore` does not have."""

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np

import seqlayers as sl

from .pictures import number, plot_sequence


class MaskExplorer:
    """One clip with a button a timestep that makes it valid or invalid; the title follows."""

    def __init__(self, values: Sequence[float], mask: Sequence[int]):
        self.values = np.asarray(values, np.float32)
        self.buttons = [
            widgets.ToggleButton(
                value=bool(valid), description=f't = {t}', tooltip=f'timestep {t} is valid',
                layout=widgets.Layout(width='62px'),
            )
            for t, valid in enumerate(mask)
        ]  # fmt: skip
        self.image = widgets.Image(format='png', width=900)
        self.box = widgets.VBox([widgets.HBox(self.buttons), self.image])
        for button in self.buttons:
            button.observe(self._draw, 'value')
        self._draw()

    @property
    def sequence(self) -> sl.Sequence:
        mask = np.array([button.value for button in self.buttons])
        return sl.Sequence(self.values[None, :, None], mask[None])

    def finding(self) -> str:
        valid = np.flatnonzero(self.sequence.mask[0])
        if not len(valid):
            return 'nothing is valid: no mean, lengths() 0, no last valid step'
        mean = number(self.values[valid].mean())
        return f'mean {mean}, lengths() {len(valid)}, last valid step {valid[-1]}'

    def _draw(self, change: Any = None) -> None:
        picture = plot_sequence(self.sequence, ['clip'], self.finding())
        self.image.value = picture._repr_mimebundle_()[0]['image/png']

    def __repr__(self):
        return f'MaskExplorer({self.finding()})'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        bundle = dict(self.box._repr_mimebundle_())
        size = {'image/png': {'width': 900}}
        return {**bundle, 'text/plain': repr(self), 'image/png': bytes(self.image.value)}, size
