"""Which inputs do the outputs of a model really depend on? Measured, to hold against what its timing says."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers.intervals import IntervalSet
from seqlayers.layer import SequenceLayer
from seqlayers.sequence import Sequence


def measured_support(call: Mapping[str, Any], model: SequenceLayer, x: Sequence) -> tuple[jax.Array, jax.Array]:
    """Bool `(outputs, inputs)`: whether output timestep `o` depends on input timestep `i`, in any item of `x`.

    By gradients with random cotangents for floating inputs; by changing one timestep at a time for others. `call` are
    the keyword arguments of `model.layer`. Also returns the mask of the outputs."""
    measure = _by_gradient if jnp.issubdtype(x.dtype, jnp.inexact) else _by_change
    leaves, structure = jax.tree.flatten(model)

    def run(x: Sequence) -> Sequence:  # a model of the current trace: statistics are updated in place
        return jax.tree.unflatten(structure, leaves).layer(x, **call)

    return measure(run, x)


def _by_gradient(run: Callable, x: Sequence) -> tuple[jax.Array, jax.Array]:
    def outputs(values):
        y = run(Sequence(values, x.mask))
        parts = y.mask_invalid().values
        parts = jnp.stack([parts.real, parts.imag]) if jnp.iscomplexobj(parts) else parts.astype(jnp.float32)[None]
        return parts, y.mask

    y, pullback, mask = jax.vjp(outputs, x.values, has_aux=True)
    time = y.shape[2]
    cotangent = jax.random.normal(jax.random.key(0), y.shape, y.dtype)

    def support(o):
        only_o = (jnp.arange(time) == o).reshape((1, 1, time) + (1,) * (y.ndim - 3))
        (gradient,) = pullback(jnp.where(only_o, cotangent, 0))
        moved = ~(jnp.abs(gradient) == 0)  # NaN counts as dependence
        return moved.any(axis=tuple(i for i in range(gradient.ndim) if i != 1))

    return jax.lax.map(support, jnp.arange(time)), mask


def _by_change(run: Callable, x: Sequence) -> tuple[jax.Array, jax.Array]:
    y = run(x).mask_invalid()

    def support(i):
        changed = jnp.where(x.values == x.values.min(), x.values.max(), x.values.min()).astype(x.dtype)
        only_i = (jnp.arange(x.shape[1]) == i).reshape((1, -1) + (1,) * (x.ndim - 2))
        z = run(Sequence(jnp.where(only_i, changed, x.values), x.mask)).mask_invalid()
        return (z.values != y.values).any(axis=tuple(k for k in range(y.ndim) if k != 1))

    return jax.lax.map(support, jnp.arange(x.shape[1])).T, y.mask


def enough_time(timing: Any) -> int:
    """Enough inputs to see the whole field of every output phase, as far as that is affordable."""
    ends = [abs(end) for end in timing.receptive_field or (0, 0) if np.isfinite(end)]
    period = int(np.ceil(timing.period / timing.output_ratio))
    affordable = min(128 / timing.output_ratio, 4096)  # each output takes a backward pass
    time = min(int(sum(ends)) + 2 * max(period, timing.block_size) + 4, int(affordable))
    return -(-time // timing.block_size) * timing.block_size


def hull_within(field: IntervalSet, time: int) -> tuple[int, int] | None:
    """First and last element of the field; None if a finite end lies outside of the timesteps 0 to `time - 1`."""
    if field.hull is None:
        return None
    first, last = (max(field.hull[0], 0) if np.isinf(field.hull[0]) else field.hull[0]), field.hull[1]
    last = time - 1 if np.isinf(last) else last
    return (int(first), int(last)) if first >= 0 and last < time else None


def field_text(field: tuple | None) -> str:
    if field is None:
        return 'no input'
    return f'({", ".join(str(end).replace("inf", "∞") for end in field)})'
