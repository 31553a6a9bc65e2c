"""Layers that reduce the channels of each timestep. Axes count batch (0) and time (1)."""

from collections.abc import Callable
from collections.abc import Sequence as PySequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers.axes import channel_axes
from seqlayers.context import LayerError
from seqlayers.layer import Stateless


class Reduction(Stateless):
    """Base of the reductions over channel axes.

    Shapes: `(batch, time, *channels) -> (batch, time, *kept)`. Block size 1, output ratio 1, no latency, receptive
      field (0, 0).
    Mask: unchanged. State: none.

    Args:
      axis: one or several channel axes, counted with batch and time or from the end; None is all.
      keepdims: keep the axes, with size 1.

    Raises:
      LayerError: `axis` is not a channel axis.
    """

    axis: int | PySequence[int] | None = -1
    keepdims: bool = False

    reduce: ClassVar[Callable]

    def layer(self, x, *, training, constants=None):
        every = tuple(range(2, x.ndim))
        axes = every if self.axis is None else channel_axes(self.axis, x.channel_shape)
        return x.apply_values_masked(lambda values: type(self).reduce(values, axis=axes, keepdims=self.keepdims))


class Mean(Reduction):
    """The mean over channel axes; see `Reduction`. Of integers it is a float32.

    >>> import seqlayers as sl
    >>> sl.Mean().build(sl.ChannelSpec((2, 3)), rngs=0).output_spec
    ChannelSpec((2,), float32)
    """

    reduce = staticmethod(jnp.mean)


class Sum(Reduction):
    """The sum over channel axes; see `Reduction`.

    >>> import seqlayers as sl
    >>> sl.Sum(axis=(2, 3), keepdims=True).build(sl.ChannelSpec((2, 3)), rngs=0).output_spec
    ChannelSpec((1, 1), float32)
    """

    reduce = staticmethod(jnp.sum)


class Max(Reduction):
    """The maximum over channel axes; see `Reduction`.

    >>> import seqlayers as sl
    >>> sl.Max(axis=None).build(sl.ChannelSpec((2, 3)), rngs=0).output_spec
    ChannelSpec((), float32)
    """

    reduce = staticmethod(jnp.max)


class Min(Reduction):
    """The minimum over channel axes; see `Reduction`.

    >>> import seqlayers as sl
    >>> sl.Min(axis=2).build(sl.ChannelSpec((2, 3)), rngs=0).output_spec
    ChannelSpec((3,), float32)
    """

    reduce = staticmethod(jnp.min)


class Argmax(Stateless):
    """The index of the largest value on the last channel axis, int32.

    Shapes: `(batch, time, *outer, channels) -> (batch, time, *outer)`. Block size 1, output ratio 1, no latency,
    receptive field (0, 0). Mask: unchanged. State: none.

    Raises:
      LayerError: the input has no channel axis.

    >>> import seqlayers as sl
    >>> sl.Argmax().build(sl.ChannelSpec((5,)), rngs=0).output_spec
    ChannelSpec((), int32)
    """

    def setup(self, input_spec, rngs, constants):
        if not input_spec.shape:
            raise LayerError('takes the largest along the last channel axis, and got channels ()')

    def layer(self, x, *, training, constants=None):
        return x.apply_values(lambda values: jnp.argmax(values, axis=-1).astype(jnp.int32))


class OneHot(Stateless):
    """Integers as vectors with a single 1; all zeros for an integer outside of `[0, depth)`.

    Shapes: `(batch, time, *channels) -> (batch, time, *channels, depth)`. Block size 1, output ratio 1, no latency,
    receptive field (0, 0). Mask: unchanged. State: none.

    Raises:
      LayerError: the input is not of integers.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> sl.OneHot(4).build(sl.ChannelSpec((), jnp.int32), rngs=0).output_spec
    ChannelSpec((4,), float32)
    """

    depth: int
    compute_dtype: Any = np.dtype('float32')

    def setup(self, input_spec, rngs, constants):
        if not jnp.issubdtype(input_spec.dtype, jnp.integer):
            raise LayerError(f'takes integers and got {input_spec.dtype}. Put sl.Cast("int32") before it')

    def layer(self, x, *, training, constants=None):
        return x.apply_values(lambda values: jax.nn.one_hot(values, self.depth, dtype=self.compute_dtype))
