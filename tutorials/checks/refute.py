"""Random models around a layer: does it keep the contract in all of them, and what is the smallest that it breaks?"""

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import jax
import numpy as np

import seqlayers as sl
from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer, walk
from seqlayers.testing.quick import fast_compilation
from viz.page import Picture

from .pictures import compared, plot_rows, sequence_row

SCALARS = sl.ChannelSpec(())
TIME = 8


def keeps_contract(declaration: SequenceLayer) -> bool:
    """By one run with all kinds of masks, NaN in what is invalid, and uneven lengths."""
    options = fast_compilation()
    return sl.testing.quick_check(declaration, SCALARS, time=TIME, compiler_options=options).passed


def random_model(layer: SequenceLayer, seed: int) -> SequenceLayer:
    """A chain with `layer` in it, in half of the cases inside of a residual."""
    draw = np.random.default_rng(seed)
    others = [sl.Lookahead(1), sl.Lookahead(2), sl.Delay(1), sl.Downsample1D(2), sl.Upsample1D(2)]
    before, after = ([others[i] for i in draw.choice(len(others), draw.integers(0, 3))] for _ in range(2))
    middle = sl.Residual([sl.Lookahead(1), layer]) if draw.random() < 0.5 else layer
    return sl.Serial([*before, middle, *after])


def smallest_refutation(declaration: SequenceLayer, layer: SequenceLayer) -> SequenceLayer | None:
    """The smallest model found that has `layer` in it and breaks the contract; None if `declaration` keeps it."""

    def fails(candidate: SequenceLayer) -> bool:
        if type(layer) not in {type(inside) for _, inside in walk(candidate)}:
            return False
        try:
            return not keeps_contract(candidate)
        except LayerError:  # no legal model
            return False

    return sl.testing.shrink(declaration, fails) if fails(declaration) else None


def plot_model(declaration: SequenceLayer, title: str) -> Picture:
    """`layer` and `step` on a small sequence with a gap that holds NaN, under `layer` with a gap of zeros."""
    mask = np.array([[1, 1, 1, 0, 1, 1, 1, 0]], bool)
    x = sl.Sequence(np.where(mask, np.arange(1, TIME + 1), np.nan).astype(np.float32), mask)
    model = declaration.build(SCALARS, rngs=0)
    clean, whole = (_on_host(model.layer(x, training=False)) for x in (x.mask_invalid(), x))
    stepped = _on_host(sl.step_by_step(model, x))
    rows = [sequence_row('x', x.values[0], x.mask[0])]
    for name, y in {'layer, zeros in the gap': clean, 'layer': whole, 'step': stepped}.items():
        target, yours = (np.where(z.mask[0], z.values[0], 0) for z in (clean, y))
        row = compared(target, yours)[y is not clean]
        marks, labels = np.where(y.mask[0], row.marks, 'invalid'), np.where(y.mask[0], row.labels, '')
        rows.append(row._replace(name=name, marks=marks.tolist(), labels=labels.tolist()))
    return plot_rows(rows, title, declaration.declaration_text())


class RefutationExplorer:
    """Random models that contain a layer. If one breaks the contract, the smallest form of it is shown.

    Args:
      layers: declarations for scalar sequences by name.
      layer, seed: what to begin with.
    """

    def __init__(self, layers: Mapping[str, SequenceLayer], layer: str, seed: int = 0):
        self.layers = dict(layers)
        self.layer = widgets.Dropdown(options=list(self.layers), value=layer, description='layer')
        self.seed = widgets.IntSlider(seed, 0, 30, description='model', continuous_update=False)
        self.image = widgets.Image(format='png', width=900)
        self.box = widgets.VBox([widgets.HBox([self.layer, self.seed]), self.image])
        for control in (self.layer, self.seed):
            control.observe(self._draw, 'value')
        self._draw()

    def finding(self) -> str:
        layer = self.layers[self.layer.value]
        self.model = random_model(layer, self.seed.value)
        smallest = smallest_refutation(self.model, layer)
        if smallest is None:
            return f'{self.layer.value}, model {self.seed.value}: keeps the contract'
        before, after = (sum(not inside.children() for _, inside in walk(m)) for m in (self.model, smallest))
        self.model = smallest
        return f'{self.layer.value}, model {self.seed.value}: refuted, and shrunk from {before} layers to {after}'

    def _draw(self, change: Any = None) -> None:
        self.text = self.finding()
        self.image.value = plot_model(self.model, self.text)._repr_mimebundle_()[0]['image/png']

    def __repr__(self):
        return f'RefutationExplorer({self.text}: {self.model.declaration_text()})'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        bundle = dict(self.box._repr_mimebundle_())
        size = {'image/png': {'width': 900}}
        return {**bundle, 'text/plain': repr(self), 'image/png': bytes(self.image.value)}, size


def _on_host(x: sl.Sequence) -> sl.Sequence:
    return jax.tree.map(np.asarray, x)
