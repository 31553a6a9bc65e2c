from collections.abc import Callable
from typing import Any

import numpy as np

from seqlayers.axes import channel_axis
from seqlayers.composite import Composite
from seqlayers.initializers import ones, zeros
from seqlayers.layers.group_normalization import GroupNormalization


class InstanceNormalization(Composite):
    """Normalizes each channel by its mean and variance over time: of the whole sequence, or of the past.

    Shapes: `(batch, time, *channels)` unchanged.

    | `cumulative` | block size | output ratio | latencies | receptive field |
    |---|---|---|---|---|
    | False | cannot step | 1 | - | (-inf, inf) |
    | True | 1 | 1 | 0 | (-inf, 0) |

    It is `GroupNormalization` with one group for each channel of `axis`; moments, mask, state and parameters are as
    there.

    Raises:
      LayerError: `axis` is not a channel axis, or the input is not floating.

    Source: published for TensorFlow; Ulyanov et al., arXiv 1607.08022.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> model = sl.InstanceNormalization().build(sl.ChannelSpec((2,)), rngs=0)
    >>> x = sl.Sequence.from_values(jnp.array([[[1.0, 10.0], [3.0, 30.0]]]))
    >>> model.layer(x, training=False).values.round(3).tolist()
    [[[-1.0, -1.0], [1.0, 1.0]]]
    """

    axis: int = -1
    epsilon: float = 1e-6
    cumulative: bool = False
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Callable = zeros
    scale_init: Callable = ones
    sharding: Any = None
    param_dtype: Any = np.dtype('float32')

    def body(self, num_groups: int = 1):
        """The time of the layer is the same for any number of groups, which only the input tells."""
        return GroupNormalization(
            num_groups,
            self.axis,
            self.epsilon,
            self.cumulative,
            self.use_bias,
            self.use_scale,
            self.bias_init,
            self.scale_init,
            self.sharding,
            self.param_dtype,
        )

    def setup(self, input_spec, rngs, constants):
        groups = input_spec.shape[channel_axis(self.axis, input_spec.shape) - 2]
        self.network = self.body(groups).build(input_spec, rngs=rngs, constants=constants.at('network'))
        self.output_spec = self.network.output_spec
