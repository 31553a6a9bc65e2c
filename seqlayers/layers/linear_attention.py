from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers.context import LayerError
from seqlayers.initializers import lecun_normal, zeros
from seqlayers.layers.linear_recurrence import LinearRecurrence, check_sizes, dtypes, outer_product_recurrence
from seqlayers.parameters import param
from seqlayers.sequence import Sequence

_DECAYS = ('fixed', 'head', 'unit')


class GatedLinearAttention(LinearRecurrence):
    """Attention without softmax, to a past that decays: a state of constant size instead of a cache.

    Shapes: `(batch, time, in) -> (batch, time, num_heads, units_per_head)`. Heads are neither normalised nor merged:
    put, say, `RMSNormalization()`, `Flatten()` and `Dense(features)` behind it.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (-inf, 0) |

    For each head, with q, k and v projected from the input x, and a matrix S as the state:

        S = a^T * S + k^T v
        y = q S / sqrt(units_per_head)

    The decay a is, with `decay='fixed'`, `1 - 2^(-5 - head)` (RetNet: heads from short to long memory); with 'head',
    `sigmoid(x W + b)^(1 / decay_temperature)`, one number for a head; with 'unit', one for each unit of its keys (GLA,
    where W is the product of two smaller matrices). The greater the temperature, the longer the memory at first.

    Whole sequences and long blocks run in chunks, by matrix products; a single timestep costs the same whatever came
    before it.

    Mask: unchanged; an invalid timestep leaves the state as it is. State: S, float32
    `(batch, num_heads, units_per_head, units_per_head)`.

    Args:
      chunk_size: timesteps of a chunk: a matter of speed and memory alone. None is 64, or 16 with 'unit', where the
        work within chunks is not a matrix product.
      compute_dtype: of projections and output; the recurrence runs in float32 or wider.

    Parameters: `kernel [in, 3, num_heads, units_per_head]`, of q, k and v; for 'head' and 'unit' also `decay_kernel
    [in, num_heads, n]` and `decay_bias [num_heads, n]`, n being 1 or `units_per_head`.

    Raises:
      LayerError: sizes below 1, an unknown decay, a temperature that is not positive. When built: more or less than
        one channel axis.

    Source: Katharopoulos et al., arXiv 2006.16236; RetNet: Sun et al., arXiv 2307.08621; GLA: Yang et al., arXiv
    2312.06635.

    >>> import seqlayers as sl
    >>> model = sl.GatedLinearAttention(2, units_per_head=4).build(sl.ChannelSpec((8,)), rngs=0)
    >>> model.output_spec, model.get_initial_state(1, training=False).shape
    (ChannelSpec((2, 4), float32), (1, 2, 4, 4))
    """

    num_heads: int
    units_per_head: int
    decay: str = 'unit'
    decay_temperature: float = 16.0
    chunk_size: int | None = None
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    precision: Any = None
    kernel_init: Callable = lecun_normal
    kernel_sharding: Any = None
    decay_kernel_init: Callable = lecun_normal
    decay_kernel_sharding: Any = None
    decay_bias_init: Callable = zeros
    decay_bias_sharding: Any = None

    def __post_init__(self):
        check_sizes(self, 'num_heads', 'units_per_head', 'chunk_size')
        if self.decay not in _DECAYS:
            raise LayerError(f'GatedLinearAttention: decay must be one of {", ".join(_DECAYS)}; got {self.decay!r}')
        if not self.decay_temperature > 0:
            raise LayerError(f'GatedLinearAttention: decay_temperature must be positive, got {self.decay_temperature}')

    @property
    def _chunk_size(self) -> int:
        return (16 if self.decay == 'unit' else 64) if self.chunk_size is None else self.chunk_size

    def setup(self, input_spec, rngs, constants):
        super().setup(input_spec, rngs, constants)
        inputs, heads, units = input_spec.shape[0], self.num_heads, self.units_per_head
        self.kernel = param(
            self.kernel_init, rngs, (inputs, 3, heads, units), self.param_dtype,
            fan_in=inputs, sharding=self.kernel_sharding,
        )  # fmt: skip
        if self.decay != 'fixed':
            decays = (heads, units if self.decay == 'unit' else 1)
            self.decay_kernel = param(
                self.decay_kernel_init, rngs, (inputs, *decays), self.param_dtype,
                fan_in=inputs, sharding=self.decay_kernel_sharding,
            )  # fmt: skip
            bias_init, sharding = self.decay_bias_init, self.decay_bias_sharding
            self.decay_bias = param(bias_init, rngs, decays, self.param_dtype, sharding=sharding)

    def get_initial_state(self, batch_size, *, training, constants=None):
        return jnp.zeros((batch_size, self.num_heads, self.units_per_head, self.units_per_head), dtypes(self)[1])

    def step(self, x, state, *, training, constants=None):
        dtype, wide = dtypes(self)
        values = x.mask_invalid().values.astype(dtype)
        projected = jnp.einsum('bti,ijhn->jbthn', values, self.kernel[...].astype(dtype), precision=self.precision)
        queries, keys, written = projected.astype(wide)
        y, state = outer_product_recurrence(
            queries * self.units_per_head**-0.5, keys, written,
            jnp.where(x.mask[..., None, None], self._log_decays(values, wide), 0), state,
            chunk_size=self._chunk_size, precision=self.precision,
        )  # fmt: skip
        return Sequence(y.astype(dtype), x.mask), state

    def _log_decays(self, values: jax.Array, dtype: Any) -> jax.Array:
        """Of units, `(batch, time, heads, units)`, or of heads, `(..., 1)`; those that do not vary, `(heads, 1)`."""
        if self.decay == 'fixed':
            return jnp.asarray(np.log1p(-(2.0 ** (-5 - np.arange(self.num_heads)))), dtype)[:, None]
        kernel, bias = self.decay_kernel[...].astype(values.dtype), self.decay_bias[...].astype(dtype)
        logits = jnp.einsum('bti,ihn->bthn', values, kernel, precision=self.precision).astype(dtype)
        return jax.nn.log_sigmoid(logits + bias) / self.decay_temperature
