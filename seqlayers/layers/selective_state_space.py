import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from seqlayers.context import LayerError
from seqlayers.initializers import Initializer, ones
from seqlayers.layers.linear_recurrence import LinearRecurrence, check_sizes, dtypes, outer_product_recurrence
from seqlayers.layers.step_sizes import SoftplusStep, check_steps
from seqlayers.parameters import param
from seqlayers.sequence import Sequence


@dataclasses.dataclass(frozen=True)
class LogRate(Initializer):
    """Logarithms of rates that are spread evenly from 1 to 16."""

    def __call__(self, key, shape, dtype, fan_in=None):
        return jnp.log(jax.random.uniform(key, shape, minval=1.0, maxval=16.0)).astype(dtype)


class SelectiveStateSpace(LinearRecurrence):
    """A state for each head that the input itself writes, reads and lets decay (the core of Mamba-2, SSD).

    Shapes: `(batch, time, [x, B, C, dt]) -> (batch, time, heads * units)`. The channels of the input are, one after the
    other, values x `heads * units`, what to write B and what to read C, each `groups * state_size`, and how much time
    passes dt, `heads`: all that depends on the input is computed before, so a Mamba-2 block is a short composition.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (-inf, 0) |

    For each head, with a matrix S as the state, B and C those of its group:

        d = softplus(dt + dt_bias)
        S = exp(-exp(a_log) * d) * S + B^T (d * x)
        y = C S + skip * x

    Whole sequences and long blocks run in chunks, by matrix products; a single timestep costs the same whatever came
    before it.

    Mask: unchanged; for an invalid timestep no time passes: it leaves the state as it is. State: S, float32
    `(batch, num_heads, state_size, units_per_head)`.

    Args:
      num_groups: heads `0 ... num_heads / num_groups - 1` share the first B and C, and so on.
      chunk_size: timesteps of a chunk: a matter of speed and memory alone.
      min_step, max_step: initial steps d, for dt = 0, are spread evenly between the logarithms of these.
      compute_dtype: of the output; the recurrence runs in float32 or wider.

    Parameters, each `[num_heads]`: `a_log`, `dt_bias`, `skip`.

    Raises:
      LayerError: sizes below 1, heads that do not divide into the groups, steps that are not
        `0 < min_step <= max_step`. When built: an input of other channels.

    Source: Dao and Gu, "Transformers are SSMs", arXiv 2405.21060. Its block, but for the last norm and the residual:

    >>> import jax, seqlayers as sl
    >>> heads, units, size = 2, 8, 4
    >>> inner, conv = heads * units, heads * units + 2 * size
    >>> xbc = sl.Serial([sl.Dense(conv), sl.DepthwiseConv1D(4, padding='causal', activation=jax.nn.silu)])
    >>> mix = sl.Serial([sl.Parallel([xbc, sl.Dense(heads)], 'concat'), sl.SelectiveStateSpace(heads, units, size)])
    >>> block = sl.Serial([sl.Parallel([mix, sl.Dense(inner, activation=jax.nn.silu)], 'product'), sl.Dense(12)])
    >>> block.build(sl.ChannelSpec((12,)), rngs=0).output_spec
    ChannelSpec((12,), float32)
    """

    num_heads: int
    units_per_head: int
    state_size: int
    num_groups: int = 1
    chunk_size: int = 64
    min_step: float = 0.001
    max_step: float = 0.1
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    precision: Any = None
    head_sharding: Any = None

    def __post_init__(self):
        check_sizes(self, 'num_heads', 'units_per_head', 'state_size', 'num_groups', 'chunk_size')
        if self.num_heads % self.num_groups:
            raise LayerError(
                f'SelectiveStateSpace: num_groups must divide num_heads={self.num_heads}, got {self.num_groups}'
            )
        check_steps(self)

    @property
    def _sizes(self) -> list[int]:
        """Of x, B, C and dt."""
        shared = self.num_groups * self.state_size
        return [self.num_heads * self.units_per_head, shared, shared, self.num_heads]

    def setup(self, input_spec, rngs, constants):
        super().setup(input_spec, rngs, constants)
        if input_spec.shape != (sum(self._sizes),):
            x, b, c, dt = self._sizes
            raise LayerError(
                f'takes {sum(self._sizes)} channels: x {x}, B {b}, C {c} and dt {dt}; got {input_spec.shape[0]}. '
                f'Put Dense({sum(self._sizes)}) before it'
            )
        self.a_log = self._of_heads(LogRate(), rngs)
        self.dt_bias = self._of_heads(SoftplusStep(self.min_step, self.max_step), rngs)
        self.skip = self._of_heads(ones, rngs)

    def _of_heads(self, init: Initializer, rngs: nnx.Rngs) -> nnx.Param:
        return param(init, rngs, (self.num_heads,), self.param_dtype, sharding=self.head_sharding)

    def get_initial_state(self, batch_size, *, training, constants=None):
        return jnp.zeros((batch_size, self.num_heads, self.state_size, self.units_per_head), dtypes(self)[1])

    def step(self, x, state, *, training, constants=None):
        dtype, wide = dtypes(self)
        values = x.mask_invalid().values.astype(wide)
        inputs, keys, queries, dt = jnp.split(values, np.cumsum(self._sizes[:-1]), axis=-1)
        a_log, dt_bias, skip = (p[...].astype(wide)[:, None] for p in (self.a_log, self.dt_bias, self.skip))

        def split(a: jax.Array, n: int) -> jax.Array:
            return a.reshape(*x.shape[:2], n, a.shape[-1] // n)

        inputs, dt = split(inputs, self.num_heads), split(dt, self.num_heads)
        dt = jnp.where(x.mask[..., None, None], jax.nn.softplus(dt + dt_bias), 0)
        y, state = outer_product_recurrence(
            split(queries, self.num_groups), split(keys, self.num_groups), dt * inputs, -jnp.exp(a_log) * dt, state,
            chunk_size=self.chunk_size, precision=self.precision,
        )  # fmt: skip
        y = (y + skip * inputs).reshape(*x.shape[:2], self._sizes[0])
        return Sequence(y.astype(dtype), x.mask), state
