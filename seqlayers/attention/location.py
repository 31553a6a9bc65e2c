"""Attention that knows where it looked before: each timestep's weights depend on those of the timestep before."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqlayers.attention.additive import AdditiveAttention
from seqlayers.attention.core import masked_softmax
from seqlayers.attention.weighted_source import WeightedSource
from seqlayers.context import LayerError
from seqlayers.dtypes import promote
from seqlayers.initializers import lecun_normal, zeros
from seqlayers.layers.dense import Dense, DenseShaped
from seqlayers.parameters import param
from seqlayers.timing import Timing


class LocationSensitiveAttention(AdditiveAttention):
    """`AdditiveAttention` that also sees where it looked before.

    Shapes: `(batch, time, in) -> (batch, time, num_heads, source_channels)`, with a source `(batch, source_time,
    source_channels)` in `constants[source_name]`, for `build` too. A source of batch 1 serves all items.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (-inf, 0); the source is no part of it |

    For each head, `w = softmax over s of v . tanh(query(x) + key(source[s]) + location[s])`, in float32 or wider, and
    the output is the sum of w[s] times the source. `location` is a linear map of a convolution along the source, of
    the weights of the timestep before and of the sum of all weights so far. The timesteps of a call run in a scan.

    Mask: unchanged. Invalid timesteps of the source are not seen, those of the input leave the state as it is. State:
    that of `AdditiveAttention`, and both kinds of weights, `(batch, source_time, num_heads, 2)` in float32 or wider, at
    first zero.

    Emits: `CrossAttentionEmits`. Parameters: those of `AdditiveAttention`, `location_kernel [location_kernel_size, 2,
    num_heads, location_filters]` and `location_projection [num_heads, location_filters, units_per_head]`.

    Raises:
      LayerError: as `AdditiveAttention`.

    Source: Chorowski et al., arXiv 1506.07503; with the sum of weights, Shen et al., "Tacotron 2", arXiv 1712.05884.

    >>> import seqlayers as sl
    >>> sl.LocationSensitiveAttention('text', num_heads=1, units_per_head=128).receptive_field
    (-inf, 0)
    """

    location_filters: int = 32
    location_kernel_size: int = 31

    def __post_init__(self):
        self.check('num_heads', 'units_per_head', 'location_filters', 'location_kernel_size')

    @property
    def timing(self) -> Timing:
        return Timing(receptive_field=(-math.inf, 0))

    def setup(self, input_spec, rngs, constants):
        super().setup(input_spec, rngs, constants)
        filters, size = self.location_filters, self.location_kernel_size

        def make(*shape: int, fan_in: int) -> Any:
            return param(self.kernel_init, rngs, shape, self.param_dtype, fan_in=fan_in)

        self.location_kernel = make(size, 2, self.num_heads, filters, fan_in=2 * size)
        self.location_projection = make(self.num_heads, filters, self.units_per_head, fan_in=filters)

    def initial_alignment(self, source):
        dtype = jnp.promote_types(source.keys.dtype, jnp.float32)
        return jnp.zeros((*source.mask.shape, self.num_heads, 2), dtype)

    def weights(self, x, source, alignment, *, training, constants):
        def look(alignment: jax.Array, timestep: tuple) -> tuple[jax.Array, jax.Array]:
            query, valid = timestep
            weights = self.compare(query[:, None] + self._location(alignment), source.keys, source.mask)
            now = weights.swapaxes(1, 2).astype(alignment.dtype)
            looked = jnp.stack([now, alignment[..., 1] + now], axis=-1)
            return jnp.where(valid[:, None, None, None], looked, alignment), weights

        queries = self.query_projection.layer(x, training=training, constants=constants).values
        alignment, weights = lax.scan(look, alignment, (queries.swapaxes(0, 1), x.mask.swapaxes(0, 1)))
        return weights.swapaxes(0, 1), alignment

    def _location(self, alignment: jax.Array) -> jax.Array:
        """`(batch, source_time, heads, units)`."""
        b, s, heads, kinds = alignment.shape
        arrays = alignment, self.location_kernel[...], self.location_projection[...]
        alignment, kernel, projection = promote(*arrays, dtype=self.compute_dtype)
        features = lax.conv_general_dilated(
            alignment.reshape(b, s, heads * kinds), kernel.reshape(*kernel.shape[:2], -1), (1,), 'SAME',
            dimension_numbers=('NWC', 'WIO', 'NWC'), feature_group_count=heads, precision=self.precision,
        )  # fmt: skip
        features = features.reshape(b, s, heads, self.location_filters)
        return jnp.einsum('bsnf,nfh->bsnh', features, projection, precision=self.precision)


class DynamicConvolutionAttention(WeightedSource):
    """Attention that moves along a source from where it looked before, by filters that it chooses in every timestep.

    Shapes: `(batch, time, in) -> (batch, time, 1, source_channels)`, with a source `(batch, source_time,
    source_channels)` in `constants[source_name]`, for `build` too. A source of batch 1 serves all items.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (-inf, 0); the source is no part of it |

    It never compares contents. With the weights `w'` of the timestep before (at first all at timestep 0 of the source),
    and convolutions along the source,

        w = softmax of v . tanh(static(static_filters * w') + dynamic(filters(x) * w') + bias) + log(prior * w')
        filters(x) = filter_output(tanh(filter_hidden(x)))

    `prior` is a beta-binomial distribution of steps forward, from 0 to `max_forward_step`: it keeps an untrained
    attention moving. Below 1e-6 its logarithm is that of 1e-6. The timesteps of a call run in a scan.

    Mask: unchanged. Invalid timesteps of the source are not seen, those of the input leave the weights as they are.
    State: the source, as it was in `get_initial_state`, its mask, and w', `(batch, source_time)` in float32 or wider.

    Emits: `CrossAttentionEmits`. Parameters: `static_kernel [kernel_size, static_filters]`, `static_projection
    [static_filters, units]`, `dynamic_projection [dynamic_filters, units]`, `bias [units]`, `v [units]`,
    `filter_hidden/kernel [in, units]` and `/bias`, `filter_output/kernel [units, kernel_size, dynamic_filters]`.

    Args:
      units: of the two hidden layers.
      kernel_size: odd: filters reach as far back as ahead.
      prior_alpha, prior_beta: the mean step forward is `max_forward_step * alpha / (alpha + beta)`, here 1.

    Raises:
      LayerError: sizes below 1, an even kernel size, a prior that is no distribution, or no name of a source. When
        built: the source is missing, or input or source have not one channel axis.

    Source: Battenberg et al., "Location-relative attention", arXiv 1910.10288.

    >>> import seqlayers as sl
    >>> sl.DynamicConvolutionAttention('text', units=128).receptive_field
    (-inf, 0)
    """

    units: int
    static_filters: int = 8
    dynamic_filters: int = 8
    kernel_size: int = 21
    max_forward_step: int = 10
    prior_alpha: float = 0.1
    prior_beta: float = 0.9
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    precision: Any = None
    kernel_init: Callable = lecun_normal
    bias_init: Callable = zeros

    def __post_init__(self):
        self.check('units', 'static_filters', 'dynamic_filters', 'kernel_size')
        if self.kernel_size % 2 == 0:
            raise LayerError(f'DynamicConvolutionAttention: kernel_size must be odd, got {self.kernel_size}')
        if self.max_forward_step < 0 or min(self.prior_alpha, self.prior_beta) <= 0:
            raise LayerError(
                'DynamicConvolutionAttention: max_forward_step must be at least 0, prior_alpha and prior_beta '
                f'greater; got {self.max_forward_step}, {self.prior_alpha} and {self.prior_beta}'
            )

    @property
    def timing(self) -> Timing:
        return Timing(receptive_field=(-math.inf, 0))

    def setup(self, input_spec, rngs, constants):
        super().setup(input_spec, rngs, constants)
        names = ('compute_dtype', 'param_dtype', 'precision', 'kernel_init')
        options = {name: getattr(self, name) for name in names}
        hidden = Dense(self.units, activation=jnp.tanh, bias_init=self.bias_init, **options)
        output = DenseShaped((self.kernel_size, self.dynamic_filters), use_bias=False, **options)
        self.filter_hidden = hidden.build(input_spec, rngs=rngs, constants=constants.at('filter_hidden'))
        self.filter_output = output.build(
            self.filter_hidden.output_spec, rngs=rngs, constants=constants.at('filter_output')
        )

        def make(*shape: int) -> Any:
            return param(self.kernel_init, rngs, shape, self.param_dtype, fan_in=shape[0])

        self.static_kernel = make(self.kernel_size, self.static_filters)
        self.static_projection = make(self.static_filters, self.units)
        self.dynamic_projection = make(self.dynamic_filters, self.units)
        self.v = make(self.units)
        self.bias = param(self.bias_init, rngs, (self.units,), self.param_dtype)

    def initial_alignment(self, source):
        dtype = jnp.promote_types(self.filter_output.output_spec.dtype, jnp.float32)
        return jnp.zeros_like(source.mask, dtype) + (jnp.arange(source.mask.shape[1]) == 0)

    def weights(self, x, source, alignment, *, training, constants):
        def look(alignment: jax.Array, timestep: tuple) -> tuple[jax.Array, jax.Array]:
            filters, valid = timestep
            weights = masked_softmax(self._logits(alignment, filters), source.mask)
            return jnp.where(valid[:, None], weights, alignment), weights

        hidden = self.filter_hidden.layer(x, training=training, constants=constants)
        filters = self.filter_output.layer(hidden, training=training, constants=constants).values
        alignment, weights = lax.scan(look, alignment, (filters.swapaxes(0, 1), x.mask.swapaxes(0, 1)))
        return weights.swapaxes(0, 1)[:, :, None], alignment

    def _logits(self, alignment: jax.Array, filters: jax.Array) -> jax.Array:
        """`(batch, source_time)`, by the weights before and `filters`, `(batch, kernel_size, dynamic_filters)`."""
        reach = self.kernel_size // 2
        around, filters, static, *projections, v, bias = promote(
            _windows(alignment, reach, reach), filters, self.static_kernel[...], self.static_projection[...],
            self.dynamic_projection[...], self.v[...], self.bias[...], dtype=self.compute_dtype,
        )  # fmt: skip

        def product(*arrays: jax.Array) -> jax.Array:
            return jnp.matmul(*arrays, precision=self.precision)

        features = product(around, static), product(around, filters)
        hidden = sum(product(f, p) for f, p in zip(features, projections, strict=True))
        logits = product(jnp.tanh(hidden + bias), v)
        prior = jnp.asarray(self._prior()[::-1], alignment.dtype)
        forward = product(_windows(alignment, self.max_forward_step, 0), prior)
        return logits + jnp.log(jnp.maximum(forward, 1e-6))

    def _prior(self) -> np.ndarray:
        """The probabilities of 0, 1, ... `max_forward_step` timesteps forward: a beta-binomial distribution."""

        def log_beta(a: float, b: float) -> float:
            return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

        n, alpha, beta = self.max_forward_step, self.prior_alpha, self.prior_beta
        logs = [log_beta(k + alpha, n - k + beta) - log_beta(alpha, beta) for k in range(n + 1)]
        return np.array([math.comb(n, k) * math.exp(log) for k, log in enumerate(logs)])


def _windows(weights: jax.Array, before: int, after: int) -> jax.Array:
    """For each timestep the weights around it, `(batch, source_time, before + 1 + after)`; zero beyond the ends."""
    padded = jnp.pad(weights, ((0, 0), (before, after)))
    time = weights.shape[1]
    return jnp.stack([padded[:, i : i + time] for i in range(before + 1 + after)], axis=-1)
