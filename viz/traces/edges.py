"""The rows of a picture: a model as a short list of edges, places between layers where timesteps are seen.

`Serial`, `Residual`, `Parallel`, `Shared` and composites are opened, outermost first, as long as the rows stay few;
everything else, `Repeat` too, is one row. A chain that is longer than that is folded into runs of layers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import seqlayers as sl
from seqlayers import timing
from seqlayers.declaration import with_parts
from seqlayers.inside import Inside, look_inside
from seqlayers.intervals import IntervalSet

MAX_ROWS = 10
Named = tuple[str, Any]  # a layer with its path


@dataclass(frozen=True)
class Edge:
    """One place in a model.

    Attributes:
      path: of the layer whose output this is; empty for the input.
      name, detail: the layer in words.
      depth: how deep inside branches.
      ratio: timesteps of this edge per timestep of the model's input.
      offset: void timesteps at its start when the model runs in steps; None if it cannot.
      sources: the edges that this one is computed from, by index.
    """

    path: str
    name: str
    detail: str
    depth: int
    ratio: Fraction
    offset: int | None
    sources: tuple[int, ...]


class Rows:
    """The edges of a model, in an order in which they can be computed: input first, output last.

    Attributes:
      edges: the rows.
      model: the same model with a tap at every edge, for `layer_with_emits` and `step_with_emits`. It is not
        built; where the layers in it are, building it shares their parameters.
    """

    def __init__(self, model: Any, max_rows: int = MAX_ROWS):
        self.edges = [Edge('', 'input', '', 0, Fraction(1), 0, ())]
        self._layers: list[tuple] = [()]  # what leads to an edge from its sources; nothing if branches meet there
        self._limit = max_rows - 1
        self._opened = _open(model, self._limit)
        self.model = sl.Serial(self._add('', model, (), 0, 0)[1])

    def reads(self, edge: int, timesteps: IntervalSet) -> IntervalSet:
        """The timesteps of each source that timesteps of an edge read."""
        return timing.serial([layer.timing for layer in self._layers[edge]]).reads(timesteps)

    def emitted(self, emits: Any) -> list[sl.Sequence]:
        """The sequences at the edges behind the input, from the emits of `model`."""
        found = dict(_tapped(emits))
        return [found[_tap(i)] for i in range(1, len(self.edges))]

    def _add(self, path: str, layer: Any, chain: tuple, source: int, depth: int) -> tuple[int, list]:
        """Adds the edges of a layer that stands behind `chain` and reads edge `source`.

        Returns:
          The index of its output, and the layer with taps, as layers in a row.
        """
        if path not in self._opened:
            return self._append((layer,), path, describe(layer), chain, depth, source)
        ends, tapped = [], []
        for branch in _branches(path, layer):
            end, layers = self._add_chain(branch, chain, source, depth + _joins(layer))
            ends.append(end)
            tapped.append(layers)
        if type(layer) is sl.Shared:
            return ends[0], [_around(layer, tapped[0])]
        if not _joins(layer):
            return ends[0], tapped[0]
        if type(layer) is sl.Residual:
            joined = layer.replace(layers=tapped[0], shortcut_layers=tapped[1])
        else:
            joined = layer.replace(layers=[sl.Serial(layers) for layers in tapped])
        sources = tuple(dict.fromkeys(ends))
        return self._append((layer,), path, describe(layer), chain, depth, *sources, joined=joined)

    def _add_chain(self, branch: list[Named], chain: tuple, source: int, depth: int) -> tuple[int, list]:
        tapped = []
        for run in _folded(branch, self._limit):
            path, first = run[0]
            if len(run) == 1:
                source, layers = self._add(path, first, chain, source, depth)
            else:
                members = tuple(layer for _, layer in run)
                words = describe_run(members)
                source, layers = self._append(members, path, words, chain, depth, source)
            tapped += layers
            chain += tuple(layer for _, layer in run)
        return source, tapped

    def _append(
        self, layers: tuple, path: str, words: tuple[str, str], chain: tuple, depth: int, *sources: int,
        joined: Any = None,
    ) -> tuple[int, list]:  # fmt: skip
        whole = timing.serial([layer.timing for layer in chain + layers])
        offset = whole.output_latency if whole.supports_step else None
        self.edges.append(Edge(path, *words, depth, whole.output_ratio, offset, sources))
        self._layers.append(() if joined else layers)
        index = len(self.edges) - 1
        return index, [*([joined] if joined else layers), sl.Emit(name=_tap(index))]


def _around(shared: Any, tapped: list) -> Any:
    """A `Shared` around its model with taps: a copy if it is built, as its `Ref`s know their layers already."""
    if not shared.is_built:
        return shared.replace(child_layer=sl.Serial(tapped))
    return with_parts(shared, child_layer=sl.Serial(tapped).build(shared.input_spec, rngs=0))


def _tap(index: int) -> str:
    return f'viz_edge_{index}'


def _tapped(emits: Any) -> Iterator[tuple[str, sl.Sequence]]:
    """The sequences that taps emit, with their names, wherever they are inside."""
    if isinstance(emits, dict):
        for name, inside in emits.items():
            if name.startswith('viz_edge_'):
                yield name, inside
            else:
                yield from _tapped(inside)
    elif isinstance(emits, tuple):
        for inside in emits:
            yield from _tapped(inside)


# --- which combinators are opened ------------------------------------------------------------------------
def _joins(layer: Any) -> bool:
    """Whether branches meet in this layer, in a row of its own."""
    return type(layer) in (sl.Residual, sl.Parallel)


def look_through(layer: Any, offset: int | None = None, state: Any = None) -> Inside | None:
    """The layers inside a combinator that can be opened, see `look_inside`; None of any other layer."""
    is_composite = isinstance(layer, sl.Composite) and type(layer).timing is sl.Composite.timing
    can_open = is_composite or type(layer) in (sl.Serial, sl.Shared, sl.Residual, sl.Parallel)
    return look_inside(layer, offset, state) if can_open else None


def _branches(path: str, layer: Any) -> list[list[Named]]:
    """The chains side by side inside a combinator; none for any other layer."""
    inside = look_through(layer)
    chains = inside.chains if inside else ()
    return [[(join(path, child.name), child.layer) for child in chain] for chain in chains]


def join(path: str, name: str) -> str:
    """The path of a layer inside the one at `path`."""
    return f'{path}/{name}' if path else name


def _open(model: Any, limit: int) -> set[str]:
    """The paths of the combinators to open: the root, then breadth first while there is room."""
    opened, queue, rows = set(), [('', model)], 1
    while queue:
        path, layer = queue.pop(0)
        chains = _branches(path, layer)
        added = sum(map(len, chains)) - (not _joins(layer))
        if chains and (rows + added <= limit or layer is model):
            opened.add(path)
            rows += added
            queue += [child for chain in chains for child in chain]
    return opened


def _folded(chain: list[Named], limit: int) -> Iterator[list[Named]]:
    """The chain cut into at most `limit` runs: single layers if that suffices."""
    size = -(-len(chain) // limit) or 1
    for i in range(0, len(chain), size):
        yield chain[i : i + size]


# --- words -------------------------------------------------------------------------------------------------
_FIELDS = {
    'kernel_size': 'k {}', 'pool_size': 'k {}', 'frame_length': 'window {}', 'frame_step': 'hop {}',
    'strides': 's {}', 'dilation_rate': 'd {}', 'rate': '× {}', 'num_repeats': '× {}', 'length': 'length {}',
    'padding': '{}',
    'max_past_horizon': 'past {}', 'max_future_horizon': 'future {}',
}  # fmt: skip


def describe(layer: Any) -> tuple[str, str]:
    """A layer's name, and the hyper-parameters that decide its timing: ('Conv1D', 'k 3, s 2, causal')."""
    values = layer.field_values()
    shown = []
    for field, words in _FIELDS.items():
        value = values.get(field)
        value = value[0] if isinstance(value, tuple) and len(value) == 1 else value
        if value not in (None, 1, 0, -1) or (value == 1 and field in ('kernel_size', 'length')):
            shown.append(words.format(value))
    return layer.name or type(layer).__name__, ', '.join(shown)


def describe_run(layers: Sequence[Any]) -> tuple[str, str]:
    """Folded layers in words: ('▸ 6 × Residual', ''), or ('▸ 3 layers', 'Conv1D … LSTM')."""
    names = [describe(layer)[0] for layer in layers]
    for alike in (names, [type(layer).__name__ for layer in layers]):
        if len(set(alike)) == 1:
            return f'▸ {len(layers)} × {alike[0]}', '' if alike is names else f'{names[0]} … {names[-1]}'
    return f'▸ {len(layers)} layers', f'{names[0]} … {names[-1]}'
