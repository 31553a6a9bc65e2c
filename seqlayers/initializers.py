"""Initializers as small frozen dataclasses: equal by value, picklable, and so without a retrace under `jit`.

Each is called as `init(key, shape, dtype, fan_in=...)`. The layer says the fan-in of its kernel, because only it
knows which axes are inputs: kernels with several output axes (heads, units) then get the right scale too."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

# Distributions of variance 1. That of a standard normal truncated to [-2, 2] is 0.8796...**2.
_STANDARD = {
    'truncated_normal': lambda key, shape: jax.random.truncated_normal(key, -2.0, 2.0, shape) / 0.87962566103423978,
    'normal': jax.random.normal,
    'uniform': lambda key, shape: jax.random.uniform(key, shape, jnp.float32, -math.sqrt(3), math.sqrt(3)),
}


_CHUNK = 2**16
_LARGE = 2**22


@functools.partial(jax.jit, static_argnums=0)
def _draw_chunk(distribution: str, key: jax.Array, index: Any) -> jax.Array:
    return _STANDARD[distribution](jax.random.fold_in(key, index), (_CHUNK,))


def _draw(distribution: str, key: jax.Array, shape: tuple[int, ...], dtype: Any, stddev: float) -> jax.Array:
    """A draw of mean 0 in float32, cast to `dtype`.

    Drawn in chunks of one size, joined by NumPy: a model with a hundred kernel shapes then compiles one draw, which
    is most of what building it takes. Large kernels, and all under a trace, stay with JAX; the numbers are the same.
    """
    size = math.prod(shape)
    chunks = -(-size // _CHUNK)
    if isinstance(key, Tracer) or size > _LARGE:
        flat = jax.vmap(lambda i: _draw_chunk(distribution, key, i))(jnp.arange(chunks))
        return (jnp.float32(stddev) * flat.reshape(-1)[:size]).reshape(shape).astype(dtype)
    flat = [np.asarray(_draw_chunk(distribution, key, i)) for i in range(chunks)]
    values = np.concatenate([np.zeros(0, np.float32), *flat])[:size]
    return jnp.asarray((np.float32(stddev) * values).reshape(shape).astype(dtype))


@dataclasses.dataclass(frozen=True)
class Initializer:
    """Base of the initializers here; any callable `(key, shape, dtype)` will do as well."""

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype: Any, fan_in: int | None = None) -> jax.Array:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Constant(Initializer):
    value: float = 0.0

    def __call__(self, key, shape, dtype, fan_in=None):
        return jnp.asarray(np.full(shape, self.value, dtype))  # made by NumPy: nothing to compile for each shape


@dataclasses.dataclass(frozen=True)
class Normal(Initializer):
    stddev: float = 1.0

    def __call__(self, key, shape, dtype, fan_in=None):
        return _draw('normal', key, shape, dtype, self.stddev)


@dataclasses.dataclass(frozen=True)
class VarianceScaling(Initializer):
    """Variance `scale / fan_in`, drawn from a `truncated_normal`, a `normal` or a `uniform` distribution.

    Without a fan-in from the layer it is the product of all axes but the last.
    """

    scale: float = 1.0
    distribution: str = 'truncated_normal'

    def __call__(self, key, shape, dtype, fan_in=None):
        fan_in = math.prod(shape[:-1]) if fan_in is None else fan_in
        stddev = math.sqrt(self.scale / max(fan_in, 1))
        if self.distribution not in _STANDARD:
            raise ValueError(
                f'VarianceScaling: distribution must be one of {", ".join(_STANDARD)}, got {self.distribution!r}'
            )
        return _draw(self.distribution, key, shape, dtype, stddev)


@dataclasses.dataclass(frozen=True)
class Orthogonal(Initializer):
    """A random matrix with orthonormal rows or columns (whichever are fewer), computed in float32."""

    scale: float = 1.0

    def __call__(self, key, shape, dtype, fan_in=None):
        rows, columns = math.prod(shape[:-1]), shape[-1]
        normal = jax.random.normal(key, (max(rows, columns), min(rows, columns)), jnp.float32)
        q, r = jnp.linalg.qr(normal)
        q = q * jnp.sign(jnp.diagonal(r))  # the sign makes the distribution uniform
        return (self.scale * (q if rows >= columns else q.T)).reshape(shape).astype(dtype)


zeros = Constant(0.0)
ones = Constant(1.0)
lecun_normal = VarianceScaling(1.0, 'truncated_normal')
# Rows of an embedding table have unit expected norm: the fan-in is the width.
embedding_normal = VarianceScaling(1.0, 'normal')
orthogonal = Orthogonal()


def initialize(init: Any, rngs: Any, shape: tuple[int, ...], dtype: Any, fan_in: int | None = None) -> jax.Array:
    """Calls an initializer of this module, or any `(key, shape, dtype)` function such as those of
    `jax.nn.initializers`.
    """
    if isinstance(init, Initializer):
        return init(rngs.params(), shape, dtype, fan_in=fan_in)
    return init(rngs.params(), shape, dtype)
