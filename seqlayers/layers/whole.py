"""Layers that rearrange time itself, which takes the whole sequence: they cannot step."""

import math
from collections.abc import Sequence as PySequence
from typing import Any

import jax
import jax.numpy as jnp

from seqlayers.combinators.bidirectional import last_valid, mirror
from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer
from seqlayers.layers.shape import check_pattern, einops
from seqlayers.sequence import ChannelSpec, Sequence
from seqlayers.timing import Timing


class WholeSequence(SequenceLayer):
    """Base of these layers: every output may depend on every input, and the output ratio is unknown (it says 1)."""

    @property
    def timing(self):
        reason = 'it rearranges time, for which it needs the whole sequence'
        return Timing(receptive_field=(-math.inf, math.inf), blocked=reason)


class GlobalReshape(WholeSequence):
    """Time and channels in another shape.

    Shapes: `(batch, time, *channels) -> (batch, *output_shape)`, of which the first is the new time.

    Cannot step. Mask: an output is valid if all its elements come from valid timesteps.

    Raises:
      LayerError: another number of elements.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> model = sl.GlobalReshape([2, 6]).build(sl.ChannelSpec((3,)), rngs=0)
    >>> model.layer(sl.Sequence.from_values(jnp.ones((1, 4, 3))), training=False)
    Sequence(float32[1, 2, 6], lengths=[2])
    """

    output_shape: PySequence[int]

    def setup(self, input_spec, rngs, constants):
        self.output_spec = ChannelSpec(tuple(self.output_shape[1:]), input_spec.dtype)

    def layer(self, x, *, training, constants=None):
        if math.prod(x.shape[1:]) != math.prod(self.output_shape):
            raise LayerError(
                f'cannot give {x.shape[1]} timesteps of channels {x.channel_shape} the shape {tuple(self.output_shape)}'
            )

        def reshape(array):
            return array.reshape(x.shape[0], *self.output_shape)

        mask = reshape(jnp.broadcast_to(x.expanded_mask(), x.shape))
        return Sequence(reshape(x.mask_invalid().values), mask.all(axis=tuple(range(2, mask.ndim))))


class GlobalEinopsRearrange(WholeSequence):
    """Time and channels rearranged by an einops pattern, which leaves out batch.

    Shapes: `(batch, time, *channels) -> (batch, *rearranged)`, of which the first is the new time.

    Cannot step. Mask: an output is valid if all its elements come from valid timesteps; with `ceil_mode`, if any
    does.

    Args:
      pattern: such as `'(t c) d -> t (c d)'`.
      axes_lengths: sizes of named axes, a dict.

    Raises:
      LayerError: the pattern has no `->`, or uses the name batch.
      ImportError: einops is not installed (extra `einops`).

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> model = sl.GlobalEinopsRearrange('(t c) d -> t (c d)', {'c': 2}).build(sl.ChannelSpec((3,)), rngs=0)
    >>> model.layer(sl.Sequence.from_lengths(jnp.ones((1, 4, 3)), [3]), training=False)
    Sequence(float32[1, 2, 6], lengths=[1])
    """

    pattern: str
    axes_lengths: Any = None
    ceil_mode: bool = False

    def __post_init__(self):
        check_pattern(self, self.pattern, {'batch'})

    def _rearrange(self, array):
        left, right = self.pattern.split('->')
        return einops().rearrange(array, f'batch {left} -> batch {right}', **dict(self.axes_lengths or ()))

    def setup(self, input_spec, rngs, constants):
        time = math.prod(length for _, length in self.axes_lengths or ())
        y = jax.eval_shape(self._rearrange, jax.ShapeDtypeStruct((1, time, *input_spec.shape), input_spec.dtype))
        self.output_spec = ChannelSpec(y.shape[2:], y.dtype)

    def layer(self, x, *, training, constants=None):
        mask = self._rearrange(jnp.broadcast_to(x.expanded_mask(), x.shape))
        axes = tuple(range(2, mask.ndim))
        mask = mask.any(axis=axes) if self.ceil_mode else mask.all(axis=axes)
        return Sequence(self._rearrange(x.mask_invalid().values), mask)


class ReverseSequence(WholeSequence):
    """Each item backwards in time, from its last valid timestep to the first.

    Shapes: `(batch, time, *channels)` unchanged.

    Cannot step. Padding stays at the end. Mask: reversed alike, so gaps are where the timesteps go.

    Source: published for TensorFlow.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> model = sl.ReverseSequence().build(sl.ChannelSpec(()), rngs=0)
    >>> y = model.layer(sl.Sequence.from_lengths(jnp.array([[1.0, 2.0, 3.0, 4.0]]), [3]), training=False)
    >>> y.mask_invalid().values.tolist(), y.lengths().tolist()
    ([[3.0, 2.0, 1.0, 0.0]], [3])
    """

    def layer(self, x, *, training, constants=None):
        return mirror(x, last_valid(x.mask) + 1, x.shape[1])
