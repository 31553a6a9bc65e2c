import dataclasses
from typing import Any

import jax

from seqlayers import random
from seqlayers.clock import clock, tick
from seqlayers.initializers import Initializer
from seqlayers.layer import SequenceLayer


@dataclasses.dataclass(frozen=True)
class UniformNoise(Initializer):
    """Noise from `minval` to `maxval`."""

    minval: float = 0.0
    maxval: float = 1.0

    def __call__(self, key, shape, dtype, fan_in=None):
        return jax.random.uniform(key, shape, dtype, self.minval, self.maxval)


@dataclasses.dataclass(frozen=True)
class NormalNoise(Initializer):
    """Gaussian noise."""

    mean: float = 0.0
    stddev: float = 1.0

    def __call__(self, key, shape, dtype, fan_in=None):
        return self.mean + self.stddev * jax.random.normal(key, shape, dtype)


@dataclasses.dataclass(frozen=True)
class TruncatedNormalNoise(Initializer):
    """Gaussian noise without what is more than two standard deviations away."""

    mean: float = 0.0
    stddev: float = 1.0

    def __call__(self, key, shape, dtype, fan_in=None):
        return self.mean + self.stddev * jax.random.truncated_normal(key, -2.0, 2.0, shape, dtype)


class AddNoise(SequenceLayer):
    """Adds random noise, the same in `step` as in `layer`.

    Shapes: `(batch, time, *channels)` unchanged.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0) |

    The noise depends on the key given as `rng=`, the place in the model, the row and the timestep; see `Dropout`.

    Mask: unchanged. State: the time of the next input timestep, int32 `(batch,)`; none where no noise is added.

    Args: sampler: `AddNoise.Uniform(minval, maxval)`, `AddNoise.Normal(mean, stddev)`,
      `AddNoise.TruncatedNormal(mean, stddev)`, or any
        function `(key, shape, dtype)`.
      training_only: add it only in training.
      rng_collection: without effect; keys come from `rng=`.

    Raises:
      LayerError: noise is to be added and there is no key.

    >>> import seqlayers as sl
    >>> sl.AddNoise(sl.AddNoise.Normal(0.0, 0.1), training_only=True).receptive_field
    (0, 0)
    """

    sampler: Any
    training_only: bool
    rng_collection: str = 'params'

    Uniform = UniformNoise
    Normal = NormalNoise
    TruncatedNormal = TruncatedNormalNoise

    def _is_on(self, training: bool) -> bool:
        return training or not self.training_only

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        return clock(batch_size, offset) if self._is_on(training) else ()

    def layer(self, x, *, training, constants=None):
        state = self.get_initial_state(x.shape[0], training=training, constants=constants)
        return self.step(x, state, training=training, constants=constants)[0]

    def step(self, x, state, *, training, constants=None):
        if not self._is_on(training):
            return x, state
        times, state = tick(state, x.shape[1])

        def sample(key, shape):
            return self.sampler(key, shape, x.dtype)

        noise = random.draw(sample, constants.layer_key(), times, x.channel_shape)
        return x.apply_values(lambda values: values + noise), state
