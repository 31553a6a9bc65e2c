"""Calls on the clock: when chunks come, when their results are ready, and what waits in between."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.ticker import MaxNLocator

from viz import style
from viz.page import Picture

from .pictures import lanes

RATE = 16  # samples a millisecond
FRAME = 160  # samples that the imagined model of the explorer takes as a block


@dataclass(frozen=True, eq=False)
class Schedule:
    """Calls of one machine, one after the other. Times are in milliseconds since the first sample.

    Attributes:
      period: how long a chunk lasts.
      arrives, begins, ends: for each call, when its chunk is there, when it runs, when its result is ready.
    """

    period: float
    arrives: np.ndarray
    begins: np.ndarray
    ends: np.ndarray

    @property
    def deadlines(self) -> np.ndarray:
        """A result is in time if it is ready when the next chunk is there."""
        return self.arrives + self.period

    @property
    def lateness(self) -> np.ndarray:
        """How long after its deadline each result is ready; 0 if in time."""
        late = self.ends - self.deadlines
        return np.where(late > 1e-9 * self.ends, late, 0.0)

    @property
    def late(self) -> int:
        """How many results are late."""
        return int((self.lateness > 0).sum())

    @property
    def factor(self) -> float:
        """The real-time factor: computing time over the duration of the data."""
        return float((self.ends - self.begins).sum() / (len(self.ends) * self.period))

    def waiting(self, time: Any) -> np.ndarray:
        """The backlog: how many chunks are there at some times without a result yet."""
        there, done = (np.searchsorted(events, time, 'right') for events in (self.arrives, self.ends))
        return there - done


def schedule(durations: Sequence[float], period: float) -> Schedule:
    """When calls of such durations run, if a chunk comes every `period` milliseconds."""
    arrives = period * np.arange(1, len(durations) + 1)
    begins, ends, free = np.zeros(len(durations)), np.zeros(len(durations)), 0.0
    for i, duration in enumerate(durations):
        begins[i] = max(arrives[i], free)
        free = ends[i] = begins[i] + duration
    return Schedule(period, arrives, begins, ends)


def plot_backlog(calls: Schedule, title: str, begin: float = 0, end: float | None = None) -> Picture:
    """The calls with their deadlines, and the chunks that wait, between two times in milliseconds."""
    stop = float(calls.ends[-1]) if end is None else end
    picture, (runs, staircase) = lanes(
        title, {'calls; a tick is a deadline; hatched: late': 'ms', 'chunks there without a result': 'ms'}, 90
    )
    theme = style.LIGHT
    shown = (calls.ends > begin) & (calls.begins < stop)
    late = shown & (calls.lateness > 0)
    in_time = shown & ~late
    runs.broken_barh(_bars(calls, in_time), (0, 1), facecolor=theme.mid, edgecolor=theme.paper)
    runs.broken_barh(_bars(calls, late), (0, 1), facecolor=theme.alarm_tint, edgecolor=theme.alarm)
    runs.broken_barh(_joined(_bars(calls, late)), (0, 1), facecolor='none', hatch='////', edgecolor=theme.alarm)
    runs.vlines(calls.deadlines, 1.06, 1.3, color=theme.ink, linewidth=0.8)
    for axis in runs.xaxis, staircase.xaxis:
        axis.set_major_formatter('{x:,.0f}')
    runs.set(yticks=[], xlim=(begin, stop), ylim=(0, 1.34))
    times = np.unique(np.concatenate([np.array([begin, stop]), calls.arrives, calls.ends]))
    waiting = calls.waiting(times)
    staircase.step(times, waiting, where='post', color=theme.ink2, linewidth=1)
    staircase.fill_between(times, waiting, step='post', color=theme.cell)
    behind = {'step': 'post', 'facecolor': 'none', 'edgecolor': theme.alarm, 'hatch': '////', 'linewidth': 0}
    staircase.fill_between(times, np.where(waiting > 1, waiting, 0), **behind)
    staircase.set(xlim=(begin, stop), ylim=(0, None))
    staircase.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    return picture


def _bars(calls: Schedule, chosen: np.ndarray) -> list[tuple[float, float]]:
    """Begin and duration of the chosen calls."""
    begins, ends = calls.begins[chosen], calls.ends[chosen]
    return list(zip(begins.tolist(), (ends - begins).tolist(), strict=True))


def _joined(bars: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Bars that touch as one: a hatch is slow to draw."""
    joined: list[tuple[float, float]] = []
    for begin, duration in bars:
        if joined and begin < sum(joined[-1]) + 1e-6:
            begin, duration = joined[-1][0], begin + duration - joined[-1][0]
            joined.pop()
        joined.append((begin, duration))
    return joined


class BacklogExplorer:
    """An imagined machine: a call takes 2 ms, and a frame of 160 samples `2 (width / 64)^2` ms more."""

    CALLS = 1000  # ms of calls to draw

    def __init__(self, chunk: int = 317, width: int = 64):
        layout = {'layout': widgets.Layout(width='420px'), 'style': {'description_width': '170px'}}
        self.chunk = widgets.IntSlider(chunk, 20, 1280, description='chunk, samples', **layout)
        self.width = widgets.IntSlider(width, 16, 256, step=16, description='width, channels', **layout)
        self.image = widgets.Image(format='png', width=900)
        self.box = widgets.VBox([self.chunk, self.width, self.image])
        for slider in (self.chunk, self.width):
            slider.observe(self._draw, 'value')
        self._draw()

    @property
    def calls(self) -> Schedule:
        """A call computes the frames that its chunk makes complete."""
        chunk, frame = self.chunk.value, 2 * (self.width.value / 64) ** 2
        received = chunk * np.arange(self.CALLS * RATE // chunk + 1)
        return schedule(2 + frame * np.diff(received // FRAME), chunk / RATE)

    def finding(self) -> str:
        calls = self.calls
        count = len(calls.ends)
        worst = f'{calls.late} of {count} results are late, the worst by {calls.lateness.max():.3g} ms'
        return f'Real-time factor {calls.factor:.2f}: {worst if calls.late else f"all {count} results are in time"}'

    def _draw(self, change: Any = None) -> None:
        picture = plot_backlog(self.calls, self.finding(), 0, self.CALLS)
        self.image.value = picture._repr_mimebundle_()[0]['image/png']

    def __repr__(self):
        return f'BacklogExplorer({self.finding()})'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        bundle = dict(self.box._repr_mimebundle_() or {})
        size = {'image/png': {'width': 900}}
        return {**bundle, 'text/plain': repr(self), 'image/png': bytes(self.image.value)}, size
