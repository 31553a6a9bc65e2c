"""Making parameters: one way for all layers."""

from typing import Any

import jax
from flax import nnx

from seqlayers.initializers import initialize


def param(
    init: Any, rngs: nnx.Rngs, shape: tuple[int, ...], dtype: Any, *, fan_in: int | None = None, sharding: Any = None
) -> nnx.Param:
    """A parameter drawn by `init`. `fan_in` is the number of inputs that one output sums over.

    `sharding` names the mesh axes of the parameter's axes; they are applied when the model is built under
    `jax.set_mesh`."""
    value = initialize(init, rngs, shape, dtype, fan_in)
    if sharding is not None and not jax.sharding.get_abstract_mesh().empty:
        value = jax.lax.with_sharding_constraint(value, jax.sharding.PartitionSpec(*sharding))
    return nnx.Param(value)
