"""The parameters of a convolution or of its transpose, and what is done with them before and after."""

from collections.abc import Sequence as PySequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from seqlayers.context import LayerError
from seqlayers.dtypes import in_at_least_float32, promote
from seqlayers.parameters import param


def make_parameters(
    layer: Any, rngs: nnx.Rngs, sizes: PySequence[int], channels: tuple[int, ...], groups: int, filters: int
) -> None:
    """`kernel [*sizes, in / groups, filters]`, and as the layer wishes `scale` and `bias`, both `[filters]`.

    Raises:
      LayerError: `channels` are not one axis for each of `sizes`, or `groups` does not divide them evenly.
    """
    if len(channels) != len(sizes):
        names = ('in', 'width, in', 'width, height, in')[len(sizes) - 1]
        raise LayerError(f'takes channels ({names}), got {channels}')
    if channels[-1] % groups or filters % groups:
        raise LayerError(f'groups={groups} must divide the channels ({channels[-1]}) and filters ({filters})')
    shape = (*sizes, channels[-1] // groups, filters)
    layer.kernel = param(layer.kernel_init, rngs, shape, layer.param_dtype, sharding=layer.kernel_sharding)
    if layer.use_weight_norm and layer.kernel_constraint is not None:
        raise LayerError('takes use_weight_norm or a kernel_constraint, not both')
    if layer.use_weight_norm:
        layer.scale = nnx.Param(_lengths(layer.kernel[...]))
    if layer.kernel_constraint is not None:
        layer.kernel_constraint = layer.kernel_constraint.build(shape, rngs)
    if layer.use_bias:
        layer.bias = param(layer.bias_init, rngs, (filters,), layer.param_dtype, sharding=layer.bias_sharding)


def effective_kernel(layer: Any, training: bool) -> jax.Array:
    """The kernel to convolve with; under weight normalization, each filter has the length `scale`."""
    kernel = layer.kernel[...]
    if layer.use_weight_norm:
        return kernel * (layer.scale[...] / _lengths(kernel))
    return kernel if layer.kernel_constraint is None else layer.kernel_constraint(kernel, training)


def _lengths(kernel: jax.Array) -> jax.Array:
    """The Euclidean length of each filter, `[filters]`."""
    axes = tuple(range(kernel.ndim - 1))
    return in_at_least_float32(lambda k: jnp.sqrt(jnp.square(k).sum(axes) + 1e-12), kernel)


def finish(layer: Any, y: jax.Array) -> jax.Array:
    """Adds the bias and applies the activation."""
    if layer.use_bias:
        y = y + layer.bias[...].astype(y.dtype)
    return y if layer.activation is None else layer.activation(y)


def promoted(layer: Any, values: jax.Array, training: bool) -> tuple[jax.Array, jax.Array]:
    """Input and kernel in the dtype to compute in."""
    bias = layer.bias[...] if layer.use_bias else None
    values, kernel, _ = promote(values, layer.effective_kernel(training), bias, dtype=layer.compute_dtype)
    return values, kernel


def dimension_numbers(axes: int) -> tuple[str, str, str]:
    """Channels last, behind time and `axes - 1` spatial axes."""
    letters = 'DHW'[-axes:]
    return f'N{letters}C', f'{letters}IO', f'N{letters}C'
