from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqlayers.axes import channel_axis
from seqlayers.context import LayerError
from seqlayers.layers import side_input
from seqlayers.layers.position import Positional, check_floating
from seqlayers.sequence import ChannelSpec, Sequence


class ApplyRotaryPositionalEncoding(Positional):
    """Rotates pairs of channels by angles in proportion to the position (RoPE).

    Of queries and keys so rotated, the inner products depend on the distance of their positions only: use it as
    `query_network` and `key_network` of an attention.

    Shapes: `(batch, time, *channels)` unchanged.

    | positions | block size | output ratio | latencies | receptive field |
    |---|---|---|---|---|
    | count valid timesteps | 1 | 1 | 0 | (-inf, 0) |
    | count all timesteps, or are given | 1 | 1 | 0 | (0, 0) |

    Along an axis of size d, channels i and i + d / 2 are a pair, rotated by `position * max_wavelength ** (-2 i / d)`.
    The fastest pair turns by one radian a timestep.

    Mask: unchanged; timesteps of which a given position is invalid are invalid too. State: the position of the next
    timestep, int32 `(batch,)`. Where positions are given, those that wait for data delayed by the offset: a Sequence
    `(batch, offset)` of float32.

    Args:
      axis: the channel axis of size d, where batch is 0 and time 1; negative axes count from the end.
      only_advance_position_for_valid_timesteps: positions count valid timesteps, or all.
      positions_in_at_least_fp32: False computes angles in the input's dtype, as some older models did.
      positions_name: the name of constants that give the positions, an array or a `Sequence`
        `(batch or 1, time)`. They stream: a step takes those of its block.

    Raises:
      LayerError: an axis that is not a channel axis or of odd size, an input that is not floating, `positions_name`
        without `only_advance_position_for_valid_timesteps=False`. Given positions that are not there, too few, or in a
        step not as many as the input.

    Source: Su et al., arXiv 2104.09864.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> model = sl.ApplyRotaryPositionalEncoding(1e4).build(sl.ChannelSpec((4,)), rngs=0)
    >>> x = jnp.array([[[1.0, 2.0, 3.0, 4.0]] * 2])
    >>> y = model.layer(sl.Sequence.from_values(x), training=False)
    >>> [round(float(v), 2) for v in y.values[0, 1]]
    [-1.98, 1.96, 2.46, 4.02]
    """

    max_wavelength: float
    axis: int = -1
    only_advance_position_for_valid_timesteps: bool = True
    positions_in_at_least_fp32: bool = True
    positions_name: str | None = None

    def __post_init__(self):
        if self.max_wavelength <= 0:
            raise LayerError(
                f'ApplyRotaryPositionalEncoding: max_wavelength must be positive, got {self.max_wavelength}'
            )
        if self.positions_name is not None and self.only_advance_position_for_valid_timesteps:
            raise LayerError(
                f'ApplyRotaryPositionalEncoding: positions_name={self.positions_name!r} gives the positions, so '
                'nothing is counted: give only_advance_position_for_valid_timesteps=False too'
            )

    @property
    def counts_valid(self) -> bool:
        return self.only_advance_position_for_valid_timesteps

    @property
    def state_is_clock(self) -> bool:
        return not self.counts_valid and self.positions_name is None

    def streamed_constants(self, constants):
        return set() if self.positions_name is None else {self.positions_name}

    def setup(self, input_spec, rngs, constants):
        check_floating(input_spec)
        size = input_spec.shape[channel_axis(self.axis, input_spec.shape) - 2]
        if size % 2:
            raise LayerError(f'rotates pairs, and axis {self.axis} of the channels {input_spec.shape} has odd size')
        self.output_spec = input_spec

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        if self.positions_name is None:
            return super().get_initial_state(batch_size, training=training, constants=constants, offset=offset)
        return side_input.initial_state(batch_size, offset, ChannelSpec((), jnp.float32))

    def layer(self, x, *, training, constants=None):
        if self.positions_name is None:
            return super().layer(x, training=training, constants=constants)
        positions = _given(self.positions_name, x, constants)
        return self._at_given(x, side_input.whole(self.positions_name, positions, x.shape[1]))

    def step(self, x, state, *, training, constants=None):
        if self.positions_name is None:
            return super().step(x, state, training=training, constants=constants)
        block = _given(self.positions_name, x, constants)
        positions, state = side_input.arrive(self.positions_name, block, x, state)
        return self._at_given(x, positions), state

    def _at_given(self, x: Sequence, positions: Sequence) -> Sequence:
        return self.at(Sequence(x.values, x.mask & positions.mask), positions.values)

    def at(self, x, positions):
        axis = channel_axis(self.axis, x.channel_shape)
        half = x.shape[axis] // 2
        frequencies = self.max_wavelength ** (-np.arange(half) / half)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        dtype = wide if self.positions_in_at_least_fp32 else x.dtype
        angles = positions[..., None].astype(dtype) * jnp.asarray(frequencies, dtype)
        shape = [half if i == axis else 1 for i in range(2, x.ndim)]
        angles = angles.astype(wide).reshape(*positions.shape, *shape)
        return x.apply_values(lambda values: _rotate(values.astype(wide), angles, axis).astype(x.dtype))


def _given(name: str, x: Sequence, constants: Any) -> Sequence:
    """The positions that the constants hold, in float32, with the batch of the input."""
    given = side_input.read(constants, name, 'positions (batch, time)')
    if given.ndim != 2:
        raise LayerError(f'constants[{name!r}] must be positions (batch, time), and has the shape {list(given.shape)}')
    positions = given if isinstance(given, Sequence) else Sequence.from_values(given)
    return side_input.for_batch(name, positions.astype(jnp.float32), x.shape[0])


def _rotate(values: jax.Array, angles: jax.Array, axis: int) -> jax.Array:
    half = values.shape[axis] // 2
    pairs = values.reshape(*values.shape[:axis], 2, half, *values.shape[axis + 1 :])
    # One reversal, not two slices and a concatenation: it fuses with the arithmetic, in the gradient too.
    sign = np.array([-1, 1]).reshape(2, *(1,) * (values.ndim - axis))
    sine, cosine = (jnp.expand_dims(f(angles), axis) for f in (jnp.sin, jnp.cos))
    rotated = pairs * cosine + lax.rev(pairs, (axis,)) * (sign.astype(sine.dtype) * sine)
    return rotated.reshape(values.shape)
