"""Recurrences in parallel: the rounds of a scan, and the error of three ways to compute a leaky sum."""

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
import jax.numpy as jnp
import numpy as np

from viz import style
from viz.page import Cells, Page, Picture, TimeAxis, ruler

from .lesson09 import rounds
from .pictures import CELL, TOP, lanes

STEPS = 20_000
DECAYS = (0.5, 0.9, 0.95, 0.99, 0.995, 0.999)
LENGTHS = (50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)
APART = 58  # px from one round to the next
WAYS = {'division': 'solid', 'parallel scan': 'dashed', 'one after the other': 'dotted'}


def plot_scan(time: int = 8) -> Picture:
    """The rounds of a parallel scan. A cell says which updates it combines; the tree of the last one is lit."""
    covered = rounds(lambda left, right: (left[0], right[1]), [(t, t) for t in range(time)])
    depth = len(covered) - 1
    page = Page(style.WIDTH, TOP + APART * depth + CELL + 14, 'light')
    title = f'{time} updates need {depth} rounds: the last state is a tree of depth {depth}'
    subtitle = 'A cell names the first and the last update it combines. Framed: what the last state is made of.'
    page.heading(title, subtitle)
    axis = TimeAxis(style.LEFT, 64, 0)
    ruler(page, axis, time, TOP - 16)
    lit = [{time - 1}]
    for r in range(depth, 0, -1):
        lit.insert(0, lit[0] | {t - 2 ** (r - 1) for t in lit[0] if t >= 2 ** (r - 1)})
    cells, edges, tree = [], [], []
    for r, spans in enumerate(covered):
        y, reach = TOP + APART * r, 2 ** (r - 1) if r else 0
        page.row_name(y + CELL / 2, f'round {r}' if r else 'updates')
        marks = ['valid'] * time
        for t in lit[r]:
            marks[t] = 'now' if r == depth else 'fed'
        labels = [str(a) if a == b else f'{a} to {b}' for a, b in spans]
        cells += axis.row(y, CELL, 1, 0, marks, labels)
        for t in range(reach, time) if r else ():
            lines = [[(axis.x(s + 0.5), y - APART + CELL), (axis.x(t + 0.5), y)] for s in (t - reach, t)]
            (tree if t in lit[r] else edges).extend(lines)
    page.lines(edges, 'edge')
    page.lines(tree, 'accent', style.DATA)
    Cells(page, live=False).set(cells)
    return page.figure


def leaky_sums(decay: Sequence[float], steps: int = STEPS) -> dict[str, np.ndarray]:
    """The states of h = decay * h + 1 from h = 0, in float32, in three ways; and in float64 behind 'exact'.

    Returns:
      For each way an array `[steps, decays]`.
    """
    a = np.tile(np.array(decay, np.float32), (steps, 1))
    b = np.ones_like(a)
    product = jnp.cumprod(a, axis=0)
    division = product * jnp.cumsum(b / product, axis=0)

    h, one_by_one = np.zeros_like(a[0]), []
    for t in range(steps):
        h = a[t] * h + b[t]
        one_by_one.append(h)

    in_rounds, factors, reach = b.copy(), a.copy(), 1
    while reach < steps:  # the right side is computed before anything is written
        in_rounds[reach:] = factors[reach:] * in_rounds[:-reach] + in_rounds[reach:]
        factors[reach:] = factors[reach:] * factors[:-reach]
        reach *= 2

    exact = a[0].astype(float)
    return {
        'division': np.asarray(division),
        'parallel scan': in_rounds,
        'one after the other': np.stack(one_by_one),
        'exact': (1 - exact ** np.arange(1, steps + 1)[:, None]) / (1 - exact),
    }


class DecayExplorer:
    """The error of three ways to compute a leaky sum, by decay and length."""

    def __init__(self, decay: float = 0.9, steps: int = 1_000):
        options = {'continuous_update': True, 'layout': widgets.Layout(width='420px')}
        self.decay = widgets.SelectionSlider(options=DECAYS, value=decay, description='decay', **options)
        self.steps = widgets.SelectionSlider(
            options=[(f'{n:,}', n) for n in LENGTHS], value=steps, description='timesteps', **options
        )
        self.image = widgets.Image(format='png', width=900)
        self.box = widgets.VBox([self.decay, self.steps, self.image])
        states = leaky_sums(DECAYS)
        with np.errstate(all='ignore'):
            errors = {way: np.abs(states[way] / states['exact'] - 1) for way in WAYS}
        # The largest so far, `[steps, decays]`: curves that are easier to compare. NaN stays.
        self.errors = {way: np.maximum.accumulate(error) for way, error in errors.items()}
        for control in (self.decay, self.steps):
            control.observe(self._draw, 'value')
        self._draw()

    def error(self, way: str) -> np.ndarray:
        """The largest so far, relative to the exact state, at each timestep shown."""
        return self.errors[way][: self.steps.value, DECAYS.index(self.decay.value)]

    def finding(self) -> str:
        lost = np.flatnonzero(~np.isfinite(self.error('division')))
        where = f'division is lost at step {lost[0]:,}' if len(lost) else 'all three agree'
        return f'Decay {self.decay.value}, {self.steps.value:,} timesteps: {where}'

    def _draw(self, change: Any = None) -> None:
        picture, (ax,) = lanes(
            self.finding(), {'largest error so far, relative to the exact state': 'timesteps'}, height=230
        )
        theme, size = style.LIGHT, style.LABEL * 0.72
        for (way, dash), color in zip(WAYS.items(), (theme.alarm, theme.accent, theme.ink2), strict=True):
            error = self.error(way)
            finite = np.isfinite(error)
            ax.plot(np.maximum(error, 1e-9)[finite], color=color, linestyle=dash, linewidth=1.3, label=way)
            if not finite.all():
                span = {'facecolor': theme.alarm_tint, 'edgecolor': theme.hatch, 'hatch': '//', 'linewidth': 0}
                ax.axvspan(int(finite.argmin()), len(error), **span)
                middle = (finite.argmin() + len(error)) / 2
                box = {'facecolor': theme.paper, 'edgecolor': 'none'}
                ax.text(middle, 1e-3, 'division:\nno number', color=theme.alarm, fontsize=size, ha='center', bbox=box)
        ax.xaxis.set_major_formatter('{x:,.0f}')
        ax.set(yscale='log', ylim=(1e-9, 1), xlim=(0, self.steps.value))
        ax.legend(loc='upper left', frameon=False, fontsize=size, ncols=3)
        self.image.value = picture._repr_mimebundle_()[0]['image/png']

    def __repr__(self):
        return f'DecayExplorer({self.finding()})'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        bundle = dict(self.box._repr_mimebundle_())
        size = {'image/png': {'width': 900}}
        return {**bundle, 'text/plain': repr(self), 'image/png': bytes(self.image.value)}, size
