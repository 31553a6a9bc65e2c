"""What a model remembers, block by block: every leaf of its state, and which input each entry comes from."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

import seqlayers as sl
from seqlayers.inside import Wait

from .edges import describe, join, look_through
from .probe import Followed, batch_axes, entry_axis, follow, followed_together
from .run import block_size_of, built_for, of_first_item, repeated


@dataclass(frozen=True, eq=False, repr=False)
class StateLeaf:
    """One array of the state.

    Attributes:
      path, layer, detail: the layer it belongs to, and that layer in words.
      name: of the leaf in that layer's state.
      shape, dtype: of the array, batch and repetitions included.
      repeats: how many repetitions the array holds; only the first is shown.
      values: `[blocks + 1, entries, size]`, before the first block and after each, of the first batch item;
        of a leaf that is no buffer, one entry holds all.
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
    def kind(self) -> str:
        """'buffer', or 'vector' of real numbers, or 'counter' for what is neither."""
        if self.is_buffer:
            return 'buffer'
        return 'counter' if self.dtype.kind in 'biu' else 'vector'  # bfloat16 is of kind V

    @property
    def nbytes(self) -> int:
        """Bytes for the whole batch and all repetitions."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    @property
    def changed(self) -> np.ndarray:
        """bool `[blocks, entries]`: whether a block changed the entry."""
        same = (self.values[1:] == self.values[:-1]) | (np.isnan(self.values[1:]) & np.isnan(self.values[:-1]))
        return ~same.all(-1) | (self.newest[1:] != self.newest[:-1])

    @cached_property
    def is_ring(self) -> bool:
        """Whether a block writes some entries of a buffer, and leaves others where they are."""
        return self.is_buffer and any(map(_is_written_in_place, self.newest, self.newest[1:]))

    def held(self, inputs: Sequence[int]) -> int:
        """After how many blocks an entry of this leaf carries one of these input timesteps."""
        return int(np.isin(self.newest, list(inputs)).any(-1).sum())


@dataclass(frozen=True, eq=False, repr=False)
class StateTrace:
    """The state of a model while it runs in blocks.

    Attributes:
      name: of the model.
      leaves: of its state, in the order of the layers; without empty arrays.
      mask: bool `[steps]`, of the input's first item; invalid ones fill the last block.
      block_size: in input timesteps.
      time: input timesteps, without those that fill the last block.
      batch_size: items in the state's arrays.
    """

    name: str
    leaves: tuple[StateLeaf, ...]
    mask: np.ndarray
    block_size: int
    time: int
    batch_size: int

    @property
    def num_blocks(self) -> int:
        return -(-len(self.mask) // self.block_size)

    @property
    def nbytes(self) -> int:
        """Of the whole batch."""
        return sum(leaf.nbytes for leaf in self.leaves)

    def followed(self, inputs: range) -> range:
        """The input timesteps that cannot be told from these: more, if the input has over 64."""
        run = followed_together(len(self.mask))
        return range(inputs.start // run * run, min(-(-inputs.stop // run) * run, self.time))

    def __repr__(self):
        blocks = f'{self.num_blocks} blocks of {self.block_size}'
        return f'StateTrace({self.name}: {blocks}, {len(self.leaves)} leaves, {self.nbytes} bytes)'


def trace_state(
    model: Any, x: sl.Sequence, block_size: int | None = None, *, constants: Mapping | None = None
) -> StateTrace:
    """Runs a built model in blocks and keeps its state after each.

    Which input an entry comes from is found by experiment: the input is run once more for each timestep, with
    that timestep changed (another value, the mask flipped); the entries that change depend on it. Of an input of more
    than 64 timesteps, runs of neighbours are changed together; `newest` is then the last of a run.

    Args:
      model: a built layer that can step; a declaration is built with random parameters.
      x: its input; the values of its first item are kept.
      block_size: input timesteps a call, a multiple of the model's.
      constants: side inputs of the model.

    Raises:
      ValueError: the model cannot step, or not in such blocks.
      LayerError: `x` does not fit the model.
    """
    model = built_for(x, model)
    block_size = block_size_of(model, block_size)
    item = x[:1].pad_to_multiple(block_size)

    alone = of_first_item(constants, x.shape[0])

    def initial_state(batch_size: int) -> Any:
        side = repeated(alone, batch_size)
        return model.get_initial_state(batch_size, training=False, constants=side, max_length=item.shape[1])

    named = _named(model, jax.eval_shape(lambda: initial_state(x.shape[0])))
    followed = zip(named, batch_axes(initial_state), follow(model, item, block_size, alone), strict=True)
    leaves = tuple(_leaf(*about, axis, leaf) for about, axis, leaf in followed if leaf.values.size)
    name, (batch_size, time) = model.name or type(model).__name__, x.shape[:2]
    return StateTrace(name, leaves, np.asarray(item.mask[0]), block_size, time, batch_size)


def _leaf(path: str, layer: Any, name: str, spec: Any, batch_axis: int | None, leaf: Followed) -> StateLeaf:
    axis = entry_axis(leaf)
    values, newest = (a.reshape(len(a), *(a.shape[1:] or (1,))) for a in leaf[:2])
    if axis is None:
        values, newest = values.reshape(len(values), 1, -1), newest.reshape(len(newest), 1, -1)
    else:
        values, newest = (np.moveaxis(a, axis + 1, 1).reshape(len(a), a.shape[axis + 1], -1) for a in leaf[:2])
    array = spec.shape, np.dtype(spec.dtype), math.prod(spec.shape[: batch_axis or 0])
    return StateLeaf(path, *describe(layer), name, *array, values, newest.max(-1), axis is not None)


def _is_written_in_place(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether an entry stays. Among neighbours that are alike it may only seem so, where all have moved on."""
    size, stays = len(after), ((before == after) & (before >= 0)).any()
    moved_on = before[-1] >= 0 and any(np.array_equal(after[: size - n], before[n:]) for n in range(size))
    return bool(stays) and not moved_on


def _named(layer: Any, state: Any, path: str = '', offset: int | None = 0) -> Iterator[tuple[str, Any, str, Any]]:
    """Each leaf of a state with the path of its layer, the layer, and its name in that layer's state."""
    inside = look_through(layer, offset, state)
    if inside is None:
        yield from _leaves(layer, state, path)
        return
    for chain, wait in zip(inside.chains, inside.joins, strict=True):
        owner = layer, path
        for child in chain:
            owner = child.layer, join(path, child.name)
            yield from _named(child.layer, child.state, owner[1], child.offset)
            yield from _waiting(child.wait, *owner)
        yield from _waiting(wait, *((layer, path) if type(layer) is sl.Residual else owner))


def _waiting(wait: Wait | None, layer: Any, path: str) -> Iterator[tuple[str, Any, str, Any]]:
    if wait:
        yield from _leaves(layer, wait.buffer, path, 'delay.')


def _leaves(layer: Any, state: Any, path: str, prefix: str = '') -> Iterator[tuple[str, Any, str, Any]]:
    for keys, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        yield path, layer, prefix + (jax.tree_util.keystr(keys, simple=True, separator='.') or 'state'), leaf
