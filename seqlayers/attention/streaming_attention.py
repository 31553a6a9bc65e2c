from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from flax import nnx

from seqlayers.attention import windows
from seqlayers.attention.projections import InputProjection, QueryAndKeyValueProjection
from seqlayers.attention.relative import RelativePositionEmbedding
from seqlayers.attention.streaming_source import StreamingAttention, check_streaming
from seqlayers.context import LayerError
from seqlayers.initializers import embedding_normal, zeros
from seqlayers.layer import SequenceLayer


class StreamingDotProductAttention(StreamingAttention):
    """Every timestep looks at a source that streams in time with it, within horizons.

    Shapes: `(batch, time, in) -> (batch, time, num_heads, units_per_head)`, with a source `(batch, time, channels)` in
    `constants[source_name]`: `layer` takes all of it, of any length, a step the timesteps of its block.

    | block size | output ratio | input, output latency | receptive field |
    |---|---|---|---|
    | 1 | 1 | max_future_horizon, and what `query_network` adds | (0, 0), or its own; the source is no part of it |

    Behind layers that look ahead, by `a` timesteps, the queries are late already: then the latency is what is missing,
    `max(0, max_future_horizon - a)`.

    Mask: that of the queries, as a rule the input's. Invalid timesteps of the source are not seen; a query that sees
    nothing gives 0.

    State: as `DotProductSelfAttention`, with a ring buffer of `max_past_horizon + max(a, max_future_horizon) + 8`
    timesteps of the source, and `max(0, max_future_horizon - a)` queries.

    Emits: `CrossAttentionEmits`. The columns of the source are, in `layer`, its timesteps; in a step, those from
    `max_past_horizon + max(a, max_future_horizon)` before the block to its end. Sinks come first.

    Args:
      source_name: the name of a constant.
      max_past_horizon: at least 1. max_future_horizon: at least 0.
      use_query_delay_buffer: without it queries do not wait: then layers before this one must look ahead by
        `max_future_horizon` or more, and `get_initial_state` raises if they do not.
      use_kv_cache_ringbuffer: without effect: the cache is a ring buffer.
      The others: as in `DotProductSelfAttention`.

    Raises:
      LayerError: as `DotProductSelfAttention`; or a horizon without limit; or the source is missing, no Sequence, of
        other channels or another dtype than the one given to `build`, or in a step not as long as the input.

    Source: the published SequenceLayers library, arXiv 2507.23292.

    >>> import seqlayers as sl
    >>> attention = sl.StreamingDotProductAttention('video', 2, 4, max_past_horizon=8, max_future_horizon=2)
    >>> attention.output_latency, sl.Serial([sl.Lookahead(1), attention]).output_latency
    (2, 2)
    """

    source_name: str
    num_heads: int
    units_per_head: int
    max_past_horizon: int
    max_future_horizon: int = 0
    relative_position_embedding: RelativePositionEmbedding | None = nnx.data(default=None)
    attention_probabilities_dropout_rate: float = 0.0
    broadcast_dropout_across_queries: bool = False
    use_bias: bool = False
    input_projection: InputProjection = QueryAndKeyValueProjection()
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
    use_query_delay_buffer: bool = True
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    num_sink_embeddings: int = 0
    sink_embeddings_init: Callable = embedding_normal
    sink_embeddings_sharding: Any = None
    use_sink_scalars: bool = False
    sink_scalars_init: Callable = zeros
    use_kv_cache_ringbuffer: bool = False
    experimental_accumulate_logits_in_float32: bool = False
    num_kv_heads: int | None = None

    def __post_init__(self):
        check_streaming(self)


class StreamingLocalDotProductAttention(StreamingAttention):
    """`StreamingDotProductAttention` whose weights `layer` computes and emits for windows of timesteps.

    Shapes: `(batch, time, in) -> (batch, time, num_heads, units_per_head)`, with a source of any length in `layer`.
    (In the published library it must be as long as the input.)

    | block size | output ratio | input, output latency | receptive field |
    |---|---|---|---|
    | 1 | 1 | max_future_horizon, and what `query_network` adds | (0, 0), or its own; the source is no part of it |

    Mask and state: as `StreamingDotProductAttention`. Emits: as that, in `layer` the columns of
    `LocalDotProductSelfAttention`.

    Args:
      block_size: how many queries `layer` takes together (read as `query_block`; `block_size` is 1). The result does
        not depend on it.
      The others: as in `StreamingDotProductAttention`.

    Raises:
      LayerError: as `StreamingDotProductAttention`; or a block that is not positive.

    Source: the published SequenceLayers library, arXiv 2507.23292.

    >>> import seqlayers as sl
    >>> attention = sl.StreamingLocalDotProductAttention('video', 2, 4, block_size=12, max_past_horizon=8)
    >>> attention.query_block, attention.block_size, attention.output_latency
    (12, 1, 0)
    """

    source_name: str
    num_heads: int
    units_per_head: int
    query_block: int
    max_past_horizon: int
    max_future_horizon: int = 0
    relative_position_embedding: RelativePositionEmbedding | None = nnx.data(default=None)
    attention_probabilities_dropout_rate: float = 0.0
    broadcast_dropout_across_queries: bool = False
    use_bias: bool = False
    input_projection: InputProjection = QueryAndKeyValueProjection()
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
    use_query_delay_buffer: bool = True
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    num_sink_embeddings: int = 0
    sink_embeddings_init: Callable = embedding_normal
    sink_embeddings_sharding: Any = None
    use_sink_scalars: bool = False
    sink_scalars_init: Callable = zeros
    use_kv_cache_ringbuffer: bool = False
    experimental_accumulate_logits_in_float32: bool = False
    num_kv_heads: int | None = None

    field_aliases: ClassVar = {'block_size': 'query_block'}

    def __post_init__(self):
        if self.query_block < 1:
            raise LayerError(f'StreamingLocalDotProductAttention: block_size must be positive, got {self.query_block}')
        check_streaming(self)

    def queries_together(self):
        return self.query_block

    def _whole_weights(self, queries, source, rule):
        return windows.weights(rule, queries, source, self.query_block)
