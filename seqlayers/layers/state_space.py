import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers.context import LayerError
from seqlayers.initializers import Constant, Normal, lecun_normal
from seqlayers.layers.linear_recurrence import Complex, LinearRecurrence, diagonal_recurrence, dtypes
from seqlayers.layers.step_sizes import LogStep, check_steps
from seqlayers.parameters import param
from seqlayers.sequence import Sequence


def _legs(size: int) -> np.ndarray:
    """Frequencies of the normal part of the HiPPO-LegS matrix, `-1/2 + S` with S skew-symmetric."""
    roots = np.sqrt(2 * np.arange(size) + 1)
    lower = np.tril(np.outer(roots, roots), -1) / 2
    return np.linalg.eigvalsh(1j * (lower - lower.T))[size // 2 :]  # the others are these, negated


def _linear(size: int) -> np.ndarray:
    return np.pi * np.arange(size // 2)


_FREQUENCIES = {'legs': _legs, 'linear': _linear}


class DiagonalStateSpace(LinearRecurrence):
    """A linear system of damped oscillators between the channels, discretised with learned step sizes (S5).

    Shapes: `(batch, time, channels)` unchanged.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (-inf, 0) |

    The complex state h holds `state_size / 2` oscillators; their conjugates complete it, so that outputs are real. For
    eigenvalues `L = -exp(log_decay) + i frequency`, steps `dt = exp(log_step)` and an input held during each timestep:

        h = exp(L dt) * h + (exp(L dt) - 1) / L * (x B)
        y = [Re h, Im h] C + skip * x

    Complex numbers are pairs of real ones throughout: `x B` gives real parts in its first half and imaginary parts in
    its second. L keeps to the left of the imaginary axis, so no weights make the system unstable.

    Mask: unchanged; an invalid timestep leaves the state as it is. State: `[Re h, Im h]`, float32
    `(batch, state_size)`.

    Args:
      state_size: real numbers in the state of the whole system; even.
      frequencies: initial ones: 'legs', of the HiPPO-LegS matrix, or 'linear', multiples of pi. All decay by 1/2.
      min_step, max_step: initial steps are spread evenly between the logarithms of these. A step of 0.001 lets
        oscillators remember for some thousand timesteps.

    Parameters: `log_decay`, `frequency` and `log_step`, each `[state_size / 2]`; `input_kernel [channels, state_size]`
    (B), `output_kernel [state_size, channels]` (C), `skip [channels]`.

    Raises:
      LayerError: an odd state size, unknown frequencies, steps that are not `0 < min_step <= max_step`. When built:
        more or less than one channel axis.

    Source: Smith et al., "Simplified state space layers", arXiv 2208.04933; frequencies: Gu et al., arXiv 2206.11893.

    >>> import seqlayers as sl
    >>> model = sl.DiagonalStateSpace(16).build(sl.ChannelSpec((3,)), rngs=0)
    >>> model.get_initial_state(1, training=False).shape, model.output_spec
    ((1, 16), ChannelSpec((3,), float32))
    """

    state_size: int
    frequencies: str = 'legs'
    min_step: float = 0.001
    max_step: float = 0.1
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    precision: Any = None
    input_kernel_init: Callable = lecun_normal
    input_kernel_sharding: Any = None
    output_kernel_init: Callable = lecun_normal
    output_kernel_sharding: Any = None
    skip_init: Callable = Normal(1.0)
    skip_sharding: Any = None

    def __post_init__(self):
        if self.state_size < 2 or self.state_size % 2:
            raise LayerError(f'DiagonalStateSpace: state_size must be even and positive, got {self.state_size}')
        if self.frequencies not in _FREQUENCIES:
            raise LayerError(
                f'DiagonalStateSpace: frequencies must be one of {", ".join(_FREQUENCIES)}; got {self.frequencies!r}'
            )
        check_steps(self)

    def setup(self, input_spec, rngs, constants):
        super().setup(input_spec, rngs, constants)
        channels, size, dtype = input_spec.shape[0], self.state_size, self.param_dtype
        frequencies = _FREQUENCIES[self.frequencies](size)
        self.frequency = param(lambda key, shape, dtype: jnp.asarray(frequencies, dtype), rngs, (size // 2,), dtype)
        self.log_decay = param(Constant(math.log(0.5)), rngs, (size // 2,), dtype)
        self.log_step = param(LogStep(self.min_step, self.max_step), rngs, (size // 2,), dtype)
        # The eigenvectors of the HiPPO matrix are orthonormal: normal B and C are normal in their basis too.
        self.input_kernel = param(
            self.input_kernel_init, rngs, (channels, size), dtype, fan_in=channels, sharding=self.input_kernel_sharding
        )
        self.output_kernel = param(
            self.output_kernel_init, rngs, (size, channels), dtype, fan_in=size, sharding=self.output_kernel_sharding
        )
        self.skip = param(self.skip_init, rngs, (channels,), dtype, sharding=self.skip_sharding)

    def get_initial_state(self, batch_size, *, training, constants=None):
        return jnp.zeros((batch_size, self.state_size), dtypes(self)[1])

    def step(self, x, state, *, training, constants=None):
        dtype, wide = dtypes(self)
        values = x.mask_invalid().values.astype(dtype)
        decay, gain = self._discretized(wide)
        driven = self._matmul(values, self.input_kernel[...]).astype(wide)
        valid = x.expanded_mask()
        decays = Complex(jnp.where(valid, decay.real, 1), jnp.where(valid, decay.imag, 0))
        inputs = gain * Complex.from_merged(driven)
        states = diagonal_recurrence(decays, inputs, Complex.from_merged(state)).merged()
        y = self._matmul(states[:, 1:].astype(dtype), self.output_kernel[...])
        return Sequence(y + self.skip[...].astype(dtype) * values, x.mask), states[:, -1]

    def _discretized(self, dtype: Any) -> tuple[Complex, Complex]:
        """`exp(L dt)` and `(exp(L dt) - 1) / L`."""
        rate, frequency = -jnp.exp(self.log_decay[...].astype(dtype)), self.frequency[...].astype(dtype)
        step = jnp.exp(self.log_step[...].astype(dtype))
        decay = Complex.from_log(rate * step, frequency * step)
        # exp(z) - 1 without the cancellation, for small z.
        real = jnp.expm1(rate * step) * jnp.cos(frequency * step) - 2 * jnp.sin(frequency * step / 2) ** 2
        squared = rate**2 + frequency**2
        return decay, Complex(real, decay.imag) * Complex(rate / squared, -frequency / squared)

    def _matmul(self, a: jax.Array, kernel: jax.Array) -> jax.Array:
        return jnp.matmul(a, kernel.astype(a.dtype), precision=self.precision)
