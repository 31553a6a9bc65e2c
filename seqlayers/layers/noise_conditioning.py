from collections.abc import Callable
from collections.abc import Sequence as PySequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from seqlayers import random
from seqlayers.clock import clock, tick
from seqlayers.dtypes import promoted_dtype
from seqlayers.initializers import lecun_normal, zeros
from seqlayers.layer import SequenceLayer
from seqlayers.layers.conditioning import (
    Combination,
    Projection,
    check_modes,
    combine_with,
    project,
    setup_projection,
)
from seqlayers.sequence import ChannelSpec, Sequence


class NoiseConditioning(SequenceLayer):
    """Combines the input with random noise, in training and not, the same in `step` as in `layer`.

    Shapes: `(batch, time, *channels)` with channels broadcast or concatenated to those of the noise, see
    `Conditioning.Combination`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0) |

    The noise depends on the key given as `rng=`, the place in the model, the row and the timestep; see `Dropout`.

    Mask: unchanged. State: the time of the next input timestep, int32 `(batch,)`. Parameters: as in `Conditioning`.

    Args:
      sampler: `AddNoise.Uniform(minval, maxval)`, `AddNoise.Normal(mean, stddev)`,
        `AddNoise.TruncatedNormal(mean, stddev)`, or any function `(key, shape, dtype)`.
      projection, combination: as in `Conditioning`.
      noise_channel_shape: channels of the noise; by default those of the input.

    Raises:
      LayerError: a combination that needs another projection, channels that do not broadcast, or there is no key.

    >>> import seqlayers as sl
    >>> layer = sl.NoiseConditioning(sl.AddNoise.Normal(), 'linear', 'concat', noise_channel_shape=[8])
    >>> layer.build(sl.ChannelSpec((3,)), rngs=0).output_spec
    ChannelSpec((6,), float32)
    """

    sampler: Any
    projection: Projection | str
    combination: Combination | str
    noise_channel_shape: PySequence[int] | None = None
    projection_channel_shape: PySequence[int] | None = None
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    kernel_init: Callable = lecun_normal
    kernel_sharding: Any = None
    bias_init: Callable = zeros
    bias_sharding: Any = None
    affine_scale_offset: float = 1.0

    published_names: ClassVar = {'kernel': 'dense/kernel', 'bias': 'dense/bias'}

    def __post_init__(self):
        check_modes(self)

    @property
    def _noise_spec(self) -> ChannelSpec:
        shape = self.input_spec.shape if self.noise_channel_shape is None else self.noise_channel_shape
        return ChannelSpec(tuple(shape), promoted_dtype(self.input_spec.dtype))

    def setup(self, input_spec, rngs, constants):
        setup_projection(self, self._noise_spec, rngs)

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        return clock(batch_size, offset)

    def layer(self, x, *, training, constants=None):
        return self.step(x, clock(x.shape[0]), training=training, constants=constants)[0]

    def step(self, x, state, *, training, constants=None):
        times, state = tick(state, x.shape[1])
        spec = self._noise_spec

        def sample(key, shape):
            return self.sampler(key, shape, spec.dtype)

        noise = random.draw(sample, constants.layer_key(), times, spec.shape)
        return combine_with(self, x, project(self, Sequence(noise, jnp.ones(x.shape[:2], bool)))), state
