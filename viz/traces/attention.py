"""Who looks at whom: what each query of a self-attention layer sees, whole and in steps, and with which weight."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import seqlayers as sl
from seqlayers.attention.banded import BandedSelfAttention
from seqlayers.combinators.wrapper import Wrapper
from seqlayers.declaration import LayerDict, with_parts
from seqlayers.layer import walk

from .edges import describe
from .run import block_size_of, built_for, of_first_item, stepper, steps


@dataclass(frozen=True, eq=False, repr=False)
class Looks:
    """What queries see.

    Attributes:
      seen: bool `[queries, keys]`.
      weights: `[heads, queries, keys]`, the probabilities.
      sinks: `[heads, queries]`, the probability that goes to no key.
    """

    seen: np.ndarray
    weights: np.ndarray
    sinks: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class AttentionTrace:
    """A self-attention layer inside a model; timesteps are those of the layer's own input.

    Attributes:
      name: of the model.
      path, layer, detail: where the layer is in it, and the layer in words.
      past, future: its horizons in timesteps, counted from the query's chunk; a past of -1 is no limit.
      chunk: the timesteps of a chunk, 1 where attention is not cut into chunks.
      layer_looks, step_looks: of the whole run and of the run in steps.
      valid: bool `[time]`, the keys that can be seen.
      block_size: timesteps a call.
      offset: void timesteps at the layer's input.
      slots: int `[blocks, entries]`, the timestep of each entry of the cache after each call; -1 if it cannot be read.
    """

    name: str
    path: str
    layer: str
    detail: str
    past: int
    future: int
    chunk: int
    layer_looks: Looks
    step_looks: Looks
    valid: np.ndarray
    block_size: int
    offset: int
    slots: np.ndarray

    @property
    def time(self) -> int:
        return len(self.valid)

    @cached_property
    def first_difference(self) -> int | None:
        """The first query that sees other keys in steps than in the whole run; None if all see the same."""
        differs = (self.layer_looks.seen != self.step_looks.seen).any(-1)
        return int(np.argmax(differs)) if differs.any() else None

    def step_of(self, query: int) -> int:
        """The step in which a query is answered: it waits for its last key."""
        return query + self.offset + self.future

    def arrived(self, step: int) -> int:
        """How many keys have arrived when the call of that step is answered."""
        return (step // self.block_size + 1) * self.block_size - self.offset

    def in_horizon(self, query: int) -> np.ndarray:
        """bool `[time]`: the keys within the horizons of a query, valid or not."""
        chunks = np.arange(self.time) // self.chunk - query // self.chunk
        return (chunks * self.chunk <= self.future) & ((self.past == -1) | (-chunks * self.chunk <= self.past))

    def held(self, query: int) -> np.ndarray:
        """The keys that are in the cache after the call that answers a query."""
        slots = self.slots[self.step_of(query) // self.block_size]
        return np.sort(slots[slots >= 0])

    def __repr__(self):
        where = f'{self.layer} at {self.path}' if self.path else self.layer
        horizons = f'past {self.past}, future {self.future}' + (f', chunks of {self.chunk}' if self.chunk > 1 else '')
        return f'AttentionTrace({where}: {self.time} queries, {horizons})'


def trace_attention(
    model: Any,
    x: sl.Sequence,
    block_size: int | None = None,
    *,
    layer: str | None = None,
    constants: Mapping | None = None,
) -> AttentionTrace:
    """Runs a model whole and in steps, and keeps what one of its self-attention layers looks at.

    Args:
      model: a built layer that can step; a declaration is built with random parameters.
      x: its input; the first item is traced.
      block_size: input timesteps a call, a multiple of the model's; the last is filled with invalid ones.
      layer: the path of a `DotProductSelfAttention`, `DotProductSelfAttentionV2`, `LocalDotProductSelfAttention` or
        `BlockwiseDotProductSelfAttention`; by default the first. Of a repeated one, the first repetition is traced.
      constants: side inputs of the model.

    Raises:
      ValueError: there is no such layer; or the model cannot step, or not in such blocks.
      LayerError: `x` does not fit the model.
    """
    model = built_for(x, model)
    block_size = block_size_of(model, block_size)
    path = _path(model, layer)
    attention: Any = dict(walk(model))[path]
    constants = of_first_item(constants, x.shape[0])
    watched, item = _watching(model, path), x[:1]

    @jax.jit
    def look(watched: Any, x: sl.Sequence) -> _Look:
        return _find(watched.layer_with_emits(x, training=False, constants=constants)[1])

    whole = _of_item(look(watched, item))
    item = item.pad_time(0, model.input_latency).pad_to_multiple(block_size)
    initial = watched.get_initial_state(1, training=False, constants=constants, max_length=item.shape[1])
    calls = [_of_item(call) for call, _ in steps(stepper(watched, constants, _find), initial, item, block_size)]
    time = len(whole.query_times)
    name, detail = describe(attention)
    past, future, chunk = attention.horizons
    latency = max(future, 0) * chunk
    return AttentionTrace(
        name=model.name or type(model).__name__,
        path=path,
        layer=name,
        detail=detail,
        past=past if past == -1 else past * chunk,
        future=latency,
        chunk=chunk,
        layer_looks=_looks([whole], time),
        step_looks=_looks(calls, time),
        valid=np.isin(np.arange(time), whole.key_times),
        block_size=len(calls[0].query_times),
        offset=-int(calls[0].query_times[0]) - latency,
        slots=_readable(np.stack([call.slots for call in calls]), item.shape[1]),
    )


def self_attention_layers(model: Any) -> list[str]:
    """The paths of the layers that `trace_attention` can look at."""
    return [path for path, layer in walk(model) if isinstance(layer, BandedSelfAttention)]


def _path(model: Any, layer: str | None) -> str:
    """The path of the layer to trace."""
    layers, found = dict(walk(model)), self_attention_layers(model)
    if layer in found or (layer is None and found):
        return found[0] if layer is None else layer
    kinds = ', '.join(sorted(kind.__name__ for kind in BandedSelfAttention.__subclasses__()))
    if not found:
        raise ValueError(f'trace_attention: {type(model).__name__} holds no self-attention layer (one of {kinds})')
    what = f'a {type(layers[layer]).__name__}' if layer in layers else 'no layer'
    raise ValueError(f'trace_attention: at {layer!r} is {what}; the self-attention layers of this model are at {found}')


# --- looking at a layer while it runs ---------------------------------------------------------------------
class _Look(NamedTuple):
    """One call of a layer: times are hidden (far below 0) where a key must not be seen.

    weights: `[heads, queries, sinks + keys]`. seen: `[queries, keys]`. query_times, key_times: of the axes of these.
    slots: the times of the entries of the cache after the call.
    """

    weights: Any
    seen: Any
    query_times: Any
    key_times: Any
    slots: Any


class _Watch(Wrapper):
    """A self-attention layer that emits what it looks at."""

    @property
    def _attention(self) -> Any:
        return self.child_layer

    def layer_with_emits(self, x, *, training, constants=None):
        _, queries, source = self._attention._whole(x, training, constants)
        y = self.child_layer.layer(x, training=training, constants=constants)
        return y, self._look(queries, [source], source.times, training, constants)

    def step_with_emits(self, x, state, *, training, constants=None):
        _, queries, block, _ = self._attention._block(x, state, training, constants)
        written, sources = state.cache.append(block)
        y, state = self.child_layer.step(x, state, training=training, constants=constants)
        return y, state, self._look(queries, sources, written.entries.times, training, constants)

    def _look(self, queries: Any, sources: list, slots: Any, training: bool, constants: Any) -> _Look:
        rule = self._attention._rule(training, constants)
        seen = jnp.concatenate([rule.seen(queries, source) for source in sources], -1)
        times = jnp.concatenate([source.times for source in sources], -1)
        return _Look(rule.weights(queries, sources), seen, queries.times, times, slots)


def _watching(model: Any, path: str) -> Any:
    """A built model with the same parameters, in which the layer at `path` is watched."""
    if not path:
        return _Watch(model, name=model.name).build(model.input_spec, rngs=0)
    name, _, rest = path.partition('/')
    child, parts = dict(model.children())[name], {}
    watched = _watching(child, rest)
    for attribute, value in vars(model).items():
        if value is child:
            parts[attribute] = watched
        elif isinstance(value, tuple) and any(inside is child for inside in value):
            parts[attribute] = tuple(watched if inside is child else inside for inside in value)
        elif isinstance(value, LayerDict) and value.get(name) is child:
            parts[attribute] = LayerDict(value | {name: watched})
    return with_parts(model, **parts)


def _find(emits: Any) -> _Look:
    """What the watch emitted, wherever it is inside."""
    leaves = jax.tree.leaves(emits, is_leaf=lambda inside: isinstance(inside, _Look))
    found = [leaf for leaf in leaves if isinstance(leaf, _Look)]
    if not found:
        raise ValueError('trace_attention: the model hands on no emits of this layer, so its attention cannot be seen')
    return found[0]


def _of_item(look: _Look) -> _Look:
    """The first item of the batch, of the first repetition if the layer is repeated."""
    arrays = zip(map(np.asarray, look), (3, 2, 1, 1, 1), strict=True)
    return _Look(*(array[(0,) * (array.ndim - axes)] for array, axes in arrays))


def _readable(times: np.ndarray, end: int) -> np.ndarray:
    """The times of entries, -1 for hidden and void ones."""
    return np.where((times >= 0) & (times < end), times, -1)


def _looks(calls: list[_Look], time: int) -> Looks:
    """All calls of a run as one matrix of query times by key times, without void and flushed timesteps."""
    heads = len(calls[0].weights)
    looks = Looks(np.zeros((time, time), bool), np.zeros((heads, time, time), np.float32), np.zeros((heads, time)))
    for call in calls:
        sinks = call.weights.shape[-1] - len(call.key_times)
        queries, keys = (np.flatnonzero((t >= 0) & (t < time)) for t in (call.query_times, call.key_times))
        rows, columns = call.query_times[queries], call.key_times[keys]
        looks.seen[np.ix_(rows, columns)] = call.seen[np.ix_(queries, keys)]
        looks.weights[:, rows[:, None], columns] = call.weights[:, queries[:, None], sinks + keys]
        looks.sinks[:, rows] = call.weights[:, queries, :sinks].sum(-1)
    return looks
