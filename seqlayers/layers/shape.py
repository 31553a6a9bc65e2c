"""Layers that rearrange the channels of each timestep. Axes count batch (0) and time (1), unless said otherwise."""

import importlib
import math
from collections.abc import Sequence as PySequence
from typing import Any

import jax.numpy as jnp

from seqlayers.axes import channel_axes, channel_axis
from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer, Stateless


class Rearrangement(Stateless):
    """Base of the layers that only move values about: a masked sequence stays masked. Authors define `rearrange`."""

    def rearrange(self, values: Any) -> Any:
        """The values `(batch, time, *channels)` rearranged."""
        raise NotImplementedError(f'{type(self).__name__} must define rearrange')

    def layer(self, x, *, training, constants=None):
        return x.apply_values_masked(self.rearrange)


class Flatten(Rearrangement):
    """All channels in one axis.

    Shapes: `(batch, time, *channels) -> (batch, time, prod(channels))`. Block size 1, output ratio 1, no latency,
    receptive field (0, 0). Mask: unchanged. State: none.

    >>> import seqlayers as sl
    >>> sl.Flatten().build(sl.ChannelSpec((2, 3)), rngs=0).output_spec
    ChannelSpec((6,), float32)
    """

    def rearrange(self, values):
        return values.reshape(*values.shape[:2], math.prod(values.shape[2:]))


class Reshape(Rearrangement):
    """The channels in another shape with as many elements.

    Shapes: `(batch, time, *channels) -> (batch, time, *output_shape)`; time, mask and state as `Flatten`.

    Raises:
      LayerError: another number of elements.

    >>> import seqlayers as sl
    >>> sl.Reshape([3, 2]).build(sl.ChannelSpec((6,)), rngs=0).output_spec
    ChannelSpec((3, 2), float32)
    """

    output_shape: PySequence[int]

    def setup(self, input_spec, rngs, constants):
        if math.prod(self.output_shape) != math.prod(input_spec.shape):
            raise LayerError(
                f'cannot give channels {input_spec.shape} the shape {tuple(self.output_shape)}: sizes differ'
            )

    def rearrange(self, values):
        return values.reshape(*values.shape[:2], *self.output_shape)


class ExpandDims(Rearrangement):
    """Channel axes of size 1 put in.

    Shapes: `(batch, time, *channels) -> (batch, time, *expanded)`; time, mask and state as `Flatten`.

    Args: axis: where the new axes are in the result, counted among the channels (0 is the first), negative ones from
      the end: as in
        `numpy.expand_dims`. (The published layer places several negative ones elsewhere than it says.)

    Raises:
      LayerError: an axis is out of range or given twice.

    >>> import seqlayers as sl
    >>> sl.ExpandDims((0, -2)).build(sl.ChannelSpec((3, 4)), rngs=0).output_spec
    ChannelSpec((1, 3, 1, 4), float32)
    """

    axis: int | PySequence[int]

    def setup(self, input_spec, rngs, constants):
        _ = self._axes(len(input_spec.shape))

    def _axes(self, rank: int) -> list[int]:
        given = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        rank += len(given)
        axes = [a + rank if a < 0 else a for a in given]
        if len(set(axes)) != len(axes) or not all(0 <= a < rank for a in axes):
            raise LayerError(f'axis {self.axis} must name different axes of a result with {rank} channel axes')
        return axes

    def rearrange(self, values):
        return jnp.expand_dims(values, [2 + a for a in self._axes(values.ndim - 2)])


class Squeeze(Rearrangement):
    """Channel axes of size 1 taken out.

    Shapes: `(batch, time, *channels) -> (batch, time, *squeezed)`; time, mask and state as `Flatten`.

    Args:
      axis: the axes; None is all of size 1.

    Raises:
      LayerError: an axis is batch or time, does not exist, or is not of size 1.

    >>> import seqlayers as sl
    >>> sl.Squeeze().build(sl.ChannelSpec((1, 3, 1)), rngs=0).output_spec
    ChannelSpec((3,), float32)
    """

    axis: int | PySequence[int] | None = None

    def setup(self, input_spec, rngs, constants):
        sizes = [input_spec.shape[a - 2] for a in self._axes(input_spec.shape)]
        if any(size != 1 for size in sizes):
            raise LayerError(f'takes out axes of size 1, and axis {self.axis} of channels {input_spec.shape} is not')

    def _axes(self, channels: tuple[int, ...]) -> tuple[int, ...]:
        if self.axis is None:
            return tuple(i for i, size in enumerate(channels, 2) if size == 1)
        return channel_axes(self.axis, channels)

    def rearrange(self, values):
        return jnp.squeeze(values, self._axes(values.shape[2:]))


class Transpose(Rearrangement):
    """The channel axes in another order.

    Shapes: `(batch, time, *channels) -> (batch, time, *permuted)`; time, mask and state as `Flatten`.

    Args:
      axes: all channel axes in their new order; None reverses them.

    Raises:
      LayerError: the axes are not all channel axes once.

    >>> import seqlayers as sl
    >>> sl.Transpose((4, 2, 3)).build(sl.ChannelSpec((2, 3, 5)), rngs=0).output_spec
    ChannelSpec((5, 2, 3), float32)
    """

    axes: PySequence[int] | None = None

    def setup(self, input_spec, rngs, constants):
        rank = 2 + len(input_spec.shape)
        if self.axes is not None and sorted(self.axes) != list(range(2, rank)):
            raise LayerError(f'axes {self.axes} must be {tuple(range(2, rank))} in some order')

    def rearrange(self, values):
        axes = reversed(range(2, values.ndim)) if self.axes is None else self.axes
        return jnp.transpose(values, (0, 1, *axes))


class SwapAxes(Rearrangement):
    """Two channel axes exchanged; time, mask and state as `Flatten`.

    Shapes: `(batch, time, *channels) -> (batch, time, *swapped)`.

    Raises:
      LayerError: an axis is not a channel axis.

    >>> import seqlayers as sl
    >>> sl.SwapAxes(2, -1).build(sl.ChannelSpec((2, 3, 5)), rngs=0).output_spec
    ChannelSpec((5, 3, 2), float32)
    """

    axis1: int
    axis2: int

    def rearrange(self, values):
        channels = values.shape[2:]
        return jnp.swapaxes(values, channel_axis(self.axis1, channels), channel_axis(self.axis2, channels))


class MoveAxis(Rearrangement):
    """Channel axes moved to other places, as in `numpy.moveaxis`; time, mask and state as `Flatten`.

    Shapes: `(batch, time, *channels) -> (batch, time, *moved)`.

    Raises:
      LayerError: an axis is not a channel axis, is given twice, or the two lists differ in length.

    >>> import seqlayers as sl
    >>> sl.MoveAxis(2, -1).build(sl.ChannelSpec((2, 3, 5)), rngs=0).output_spec
    ChannelSpec((3, 5, 2), float32)
    """

    source: int | PySequence[int]
    destination: int | PySequence[int]

    def _axes(self, channels: tuple[int, ...]) -> list[list[int]]:
        lists = [[a] if isinstance(a, int) else list(a) for a in (self.source, self.destination)]
        axes = [[channel_axis(a, channels) for a in given] for given in lists]
        if len(axes[0]) != len(axes[1]) or any(len(set(a)) != len(a) for a in axes):
            raise LayerError(f'source {self.source} and destination {self.destination} must be as many different axes')
        return axes

    def rearrange(self, values):
        return jnp.moveaxis(values, *self._axes(values.shape[2:]))


class Slice(Rearrangement):
    """Part of the channels.

    Shapes: `(batch, time, *channels) -> (batch, time, *sliced)`; time, mask and state as `Flatten`.

    Args: slices: for each channel axis `(start, stop, step)`, or an index, which drops the axis; None puts in an axis
      of size 1.

    Raises:
      LayerError: not one entry for each channel axis, or an index out of range.

    >>> import seqlayers as sl
    >>> sl.Slice([(0, 2, None), None, -1]).build(sl.ChannelSpec((3, 4)), rngs=0).output_spec
    ChannelSpec((2, 1), float32)
    """

    slices: PySequence[Any]

    def setup(self, input_spec, rngs, constants):
        entries = [s for s in self.slices if s is not None]
        if len(entries) != len(input_spec.shape):
            raise LayerError(f'slices {self.slices} must have one entry for each axis of channels {input_spec.shape}')
        for entry, size in zip(entries, input_spec.shape, strict=True):
            if isinstance(entry, int) and not -size <= entry < size:
                raise LayerError(f'index {entry} is out of range for channels {input_spec.shape}')

    def rearrange(self, values):
        index = [slice(*s) if isinstance(s, tuple) else s for s in self.slices]
        return values[(slice(None), slice(None), *index)]


def einops() -> Any:
    """The einops library, which only the layers of its name need."""
    try:
        return importlib.import_module('einops')
    except ImportError as error:
        raise ImportError("this layer needs einops: pip install 'seqlayers[einops]'") from error


def check_pattern(layer: SequenceLayer, pattern: str, reserved: set[str]) -> None:
    """Raises a LayerError unless the pattern is `in -> out` without the reserved names."""
    used = set(pattern.replace('(', ' ').replace(')', ' ').split())
    if pattern.count('->') != 1 or used & reserved:
        raise LayerError(
            f'{type(layer).__name__}: pattern {pattern!r} must have the form "in -> out", without the names '
            f'{", ".join(sorted(reserved))}'
        )


class EinopsRearrange(Rearrangement):
    """The channels rearranged by an einops pattern, which leaves out batch and time; time, mask and state as
    `Flatten`.

    Shapes: `(batch, time, *channels) -> (batch, time, *rearranged)`.

    Args:
      pattern: such as `'(heads units) -> heads units'`.
      axes_lengths: sizes of named axes, a dict.

    Raises:
      LayerError: the pattern has no `->` or uses the names batch or time.
      ImportError: einops is not installed (extra `einops`).

    Source: Rogozhnikov, "Einops", ICLR 2022.

    >>> import seqlayers as sl
    >>> sl.EinopsRearrange('(a b) -> b a', {'a': 2}).build(sl.ChannelSpec((6,)), rngs=0).output_spec
    ChannelSpec((3, 2), float32)
    """

    pattern: str
    axes_lengths: Any = None

    def __post_init__(self):
        check_pattern(self, self.pattern, {'batch', 'time'})

    def rearrange(self, values):
        left, right = self.pattern.split('->')
        pattern = f'batch time {left} -> batch time {right}'
        return einops().rearrange(values, pattern, **dict(self.axes_lengths or ()))
