"""Step sizes of discretised continuous systems: how much time passes from one timestep to the next."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from seqlayers.context import LayerError
from seqlayers.initializers import Initializer


@dataclasses.dataclass(frozen=True)
class LogStep(Initializer):
    """Logarithms of step sizes, spread evenly."""

    min_step: float
    max_step: float

    def __call__(self, key, shape, dtype, fan_in=None):
        low, high = math.log(self.min_step), math.log(self.max_step)
        return (low + (high - low) * jax.random.uniform(key, shape)).astype(dtype)


@dataclasses.dataclass(frozen=True)
class SoftplusStep(LogStep):
    """What softplus maps to such step sizes."""

    def __call__(self, key, shape, dtype, fan_in=None):
        steps = jnp.exp(super().__call__(key, shape, jnp.float32))
        return jnp.log(jnp.expm1(steps)).astype(dtype)


def check_steps(layer: Any) -> None:
    """Raises a LayerError unless `0 < min_step <= max_step`."""
    if not 0 < layer.min_step <= layer.max_step:
        raise LayerError(
            f'{type(layer).__name__}: steps must be 0 < min_step <= max_step, '
            f'got min_step={layer.min_step} and max_step={layer.max_step}'
        )
