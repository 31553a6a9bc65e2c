import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqlayers.context import LayerError
from seqlayers.dtypes import promoted_dtype
from seqlayers.initializers import Initializer, lecun_normal, orthogonal, zeros
from seqlayers.layer import SequenceLayer
from seqlayers.parameters import param
from seqlayers.sequence import Sequence
from seqlayers.timing import Timing


@dataclasses.dataclass(frozen=True)
class UnitForgetBias(Initializer):
    """Zeros, but ones for the forget gate: an LSTM remembers from the start (Jozefowicz et al., 2015)."""

    def __call__(self, key, shape, dtype, fan_in=None):
        if len(shape) != 1 or shape[0] % 4:
            raise ValueError(f'UnitForgetBias is for the bias of an LSTM, of shape (4 * units,); got {shape}')
        return jnp.repeat(jnp.array([0, 1, 0, 0], dtype), shape[0] // 4)


class _Recurrent(SequenceLayer):
    """What LSTM and GRU share: subclasses say how many blocks their kernels have, and compute one timestep.

    All timesteps of a call are projected by one matrix product; only the recurrence runs in a scan.
    """

    units: int
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    precision: Any = None
    activation: Callable = jnp.tanh
    recurrent_activation: Callable = jax.nn.sigmoid
    use_bias: bool = True
    kernel_init: Callable = lecun_normal
    kernel_sharding: Any = None
    recurrent_kernel_init: Callable = orthogonal
    recurrent_kernel_sharding: Any = None
    bias_init: Callable = zeros
    bias_sharding: Any = None

    blocks: ClassVar[int]
    published_names: ClassVar = {'kernel': 'kernel/kernel', 'recurrent_kernel': 'recurrent_kernel/kernel'}

    def _advance(self, state: Any, projected: jax.Array, recur: Callable) -> tuple[Any, jax.Array]:
        """The next state and the output of one timestep. `projected` is `x W + b` and `recur(h)` is `h U`."""
        raise NotImplementedError

    @property
    def timing(self) -> Timing:
        return Timing(receptive_field=(-math.inf, 0))

    def setup(self, input_spec, rngs, constants):
        if len(input_spec.shape) != 1:
            raise LayerError(f'takes vectors and got channels {input_spec.shape}. Put sl.Flatten() before it')
        inputs, outputs = input_spec.shape[0], self.blocks * self.units
        self.kernel = param(
            self.kernel_init, rngs, (inputs, outputs), self.param_dtype,
            fan_in=inputs, sharding=self.kernel_sharding,
        )  # fmt: skip
        self.recurrent_kernel = param(
            self.recurrent_kernel_init, rngs, (self.units, outputs), self.param_dtype,
            fan_in=self.units, sharding=self.recurrent_kernel_sharding,
        )  # fmt: skip
        if self.use_bias:
            self.bias = param(self.bias_init, rngs, (outputs,), self.param_dtype, sharding=self.bias_sharding)

    def layer(self, x, *, training, constants=None):
        state = self.get_initial_state(x.shape[0], training=training, constants=constants)
        return self.step(x, state, training=training, constants=constants)[0]

    def step(self, x, state, *, training, constants=None):
        def matmul(a: jax.Array, kernel: jax.Array) -> jax.Array:
            return jnp.matmul(a, kernel.astype(a.dtype), precision=self.precision)

        projected = matmul(x.mask_invalid().values.astype(self._dtype), self.kernel[...])
        if self.use_bias:
            projected = projected + self.bias[...].astype(self._dtype)
        recurrent_kernel = self.recurrent_kernel[...]

        def body(state: Any, inputs: tuple):
            projected, valid = inputs
            new, output = self._advance(state, projected, lambda h: matmul(h, recurrent_kernel))
            return jax.tree.map(lambda n, old: jnp.where(valid[:, None], n, old), new, state), output

        state, outputs = lax.scan(body, state, (projected.swapaxes(0, 1), x.mask.T))
        return Sequence(outputs.swapaxes(0, 1), x.mask), state

    @property
    def _dtype(self) -> np.dtype:
        return promoted_dtype(self.input_spec.dtype, self.param_dtype, dtype=self.compute_dtype)

    def _zeros(self, batch_size: int) -> jax.Array:
        return jnp.zeros((batch_size, self.units), self._dtype)


class LSTM(_Recurrent):
    """Long short-term memory.

    Shapes: `(batch, time, in) -> (batch, time, units)`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (-inf, 0) |

    With `[i, f, g, o] = x W + h U + b`, as in Keras, and h as the output:

        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)

    `activation` replaces tanh and `recurrent_activation` sigmoid.

    Mask: unchanged; an invalid timestep leaves the state as it is. State: `(c, h)`, each `(batch, units)` in
    the compute dtype. Parameters: `kernel [in, 4 units]`, `recurrent_kernel [units, 4 units]`,
    `bias [4 units]`, by default 1 for the forget gate f.

    Raises:
      LayerError: the input has not exactly one channel axis.

    Source: Hochreiter and Schmidhuber, Neural Computation 9 (1997); Gers et al. (2000).

    >>> import seqlayers as sl
    >>> model = sl.LSTM(8).build(sl.ChannelSpec((3,)), rngs=0)
    >>> model.output_spec, model.receptive_field
    (ChannelSpec((8,), float32), (-inf, 0))
    """

    bias_init: Callable = UnitForgetBias()

    blocks: ClassVar = 4

    def get_initial_state(self, batch_size, *, training, constants=None):
        return self._zeros(batch_size), self._zeros(batch_size)

    def _advance(self, state, projected, recur):
        c, h = state
        i, f, g, o = jnp.split(projected + recur(h), 4, axis=-1)
        sigmoid, tanh = self.recurrent_activation, self.activation
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        return (c, h), h


class GRU(_Recurrent):
    """Gated recurrent unit, in the variant that resets after the recurrent product, as in Keras and cuDNN.

    Shapes: `(batch, time, in) -> (batch, time, units)`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (-inf, 0) |

    With `[xz, xr, xn] = x W + b` and `[hz, hr, hn] = h U + d`, and h as the output:

        z = sigmoid(xz + hz)
        r = sigmoid(xr + hr)
        h = z * h + (1 - z) * tanh(xn + r * hn)

    `activation` replaces tanh and `recurrent_activation` sigmoid.

    Mask: unchanged; an invalid timestep leaves the state as it is. State: h, `(batch, units)` in the compute
    dtype. Parameters: `kernel [in, 3 units]`, `recurrent_kernel [units, 3 units]`, `bias [3 units]` and
    `recurrent_bias [3 units]` (b and d; Keras keeps them in one array `[2, 3 units]`).

    Raises:
      LayerError: the input has not exactly one channel axis.

    Source: Cho et al., arXiv 1406.1078.

    >>> import seqlayers as sl
    >>> model = sl.GRU(8).build(sl.ChannelSpec((3,)), rngs=0)
    >>> model.output_spec, model.receptive_field
    (ChannelSpec((8,), float32), (-inf, 0))
    """

    blocks: ClassVar = 3

    def setup(self, input_spec, rngs, constants):
        super().setup(input_spec, rngs, constants)
        if self.use_bias:
            shape, sharding = self.bias.shape, self.bias_sharding
            self.recurrent_bias = param(self.bias_init, rngs, shape, self.param_dtype, sharding=sharding)

    def get_initial_state(self, batch_size, *, training, constants=None):
        return self._zeros(batch_size)

    def _advance(self, h, projected, recur):
        recurrent = recur(h)
        if self.use_bias:
            recurrent = recurrent + self.recurrent_bias[...].astype(h.dtype)
        (xz, xr, xn), (hz, hr, hn) = (jnp.split(a, 3, axis=-1) for a in (projected, recurrent))
        sigmoid, tanh = self.recurrent_activation, self.activation
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        h = z * h + (1 - z) * tanh(xn + r * hn)
        return h, h
