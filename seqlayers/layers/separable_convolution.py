from collections.abc import Callable
from collections.abc import Sequence as PySequence
from typing import Any

import numpy as np
from flax import nnx

from seqlayers.combinators.serial import Serial
from seqlayers.composite import Composite
from seqlayers.initializers import lecun_normal, zeros
from seqlayers.layers.convolution import Convolution, DepthwiseConv1D
from seqlayers.layers.dense import Dense
from seqlayers.layers.weight_normalization import WeightNormalization
from seqlayers.layers.windows import time_and_space
from seqlayers.padding import Padding


class DepthwiseConv2D(Convolution):
    """A convolution over time and one spatial axis in which every channel has `depth_multiplier` filters of its own.

    Shapes: `(batch, time, width, in) -> (batch, time / strides[0], width', in * depth_multiplier)`, as `Conv2D`; the
    outputs of a channel lie together.

    Block size, output ratio, latencies, receptive field, mask and state: those of `Conv2D`.
    Parameters: `kernel [time, width, 1, in * depth_multiplier]`, `bias [in * depth_multiplier]`; with weight
    normalization `scale` of the same shape.

    Raises:
      LayerError: the input has not two channel axes, or a padding is unknown.

    Source: published for TensorFlow; Howard et al., "MobileNets", arXiv 1704.04861.

    >>> import seqlayers as sl
    >>> layer = sl.DepthwiseConv2D(3, strides=(1, 2), time_padding='causal')
    >>> layer.build(sl.ChannelSpec((80, 4)), rngs=0).output_spec
    ChannelSpec((40, 4), float32)
    """

    kernel_size: int | PySequence[int]
    strides: int | PySequence[int] = 1
    depth_multiplier: int = 1
    dilation_rate: int | PySequence[int] = 1
    time_padding: Padding = 'valid'
    spatial_padding: Padding = 'same'
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

    def widths(self, inputs):
        return inputs, inputs * self.depth_multiplier


class SeparableConv1D(Composite):
    """A convolution over time in two parts: one over time for every channel, then one over channels.

    Shapes: `(batch, time, in) -> (batch, time / strides, filters)`, rounded up; see `Conv1D`.

    Block size, output ratio, latencies, receptive field, mask and state: those of `Conv1D`.
    Parameters: `depthwise/kernel [kernel_size, 1, in * depth_multiplier]`, `pointwise/kernel [in * depth_multiplier,
    filters]`, `pointwise/bias [filters]`.

    Raises:
      LayerError: the input has not one channel axis, or the padding is unknown.

    Source: published for TensorFlow; Chollet, "Xception", arXiv 1610.02357. In two dimensions, put a `DepthwiseConv2D`
    before a `Dense`.

    >>> import seqlayers as sl
    >>> sl.SeparableConv1D(8, kernel_size=5, strides=2, padding='causal').receptive_field
    (-4, 0)
    """

    filters: int
    kernel_size: int
    strides: int = 1
    depth_multiplier: int = 1
    dilation_rate: int = 1
    padding: Padding = 'valid'
    use_bias: bool = True
    activation: Callable | None = None
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    precision: Any = None
    depthwise_init: Callable = lecun_normal
    depthwise_sharding: Any = None
    pointwise_init: Callable = lecun_normal
    pointwise_sharding: Any = None
    bias_init: Callable = zeros
    bias_sharding: Any = None

    def __post_init__(self):
        self.body()

    def body(self):
        common = {name: getattr(self, name) for name in ('compute_dtype', 'param_dtype', 'precision')}
        depthwise = DepthwiseConv1D(
            self.kernel_size, self.strides, self.depth_multiplier, self.dilation_rate, self.padding,
            use_bias=False, kernel_init=self.depthwise_init, kernel_sharding=self.depthwise_sharding,
            name='depthwise', **common,
        )  # fmt: skip
        pointwise = Dense(
            self.filters, self.use_bias, self.activation,
            kernel_init=self.pointwise_init, kernel_sharding=self.pointwise_sharding,
            bias_init=self.bias_init, bias_sharding=self.bias_sharding,
            name='pointwise', **common,
        )  # fmt: skip
        return Serial([depthwise, pointwise])
