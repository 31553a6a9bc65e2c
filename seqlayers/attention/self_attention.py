import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from seqlayers import buffers
from seqlayers.attention import shared
from seqlayers.attention.cache import RingCache
from seqlayers.attention.core import Attention
from seqlayers.attention.projections import CombinedQueryKeyValueProjection, InputProjection
from seqlayers.clock import clock
from seqlayers.context import LayerError
from seqlayers.initializers import embedding_normal, zeros
from seqlayers.layer import SequenceLayer
from seqlayers.sequence import Sequence
from seqlayers.timing import ParallelTiming, SerialTiming, Timing


class SelfAttentionEmits(NamedTuple):
    """The attention weights: channels `(num_heads, sinks + keys)`, with the mask of the queries."""

    probabilities: Sequence


class SelfAttentionState(NamedTuple):
    """What self-attention keeps between steps; see `DotProductSelfAttention`."""

    cache: RingCache
    time: jax.Array
    queries: Sequence
    networks: list


class DotProductSelfAttention(SequenceLayer):
    """Every timestep looks at those from `max_past_horizon` before it to `max_future_horizon` after it.

    Shapes: `(batch, time, in) -> (batch, time, num_heads, units_per_head)`. Heads are not merged and there is
    no output projection: put `DenseShaped([features])` behind it. A horizon of -1 is no limit.

    | block size | output ratio | input, output latency | receptive field |
    |---|---|---|---|
    | 1 | 1 | max_future_horizon | (-max_past_horizon, max_future_horizon), and what the networks add |

    It runs in steps if both horizons are limited and the networks run in steps. A step reads its cache once.

    Mask: that of the queries, as a rule the input's. A timestep can be seen where its key and its value are
    valid. A query that sees nothing gives 0 (in the published library, the mean of whatever there is).

    State, with `R = max_past_horizon + max_future_horizon + 8`: a ring buffer of keys and values, each
    `(batch, kv_heads, R, units_per_head)` in the compute dtype, the times of its entries, int32 `(batch, R)`,
    and the place of the next, int32 `(batch,)`; the time of the next input, int32 `(batch,)`; the last
    `max_future_horizon` queries; the states of the networks.

    Emits: `SelfAttentionEmits`. Its columns of keys are, in `layer`, the timesteps of the input; in a step,
    the timesteps from `max_past_horizon + max_future_horizon` before the block to its end. Sinks come first.

    Args:
      num_kv_heads: heads of keys and values. Each serves `num_heads / num_kv_heads` neighbouring heads of
        queries. None is `num_heads`.
      relative_position_embedding: None.
      attention_probabilities_dropout_rate: in training, weights are dropped by the key given as `rng=`, the
        row, the head and both timesteps: in steps as in `layer`.
      broadcast_dropout_across_queries: drop a key for all queries or for none.
      input_projection: where queries, keys and values come from: `CombinedQueryKeyValueProjection`,
        `SeparateQueryKeyValueProjection`, `QueryAndKeyValueProjection` or `QueryAndSharedKeyValueProjection`.
      query_network, key_network, value_network: layers for the projected sequences, of channels
        `(heads, units_per_head)`; say, to rotate them by their position.
      attention_logits_soft_cap: logits become `cap * tanh(logits / cap)`.
      per_dim_scale, per_dim_key_scale: a learned scale for each unit of the queries, of the keys.
      query_scale: scale of the queries; None is `1 / sqrt(units_per_head)`.
      zero_fully_masked: without effect, as what sees nothing always gives 0; refused with sinks, which every
        query sees.
      num_sink_embeddings: learned keys and values that every query sees. Their logits are not scaled.
      use_sink_scalars: instead, one learned logit for each head, of value 0.
      use_kv_cache_ringbuffer: without effect: the cache is a ring buffer.
      experimental_accumulate_logits_in_float32: logits in float32, whatever the compute dtype.

    Parameters: those of the projection and of the networks; where asked for `per_dim_scale [units]`,
    `per_dim_key_scale [units]`, `sink_key_embeddings [sinks, heads, units]`,
    `sink_value_embeddings [sinks, kv_heads, units]`, `sink_scalars [heads]`.

    Raises:
      LayerError: horizons below -1 or both 0, heads that do not divide, a network that changes the rate or
        looks ahead, both kinds of sinks, a relative position embedding. When built: more or less than one
        channel axis. In training with dropout: no key.

    Source: Vaswani et al., arXiv 1706.03762. Grouped heads: Ainslie et al., arXiv 2305.13245. Sinks: Xiao et
    al., arXiv 2309.17453.

    >>> import seqlayers as sl
    >>> attention = sl.DotProductSelfAttention(2, units_per_head=4, max_past_horizon=8, max_future_horizon=1)
    >>> attention.output_latency, attention.receptive_field
    (1, (-8, 1))
    >>> attention.build(sl.ChannelSpec((16,)), rngs=0).output_spec
    ChannelSpec((2, 4), float32)
    """

    num_heads: int
    units_per_head: int
    max_past_horizon: int
    max_future_horizon: int = 0
    num_kv_heads: int | None = None
    relative_position_embedding: Any = None
    attention_probabilities_dropout_rate: float = 0.0
    broadcast_dropout_across_queries: bool = False
    use_bias: bool = False
    input_projection: InputProjection = CombinedQueryKeyValueProjection()
    query_network: SequenceLayer | None = nnx.data(default=None)
    key_network: SequenceLayer | None = nnx.data(default=None)
    value_network: SequenceLayer | None = nnx.data(default=None)
    attention_logits_soft_cap: float | None = None
    per_dim_scale: bool = False
    per_dim_key_scale: bool = False
    per_dim_scale_sharding: Any = None
    query_scale: float | None = None
    precision: Any = None
    zero_fully_masked: bool = False
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    num_sink_embeddings: int = 0
    sink_embeddings_init: Callable = embedding_normal
    sink_embeddings_sharding: Any = None
    use_sink_scalars: bool = False
    sink_scalars_init: Callable = zeros
    use_kv_cache_ringbuffer: bool = False
    experimental_accumulate_logits_in_float32: bool = False

    published_names: ClassVar = {'dim_scale': 'per_dim_scale', 'dim_key_scale': 'per_dim_key_scale'}

    def __post_init__(self):
        shared.check_heads(self)
        shared.check_weights(self)
        shared.check_networks(self)
        past, future = self.max_past_horizon, self.max_future_horizon
        if past < -1 or future < -1 or (past, future) == (0, 0):
            raise LayerError(
                'DotProductSelfAttention: max_past_horizon and max_future_horizon are timesteps, or -1 for no '
                f'limit, and not both 0 (a timestep would see itself alone); got {past} and {future}'
            )
        if self.relative_position_embedding is not None:
            raise LayerError(
                'DotProductSelfAttention: relative_position_embedding must be None, got '
                f'{self.relative_position_embedding!r}. Give positions to queries and keys by query_network '
                'and key_network'
            )

    @property
    def kv_heads(self) -> int:
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    @property
    def timing(self) -> Timing:
        past, future = self.max_past_horizon, self.max_future_horizon
        blocked = None
        if past == -1:
            blocked = 'max_past_horizon=-1 looks back without limit, more than a cache holds; give timesteps'
        elif future == -1:
            blocked = 'max_future_horizon=-1 looks ahead to the end of the sequence; give timesteps'
        latency = max(future, 0)
        field = (-math.inf if past == -1 else -past, math.inf if future == -1 else future)
        band = Timing(input_latency=latency, output_latency=latency, receptive_field=field, blocked=blocked)
        # Three branches that meet in time: the queries wait for the last of their keys.
        queries, keys, values = ([] if n is None else [n.timing] for n in shared.networks(self))
        return ParallelTiming([SerialTiming(b) for b in (queries, [*keys, band], [*values, band])])

    def setup(self, input_spec, rngs, constants):
        shared.setup(self, input_spec, rngs, constants)

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        queries, keys, values = shared.specs(self)
        kwargs = {'training': training, 'constants': constants, 'offset': offset}
        return SelfAttentionState(
            cache=RingCache.empty(batch_size, self._window, keys, values, offset),
            time=clock(batch_size, offset),
            queries=buffers.empty(batch_size, self.max_future_horizon, queries),
            networks=shared.initial_states(self, batch_size, **kwargs),
        )

    def layer(self, x, *, training, constants=None):
        queries, attention = self._whole(x, training, constants)
        return self._output(queries, attention.fused_context())

    def layer_with_emits(self, x, *, training, constants=None):
        # Output and weights are computed apart: a compiled program of which nobody takes the weights has none.
        queries, attention = self._whole(x, training, constants)
        return self._output(queries, attention.fused_context()), self._emits(queries, attention.weights())

    def step(self, x, state, *, training, constants=None):
        queries, attention, state = self._block(x, state, training, constants)
        return self._output(queries, attention.context()), state

    def step_with_emits(self, x, state, *, training, constants=None):
        queries, attention, new_state = self._block(x, state, training, constants)
        sinks, keys = jnp.split(attention.weights(), [attention.num_sinks], axis=-1)
        columns = state.cache.columns(x.shape[1], self._window)
        keys = jnp.take_along_axis(keys, columns[:, None, None], axis=-1)
        emits = self._emits(queries, jnp.concatenate([sinks, keys], axis=-1))
        return self._output(queries, attention.context()), new_state, emits

    @property
    def _window(self) -> int:
        """How many timesteps before a block its queries look back; they themselves are late by the future."""
        return self.max_past_horizon + self.max_future_horizon

    def _whole(self, x: Sequence, training: bool, constants: Any) -> tuple[Sequence, Attention]:
        projected = self.input_projection.queries_keys_values(self, x.mask_invalid())
        queries, keys, values = shared.run(self, projected, training=training, constants=constants)
        query_times, key_times = (jnp.broadcast_to(jnp.arange(s.shape[1]), s.shape[:2]) for s in (queries, keys))
        source = shared.source(self, keys, values, key_times)
        return queries, self._attention(queries, query_times, [source], training, constants)

    def _block(
        self, x: Sequence, state: SelfAttentionState, training: bool, constants: Any
    ) -> tuple[Sequence, Attention, SelfAttentionState]:
        projected = self.input_projection.queries_keys_values(self, x.mask_invalid())
        (queries, keys, values), networks = shared.run_step(
            self, projected, state.networks, training=training, constants=constants
        )
        times = state.time[:, None] + jnp.arange(x.shape[1])
        queries, waiting = buffers.push(state.queries, queries)
        cache, sources = state.cache.append(shared.source(self, keys, values, times))
        query_times = times - self.max_future_horizon
        attention = self._attention(queries, query_times, sources, training, constants)
        return queries, attention, SelfAttentionState(cache, state.time + x.shape[1], waiting, networks)

    def _attention(
        self, queries: Sequence, times: jax.Array, sources: list, training: bool, constants: Any
    ) -> Attention:
        horizons = (self.max_past_horizon, self.max_future_horizon)
        return shared.attention(self, queries, times, sources, horizons, training=training, constants=constants)

    def _output(self, queries: Sequence, context: jax.Array) -> Sequence:
        return Sequence(context.swapaxes(1, 2), queries.mask)

    def _emits(self, queries: Sequence, weights: jax.Array) -> SelfAttentionEmits:
        return SelfAttentionEmits(Sequence(weights.swapaxes(1, 2), queries.mask))
