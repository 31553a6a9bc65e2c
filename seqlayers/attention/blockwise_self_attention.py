from typing import Any, ClassVar

import numpy as np
from flax import nnx

from seqlayers.attention import shared
from seqlayers.attention.banded import BandedSelfAttention
from seqlayers.attention.projections import CombinedQueryKeyValueProjection, InputProjection
from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer


class BlockwiseDotProductSelfAttention(BandedSelfAttention):
    """Time is cut into blocks; every timestep looks at all of its block, and at whole blocks before and after it.

    Shapes: `(batch, time, in) -> (batch, time, num_heads, units_per_head)`. With B for the block's timesteps, P and F
    for the horizons in blocks (-1 is no limit), and i for the place of a timestep in its block:

    | block size | output ratio | input, output latency | receptive field |
    |---|---|---|---|
    | B | 1 | F B | (-P B - i, F B + B - 1 - i), and what the networks add |

    Mask, state and steps: as `DotProductSelfAttention`, with `R = (P + F) B + 8`, rounded up. Block n begins at
    timestep n B; behind layers that look ahead, a `Serial` delays the input so that steps keep these blocks. Emits
    nothing.

    Args:
      block_size: B (read as `block_size` too).
      segment_ids_name: the name of a constant of integers `(batch, time)`: only equal ones see each other.
      position_name: the name of a constant of integers `(batch, time)` whose blocks the horizons bound too,
        besides those of the timesteps.
      flash_attention_query_block_size: how many queries `layer` takes together, a multiple of B.
      flash_attention_key_block_size, use_kv_cache_ringbuffer: without effect.
      The others: as in `DotProductSelfAttention`.

    Raises:
      LayerError: as `DotProductSelfAttention`; or a block that is not positive.

    Source: the published SequenceLayers library; Dai et al., arXiv 1901.02860, for segments that see the one before.

    >>> import seqlayers as sl
    >>> attention = sl.BlockwiseDotProductSelfAttention(4, 2, 8, max_past_horizon_blocks=1, max_future_horizon_blocks=1)
    >>> attention.block_size, attention.output_latency, attention.receptive_field_per_step
    (4, 4, {0: (-4, 7), 1: (-5, 6), 2: (-6, 5), 3: (-7, 4)})
    """

    block: int
    num_heads: int
    units_per_head: int
    max_past_horizon_blocks: int
    max_future_horizon_blocks: int = 0
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
    segment_ids_name: str | None = None
    position_name: str | None = None
    flash_attention_query_block_size: int | None = None
    flash_attention_key_block_size: int | None = None
    experimental_accumulate_logits_in_float32: bool = False
    use_kv_cache_ringbuffer: bool = False

    field_aliases: ClassVar = {'block_size': 'block'}
    emits_weights: ClassVar = False

    def __post_init__(self):
        if self.block < 1:
            raise LayerError(f'BlockwiseDotProductSelfAttention: block_size must be at least 1, got {self.block}')
        shared.check(self, self.max_past_horizon_blocks, self.max_future_horizon_blocks, self.block)
        shared.check_queries_together(self, self.block)

    @property
    def horizons(self):
        return self.max_past_horizon_blocks, self.max_future_horizon_blocks, self.block

    def queries_together(self):
        return self.flash_attention_query_block_size
