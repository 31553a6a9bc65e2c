from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from flax import nnx

from seqlayers.attention import shared, windows
from seqlayers.attention.banded import BandedSelfAttention
from seqlayers.attention.projections import CombinedQueryKeyValueProjection, InputProjection
from seqlayers.attention.relative import RelativePositionEmbedding
from seqlayers.context import LayerError
from seqlayers.initializers import embedding_normal, zeros
from seqlayers.layer import SequenceLayer


class LocalDotProductSelfAttention(BandedSelfAttention):
    """Self-attention within limited horizons, whose weights `layer` computes and emits for windows of timesteps.

    Shapes: `(batch, time, in) -> (batch, time, num_heads, units_per_head)`.

    | block size | output ratio | input, output latency | receptive field |
    |---|---|---|---|
    | 1 | 1 | max_future_horizon, and what the networks add | (-max_past_horizon, max_future_horizon), likewise |

    Mask, state and steps: as `DotProductSelfAttention`.

    Emits: `SelfAttentionEmits`. In `layer` the columns behind the sinks are those of the window of the query's
    block: `max_past_horizon + block_size + max_future_horizon`, the first of them `max_past_horizon` before the
    block. In a step they are as in `DotProductSelfAttention`.

    Args:
      block_size: how many queries `layer` takes together (read as `query_block`; `block_size` is 1, as steps
        take any number of timesteps). The result does not depend on it.
      max_past_horizon: at least 1. max_future_horizon: at least 0.
      The others: as in `DotProductSelfAttention`.

    Raises:
      LayerError: as `DotProductSelfAttention`; or a horizon without limit.

    Source: Vaswani et al., arXiv 1706.03762; in blocks: Beltagy et al., arXiv 2004.05150.

    >>> import seqlayers as sl
    >>> attention = sl.LocalDotProductSelfAttention(2, 4, block_size=12, max_past_horizon=8)
    >>> attention.query_block, attention.block_size, attention.receptive_field
    (12, 1, (-8, 0))
    """

    num_heads: int
    units_per_head: int
    query_block: int
    max_past_horizon: int
    max_future_horizon: int = 0
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
    num_kv_heads: int | None = None

    field_aliases: ClassVar = {'block_size': 'query_block'}

    def __post_init__(self):
        past, future = self.max_past_horizon, self.max_future_horizon
        if past < 1 or future < 0 or self.query_block < 1:
            raise LayerError(
                'LocalDotProductSelfAttention: block_size and max_past_horizon must be at least 1 and '
                f'max_future_horizon at least 0; got {self.query_block}, {past} and {future}. '
                'DotProductSelfAttention takes horizons without limit'
            )
        shared.check(self, past, future)

    def queries_together(self):
        return self.query_block

    def _whole_weights(self, queries, source, rule):
        return windows.weights(rule, queries, source, self.query_block)
