from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers.context import LayerError
from seqlayers.dtypes import in_at_least_float32
from seqlayers.initializers import lecun_normal, zeros
from seqlayers.layers.convolution import Convolution
from seqlayers.layers.windows import Axis
from seqlayers.padding import Padding
from seqlayers.parameters import param


class NormalizedDepthwiseConv1D(Convolution):
    """A weighted average over time of each channel, with weights shared by the channels of a head: a "lightweight
    convolution".

    Shapes: `(batch, time, in) -> (batch, time / strides, in)`, rounded up; see `Conv1D`. Channels are divided into
    `num_heads` runs of neighbours. The weights of a head are the softmax, over the window, of its kernel.

    Block size, output ratio, latencies, receptive field, mask and state: those of `Conv1D`.
    Parameters: `kernel [kernel_size, num_heads]`, `bias [in]`.

    Raises:
      LayerError: the input has not one channel axis that `num_heads` divides, or the padding is unknown.

    Source: Wu et al., "Pay less attention with lightweight and dynamic convolutions", arXiv 1901.10430. Their dropout
    of weights is left out.

    >>> import seqlayers as sl
    >>> model = sl.NormalizedDepthwiseConv1D(3, num_heads=2, padding='causal').build(sl.ChannelSpec((6,)), rngs=0)
    >>> model.kernel.shape, model.effective_kernel().sum(0).round(3).tolist()
    ((3, 2), [[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])
    """

    kernel_size: int
    num_heads: int
    strides: int = 1
    dilation_rate: int = 1
    padding: Padding = 'valid'
    use_bias: bool = True
    activation: Callable | None = None
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    precision: Any = None
    kernel_init: Callable = lecun_normal
    kernel_sharding: Any = None
    bias_init: Callable = zeros
    bias_sharding: Any = None

    @property
    def axes(self):
        return [Axis(self.kernel_size, self.strides, self.dilation_rate, self.padding)]

    def setup(self, input_spec, rngs, constants):
        if len(input_spec.shape) != 1 or self.num_heads < 1 or input_spec.shape[0] % self.num_heads:
            raise LayerError(f'divides one channel axis into {self.num_heads} heads, got channels {input_spec.shape}')
        shape = (self.kernel_size, self.num_heads)
        self.kernel = param(self.kernel_init, rngs, shape, self.param_dtype, sharding=self.kernel_sharding)
        if self.use_bias:
            self.bias = param(self.bias_init, rngs, input_spec.shape, self.param_dtype, sharding=self.bias_sharding)

    def effective_kernel(self, training: bool = False) -> jax.Array:
        """The weights of each channel, `[kernel_size, 1, in]`, which sum to 1 over the window."""
        weights = in_at_least_float32(lambda kernel: jax.nn.softmax(kernel, axis=0), self.kernel[...])
        return jnp.repeat(weights, self.input_spec.shape[0] // self.num_heads, axis=1)[:, None]
