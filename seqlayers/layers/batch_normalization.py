from collections.abc import Callable, Mapping
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
from seqlayers.layers.normalization import check_floating, without_excess_precision
from seqlayers.parameters import param
from seqlayers.sequence import Sequence


class BatchNormalization(Stateless):
    """Normalizes each channel by its mean and variance: over the batch in training, and by running averages of those
    otherwise.

    Shapes: `(batch, time, *channels)` unchanged.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0), outside of training |

    Only valid timesteps count. A batch without any leaves the averages as they are. In training it cannot step: its
    statistics are those of the whole batch.

    The averages are NNX variables (`nnx.BatchStat`) that `layer` updates in place when training. So a training step
    is compiled with `nnx.jit`, as plain `jax.jit` would lose the update, and an optimizer takes `wrt=nnx.Param`, or
    it would decay the averages.

    Mask: unchanged. State: none. Parameters: `scale` and `bias`, statistics: `mean` and `var`, all of the size of
      `axis`.

    Args:
      axis: the channel axis that keeps statistics of its own, counted with batch and time or from the end.
      momentum: of the averages: `new = momentum * old + (1 - momentum) * batch`.
      use_fast_variance: the variance as `mean(x**2) - mean(x)**2`, one pass over the data.
      guard_against_excess_precision: see `LayerNormalization`.

    Raises:
      LayerError: `axis` is not a channel axis, the input is not floating, or a step in training.

    Source: Ioffe and Szegedy, arXiv 1502.03167.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> model = sl.BatchNormalization(momentum=0.5).build(sl.ChannelSpec((1,)), rngs=0)
    >>> _ = model.layer(sl.Sequence.from_values(jnp.array([[[2.0], [4.0]]])), training=True)
    >>> model.mean[...].tolist(), model.var[...].tolist()
    ([1.5], [1.0])
    """

    axis: int = -1
    momentum: float = 0.99
    epsilon: float = 1e-3
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Callable = zeros
    scale_init: Callable = ones
    sharding: Any = None
    use_fast_variance: bool = True
    param_dtype: Any = np.dtype('float32')
    guard_against_excess_precision: bool = False

    @property
    def published_names(self) -> Mapping[str, str]:
        level = self.name or 'BatchNorm_0'
        return {name: f'{level}/{name}' for name in ('scale', 'bias', 'mean', 'var')}

    def setup(self, input_spec, rngs, constants):
        check_floating(input_spec)
        (axis,) = channel_axes(self.axis, input_spec.shape)
        shape = (input_spec.shape[axis - 2],)
        if self.use_scale:
            self.scale = param(self.scale_init, rngs, shape, self.param_dtype, sharding=self.sharding)
        if self.use_bias:
            self.bias = param(self.bias_init, rngs, shape, self.param_dtype, sharding=self.sharding)
        self.mean = nnx.BatchStat(jnp.zeros(shape, jnp.promote_types(self.param_dtype, jnp.float32)))
        self.var = nnx.BatchStat(jnp.ones(shape, jnp.promote_types(self.param_dtype, jnp.float32)))

    def layer(self, x, *, training, constants=None):
        if self.guard_against_excess_precision:
            x = x.apply_values_masked(without_excess_precision)
        mean, var = self._batch_statistics(x) if training else (self.mean[...], self.var[...])
        return Sequence(in_at_least_float32(lambda v: self._normalize(v, mean, var), x.values), x.mask)

    def step(self, x, state, *, training, constants=None):
        if training:
            raise LayerError(
                'cannot step in training: its statistics are those of the whole batch. Train with layer(), step with '
                'training=False'
            )
        return self.layer(x, training=False, constants=constants), state

    def _as_channels(self, array: jax.Array) -> jax.Array:
        (axis,) = channel_axes(self.axis, self.input_spec.shape)
        return array.reshape([-1 if i == axis else 1 for i in range(2, 2 + len(self.input_spec.shape))])

    def _normalize(self, values: jax.Array, mean: jax.Array, var: jax.Array) -> jax.Array:
        factor = lax.rsqrt(var + self.epsilon)
        if self.use_scale:
            factor = factor * self.scale[...]
        y = (values - self._as_channels(mean)) * self._as_channels(factor)
        return y + self._as_channels(self.bias[...]) if self.use_bias else y

    def _batch_statistics(self, x: Sequence) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of the valid timesteps, noted in the running averages."""
        (axis,) = channel_axes(self.axis, self.input_spec.shape)
        others = [i for i in range(x.ndim) if i != axis]
        values = x.mask_invalid().values
        values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
        valid = x.mask.sum()
        count = jnp.maximum(valid, 1) * (values.size // max(x.mask.size, 1) // values.shape[axis])

        def average(v):
            return jnp.where(x.expanded_mask(), v, 0).sum(others) / count

        mean = average(values)
        if self.use_fast_variance:
            var = jnp.maximum(0, average(values**2) - mean**2)
        else:
            var = average((values - self._as_channels(mean)) ** 2)
        for running, batch in ((self.mean, mean), (self.var, var)):
            old = running[...]
            new = self.momentum * old + (1 - self.momentum) * lax.stop_gradient(batch)
            running[...] = jnp.where(valid > 0, new, old).astype(old.dtype)
        return mean, var
