import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from seqlayers.context import LayerError
from seqlayers.initializers import Initializer, VarianceScaling, zeros
from seqlayers.layers.linear_recurrence import Complex, LinearRecurrence, check_sizes, diagonal_recurrence, dtypes
from seqlayers.parameters import param
from seqlayers.sequence import Sequence

_SCAN_TYPES = ('auto', 'linear_native', 'associative_native', 'linear_pallas')
_MAX_RADIUS = 0.999
_SHARPNESS = 8.0  # c in the paper: decays range over radius ** (8 * gate)


@dataclasses.dataclass(frozen=True)
class RingInitializer(Initializer):
    """Decays whose radius, with a gate of 1 / 8, is spread evenly over the ring from `min_radius` to 0.999."""

    min_radius: float = 0.9

    def __call__(self, key, shape, dtype, fan_in=None):
        inner, outer = self.min_radius**2, _MAX_RADIUS**2
        squared = jax.random.uniform(key, shape) * (outer - inner) + inner
        rate = -0.5 * jnp.log(squared + 1e-8)
        return jnp.log(jnp.expm1(rate)).astype(dtype)  # the inverse of softplus


@dataclasses.dataclass(frozen=True)
class AngleInitializer(Initializer):
    """Angles spread evenly from 0 to a tenth of a half-turn."""

    def __call__(self, key, shape, dtype, fan_in=None):
        return (0.1 * np.pi * jax.random.uniform(key, shape)).astype(dtype)


class Gate(nnx.Module):
    """The weights of a gate: a linear map for each head of the channels, under a sigmoid."""

    def __init__(self, kernel: nnx.Param, bias: nnx.Param):
        self.kernel, self.bias = kernel, bias

    def __call__(self, values: jax.Array) -> jax.Array:
        """`(batch, time, units) -> (batch, time, width)`."""
        kernel, bias = self.kernel[...].astype(values.dtype), self.bias[...].astype(values.dtype)
        heads = values.reshape(*values.shape[:2], kernel.shape[0], kernel.shape[1])
        gate = jax.nn.sigmoid(jnp.einsum('bthi,hij->bthj', heads, kernel) + bias)
        return gate.reshape(*values.shape[:2], bias.size)


@jax.custom_jvp
def _sqrt(x: jax.Array) -> jax.Array:
    """The square root, its slope at most 1000."""
    return jnp.sqrt(x)


@_sqrt.defjvp
def _sqrt_jvp(primals, tangents):
    root = jnp.sqrt(primals[0])
    return root, tangents[0] / jnp.maximum(2 * root, 1 / 1000)


class RGLRU(LinearRecurrence):
    """Real-gated linear recurrent unit: each channel a leaky sum, which gates of the input fill and empty.

    Shapes: `(batch, time, units) -> (batch, time, units)`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (-inf, 0) |

    With gates `i = sigmoid(x W + b)` and `r = sigmoid(x V + d)`, block-diagonal in `num_heads` blocks, and h as the
    output:

        a = exp(-8 * r * softplus(a_param))
        h = a * h + sqrt(1 - a^2) * i * x, and h = i * x at the first valid timestep

    With `only_real=False` channels are complex, real parts in the first half of `units` and imaginary parts in the
    second, and a has the angle `a_imag_param * r`. The slope of the square root is at most 1000.

    Mask: unchanged; an invalid timestep leaves the state as it is, so the sequence starts at the first valid one,
    wherever that is. (In the published layer invalid timesteps change the state and the first timestep counts, valid
    or not; the same where a sequence is only cut at its end.) State: h, float32 `(batch, units)`, and whether the
    sequence has started, bool `(batch,)`.

    Args:
      units: channels of input and output.
      scan_type: 'auto', 'linear_native', 'associative_native' or 'linear_pallas'; without effect: the scan is
        associative, parallel in time.
      scan_sharding: without effect: the scan is laid out as its input is.
      min_rad: smallest initial radius of a. The greatest is 0.999.
      gate_kernel_variance_scale: initial variance of the gates' kernels, times the fan-in.

    Parameters, with `width = units`, or `units / 2` if complex: `a_param [width]`, `a_imag_param [width]` if complex,
    and of both `input_gate` and `a_gate` the `kernel [num_heads, units / num_heads, width / num_heads]` and
    `bias [num_heads, width / num_heads]`.

    Raises:
      LayerError: an unknown scan type; `num_heads` does not divide the width; complex with odd `units` or with
        `min_rad` from 0.999 on. When built: the input is not `(units,)`.

    Source: De et al., "Griffin", arXiv 2402.19427; the complex form is in its appendix B.

    >>> import seqlayers as sl
    >>> model = sl.RGLRU(8, num_heads=2).build(sl.ChannelSpec((8,)), rngs=0)
    >>> model.a_gate.kernel.shape, model.receptive_field
    ((2, 4, 4), (-inf, 0))
    """

    units: int
    num_heads: int
    scan_type: str = 'auto'
    scan_sharding: Any = None
    only_real: bool = True
    min_rad: float = 0.9
    a_sharding: Any = None
    gate_kernel_variance_scale: float = 1.0
    gate_kernel_sharding: Any = None
    gate_bias_sharding: Any = None
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')

    def __post_init__(self):
        if self.scan_type not in _SCAN_TYPES:
            raise LayerError(f'RGLRU: scan_type must be one of {", ".join(_SCAN_TYPES)}; got {self.scan_type!r}')
        if not self.only_real and self.units % 2:
            raise LayerError(f'RGLRU: complex channels are pairs, so units must be even; got {self.units}')
        if not 0 <= self.min_rad < _MAX_RADIUS:
            raise LayerError(f'RGLRU: min_rad must be at least 0 and below {_MAX_RADIUS}, got {self.min_rad}')
        check_sizes(self, 'units', 'num_heads')
        if self._width % self.num_heads:
            raise LayerError(f'RGLRU: num_heads must divide the width {self._width}, got {self.num_heads}')

    @property
    def _width(self) -> int:
        return self.units if self.only_real else self.units // 2

    def setup(self, input_spec, rngs, constants):
        super().setup(input_spec, rngs, constants)
        if input_spec.shape != (self.units,):
            raise LayerError(
                f'takes channels ({self.units},), got {input_spec.shape}. Put Dense({self.units}) before it'
            )
        width, sharding = (self._width,), self.a_sharding
        self.a_param = param(RingInitializer(self.min_rad), rngs, width, self.param_dtype, sharding=sharding)
        if not self.only_real:
            self.a_imag_param = param(AngleInitializer(), rngs, width, self.param_dtype, sharding=sharding)
        self.input_gate, self.a_gate = self._gate(rngs), self._gate(rngs)

    def _gate(self, rngs: nnx.Rngs) -> Gate:
        inputs, outputs = self.units // self.num_heads, self._width // self.num_heads
        kernel = param(
            VarianceScaling(self.gate_kernel_variance_scale, 'normal'), rngs, (self.num_heads, inputs, outputs),
            self.param_dtype, fan_in=inputs, sharding=self.gate_kernel_sharding,
        )  # fmt: skip
        shape, sharding = (self.num_heads, outputs), self.gate_bias_sharding
        return Gate(kernel, param(zeros, rngs, shape, self.param_dtype, sharding=sharding))

    def get_initial_state(self, batch_size, *, training, constants=None):
        return jnp.zeros((batch_size, self.units), dtypes(self)[1]), jnp.zeros((batch_size,), bool)

    def step(self, x, state, *, training, constants=None):
        (h, started), (dtype, wide) = state, dtypes(self)
        values, valid = x.mask_invalid().values.astype(dtype), x.expanded_mask()
        input_gate, a_gate = (gate(values).astype(wide) for gate in (self.input_gate, self.a_gate))
        exponent = jnp.where(valid, a_gate, 0)  # 0 is a decay of 1
        log_radius = -_SHARPNESS * exponent * jax.nn.softplus(self.a_param[...].astype(wide))
        first = x.mask & (jnp.cumsum(x.mask, axis=1) == 1) & ~started[:, None]
        scale = input_gate * jnp.where(first[..., None], 1, _sqrt(-jnp.expm1(2 * log_radius)))
        if self.only_real:
            states = diagonal_recurrence(jnp.exp(log_radius), scale * values, h)
        else:
            decays = Complex.from_log(log_radius, exponent * self.a_imag_param[...].astype(wide))
            inputs = Complex.from_merged(jnp.tile(scale, 2) * values)
            states = diagonal_recurrence(decays, inputs, Complex.from_merged(h)).merged()
        y = Sequence(states[:, 1:].astype(dtype), x.mask)
        return y, (states[:, -1], started | x.mask.any(axis=1))
