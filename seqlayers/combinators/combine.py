"""Putting the outputs of branches together."""

import enum
import functools
import operator
from collections.abc import Sequence as PySequence

import jax
import jax.numpy as jnp

from seqlayers.sequence import ChannelSpec, Sequence


class CombinationMode(enum.StrEnum):
    """How branches become one output. Channels are broadcast as in NumPy, aligned at the last axis.

    * `stack`: a new first channel axis, one entry a branch.
    * `concat`: joined along the last channel axis; the others are broadcast. A scalar counts as one channel.
    * `add`, `mean`, `product`: elementwise. The mean of integers is a float.
    """

    STACK = 'stack'
    CONCAT = 'concat'
    ADD = 'add'
    MEAN = 'mean'
    PRODUCT = 'product'

    @classmethod
    def _missing_(cls, value):
        raise ValueError(f'combination must be one of {", ".join(cls)}; got {value!r}')


def combine_mask(*masks):
    """The AND of masks; when they are all one object, that object."""
    return masks[0] if all(m is masks[0] for m in masks) else functools.reduce(jnp.logical_and, masks)


def combine(sequences: PySequence[Sequence], mode: CombinationMode) -> Sequence:
    """Combines sequences of one length; a timestep is valid where it is valid in all of them."""
    mask = combine_mask(*(s.mask for s in sequences))
    values = [s.values for s in sequences]
    dtype = jnp.result_type(*values)
    values = _align_channels([v.astype(dtype) for v in values], mode)
    match mode:
        case CombinationMode.STACK:
            result = jnp.stack(values, axis=2)
        case CombinationMode.CONCAT:
            result = jnp.concatenate(values, axis=-1)
        case CombinationMode.ADD:
            result = functools.reduce(operator.add, values)
        case CombinationMode.MEAN:
            result = functools.reduce(operator.add, values) / len(values)
        case CombinationMode.PRODUCT:
            result = functools.reduce(operator.mul, values)
    return Sequence(result, mask)


def combined_spec(specs: PySequence[ChannelSpec], mode: CombinationMode) -> ChannelSpec:
    """The output of `combine` for branches of these specs.

    Raises:
      ValueError: the channel shapes do not broadcast.
    """
    mask = jax.ShapeDtypeStruct((1, 1), bool)
    branches = [Sequence(jax.ShapeDtypeStruct((1, 1, *s.shape), s.dtype), mask) for s in specs]
    return jax.eval_shape(functools.partial(combine, mode=mode), branches).channel_spec


def _align_channels(values: list, mode: CombinationMode) -> list:
    """The same rank for all, and the same size of every axis but the one that is concatenated."""
    concat = mode is CombinationMode.CONCAT
    rank = max(max(v.ndim for v in values), 3 if concat else 2)
    values = [v.reshape(v.shape[:2] + (1,) * (rank - v.ndim) + v.shape[2:]) for v in values]
    if mode in (CombinationMode.ADD, CombinationMode.MEAN, CombinationMode.PRODUCT):
        jnp.broadcast_shapes(*(v.shape for v in values))  # elementwise operations broadcast by themselves
        return values
    stop = rank - 1 if concat else rank
    common = jnp.broadcast_shapes(*(v.shape[:stop] for v in values))
    return [jnp.broadcast_to(v, common + v.shape[stop:]) for v in values]
