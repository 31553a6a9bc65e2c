"""Which dtype a layer computes in."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np


def promoted_dtype(*dtypes: Any, dtype: Any = None) -> np.dtype:
    """`dtype` if given, else the common dtype of the arguments (None is skipped), lifted to float32 if it is an
    integer.

    Raises:
      ValueError: the given `dtype` is not inexact.
    """
    if dtype is not None:
        if not jnp.issubdtype(dtype, jnp.inexact):
            raise ValueError(f'compute_dtype must be a floating or complex dtype, got {jnp.dtype(dtype)}')
        return jnp.dtype(dtype)
    common = jnp.result_type(*(d for d in dtypes if d is not None))
    return common if jnp.issubdtype(common, jnp.inexact) else jnp.result_type(common, jnp.float32)


def promote(*arrays: Any, dtype: Any = None) -> list:
    """The arrays (None stays None) in their common dtype, see `promoted_dtype`."""
    common = promoted_dtype(*(a.dtype for a in arrays if a is not None), dtype=dtype)
    return [None if a is None else a.astype(common) for a in arrays]


def in_at_least_float32(fn: Callable, *arrays: Any) -> Any:
    """`fn` of the arrays in float32 or wider, the result in the dtype of the first."""
    wide = [a.astype(jnp.promote_types(a.dtype, jnp.float32)) for a in arrays]
    return fn(*wide).astype(arrays[0].dtype)
