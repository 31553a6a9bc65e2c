"""A ring buffer of keys: what each query needs, and what a ring of some size still holds when it asks."""

from typing import Any, NamedTuple

import ipywidgets as widgets
import numpy as np

from viz.page import Picture

from .pictures import Row, number, plot_rows

TIME = 11  # timesteps in the explorer
BYTES = 2 * 16 * 4  # of a slot: a key and a value of 16 numbers each, in float32


class Reads(NamedTuple):
    """What queries find in a ring, bool `[queries, keys]`.

    needed: keys within their horizons. held: keys that the ring holds when the query is answered.
    """

    needed: np.ndarray
    held: np.ndarray

    @property
    def lost(self) -> np.ndarray:
        return self.needed & ~self.held


def read_ring(slots: int, past: int, future: int, block: int, time: int) -> Reads:
    """Writes `time` keys block by block, each before its queries read; a query is answered `future` steps late."""
    ring = np.full(slots, -1)
    held = np.zeros((time, time), bool)
    for start in range(0, time + future, block):
        steps = np.arange(start, start + block)
        for t in steps:
            ring[t % slots] = t
        arrived = ring[(ring >= 0) & (ring < time)]
        for query in steps - future:
            if 0 <= query < time:
                held[query, arrived] = True
    distance = np.arange(time) - np.arange(time)[:, None]
    return Reads((distance >= -past) & (distance <= future), held)


def plot_ring(slots: int, past: int, future: int, block: int, time: int = 8, title: str = '') -> Picture:
    """One row a query: the keys that it reads, those that are kept beside them, and those that were overwritten.

    The value of key t is t + 1, and all keys are alike, so that the answer to a query is the mean of what it reads.
    """
    reads, values = read_ring(slots, past, future, block, time), np.arange(1, time + 1)
    rows = []
    for query in range(time):
        needed, held = reads.needed[query], reads.held[query]
        marks = np.select([needed & held, needed, held], ['fed', 'differs', 'future'], 'lane').tolist()
        labels = np.select([needed & ~held, needed], ['×', values.astype(str)], '').tolist()
        found = values[needed & held]
        wrong = not held[needed].all()
        means = number(found.mean()) if len(found) else '-', number(values[needed].mean())
        beside = (means[0], 'first' if wrong else 'valid'), (means[1], 'valid')
        rows.append(Row(f'query {query}', labels, marks, beside))
    what = 'Columns: keys. Numbers: values that are read. White: kept, not read. ×: needed, and overwritten.'
    return plot_rows(rows, title or ring_finding(slots, past, future, block, time), what, ('mean', 'right'))


def ring_finding(slots: int, past: int, future: int, block: int, time: int) -> str:
    lost = int(read_ring(slots, past, future, block, time).lost.any(1).sum())
    queries = f'{lost} of {time} queries miss a key' if lost else 'every query finds its keys'
    return f'A ring of {slots} slots, blocks of {block}: {queries}'


class RingExplorer:
    """Sliders for the horizons, the block and the slots of a ring, over the queries that read it."""

    def __init__(self, past: int = 2, future: int = 0, block: int = 2, slots: int = 3):
        layout = {'layout': widgets.Layout(width='420px'), 'style': {'description_width': '190px'}}
        self.past = widgets.IntSlider(past, 0, 5, description='past horizon, timesteps', **layout)
        self.future = widgets.IntSlider(future, 0, 3, description='future horizon, timesteps', **layout)
        self.block = widgets.IntSlider(block, 1, 4, description='block, timesteps', **layout)
        self.slots = widgets.IntSlider(slots, 1, 12, description='ring, slots', **layout)
        self.sliders = self.slots, self.past, self.future, self.block
        self.image = widgets.Image(format='png', width=900)
        self.box = widgets.VBox([self.past, self.future, self.block, self.slots, self.image])
        for slider in self.sliders:
            slider.observe(self._draw, 'value')
        self._draw()

    @property
    def setting(self) -> tuple[int, int, int, int]:
        slots, past, future, block = (slider.value for slider in self.sliders)
        return slots, past, future, block

    def finding(self) -> str:
        return f'{ring_finding(*self.setting, TIME)}; {self.slots.value * BYTES:,} bytes'

    def _draw(self, change: Any = None) -> None:
        self.image.value = plot_ring(*self.setting, TIME, self.finding())._repr_mimebundle_()[0]['image/png']

    def __repr__(self):
        return f'RingExplorer({self.finding()})'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        bundle = dict(self.box._repr_mimebundle_())
        size = {'image/png': {'width': 900}}
        return {**bundle, 'text/plain': repr(self), 'image/png': bytes(self.image.value)}, size
