"""What a model remembers, block by block: every leaf of its state, and which input each entry comes from."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import seqlayers as sl
from seqlayers.combinators.chain import Delayed

from .edges import describe
from .run import block_size_of, random_input, stepper, steps

PROBES = 64  # inputs whose way is followed; of a longer input, runs of timesteps are followed together


@dataclass(frozen=True, eq=False, repr=False)
class StateLeaf:
    """One array of the state.

    Attributes:
      path, layer, detail: the layer it belongs to, and that layer in words.
      name: of the leaf in that layer's state.
      shape, dtype: of the array, batch and repetitions included.
      repeats: how many repetitions the array holds; only the first is shown.
      values: `[blocks + 1, entries, size]`, before the first block and after each, of the first batch item.
      newest: int `[blocks + 1, entries]`, the latest input timestep that an entry depends on; -1 if on none.
      is_buffer: whether each entry holds a timestep. Otherwise the leaf is a vector or a counter.
    """

    path: str
    layer: str
    detail: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    repeats: int
    values: np.ndarray
    newest: np.ndarray
    is_buffer: bool

    @property
    def is_vector(self) -> bool:
        """Whether the leaf is a vector of real numbers, not a buffer, counter or flag."""
        return not self.is_buffer and bool(jnp.issubdtype(self.dtype, jnp.floating))

    @property
    def nbytes(self) -> int:
        """Bytes for the whole batch and all repetitions."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    @property
    def changed(self) -> np.ndarray:
        """bool `[blocks, entries]`: whether a block changed the entry."""
        same = (self.values[1:] == self.values[:-1]) | (
            np.isnan(self.values[1:]) & np.isnan(self.values[:-1])
        )
        return ~same.all(-1)

    @property
    def is_ring(self) -> bool:
        """Whether a block writes a few entries of a buffer, and leaves the others where they are."""
        changes = self.newest[1:] != self.newest[:-1]
        full = (self.newest[:-1] >= 0).all(-1)
        return self.is_buffer and bool(full.any()) and not changes[full].all()

    def held(self, timestep: int) -> int:
        """After how many blocks an entry of this leaf still carries an input timestep."""
        return int((self.newest == timestep).any(-1).sum())


@dataclass(frozen=True, eq=False, repr=False)
class StateTrace:
    """The state of a model while it runs in blocks.

    Attributes:
      name: of the model.
      leaves: of its state, in the order of the layers.
      mask: bool `[time]`, of the input's first item.
      block_size: in input timesteps.
    """

    name: str
    leaves: tuple[StateLeaf, ...]
    mask: np.ndarray
    block_size: int

    @property
    def num_blocks(self) -> int:
        return -(-len(self.mask) // self.block_size)

    @property
    def nbytes(self) -> int:
        return sum(leaf.nbytes for leaf in self.leaves)

    def __repr__(self):
        blocks = f'{self.num_blocks} blocks of {self.block_size}'
        return f'StateTrace({self.name}: {blocks}, {len(self.leaves)} leaves, {self.nbytes} bytes)'


def trace_state(
    model: Any, x: sl.Sequence, block_size: int | None = None, *, constants: Mapping | None = None
) -> StateTrace:
    """Runs a built model in blocks and keeps its state after each.

    Which input an entry comes from is found by experiment: the input is run once more for each timestep, with
    that timestep changed (another value, the mask flipped); the entries that change depend on it.

    Args:
      model: a built layer that can step.
      x: its input; the values of its first item are kept.
      block_size: input timesteps a call, a multiple of the model's.
      constants: side inputs of the model.

    Raises:
      ValueError: the model cannot step, or not in such blocks.
      LayerError: it is not built, or `x` does not fit.
    """
    block_size = block_size_of(model, block_size)
    x = x.pad_to_multiple(block_size)
    named = list(_named(model, jax.eval_shape(lambda: _initial(model, x.shape[0], constants)), ''))
    axes = _batch_axes(model, constants)
    initial = _initial(model, x.shape[0], constants)
    states = [initial, *(state for _, state in steps(stepper(model, constants), initial, x, block_size))]
    columns = [jax.tree.leaves(jax.device_get(state)) for state in states]
    newest = _newest_inputs(model, x, block_size, axes, constants)
    leaves = []
    for i, (path, layer, name, spec) in enumerate(named):
        values = np.stack([_entries(column[i], axes[i])[0] for column in columns])
        differ = (newest[i] != newest[i][:, :1]).any()
        repeats = spec.shape[0] if axes[i] else 1
        about = path, *describe(layer), name, spec.shape, np.dtype(spec.dtype), repeats
        leaves.append(
            StateLeaf(
                *about,
                values.astype(np.float32),
                newest[i],
                bool(differ) or values.shape[1] == 1 < values.shape[2],
            )
        )
    return StateTrace(model.name or type(model).__name__, tuple(leaves), np.asarray(x.mask[0]), block_size)


def _initial(model: Any, batch_size: int, constants: Mapping | None) -> Any:
    return model.get_initial_state(batch_size, training=False, constants=constants)


def _batch_axes(model: Any, constants: Mapping | None) -> list[int | None]:
    """The batch axis of each leaf: where the shapes for two batch sizes differ; None if nowhere."""
    shapes = [jax.tree.leaves(jax.eval_shape(lambda n=n: _initial(model, n, constants))) for n in (2, 3)]
    pairs = [zip(a.shape, b.shape, strict=True) for a, b in zip(*shapes, strict=True)]
    return [next((i for i, (m, n) in enumerate(pair) if m != n), None) for pair in pairs]


def _entries(leaf: Any, batch_axis: int | None) -> np.ndarray:
    """A leaf as `[batch, entries, size]`: of repetitions the first."""
    leaf = jnp.asarray(leaf)
    if batch_axis is None:
        leaf, batch_axis = leaf[None], 0
    leaf = leaf[(0,) * batch_axis]
    leaf = leaf.reshape(*leaf.shape, *(1,) * (3 - leaf.ndim))
    return leaf.reshape(*leaf.shape[:2], -1)


def _newest_inputs(
    model: Any, x: sl.Sequence, block_size: int, axes: list, constants: Any
) -> list[np.ndarray]:
    """For each leaf int `[blocks + 1, entries]`: the latest input timestep that changes the entry, or -1."""
    time = x.shape[1]
    run = -(-time // PROBES)  # timesteps changed together
    probes = -(-time // run)
    base = random_input(model.input_spec, 1, time).values
    base = jnp.ones_like(base) if jnp.issubdtype(base.dtype, jnp.integer) else base
    values = jnp.repeat(base, probes, 0)
    mask = jnp.repeat(x.mask[:1], probes, 0)
    touched = jnp.arange(time) // run == jnp.arange(probes)[:, None]
    # Another value, the mask flipped: neither the old value nor the 0 that layers may put for an invalid one.
    change = jnp.where(touched, jnp.where(mask, -1, 1), 0).astype(values.dtype)
    changed = sl.Sequence(values + change.reshape(change.shape + (1,) * (values.ndim - 2)), mask ^ touched)
    last = np.minimum(np.arange(1, probes + 1) * run, time) - 1

    @jax.jit
    def differ(a: list, b: list) -> list:
        pairs = ((_entries(m, axis), _entries(n, axis)) for m, n, axis in zip(a, b, axes, strict=True))
        return [((m != n) & ~(jnp.isnan(m) & jnp.isnan(n))).any(-1) for m, n in pairs]

    step = stepper(model, constants)
    runs = [
        steps(step, _initial(model, probes, constants), s, block_size)
        for s in (sl.Sequence(values, mask), changed)
    ]
    start = _initial(model, probes, constants)
    columns = []
    for (_, plain), (_, probed) in itertools.chain([((0, start), (0, start))], zip(*runs, strict=True)):
        found = differ(jax.tree.leaves(plain), jax.tree.leaves(probed))
        columns.append([np.where(np.asarray(d), last[:, None], -1).max(0) for d in found])
    return [np.stack(column) for column in zip(*columns, strict=True)]


def _named(layer: Any, state: Any, path: str) -> Iterator[tuple[str, Any, str, Any]]:
    """Each leaf of a state with the path of its layer, the layer, and its name in that layer's state."""
    if isinstance(state, Delayed):
        yield from _named(layer, state.state, path)
        yield from _leaves(layer, state.buffer, path, 'delay.')
    elif type(layer) is sl.Residual:
        body, shortcut = layer.children()[: len(layer.layers)], layer.children()[len(layer.layers) :]
        for side, part in zip((body, shortcut), state, strict=True):
            yield from _chain(side, getattr(part, 'state', part), path)
            if isinstance(part, Delayed):
                yield from _leaves(layer, part.buffer, path, 'delay.')
    elif type(layer) in (sl.Serial, sl.Parallel):
        yield from _chain(layer.children(), state, path)
    elif isinstance(layer, sl.Composite):
        yield from _chain(layer.children()[-1:], (state,), path)
    else:
        yield from _leaves(layer, state, path)


def _chain(children: list, states: tuple, path: str) -> Iterator[tuple[str, Any, str, Any]]:
    for (name, child), state in zip(children, states, strict=True):
        yield from _named(child, state, f'{path}/{name}' if path else name)


def _leaves(layer: Any, state: Any, path: str, prefix: str = '') -> Iterator[tuple[str, Any, str, Any]]:
    for keys, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        yield path, layer, prefix + (jax.tree_util.keystr(keys, simple=True, separator='.') or 'state'), leaf
