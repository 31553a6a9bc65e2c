from collections.abc import Callable
from collections.abc import Sequence as PySequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from seqlayers.initializers import lecun_normal, zeros
from seqlayers.layers.convolve import convolve
from seqlayers.layers.kernels import effective_kernel, finish, make_parameters, promoted
from seqlayers.layers.weight_normalization import WeightNormalization
from seqlayers.layers.windows import Axis, Windowed, time_and_space
from seqlayers.padding import Padding


class Convolution(Windowed):
    """Base of the convolutions over time and any spatial axes.

    The fields are those of the layers, so that each has them in the published order; hence `self: Any` here.
    """

    def widths(self: Any, inputs: int) -> tuple[int, int]:
        """The number of groups that `inputs` channels are cut into, and the number of filters."""
        return self.groups, self.filters

    @property
    def keeps_zeros(self: Any):
        return not self.use_bias and self.activation is None

    def effective_kernel(self, training: bool = False) -> jax.Array:
        """The kernel after weight normalization or `kernel_constraint`."""
        return effective_kernel(self, training)

    def setup(self, input_spec, rngs, constants):
        widths = self.widths(input_spec.shape[-1] if input_spec.shape else 0)
        make_parameters(self, rngs, [axis.size for axis in self.axes], input_spec.shape, *widths)

    def slide(self: Any, x, time, training):
        values, kernel = promoted(self, x.values, training)
        y = convolve(values, kernel, [time, *self.axes[1:]], self.precision)
        return finish(self, y)


class Conv1D(Convolution):
    """A convolution over time, with a bias and an activation.

    Shapes: `(batch, time, in) -> (batch, time / strides, filters)`, rounded up; for 'valid' and
    'semicausal_full' see the number of windows in `padding.output_length`.

    With ek = (kernel_size - 1) * dilation_rate + 1 and s = strides:

    | padding | block size | output ratio | input latency | output latency | receptive field |
    |---|---|---|---|---|---|
    | 'causal', 'causal_valid' | s | 1 / s | 0 | 0 | (1 - ek, 0) |
    | 'semicausal' | s | 1 / s | 0 | 0 | (-max(ek - s, 0), min(ek, s) - 1) |
    | 'semicausal_full' | s | 1 / s | max(ek - s, 0) | 0 | (-max(ek - s, 0), min(ek, s) - 1) |
    | 'same' | s | 1 / s | ek // 2 | (ek // 2) // s | (-((ek - 1) // 2), ek // 2) |
    | 'reverse_causal', 'reverse_causal_valid' | s | 1 / s | ek - 1 | (ek - 1) // s | (0, ek - 1) |
    | 'valid' | s | 1 / s | 0 | (ek - 1) // s | (0, ek - 1) |
    | (left, right), in all ek - 1 | s | 1 / s | right | right // s | (-left, right) |

    With dilation the field has gaps, which `timing.deps` knows. All paddings run in steps.

    Mask: output i is valid if input `i * s` is; for the paddings in `valid` if all inputs of its window are
    (in 'causal_valid' what lies before the start counts as valid); for 'semicausal_full' if any is. Invalid
    inputs count as zeros.
    State: the last inputs with their masks, `padding.Window.buffer` of them (at most ek - 1), with dilation
    in a ring; for 'causal_valid' a clock too.
    Parameters: `kernel [kernel_size, in / groups, filters]`, `bias [filters]`; with weight normalization
    (Salimans and Kingma, arXiv 1602.07868) `scale [filters]`, the lengths of the filters.

    Raises:
      LayerError: the input has not one channel axis, `groups` does not divide the channels, or the padding is
        unknown.

    >>> import seqlayers as sl
    >>> layer = sl.Conv1D(8, kernel_size=5, strides=2, padding='reverse_causal')
    >>> layer.block_size, layer.input_latency, layer.output_latency, layer.receptive_field
    (2, 4, 2, (0, 4))
    >>> layer.build(sl.ChannelSpec((3,)), rngs=0).kernel.shape
    (5, 3, 8)
    """

    filters: int
    kernel_size: int
    strides: int = 1
    dilation_rate: int = 1
    padding: Padding = 'valid'
    groups: int = 1
    use_bias: bool = True
    use_weight_norm: bool = False
    activation: Callable | None = None
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    precision: Any = None
    kernel_init: Callable = lecun_normal
    kernel_constraint: WeightNormalization | None = nnx.data(default=None)
    kernel_sharding: Any = None
    bias_init: Callable = zeros
    bias_sharding: Any = None

    @property
    def axes(self):
        return [Axis(self.kernel_size, self.strides, self.dilation_rate, self.padding)]


class DepthwiseConv1D(Convolution):
    """A convolution over time in which every channel has `depth_multiplier` filters of its own.

    Shapes: `(batch, time, in) -> (batch, time / strides, in * depth_multiplier)`, rounded up; the outputs of
    a channel lie together.

    Block size, output ratio, latencies, receptive field, mask and state: those of `Conv1D`.
    Parameters: `kernel [kernel_size, 1, in * depth_multiplier]`, `bias [in * depth_multiplier]`; with weight
    normalization `scale` of the same shape.

    Raises:
      LayerError: the input has not one channel axis, or the padding is unknown.

    >>> import seqlayers as sl
    >>> layer = sl.DepthwiseConv1D(3, depth_multiplier=2, padding='causal')
    >>> layer.build(sl.ChannelSpec((4,)), rngs=0).output_spec
    ChannelSpec((8,), float32)
    """

    kernel_size: int
    strides: int = 1
    depth_multiplier: int = 1
    dilation_rate: int = 1
    padding: Padding = 'valid'
    use_bias: bool = True
    use_weight_norm: bool = False
    activation: Callable | None = None
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    precision: Any = None
    kernel_init: Callable = lecun_normal
    kernel_constraint: WeightNormalization | None = nnx.data(default=None)
    kernel_sharding: Any = None
    bias_init: Callable = zeros
    bias_sharding: Any = None

    @property
    def axes(self):
        return [Axis(self.kernel_size, self.strides, self.dilation_rate, self.padding)]

    def widths(self, inputs):
        return inputs, inputs * self.depth_multiplier


class Conv2D(Convolution):
    """A convolution over time and one spatial axis.

    Shapes: `(batch, time, width, in) -> (batch, time / strides[0], width', filters)`. The spatial axis is
    padded by `spatial_padding`, a mode or (left, right); its size follows from `padding.output_length`.

    Sizes, strides and dilation rates are one number, or one for time and one for space. Block size, output
    ratio, latencies, receptive
    field, mask and state: those of `Conv1D` for the time axis and `time_padding`.
    Parameters: `kernel [time, width, in / groups, filters]`, `bias [filters]`; with weight normalization
    `scale [filters]`.

    Raises:
      LayerError: the input has not two channel axes, `groups` does not divide the channels, or a padding is
        unknown.

    >>> import seqlayers as sl
    >>> layer = sl.Conv2D(8, kernel_size=3, strides=(1, 2), time_padding='causal')
    >>> layer.build(sl.ChannelSpec((80, 1)), rngs=0).output_spec
    ChannelSpec((40, 8), float32)
    """

    filters: int
    kernel_size: int | PySequence[int]
    strides: int | PySequence[int] = 1
    dilation_rate: int | PySequence[int] = 1
    time_padding: Padding = 'valid'
    spatial_padding: Padding = 'same'
    groups: int = 1
    use_bias: bool = True
    use_weight_norm: bool = False
    activation: Callable | None = None
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    precision: Any = None
    kernel_init: Callable = lecun_normal
    kernel_constraint: WeightNormalization | None = nnx.data(default=None)
    kernel_sharding: Any = None
    bias_init: Callable = zeros
    bias_sharding: Any = None

    @property
    def axes(self):
        fields = self.kernel_size, self.strides, self.dilation_rate, self.time_padding, self.spatial_padding
        return time_and_space(2, *fields)


class Conv3D(Convolution):
    """A convolution over time and two spatial axes.

    Shapes: `(batch, time, width, height, in) -> (batch, time / strides[0], width', height', filters)`; all
    else as `Conv2D`, with `spatial_padding` one mode for both spatial axes or one each (a mode or (left,
    right)).
    Parameters: `kernel [time, width, height, in / groups, filters]`, `bias [filters]`; with weight
    normalization `scale [filters]`.

    Raises:
      LayerError: the input has not three channel axes, `groups` does not divide the channels, or a padding is
        unknown.

    >>> import seqlayers as sl
    >>> layer = sl.Conv3D(8, kernel_size=(2, 3, 3), strides=(1, 2, 2), time_padding='causal')
    >>> layer.build(sl.ChannelSpec((32, 24, 3)), rngs=0).output_spec
    ChannelSpec((16, 12, 8), float32)
    """

    filters: int
    kernel_size: int | PySequence[int]
    strides: int | PySequence[int] = 1
    dilation_rate: int | PySequence[int] = 1
    time_padding: Padding = 'valid'
    spatial_padding: Padding | PySequence[Padding] = ('same', 'same')
    groups: int = 1
    use_bias: bool = True
    use_weight_norm: bool = False
    activation: Callable | None = None
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    precision: Any = None
    kernel_init: Callable = lecun_normal
    kernel_constraint: WeightNormalization | None = nnx.data(default=None)
    kernel_sharding: Any = None
    bias_init: Callable = zeros
    bias_sharding: Any = None

    @property
    def axes(self):
        fields = self.kernel_size, self.strides, self.dilation_rate, self.time_padding, self.spatial_padding
        return time_and_space(3, *fields)
