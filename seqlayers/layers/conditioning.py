"""Layers that combine their input with a conditioning: something that comes in from the side."""

import dataclasses
import enum
import math
from collections.abc import Callable
from collections.abc import Sequence as PySequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from seqlayers.clock import clock, tick
from seqlayers.combinators.combine import CombinationMode, combine
from seqlayers.context import LayerError
from seqlayers.dtypes import promote
from seqlayers.initializers import lecun_normal, zeros
from seqlayers.layer import SequenceLayer
from seqlayers.layers import side_input
from seqlayers.parameters import param
from seqlayers.sequence import ChannelSpec, Sequence


class _Mode(enum.StrEnum):
    """Names in upper case are taken too."""

    @classmethod
    def _missing_(cls, value):
        if isinstance(value, str) and value.lower() in list(cls):
            return cls(value.lower())
        raise LayerError(f'{cls.__name__.lower()} must be one of {", ".join(cls)}; got {value!r}')


class Projection(_Mode):
    """What becomes of a conditioning before it is combined with the input.

    * `identity`: nothing.
    * `linear`: a linear map with a bias, to one target shape.
    * `linear_affine`: the same, to a scale and a shift.
    """

    IDENTITY = 'identity'
    LINEAR = 'linear'
    LINEAR_AFFINE = 'linear_affine'


class Combination(_Mode):
    """How the projected conditioning c and the input x are combined.

    * `add`, `affine_shift`: `x + c`.
    * `mul`: `x * c`.
    * `affine_scale`: `x * (c + affine_scale_offset)`.
    * `affine`: `x * (scale + affine_scale_offset) + shift`.
    * `concat`, `concat_before`: c behind, or before, the last channel axis of x.

    Channels are broadcast as in NumPy, aligned at the last axis; where they are concatenated, a scalar counts as one.
    """

    ADD = 'add'
    CONCAT = 'concat'
    AFFINE = 'affine'
    AFFINE_SHIFT = 'affine_shift'
    AFFINE_SCALE = 'affine_scale'
    MUL = 'mul'
    CONCAT_BEFORE = 'concat_before'


_PROJECTIONS = {
    Combination.AFFINE: [Projection.LINEAR_AFFINE],
    Combination.AFFINE_SHIFT: [Projection.LINEAR],
    Combination.AFFINE_SCALE: [Projection.LINEAR],
}
_ELEMENTWISE = {
    Combination.ADD: CombinationMode.ADD,
    Combination.AFFINE_SHIFT: CombinationMode.ADD,
    Combination.MUL: CombinationMode.PRODUCT,
}


# --- what all of them share: functions of a layer, by the names of its fields -----------------------------
def check_modes(layer: Any) -> None:
    """Raises a LayerError if the combination needs another projection."""
    projection, combination = Projection(layer.projection), Combination(layer.combination)
    valid = _PROJECTIONS.get(combination, [Projection.IDENTITY, Projection.LINEAR])
    if projection not in valid:
        raise LayerError(
            f'{type(layer).__name__}: combination {combination} needs projection {" or ".join(valid)}, got {projection}'
        )


def setup_projection(layer: Any, conditioning: ChannelSpec, rngs: nnx.Rngs) -> None:
    """Makes the parameters of the projection, if there is one."""
    if Projection(layer.projection) is Projection.IDENTITY:
        return
    inputs, outputs = conditioning.shape or (1,), _projected_shape(layer) or (1,)
    layer.kernel = param(
        layer.kernel_init, rngs, inputs + outputs, layer.param_dtype,
        fan_in=math.prod(inputs), sharding=layer.kernel_sharding,
    )  # fmt: skip
    layer.bias = param(layer.bias_init, rngs, outputs, layer.param_dtype, sharding=layer.bias_sharding)


def _projected_shape(layer: Any) -> tuple[int, ...]:
    target = layer.input_spec.shape if layer.projection_channel_shape is None else layer.projection_channel_shape
    return (2, *target) if Projection(layer.projection) is Projection.LINEAR_AFFINE else tuple(target)


def project(layer: Any, c: Sequence) -> Sequence:
    if Projection(layer.projection) is Projection.IDENTITY:
        return c
    inputs = c.channel_shape or (1,)
    values, kernel, bias = promote(c.values, layer.kernel[...], layer.bias[...], dtype=layer.compute_dtype)
    y = jnp.tensordot(values.reshape(*c.shape[:2], *inputs), kernel, len(inputs)) + bias
    return Sequence(y.reshape(*c.shape[:2], *_projected_shape(layer)), c.mask)


def combine_with(layer: Any, x: Sequence, c: Sequence) -> Sequence:
    """The input with the projected conditioning, of which one timestep serves all. Valid is what is so in both.

    Raises:
      LayerError: their channels do not broadcast.
    """
    own, other = x.channel_shape, _combined_shape(layer, c)
    if any(m != n and 1 not in (m, n) for m, n in zip(reversed(own), reversed(other), strict=False)):
        raise LayerError(
            f'cannot combine channels {own} of the input with {other} of the conditioning; they must broadcast. A '
            'linear projection gives them the shape of the input'
        )
    values, mask = (jnp.broadcast_to(a, (*x.shape[:2], *a.shape[2:])) for a in (c.values, c.mask))
    c = Sequence(values, mask)
    combination = Combination(layer.combination)
    if combination in _ELEMENTWISE:
        return combine([x, c], _ELEMENTWISE[combination])
    if combination is Combination.CONCAT:
        return combine([x, c], CombinationMode.CONCAT)
    if combination is Combination.CONCAT_BEFORE:
        return combine([c, x], CombinationMode.CONCAT)
    scale = c if combination is Combination.AFFINE_SCALE else Sequence(values[:, :, 0], mask)
    scaled = combine([x, scale.apply_values(lambda v: v + layer.affine_scale_offset)], CombinationMode.PRODUCT)
    if combination is Combination.AFFINE_SCALE:
        return scaled
    return combine([scaled, Sequence(values[:, :, 1], mask)], CombinationMode.ADD)


def _combined_shape(layer: Any, c: Sequence) -> tuple[int, ...]:
    """The channels of the conditioning that meet those of the input: not the last axis, where they are joined."""
    combination = Combination(layer.combination)
    if combination in (Combination.CONCAT, Combination.CONCAT_BEFORE):
        return (*c.channel_shape[:-1], 1)
    return c.channel_shape[1:] if combination is Combination.AFFINE else c.channel_shape


def at_times(c: Sequence, times: jax.Array) -> Sequence:
    """The timesteps of `c` at `times`, int32 `(batch, time)`; invalid where it has none."""
    exists = (times >= 0) & (times < c.shape[1])
    c = c.pad_time(0, 0 if c.shape[1] else 1)  # nothing can be taken from an empty array
    take = jax.vmap(lambda array, index: jnp.take(array, index, axis=0, mode='clip'))
    return Sequence(take(c.values, times), take(c.mask, times) & exists)


class Conditioning(SequenceLayer):
    """Combines the input with a conditioning from `constants`: fixed, in time with the input, or streamed.

    Shapes: `(batch, time, *channels)` with channels broadcast or concatenated to those of the conditioning, see
    `Conditioning.Combination`. With c as the conditioning:

    * an array `(batch, *c_channels)` goes with every timestep;
    * a `Sequence` `(batch, c_time, *c_channels)` goes timestep by timestep, and is known as a whole. One of a single
      timestep goes with every timestep, in `layer` and in `step` (in the published `step` only with the first).
    * with `streaming`, a `Sequence` is not known before: a step takes those of its timesteps that belong to the
      model's input of this step. It waits inside, if the input comes late.

    The batch of c may be 1.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0) |

    Mask: valid where input and conditioning are; after the end of c, invalid. State: for a known `Sequence` the time
    of the next input timestep, int32 `(batch,)`; with `streaming` the timesteps of c that wait, as many as the offset.
    Parameters: `kernel [*c_channels, *target]` and `bias [*target]`, with the target `(2, *target)` for
    `linear_affine`; a scalar side counts as 1.

    Args:
      conditioning_name: the name of the conditioning in `constants`, which `build` takes too.
      projection: `Conditioning.Projection`, or its name.
      combination: `Conditioning.Combination`, or its name. `affine` needs `linear_affine`, `affine_shift` and
        `affine_scale` need `linear`, others take `identity` or `linear`.
      projection_channel_shape: the target of the projection; by default the channels of the input.
      streaming: a `Sequence` comes block by block, in time with the model's input: the layers before this one must keep
        the rate.
      compute_dtype: of the projection. The output has the common dtype of input and projected conditioning.
      affine_scale_offset: 1 makes a scale of 0 leave the input as it is.

    Raises:
      LayerError: a combination that needs another projection. In use: the conditioning is not there, or of other
        channels, batch or dtype than fit; channels that do not broadcast; with `streaming`, a step with more or less
        of the conditioning than of the input.

    Source: Perez et al. (FiLM), arXiv 1709.07871, for `affine`.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> layer = sl.Conditioning('speaker', projection='linear', combination='add')
    >>> constants = {'speaker': jnp.ones((1, 7))}
    >>> model = layer.build(sl.ChannelSpec((3,)), rngs=0, constants=constants)
    >>> model.layer(sl.Sequence.from_values(jnp.ones((1, 5, 3))), training=False, constants=constants)
    Sequence(float32[1, 5, 3], lengths=[5])
    """

    conditioning_name: str
    projection: Projection | str
    combination: Combination | str
    projection_channel_shape: PySequence[int] | None = None
    streaming: bool = False
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    kernel_init: Callable = lecun_normal
    kernel_sharding: Any = None
    bias_init: Callable = zeros
    bias_sharding: Any = None
    affine_scale_offset: float = 1.0

    Projection = Projection
    Combination = Combination
    published_names: ClassVar = {'kernel': 'dense/kernel', 'bias': 'dense/bias'}

    def __post_init__(self):
        check_modes(self)

    def streamed_constants(self, constants):
        streams = self.streaming and isinstance(constants.get(self.conditioning_name), Sequence)
        return {self.conditioning_name} if streams else set()

    def setup(self, input_spec, rngs, constants):
        c = self._find(constants)
        self.is_fixed = not isinstance(c, Sequence)
        self.conditioning_spec = _spec(c)
        setup_projection(self, self.conditioning_spec, rngs)

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        if self.is_fixed:
            return ()
        if self.streaming:
            return side_input.initial_state(batch_size, offset, self.conditioning_spec)
        return clock(batch_size, offset)

    def layer(self, x, *, training, constants=None):
        c = self._read(x, constants)
        projected = project(self, c)
        return combine_with(self, x, projected if self._serves_all(c) else self._whole(projected, x.shape[1]))

    def step(self, x, state, *, training, constants=None):
        c = self._read(x, constants)
        if self._serves_all(c):
            return combine_with(self, x, project(self, c)), state
        if self.streaming:
            block, state = side_input.arrive(self.conditioning_name, c, x, state)
        else:
            times, state = tick(state, x.shape[1])
            block = self._at(c, times)
        return combine_with(self, x, project(self, block)), state

    def _whole(self, c: Sequence, time: int) -> Sequence:
        """The conditioning of the first `time` timesteps."""
        return c[:, :time].pad_time(0, max(0, time - c.shape[1]))

    def _at(self, c: Sequence, times: jax.Array) -> Sequence:
        """The conditioning at `times`, int32 `(batch, time)`."""
        return at_times(c, times)

    def _serves_all(self, c: Sequence) -> bool:
        return self.is_fixed or (c.shape[1] == 1 and not self.streaming)

    def _find(self, constants: Any) -> Any:
        what = 'an array (batch, *channels) or a Sequence (batch, time, *channels)'
        return side_input.read(constants, self.conditioning_name, what)

    def _read(self, x: Sequence, constants: Any) -> Sequence:
        """The conditioning as a sequence with the batch of the input; a fixed one has one timestep."""
        c = self._find(constants)
        spec, wanted = _spec(c), self.conditioning_spec
        if spec != wanted or isinstance(c, Sequence) == self.is_fixed:
            kinds = {True: 'an array', False: 'a Sequence'}
            raise LayerError(
                f'was built for {kinds[self.is_fixed]} of {wanted} as constants[{self.conditioning_name!r}] and got '
                f'{kinds[not isinstance(c, Sequence)]} of {spec}. Build it with the constants that it is used with'
            )
        c = Sequence.from_values(c[:, None]) if self.is_fixed else c
        return side_input.for_batch(self.conditioning_name, c, x.shape[0])


def _spec(c: Any) -> ChannelSpec:
    return c.channel_spec if isinstance(c, Sequence) else ChannelSpec(c.shape[1:], c.dtype)


class UpsampleConditioning(Conditioning):
    """Combines the input with a conditioning of a lower rate: timestep t with the conditioning's `t // upsample_ratio`.

    Shapes, mask, state, parameters and arguments are those of `Conditioning`, for a `Sequence` that is known as a
    whole. It cannot stream.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0) |

    Args:
      upsample_ratio: timesteps of input for each of the conditioning.

    Raises:
      LayerError: a ratio below 1, `streaming`, and what `Conditioning` raises.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> layer = sl.UpsampleConditioning('score', projection='identity', combination='add', upsample_ratio=2)
    >>> constants = {'score': sl.Sequence.from_values(jnp.array([[1.0, 2.0]]))}
    >>> model = layer.build(sl.ChannelSpec(()), rngs=0, constants=constants)
    >>> x = sl.Sequence.from_values(jnp.zeros((1, 4)))
    >>> model.layer(x, training=False, constants=constants).values.tolist()
    [[1.0, 1.0, 2.0, 2.0]]
    """

    upsample_ratio: int = dataclasses.field(kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        if self.upsample_ratio < 1:
            raise LayerError(f'UpsampleConditioning: upsample_ratio must be at least 1, got {self.upsample_ratio}')
        if self.streaming:
            raise LayerError(
                'UpsampleConditioning: a conditioning of another rate does not come in time with the input; '
                'repeat its timesteps and give them to Conditioning(..., streaming=True)'
            )

    def _whole(self, c: Sequence, time: int) -> Sequence:
        values, mask = (jnp.repeat(a, self.upsample_ratio, axis=1) for a in (c.values, c.mask))
        return super()._whole(Sequence(values, mask), time)

    def _at(self, c: Sequence, times: jax.Array) -> Sequence:
        return super()._at(c, times // self.upsample_ratio)
