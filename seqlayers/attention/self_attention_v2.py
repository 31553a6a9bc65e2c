from typing import Any, ClassVar

import numpy as np
from flax import nnx

from seqlayers.attention import shared
from seqlayers.attention.banded import BandedSelfAttention
from seqlayers.attention.projections import CombinedQueryKeyValueProjection, InputProjection
from seqlayers.layer import SequenceLayer


class DotProductSelfAttentionV2(BandedSelfAttention):
    """Self-attention within horizons, positions and segments, in blocks of queries.

    Shapes: `(batch, time, in) -> (batch, time, num_heads, units_per_head)`. The attention of
    `DotProductSelfAttention`, without sinks, dropout and relative positions, but with segments and positions. A
    horizon of -1 is no limit.

    | block size | output ratio | input, output latency | receptive field |
    |---|---|---|---|
    | 1 | 1 | max_future_horizon, and what the networks add | (-max_past_horizon, max_future_horizon), likewise |

    Mask, state and steps: as `DotProductSelfAttention`, with the positions and segments of entries and of waiting
    queries in the state, where there are any. Emits nothing.

    Args:
      segment_ids_name: the name of a constant of integers `(batch, time)`: only equal ones see each other.
      position_name: the name of a constant of integers `(batch, time)` that the horizons bound too, besides the
        timesteps themselves: a cache keeps timesteps. (In the published library, they alone in `layer`.)
      flash_attention_query_block_size: how many queries `layer` takes together.
      flash_attention_key_block_size, experimental_remat_outer, experimental_remat_inner, use_kv_cache_ringbuffer:
        without effect: weights are not kept for the backward pass, and the cache is a ring buffer.
      The others: as in `DotProductSelfAttention`. In a step, constants hold the timesteps of the block.

    Heads of queries that share a head of keys are neighbours, as in all attention layers here. (In the published
    library head n of the queries has head `n % num_kv_heads` of the keys in this layer, and `n // group` in others.)

    Raises:
      LayerError: as `DotProductSelfAttention`; or constants that are missing or no integers for each timestep.

    Source: Vaswani et al., arXiv 1706.03762; Dao et al., arXiv 2205.14135.

    >>> import seqlayers as sl
    >>> attention = sl.DotProductSelfAttentionV2(2, units_per_head=4, max_past_horizon=8, segment_ids_name='segments')
    >>> attention.output_latency, attention.receptive_field
    (0, (-8, 0))
    """

    num_heads: int
    units_per_head: int
    max_past_horizon: int
    max_future_horizon: int = 0
    num_kv_heads: int | None = None
    use_bias: bool = False
    input_projection: InputProjection = CombinedQueryKeyValueProjection()
    query_network: SequenceLayer | None = nnx.data(default=None)
    key_network: SequenceLayer | None = nnx.data(default=None)
    value_network: SequenceLayer | None = nnx.data(default=None)
    attention_logits_soft_cap: float | None = None
    per_dim_scale: bool = False
    per_dim_scale_sharding: Any = None
    query_scale: float | None = None
    precision: Any = None
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    use_kv_cache_ringbuffer: bool = False
    segment_ids_name: str | None = None
    position_name: str | None = None
    flash_attention_query_block_size: int | None = None
    flash_attention_key_block_size: int | None = None
    experimental_remat_outer: bool = False
    experimental_remat_inner: bool = False
    experimental_accumulate_logits_in_float32: bool = False

    emits_weights: ClassVar = False

    def __post_init__(self):
        shared.check(self, self.max_past_horizon, self.max_future_horizon)
        shared.check_not_alone(self)
        shared.check_queries_together(self)

    def queries_together(self):
        return self.flash_attention_query_block_size
