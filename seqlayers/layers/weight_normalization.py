import dataclasses
from collections.abc import Callable
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from seqlayers.context import LayerError
from seqlayers.declaration import Declared
from seqlayers.dtypes import in_at_least_float32
from seqlayers.initializers import Normal, initialize, ones
from seqlayers.parameters import param


class WeightNormalization(Declared):
    """Base of the normalizations of a kernel, given to a convolution as its `kernel_constraint`.

    Like a layer it is a declaration; `build` returns a new one with parameters. Called with a kernel
    `[..., filters]`, it returns the kernel to use. In published checkpoints its parameters stand at its `name`, by
    default `kernel_constraint`.
    """

    name: str | None = dataclasses.field(default=None, kw_only=True)

    _shape = None

    @property
    def is_built(self):
        return self._shape is not None

    def build(self, shape: tuple[int, ...], rngs: nnx.Rngs) -> Self:
        """A normalization of kernels of this shape."""
        built = type(self)(**self.field_values())
        built.setup(shape, rngs)
        built._shape = shape
        return built

    def setup(self, shape: tuple[int, ...], rngs: nnx.Rngs) -> None:
        """Makes the parameters for kernels of this shape."""

    def __call__(self: Any, kernel: jax.Array, training: bool) -> jax.Array:
        if self.reductions_in_at_least_fp32:
            return in_at_least_float32(lambda wide: self.normalize(wide, training), kernel)
        return self.normalize(kernel, training)

    def normalize(self, kernel: jax.Array, training: bool) -> jax.Array:
        raise NotImplementedError(f'{type(self).__name__} must define normalize')


class L2WeightNormalization(WeightNormalization):
    """Gives the kernel of each filter the Euclidean length `scale`.

    Parameters: `scale [filters]`.

    Source: Salimans and Kingma, "Weight normalization", arXiv 1602.07868.

    >>> import seqlayers as sl
    >>> layer = sl.Conv1D(2, 3, kernel_constraint=sl.L2WeightNormalization(), use_bias=False)
    >>> kernel = layer.build(sl.ChannelSpec((4,)), rngs=0).effective_kernel()
    >>> jnp.sqrt(jnp.square(kernel).sum((0, 1))).round(3).tolist()
    [1.0, 1.0]
    """

    epsilon: float = 1e-12
    scale_init: Callable = ones
    sharding: Any = None
    reductions_in_at_least_fp32: bool = False
    param_dtype: Any = np.dtype('float32')

    def setup(self, shape, rngs):
        self.scale = param(self.scale_init, rngs, shape[-1:], self.param_dtype, sharding=self.sharding)

    def normalize(self, kernel, training):
        squares = jnp.square(kernel).sum(range(kernel.ndim - 1))
        return kernel * lax.rsqrt(squares + self.epsilon) * self.scale[...].astype(kernel.dtype)


class SpectralWeightNormalization(WeightNormalization):
    """Divides the kernel, as a matrix `[..., filters]`, by an estimate of its largest singular value.

    The estimate comes from `n_power_iteration` rounds of power iteration, which start where the last training
    step ended. Those of `layer` in training are kept, as variables `u [1, filters]` and `sigma []`; so a
    training step needs `nnx.jit`, and an optimizer `wrt=nnx.Param`. A kernel of zeros stays as it is.

    Raises:
      LayerError: `n_power_iteration` below 1, or a kernel that is no matrix with `error_on_non_matrix`.

    Source: Miyato et al., "Spectral normalization for generative adversarial networks", arXiv 1802.05957.

    >>> import seqlayers as sl
    >>> layer = sl.Conv1D(2, 3, kernel_constraint=sl.SpectralWeightNormalization(50), use_bias=False)
    >>> kernel = layer.build(sl.ChannelSpec((4,)), rngs=0).effective_kernel()
    >>> jnp.linalg.norm(kernel.reshape(12, 2), 2).round(3).tolist()
    1.0
    """

    n_power_iteration: int = 1
    sharding: Any = None
    u_init: Callable = Normal(0.01)
    epsilon: float = 1e-12
    reductions_in_at_least_fp32: bool = False
    param_dtype: Any = np.dtype('float32')
    error_on_non_matrix: bool = False

    def __post_init__(self):
        if self.n_power_iteration < 1:
            raise LayerError(f'{self!r}: n_power_iteration must be at least 1')

    def setup(self, shape, rngs):
        if self.error_on_non_matrix and len(shape) != 2:
            raise LayerError(f'{self!r} takes a matrix and got a kernel {shape}; see error_on_non_matrix')
        self.u = nnx.BatchStat(initialize(self.u_init, rngs, (1, shape[-1]), self.param_dtype))
        self.sigma = nnx.BatchStat(jnp.ones((), self.param_dtype))

    def normalize(self, kernel, training):
        matrix = kernel.reshape(-1, kernel.shape[-1])
        u = self.u[...].astype(kernel.dtype)
        fixed = lax.stop_gradient(matrix)
        for _ in range(self.n_power_iteration):
            v = self._unit(u @ fixed.T)
            u = self._unit(v @ fixed)
        sigma = (v @ matrix @ u.T)[0, 0]
        if training:
            self.u[...], self.sigma[...] = (lax.stop_gradient(a).astype(self.param_dtype) for a in (u, sigma))
        return kernel / jnp.where(sigma == 0, 1, sigma)

    def _unit(self, vector: jax.Array) -> jax.Array:
        return vector * lax.rsqrt(jnp.square(vector).sum() + self.epsilon)
