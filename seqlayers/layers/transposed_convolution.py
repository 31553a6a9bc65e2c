from collections.abc import Callable
from collections.abc import Sequence as PySequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from seqlayers.initializers import lecun_normal, zeros
from seqlayers.layers.kernels import dimension_numbers, effective_kernel, finish, make_parameters, promoted
from seqlayers.layers.overlap import Overlapping
from seqlayers.layers.weight_normalization import WeightNormalization
from seqlayers.layers.windows import Axis, time_and_space
from seqlayers.padding import transposed_window


class TransposedConvolution(Overlapping):
    """Base of the transposed convolutions over time and any spatial axes.

    The fields are those of the layers, so that each has them in the published order; hence `self: Any` here.
    """

    def effective_kernel(self, training: bool = False) -> jax.Array:
        """The kernel after weight normalization or `kernel_constraint`."""
        return effective_kernel(self, training)

    def setup(self: Any, input_spec, rngs, constants):
        sizes = [axis.size for axis in self.axes]
        make_parameters(self, rngs, sizes, input_spec.shape, self.groups, self.filters)

    def spread(self: Any, values, training):
        values, kernel = promoted(self, values, training)
        # With a zero timestep behind the data the sum has time * stride + overlap outputs, without data too.
        values = jnp.pad(values, [(0, 0), (0, 1)] + [(0, 0)] * (values.ndim - 2))
        time = self.window
        spatial = [transposed_window(*axis) for axis in self.axes[1:]]
        return lax.conv_general_dilated(
            values,
            kernel,
            window_strides=[1] * len(self.axes),
            padding=[(time.effective - 1, time.overlap - 1), *((w.left, w.right) for w in spatial)],
            lhs_dilation=[axis.stride for axis in self.axes],
            rhs_dilation=[axis.dilation for axis in self.axes],
            dimension_numbers=dimension_numbers(len(self.axes)),
            feature_group_count=self.groups,
            precision=self.precision,
        )

    def finish(self, y):
        return finish(self, y)


class Conv1DTranspose(TransposedConvolution):
    """The transpose of a convolution over time: it raises the rate `strides` times.

    Shapes: `(batch, time, in) -> (batch, time * strides, filters)`; with 'valid' padding max(ek - s, 0)
    longer.

    With ek = (kernel_size - 1) * dilation_rate + 1, s = strides and overlap = max(ek - s, 0):

    | padding | block size | output ratio | input latency | output latency | receptive field |
    |---|---|---|---|---|---|
    | 'causal', 'valid' | 1 | s | 0 | 0 | (1 - ceil(ek / s), 0) |
    | 'same' | 1 | s | ceil((overlap // 2) / s) | overlap // 2 | the same, (overlap // 2) / s later |
    | 'semicausal_full' | 1 | s | ceil(overlap / s) | overlap | the same, overlap / s later |

    Input i adds kernel tap `kernel_size - 1 - j` to output `i * s + j * dilation_rate`; the receptive field
    of each output phase is in `receptive_field_per_step`. Of the sum, 'causal' drops the overlap at the end,
    'same' half of it at the start, 'semicausal_full' all of it at the start. (The published layer drops s - 1
    outputs there, so that its length is not always time * s.)

    Mask: output o is valid if input `o // s` is; for 'valid' if all inputs that add to it are (what follows the data
    is invalid, and so is all that it adds to: the published layer calls it valid for an item that fills the array); for
    'semicausal_full' if any is.
    State: the sums that later inputs add to, `[batch, overlap, filters]`; but for 'causal' masks too.
    Parameters: `kernel [kernel_size, in / groups, filters]`, `bias [filters]`; with weight normalization
    `scale [filters]`.

    Raises:
      LayerError: the input has not one channel axis, `groups` does not divide the channels, or the padding is
        unknown.

    >>> import seqlayers as sl
    >>> layer = sl.Conv1DTranspose(8, kernel_size=4, strides=2, padding='causal')
    >>> layer.output_ratio, layer.receptive_field
    (Fraction(2, 1), (-1, 0))
    >>> layer.build(sl.ChannelSpec((3,)), rngs=0).kernel.shape
    (4, 3, 8)
    """

    filters: int
    kernel_size: int
    strides: int = 1
    dilation_rate: int = 1
    padding: str = 'valid'
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


class Conv2DTranspose(TransposedConvolution):
    """The transpose of a convolution over time and one spatial axis.

    Shapes: `(batch, time, width, in) -> (batch, time * strides[0], width * strides[1], filters)`, each longer
    by its overlap with 'valid' padding.

    Sizes, strides and dilation rates are one number, or one for time and one for space. Block size, output
    ratio, latencies, receptive
    field, mask and state: those of `Conv1DTranspose` for the time axis and `time_padding`.
    Parameters: `kernel [time, width, in / groups, filters]`, `bias [filters]`; with weight normalization
    `scale [filters]`.

    Raises:
      LayerError: the input has not two channel axes, `groups` does not divide the channels, or a padding is
        unknown.

    >>> import seqlayers as sl
    >>> layer = sl.Conv2DTranspose(8, kernel_size=4, strides=(1, 2), time_padding='causal')
    >>> layer.build(sl.ChannelSpec((40, 3)), rngs=0).output_spec
    ChannelSpec((80, 8), float32)
    """

    filters: int
    kernel_size: int | PySequence[int]
    strides: int | PySequence[int] = 1
    dilation_rate: int | PySequence[int] = 1
    time_padding: str = 'valid'
    spatial_padding: str = 'same'
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
