import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers.axes import channel_axes
from seqlayers.context import LayerError
from seqlayers.initializers import ones, zeros
from seqlayers.layer import SequenceLayer
from seqlayers.layers.normalization import by_root, check_floating, without_excess_precision
from seqlayers.parameters import param
from seqlayers.sequence import Sequence
from seqlayers.timing import Timing


class RunningMoments(NamedTuple):
    """Sums over the valid timesteps so far: of values and of squared deviations `(batch, groups)`, and their number
    `(batch,)`.
    """

    total: jax.Array
    squares: jax.Array
    count: jax.Array


class GroupNormalization(SequenceLayer):
    """Normalizes groups of channels by their mean and variance over time: of the whole sequence, or of the past.

    Shapes: `(batch, time, *channels)` unchanged.

    | `cumulative` | block size | output ratio | latencies | receptive field |
    |---|---|---|---|---|
    | False | cannot step | 1 | - | (-inf, inf) |
    | True | 1 | 1 | 0 | (-inf, 0) |

    Moments are over the group's channels on `axis`, all other channel axes, and the valid timesteps (with
    `cumulative` those up to and including this one; each deviation is then from the mean at its own timestep). All
    arithmetic is in float32 or wider.

    Mask: unchanged; an invalid timestep leaves the moments as they are. State, with `cumulative`: the sums of values
    and of squared deviations, `(batch, num_groups)`, and the number of valid timesteps, int32 `(batch,)`. Parameters:
    `scale` and `bias`, of the size of `axis`.

    Args:
      num_groups: the number of groups that the channels of `axis` are divided into.
      axis: a channel axis, counted with batch and time or from the end.

    Raises:
      LayerError: `num_groups` does not divide the axis, `axis` is not a channel axis, or the input is not floating.

    Source: Wu and He, arXiv 1803.08494.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> x = sl.Sequence.from_values(jnp.array([[[1.0, 3.0], [2.0, -1.0]]]))
    >>> model = sl.GroupNormalization(1, cumulative=True).build(x.channel_spec, rngs=0)
    >>> (1000 * model.layer(x, training=False).values).round().astype(int).tolist()
    [[[-1000, 1000], [543, -1630]]]
    """

    num_groups: int
    axis: int = -1
    epsilon: float = 1e-6
    cumulative: bool = False
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Callable = zeros
    scale_init: Callable = ones
    sharding: Any = None
    param_dtype: Any = np.dtype('float32')
    guard_against_excess_precision: bool = False

    def __post_init__(self):
        if self.num_groups < 1:
            raise LayerError(f'GroupNormalization: num_groups must be at least 1, got {self.num_groups}')

    @property
    def timing(self):
        if self.cumulative:
            return Timing(receptive_field=(-math.inf, 0))
        reason = 'its statistics are those of the whole sequence; with cumulative=True they are those of the past'
        return Timing(receptive_field=(-math.inf, math.inf), blocked=reason)

    def setup(self, input_spec, rngs, constants):
        check_floating(input_spec)
        size = input_spec.shape[self._axis - 2]
        if size % self.num_groups:
            raise LayerError(
                f'cannot divide {size} channels (axis {self.axis} of {input_spec.shape}) into {self.num_groups} groups'
            )
        if self.use_scale:
            self.scale = param(self.scale_init, rngs, (size,), self.param_dtype, sharding=self.sharding)
        if self.use_bias:
            self.bias = param(self.bias_init, rngs, (size,), self.param_dtype, sharding=self.sharding)

    @property
    def _axis(self) -> int:
        (axis,) = channel_axes(self.axis, self.input_spec.shape)
        return axis

    def get_initial_state(self, batch_size, *, training, constants=None):
        def zeros_():
            return jnp.zeros((batch_size, self.num_groups), jnp.promote_types(self.input_spec.dtype, jnp.float32))

        return RunningMoments(zeros_(), zeros_(), jnp.zeros((batch_size,), jnp.int32))

    def layer(self, x, *, training, constants=None):
        if self.cumulative:
            state = self.get_initial_state(x.shape[0], training=training, constants=constants)
            return self._cumulative(x, state)[0]
        groups, members = self._groups(x)
        valid = x.mask[:, :, None, None]
        count = jnp.maximum(x.mask.sum(axis=1), 1)[:, None, None, None] * members

        def average(v):
            return jnp.where(valid, v, 0).sum(axis=(1, 3), keepdims=True) / count

        centered = groups - average(groups)
        return self._finish(x, by_root(centered, average(centered**2), self.epsilon))

    def step(self, x, state, *, training, constants=None):
        return self._cumulative(x, state)

    def _cumulative(self, x: Sequence, state: RunningMoments) -> tuple[Sequence, RunningMoments]:
        groups, members = self._groups(x)
        valid = x.mask[:, :, None]

        def accumulate(start, v):
            return start[:, None] + jnp.cumsum(jnp.where(valid, v.sum(axis=-1), 0), axis=1)

        counts = state.count[:, None] + jnp.cumsum(x.mask, axis=1, dtype=jnp.int32)
        elements = jnp.maximum(counts, 1)[:, :, None] * members
        totals = accumulate(state.total, groups)
        centered = groups - (totals / elements)[..., None]
        squares = accumulate(state.squares, centered**2)
        y = by_root(centered, (squares / elements)[..., None], self.epsilon)
        last = (lambda sums, old: sums[:, -1]) if x.shape[1] else (lambda sums, old: old)
        sums = RunningMoments(totals, squares, counts)
        return self._finish(x, y), RunningMoments(*map(last, sums, state))

    def _groups(self, x: Sequence) -> tuple[jax.Array, int]:
        """The values as `(batch, time, groups, members)` in float32 or wider, zero where invalid; and the number of
        members.
        """
        if self.guard_against_excess_precision:
            x = x.apply_values_masked(without_excess_precision)
        values = jnp.moveaxis(x.mask_invalid().values, self._axis, 2)
        members = math.prod(x.channel_shape) // self.num_groups
        return values.reshape(*x.shape[:2], self.num_groups, members).astype(
            jnp.promote_types(x.dtype, jnp.float32)
        ), members

    def _finish(self, x: Sequence, groups: jax.Array) -> Sequence:
        """The groups as channels again, scaled and shifted."""
        moved = jnp.moveaxis(jnp.empty(x.channel_shape), self._axis - 2, 0).shape
        y = jnp.moveaxis(groups.reshape(*x.shape[:2], *moved), 2, self._axis)
        shape = [-1 if axis == self._axis else 1 for axis in range(2, x.ndim)]
        if self.use_scale:
            y = y * self.scale[...].reshape(shape)
        if self.use_bias:
            y = y + self.bias[...].reshape(shape)
        return Sequence(y.astype(x.dtype), x.mask)
