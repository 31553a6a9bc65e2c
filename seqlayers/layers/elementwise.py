"""Arithmetic with constants and with learned constants."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers.context import LayerError
from seqlayers.initializers import ones, zeros
from seqlayers.layer import Stateless
from seqlayers.parameters import param
from seqlayers.sequence import Sequence


def check_broadcasts(what: str, shape: tuple[int, ...], channels: tuple[int, ...]) -> None:
    """Raises a LayerError unless an operand of `shape` broadcasts against the channels and adds no axis."""
    try:
        fits = len(np.broadcast_shapes(shape, channels)) == len(channels)
    except ValueError:
        fits = False
    if not fits:
        raise LayerError(f'{what} of shape {shape} must broadcast against channels {channels} and add no axis')


def constant(value: Any, x: Sequence) -> jax.Array:
    """A constant in the dtype of `x`, checked to broadcast against its channels."""
    array = jnp.asarray(np.asarray(value), x.dtype)
    check_broadcasts('a constant', array.shape, x.channel_shape)
    return array


class Scale(Stateless):
    """`x * scale`.

    Shapes: `(batch, time, *channels)`, broadcast against the constant, a number or an array of channels. The
    constant has the dtype of the input: `Scale(2.5)` doubles integers. Block size 1, output ratio 1, no
    latency, receptive field (0, 0). Mask: unchanged. State: none.

    Raises:
      LayerError: the constant does not broadcast against the channels, or has more axes.

    >>> import seqlayers as sl
    >>> sl.Scale([1.0, 2.0, 3.0]).build(sl.ChannelSpec((5, 1)), rngs=0).output_spec
    ChannelSpec((5, 3), float32)
    """

    scale: Any

    def layer(self, x, *, training, constants=None):
        return x.apply_values_masked(jnp.multiply, constant(self.scale, x))


class Add(Stateless):
    """`x + shift`; shapes, mask, state and errors are those of `Scale`. (`Translate` in the TensorFlow library.)

    >>> import seqlayers as sl
    >>> sl.Add(1.5).build(sl.ChannelSpec((5,)), rngs=0).output_spec
    ChannelSpec((5,), float32)
    """

    shift: Any

    def layer(self, x, *, training, constants=None):
        return x.apply_values(jnp.add, constant(self.shift, x))


class Maximum(Stateless):
    """`max(x, maximum)`; shapes, mask, state and errors are those of `Scale`.

    >>> import seqlayers as sl
    >>> sl.Maximum(0.0).build(sl.ChannelSpec((5,)), rngs=0).output_spec
    ChannelSpec((5,), float32)
    """

    maximum: Any

    def layer(self, x, *, training, constants=None):
        return x.apply_values(jnp.maximum, constant(self.maximum, x))


class Minimum(Stateless):
    """`min(x, minimum)`; shapes, mask, state and errors are those of `Scale`.

    >>> import seqlayers as sl
    >>> sl.Minimum(1.0).build(sl.ChannelSpec((5,)), rngs=0).output_spec
    ChannelSpec((5,), float32)
    """

    minimum: Any

    def layer(self, x, *, training, constants=None):
        return x.apply_values(jnp.minimum, constant(self.minimum, x))


class Mod(Stateless):
    """`x mod divisor`, with the sign of the divisor; shapes, mask, state and errors are those of `Scale`.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> sl.Mod(3).build(sl.ChannelSpec((5,), jnp.int32), rngs=0).output_spec
    ChannelSpec((5,), int32)
    """

    divisor: Any

    def layer(self, x, *, training, constants=None):
        return x.apply_values_masked(jnp.mod, constant(self.divisor, x))


class Affine(Stateless):
    """`x * scale + bias`, both learned.

    Shapes: `(batch, time, *channels)`, broadcast against the parameters. Block size 1, output ratio 1, no
    latency, receptive field (0, 0). Mask: unchanged. State: none. Parameters: `scale [*shape]` and
    `bias [*shape]`, used in the dtype of the input.

    Raises:
      LayerError: `shape` does not broadcast against the channels, or has more axes.

    >>> import seqlayers as sl
    >>> sl.Affine(shape=[3, 1]).build(sl.ChannelSpec((3, 4)), rngs=0).scale.shape
    (3, 1)
    """

    use_bias: bool = True
    use_scale: bool = True
    shape: tuple[int, ...] | None = None
    param_dtype: Any = np.dtype('float32')
    scale_init: Callable = ones
    bias_init: Callable = zeros
    scale_sharding: Any = None
    bias_sharding: Any = None

    def setup(self, input_spec, rngs, constants):
        shape = self.shape or ()
        check_broadcasts('parameters', shape, input_spec.shape)
        if self.use_scale:
            self.scale = param(self.scale_init, rngs, shape, self.param_dtype, sharding=self.scale_sharding)
        if self.use_bias:
            self.bias = param(self.bias_init, rngs, shape, self.param_dtype, sharding=self.bias_sharding)

    def layer(self, x, *, training, constants=None):
        if self.use_scale:
            x = x.apply_values_masked(jnp.multiply, self.scale[...].astype(x.dtype))
        if self.use_bias:
            x = x.apply_values(jnp.add, self.bias[...].astype(x.dtype))
        return x
