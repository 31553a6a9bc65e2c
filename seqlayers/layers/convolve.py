"""A kernel over windows in time: XLA's convolution, or what is faster than that."""

import functools
import operator
from collections.abc import Sequence as PySequence
from typing import Any

import jax
from jax import lax

from seqlayers.dtypes import in_at_least_float32
from seqlayers.layers.kernels import dimension_numbers
from seqlayers.layers.windows import Axis
from seqlayers.products import einsum

# Kernels of more taps are left to XLA: each tap is an operation to compile.
_TAPS = 32


def convolve(values: jax.Array, kernel: jax.Array, axes: PySequence[Axis], precision: Any = None) -> jax.Array:
    """Values `(batch, time, *space, in)` and a kernel `[*sizes, in / groups, filters]`; spatial axes are padded.

    XLA's convolution takes long where it has little to do: on a CPU, of one timestep twice as long as the product that
    this is, and of channels that stay apart ten to a hundred times as long as a sum over the taps.
    """
    time, groups = axes[0], values.shape[-1] // kernel.shape[-2]
    count = (values.shape[1] - (time.size - 1) * time.dilation - 1) // time.stride + 1
    is_apart = kernel.shape[-2] == 1 and kernel.shape[-1] == groups > 1
    if len(axes) == 1 and is_apart and count > 0 and (count == 1 or time.size <= _TAPS):
        apart = functools.partial(_apart, time=time, count=count)
        return in_at_least_float32(apart, values, kernel[:, 0])
    if len(axes) == 1 and count == groups == 1:
        window = values[:, :: time.dilation][:, : time.size]
        flat = window.reshape(values.shape[0], 1, time.size * values.shape[-1])
        return einsum('...a,ab->...b', flat, kernel.reshape(-1, kernel.shape[-1]), precision)
    return lax.conv_general_dilated(
        values,
        kernel,
        window_strides=[axis.stride for axis in axes],
        padding=[(0, 0), *(axis.pads for axis in axes[1:])],
        rhs_dilation=[axis.dilation for axis in axes],
        dimension_numbers=dimension_numbers(len(axes)),
        feature_group_count=groups,
        precision=precision,
    )


def _apart(values: jax.Array, kernel: jax.Array, time: Axis, count: int) -> jax.Array:
    """Each channel with a kernel of its own, `[size, channels]`."""
    if count == 1:
        window = values[:, :: time.dilation][:, : time.size]
        return (window * kernel).sum(axis=1, keepdims=True)
    reach = (count - 1) * time.stride + 1
    taps = [values[:, k * time.dilation :][:, : reach : time.stride] for k in range(time.size)]
    return functools.reduce(operator.add, (tap * weight for tap, weight in zip(taps, kernel, strict=True)))
