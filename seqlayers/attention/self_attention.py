from collections.abc import Callable
from typing import Any

import numpy as np
from flax import nnx

from seqlayers.attention import shared
from seqlayers.attention.banded import BandedSelfAttention
from seqlayers.attention.projections import CombinedQueryKeyValueProjection, InputProjection
from seqlayers.attention.relative import RelativePositionEmbedding
from seqlayers.initializers import embedding_normal, zeros
from seqlayers.layer import SequenceLayer


class DotProductSelfAttention(BandedSelfAttention):
    """Every timestep looks at those from `max_past_horizon` before it to `max_future_horizon` after it.

    Shapes: `(batch, time, in) -> (batch, time, num_heads, units_per_head)`. Heads are not merged and there is
    no output projection: put `DenseShaped([features])` behind it. A horizon of -1 is no limit.

    | block size | output ratio | input, output latency | receptive field |
    |---|---|---|---|
    | 1 | 1 | max_future_horizon, and what the networks add | (-max_past_horizon, max_future_horizon), likewise |

    It runs in steps if the future is limited and the networks run in steps. Without a limit to the past,
    `get_initial_state` must be given `max_length`, the timesteps of the stream with its flush; a longer stream is an
    error, or gives NaN where compiled. A step reads its cache once. `layer` costs time x window if the
    window is shorter than the sequence, and keeps no weights for the backward pass, unless it drops some. Fused
    kernels are used without sinks, soft cap, relative positions, dropout and precision. In 16 bits on an NVIDIA GPU
    (Ampere or later) that is cuDNN for `layer`, by lengths in place of masks if no query looks ahead and no sequence
    has a gap; and for steps of one timestep a kernel that reads the ring at the speed of the memory.

    Mask: that of the queries, as a rule the input's. A timestep can be seen where its key and its value are
    valid. A query that sees nothing gives 0 (in the published library, the mean of whatever there is).

    State, with `R = max_past_horizon + max_future_horizon + 8`, rounded up to a multiple of 8: a ring buffer of
    keys and values, each `(batch, kv_heads, R, units_per_head)` in the compute dtype, the times of its entries,
    int32 `(batch, R)`, and the place of the next, int32 `(batch,)`; the time of the next input, int32 `(batch,)`;
    the last `max_future_horizon` queries, if any; the states of the networks, but of those that only need the time.
    Without a limit to the past R is `max_length`.

    Emits: `SelfAttentionEmits`. Its columns of keys are, in `layer`, the timesteps of the input; in a step,
    the timesteps from `max_past_horizon + max_future_horizon` before the block to its end; without a limit to the
    past all `max_length` timesteps. Sinks come first.

    Args:
      num_kv_heads: heads of keys and values. Each serves `num_heads / num_kv_heads` neighbouring heads of
        queries. None is `num_heads`.
      relative_position_embedding: what distances add to the logits: `ShawRelativePositionEmbedding`,
        `T5RelativePositionEmbedding`, `TransformerXLRelativePositionEmbedding` or `ALiBi`. Invalid timesteps count.
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
        looks ahead, both kinds of sinks, a relative position embedding of other heads, units or horizons. When
        built: more or less than one channel axis. In training with dropout: no key. In steps without a limit to the
        past: no `max_length`, or more timesteps than that.

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
    relative_position_embedding: RelativePositionEmbedding | None = nnx.data(default=None)
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

    def __post_init__(self):
        shared.check(self, self.max_past_horizon, self.max_future_horizon)
        shared.check_not_alone(self)
