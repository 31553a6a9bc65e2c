import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from seqlayers.axes import channel_axes
from seqlayers.context import LayerError
from seqlayers.dtypes import in_at_least_float32
from seqlayers.initializers import ones, zeros
from seqlayers.layer import Stateless
from seqlayers.parameters import param
from seqlayers.sequence import ChannelSpec


def check_floating(spec: ChannelSpec) -> None:
    if not jnp.issubdtype(spec.dtype, jnp.floating):
        raise LayerError(f'normalizes floating values and got {spec.dtype}. Put sl.Cast("float32") before it')


def without_excess_precision(values: jax.Array) -> jax.Array:
    """Rounds to the dtype's own precision, which XLA may exceed where it fuses with what came before."""
    info = jnp.finfo(values.dtype)
    return lax.reduce_precision(values, info.nexp, info.nmant)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def by_root(values: jax.Array, moment: jax.Array, epsilon: float) -> jax.Array:
    """`values / sqrt(moment + epsilon)`; 0 where the moment and its sum with a tiny epsilon are 0.

    Where the moment is 0 the gradient, huge with a tiny epsilon, is made 0 too.
    """
    # Without a selection XLA makes one kernel of a normalization. An epsilon that is not a normal number is flushed.
    if epsilon >= jnp.finfo(moment.dtype).tiny:
        return values * lax.rsqrt(moment + epsilon)
    return values * _root(moment, epsilon)


@by_root.defjvp
def _derivative(epsilon, primals, tangents):
    values, moment = primals
    root = _root(moment, epsilon)  # no power of it, which in float16 would soon overflow
    tangent = tangents[0] * root - (values * root) * (root * (root * tangents[1])) / 2
    return by_root(values, moment, epsilon), tangent


def _root(moment: jax.Array, epsilon: float) -> jax.Array:
    is_zero = moment == 0
    return jnp.where(is_zero, 0, lax.rsqrt(jnp.where(is_zero, 1, moment) + epsilon))


def normalized_axes(layer: Any) -> tuple[int, ...]:
    return channel_axes(layer.axis, layer.input_spec.shape)


def channel_param(layer: Any, init: Any, rngs: nnx.Rngs) -> nnx.Param:
    """A parameter of the shape of the normalized axes."""
    shape = tuple(layer.input_spec.shape[axis - 2] for axis in normalized_axes(layer))
    return param(init, rngs, shape, layer.param_dtype, sharding=layer.sharding)


def as_channels(layer: Any, parameter: nnx.Param) -> jax.Array:
    """Such a parameter, ready to broadcast against the values."""
    shape = [n if axis in normalized_axes(layer) else 1 for axis, n in enumerate(layer.input_spec.shape, 2)]
    return parameter[...].astype(layer.input_spec.dtype).reshape(shape)


def normalize(layer: Any, function: Callable[[jax.Array], jax.Array], values: jax.Array) -> jax.Array:
    """`function(values)` in the precision that the layer asks for."""
    if layer.guard_against_excess_precision:
        values = without_excess_precision(values)
    return in_at_least_float32(function, values) if layer.reductions_in_at_least_fp32 else function(values)


class LayerNormalization(Stateless):
    """Brings the channels of each timestep to mean 0 and variance 1, then applies a learned scale and bias.

    Shapes: `(batch, time, *channels)` unchanged.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0) |

    Where all normalized channels are equal the output is the bias, and the gradient to the input is 0 even
    with a tiny epsilon.

    Mask: unchanged. State: none. Parameters: `scale` and `bias`, of the shape of the normalized axes in
    ascending order.

    Args:
      axis: one or several channel axes, counted with batch and time or from the end. (The published layer
        does not wrap a negative int and may normalize over time.)
      reductions_in_at_least_fp32: mean and variance of shorter dtypes are computed in float32.
      guard_against_excess_precision: rounds the input to its dtype first, so that fusion cannot change the
        result.

    Raises:
      LayerError: `axis` is not a channel axis, or the input is not floating.

    Source: Ba et al., arXiv 1607.06450.

    >>> import seqlayers as sl
    >>> sl.LayerNormalization(axis=(-2, -1)).build(sl.ChannelSpec((2, 3, 4)), rngs=0).scale.shape
    (3, 4)
    """

    axis: int | Sequence[int] = -1
    epsilon: float = 1e-6
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Callable = zeros
    scale_init: Callable = ones
    sharding: Any = None
    reductions_in_at_least_fp32: bool = True
    param_dtype: Any = np.dtype('float32')
    guard_against_excess_precision: bool = False

    def setup(self, input_spec, rngs, constants):
        check_floating(input_spec)
        if self.use_scale:
            self.scale = channel_param(self, self.scale_init, rngs)
        if self.use_bias:
            self.bias = channel_param(self, self.bias_init, rngs)

    def _normalize(self, values):
        axes = normalized_axes(self)
        centered = values - values.mean(axes, keepdims=True)
        return by_root(centered, (centered**2).mean(axes, keepdims=True), self.epsilon)

    def layer(self, x, *, training, constants=None):
        values = normalize(self, self._normalize, x.values)
        if self.use_scale:
            values = values * as_channels(self, self.scale)
        if self.use_bias:
            return x.unmask().replace(values=values + as_channels(self, self.bias))
        return x.replace(values=values)


class RMSNormalization(Stateless):
    """Scales the channels of each timestep to a root mean square of 1, then by a learned scale.

    Shapes: `(batch, time, *channels)` unchanged.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0) |

    Where all normalized channels are 0, so is the output, and the gradient to the input.

    Mask: unchanged. State: none. Parameters: `scale`, of the shape of the normalized axes in ascending order.

    Args:
      axis, reductions_in_at_least_fp32, guard_against_excess_precision: see `LayerNormalization`.

    Raises:
      LayerError: `axis` is not a channel axis, or the input is not floating.

    Source: Zhang and Sennrich, arXiv 1910.07467.

    >>> import seqlayers as sl
    >>> sl.RMSNormalization().build(sl.ChannelSpec((3, 4)), rngs=0).scale.shape
    (4,)
    """

    axis: int | Sequence[int] = -1
    epsilon: float = 1e-6
    use_scale: bool = True
    scale_init: Callable = ones
    sharding: Any = None
    reductions_in_at_least_fp32: bool = True
    param_dtype: Any = np.dtype('float32')
    guard_against_excess_precision: bool = False

    def setup(self, input_spec, rngs, constants):
        check_floating(input_spec)
        if self.use_scale:
            self.scale = channel_param(self, self.scale_init, rngs)

    def _normalize(self, values):
        return by_root(values, (values**2).mean(normalized_axes(self), keepdims=True), self.epsilon)

    def layer(self, x, *, training, constants=None):
        values = normalize(self, self._normalize, x.values)
        if self.use_scale:
            values = values * as_channels(self, self.scale)
        return x.replace(values=values)


class L2Normalize(Stateless):
    """Scales the channels of each timestep to a Euclidean length of 1.

    Shapes: `(batch, time, *channels)` unchanged.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0) |

    Where all normalized channels are 0, so is the output, and the gradient to the input. Computed in float32 or
    wider.

    Mask: unchanged. State: none. Parameters: none.

    Args:
      axis: see `LayerNormalization`.

    Raises:
      LayerError: `axis` is not a channel axis, or the input is not floating.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> model = sl.L2Normalize().build(sl.ChannelSpec((2,)), rngs=0)
    >>> y = model.layer(sl.Sequence.from_values(jnp.array([[[3.0, 4.0]]])), training=False)
    >>> (10 * y.values).round().astype(int).tolist()
    [[[6, 8]]]
    """

    axis: int | Sequence[int] = -1
    epsilon: float = 1e-12

    def setup(self, input_spec, rngs, constants):
        check_floating(input_spec)
        channel_axes(self.axis, input_spec.shape)

    def layer(self, x, *, training, constants=None):
        axes = normalized_axes(self)

        def scaled(values):
            return by_root(values, (values**2).sum(axes, keepdims=True), self.epsilon)

        return x.apply_values_masked(lambda values: in_at_least_float32(scaled, values))
