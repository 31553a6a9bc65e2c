"""Are two sequences the same? And if not, where do they first differ?"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from seqlayers.sequence import Sequence


@dataclasses.dataclass(frozen=True)
class Difference:
    """The first timestep at which two sequences differ."""

    timestep: int
    item: int
    what: str  # 'mask' or 'values'
    expected: str
    got: str
    error: float = float('nan')

    def __str__(self):
        return f'{self.what} of item {self.item} at timestep {self.timestep}: expected {self.expected}, got {self.got}'


def tolerance_for(dtype: np.dtype) -> float:
    """The difference that rounding may make, relative to the largest value: a few units of the dtype's precision."""
    if jnp.issubdtype(dtype, jnp.inexact):
        return (
            max(20 * float(jnp.finfo(dtype).eps), 5e-6)
            if jnp.finfo(dtype).bits > 16
            else 4 * float(jnp.finfo(dtype).eps)
        )
    return 0.0


def to_length(x: Sequence, length: int) -> Sequence:
    """Cut, or padded with invalid timesteps, to a length."""
    return x[:, :length].pad_time(0, max(0, length - x.shape[1]))


def first_difference(
    expected: Sequence, got: Sequence, tolerance: float | None = None, what: str = 'mask or values'
) -> Difference | None:
    """The first timestep where the masks differ, or the values where both are valid; or only one of the two (`what`).

    Values are compared relative to the largest expected one. The shorter sequence counts as followed by invalid
    timesteps."""
    length = max(expected.shape[1], got.shape[1])
    expected, got = to_length(expected, length), to_length(got, length)
    wanted_mask, mask = np.asarray(expected.mask), np.asarray(got.mask)
    wanted, values = _as_numpy(expected), _as_numpy(got)
    tolerance = tolerance_for(expected.dtype) if tolerance is None else tolerance

    valid = wanted_mask.reshape(wanted_mask.shape + (1,) * (wanted.ndim - 2))
    finite = np.abs(wanted[np.broadcast_to(valid, wanted.shape) & np.isfinite(wanted)])
    limit = tolerance * max(finite.max(initial=0.0), 1e-3)
    with np.errstate(invalid='ignore'):
        error = np.abs(wanted - values)
    same = (error <= limit) | (wanted == values) | (np.isnan(wanted) & np.isnan(values))
    value_differs = wanted_mask & mask & ~same.all(axis=tuple(range(2, same.ndim)))
    differs = (wanted_mask != mask) & ('mask' in what) | value_differs & ('values' in what)
    if not differs.any():
        return None
    t = int(differs.any(axis=0).argmax())
    b = int(differs[:, t].argmax())
    if not value_differs[b, t]:
        words = {True: 'valid', False: 'invalid'}
        return Difference(t, b, 'mask', words[bool(wanted_mask[b, t])], words[bool(mask[b, t])])
    worst = np.unravel_index(
        np.where(same[b, t], -1, np.nan_to_num(error[b, t], nan=np.inf)).argmax(), wanted.shape[2:]
    )
    where = (b, t, *worst)
    return Difference(t, b, 'values', f'{wanted[where]:.6g}', f'{values[where]:.6g}', float(error[where]))


def _as_numpy(x: Sequence) -> np.ndarray:
    """Values in float64 or complex128, in which differences do not overflow."""
    values = x.values
    if values.dtype == jnp.bfloat16:
        values = values.astype(jnp.float32)
    complex_ = jnp.issubdtype(values.dtype, jnp.complexfloating)
    return np.asarray(values).astype(np.complex128 if complex_ else np.float64)
