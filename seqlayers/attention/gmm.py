import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqlayers.attention.weighted_source import WeightedSource
from seqlayers.initializers import lecun_normal, zeros
from seqlayers.layers.dense import DenseShaped, EinsumDense
from seqlayers.timing import Timing


class GmmAttention(WeightedSource):
    """Every timestep looks at a source through a mixture of Gaussians over its timesteps, which may only move forward.

    Shapes: `(batch, time, in) -> (batch, time, num_heads, source_channels)`, with a source `(batch, source_time,
    source_channels)` in `constants[source_name]`, for `build` too. A source of batch 1 serves all items.

    | `monotonic` | block size | output ratio | latencies | receptive field |
    |---|---|---|---|---|
    | True | 1 | 1 | 0 | (-inf, 0); the source is no part of it |
    | False | 1 | 1 | 0 | (0, 0); the source is no part of it |

    For each head, with three numbers for each component m from a layer of hidden units, timestep j of the source has
    the weight

        w[j] = sum over m of softmax(prior)[m] * Normal(j; mean[m], softplus(scale[m] + init_scale_bias))
        step = softplus(offset + init_offset_bias)
        mean = step, or the mean of the timestep before + step (`monotonic`)

    and the output is the sum of w[j] times the source. Weights are a density at whole numbers, and need not sum to 1.
    (In the published layer each Gaussian is multiplied by `sqrt(2 pi variance)` instead of divided by it.)

    Mask: unchanged. Invalid timesteps of the source have no weight, those of the input leave the mean as it is. (In
    the published layer it moves on.) `layer` sums up the steps of all timesteps at once.

    State: the source, as it was in `get_initial_state`, and its mask; the means, `(batch, num_heads, num_components)`
    in float32 or wider, if `monotonic`.

    Emits: `CrossAttentionEmits`. Parameters: `hidden/kernel [in, num_heads, units_per_head]`, `output/kernel
    [num_heads, units_per_head, num_components, 3]`, `output/bias [num_heads, num_components, 3]`; the 3 are prior,
    offset and scale.

    Args:
      max_offset: if positive, the most timesteps of the source that `mean` moves in a timestep.
      precision: of all products.

    Raises:
      LayerError: sizes below 1, or no name of a source. When built: the source is missing, or input or source have not
        one channel axis.

    Source: Graves, arXiv 1308.0850; Battenberg et al., "Location-relative attention", arXiv 1910.10288 (version 2).

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> attention = sl.GmmAttention('text', num_heads=1, units_per_head=8, num_components=5, monotonic=True)
    >>> text = sl.Sequence.from_values(jnp.ones((1, 7, 5)))
    >>> model = attention.build(sl.ChannelSpec((3,)), rngs=0, constants={'text': text})
    >>> model.output_spec, model.receptive_field
    (ChannelSpec((1, 5), float32), (-inf, 0))
    """

    num_heads: int
    units_per_head: int
    num_components: int
    monotonic: bool
    precision: Any = None
    hidden_kernel_init: Callable = lecun_normal
    hidden_kernel_sharding: Any = None
    output_kernel_init: Callable = lecun_normal
    output_use_bias: bool = True
    output_bias_init: Callable = zeros
    output_bias_sharding: Any = None
    output_kernel_sharding: Any = None
    init_offset_bias: float = 0.0
    init_scale_bias: float = 0.0
    max_offset: float = -1.0

    def __post_init__(self):
        self.check('num_heads', 'units_per_head', 'num_components')

    @property
    def timing(self) -> Timing:
        return Timing(receptive_field=(-math.inf if self.monotonic else 0, 0))

    def setup(self, input_spec, rngs, constants):
        super().setup(input_spec, rngs, constants)
        hidden = DenseShaped(
            (self.num_heads, self.units_per_head), use_bias=False, activation=jax.nn.relu, precision=self.precision,
            kernel_init=self.hidden_kernel_init, kernel_sharding=self.hidden_kernel_sharding,
        )  # fmt: skip
        output = EinsumDense(
            '...nh,nhmk->...nmk', (self.num_heads, self.num_components, 3), precision=self.precision,
            bias_axes='nmk' if self.output_use_bias else '',
            kernel_init=self.output_kernel_init, kernel_sharding=self.output_kernel_sharding,
            bias_init=self.output_bias_init, bias_sharding=self.output_bias_sharding,
        )  # fmt: skip
        self.hidden = hidden.build(input_spec, rngs=rngs, constants=constants.at('hidden'))
        self.output = output.build(self.hidden.output_spec, rngs=rngs, constants=constants.at('output'))

    @property
    def _wide(self) -> Any:
        """The dtype of weights and means: at least float32."""
        return jnp.promote_types(self.output.output_spec.dtype, jnp.float32)

    def initial_alignment(self, source):
        shape = (len(source.values), self.num_heads, self.num_components)
        return jnp.zeros(shape, self._wide) if self.monotonic else ()

    def weights(self, x, source, alignment, *, training, constants):
        hidden = self.hidden.layer(x, training=training, constants=constants)
        logits = self.output.layer(hidden, training=training, constants=constants).values.astype(self._wide)
        prior, offset, scale = jnp.moveaxis(logits, -1, 0)  # each (batch, time, heads, components)
        means = self._steps(offset + self.init_offset_bias)
        if self.monotonic:
            steps = jnp.where(x.mask[:, :, None, None], means, 0)
            means = jnp.cumsum(jnp.concatenate([alignment[:, None], steps], axis=1), axis=1)
            means, alignment = means[:, 1:], means[:, -1]
        variance = jnp.square(jax.nn.softplus(scale + self.init_scale_bias))
        heights = jax.nn.softmax(prior) * jax.lax.rsqrt(2 * math.pi * variance + 1e-8)
        distances = jnp.arange(source.values.shape[1]) - means[..., None]
        bells = jnp.exp(-jnp.square(distances) / (2 * variance + 1e-9)[..., None])
        weights = jnp.einsum('btnm,btnms->btns', heights, bells, precision=self.precision)
        return jnp.where(source.mask[:, None, None], weights, 0), alignment

    def _steps(self, logits: jax.Array) -> jax.Array:
        """How far the means move: positive, and less than `max_offset` if that is given."""
        steps = jax.nn.softplus(logits)
        return steps - jax.nn.softplus(logits - self.max_offset) if self.max_offset > 0 else steps
