import numpy as np

import seqlayers as sl
from seqlayers import DotProductSelfAttention as SelfAttention
from tests.registry.case import Case

GROUPED = {'num_kv_heads': 2, 'input_projection': sl.SeparateQueryKeyValueProjection()}
SHARED = {'num_kv_heads': 2, 'input_projection': sl.QueryAndSharedKeyValueProjection()}
SINGLE = {'num_kv_heads': 1, 'input_projection': sl.QueryAndKeyValueProjection()}
SAME = {'input_projection': sl.CombinedQueryKeyValueProjection(share_kv_projection=True)}
DROPOUT = {'attention_probabilities_dropout_rate': 0.3}
DELAYED = sl.Serial([sl.Delay(1), sl.Dense(3, use_bias=False)])

SHAW = sl.ShawRelativePositionEmbedding(2, 1, 2, 3)
XL = sl.TransformerXLRelativePositionEmbedding(2, 3, 4, 2, position_bias_dim=6)
GROUPED_XL = sl.TransformerXLRelativePositionEmbedding(4, 3, 3, 2, position_bias_dim=5, use_bias=True)
T5 = sl.T5RelativePositionEmbedding(8, 2, bidirectional=True, max_distance=6)


def labels(batch: int, time: int) -> dict:
    """Segments, and positions that stand still, go on and leap."""
    draw = np.random.default_rng(0)
    return {'segments': draw.integers(0, 2, (batch, time)), 'positions': draw.integers(0, 3, (batch, time)).cumsum(1)}


# A receptive field is not exact in training: all heads may drop the same key.
CASES = [
    Case(SelfAttention(2, 3, 3)),
    Case(SelfAttention(2, 3, 5, 2, use_bias=True)),
    Case(SelfAttention(2, 3, 0, 3, **SAME)),
    Case(SelfAttention(2, 3, -1)),
    Case(SelfAttention(2, 3, 3, -1, num_sink_embeddings=2)),
    Case(SelfAttention(2, 3, -1, -1, zero_fully_masked=True)),
    Case(SelfAttention(4, 3, 3, 1, per_dim_key_scale=True, **GROUPED)),
    Case(SelfAttention(4, 3, 3, num_sink_embeddings=2, use_bias=True, **SINGLE)),
    Case(SelfAttention(4, 3, 2, 1, use_sink_scalars=True, **SHARED)),
    Case(
        SelfAttention(2, 3, 3, attention_logits_soft_cap=0.5, per_dim_scale=True, query_scale=0.7, precision='highest')
    ),
    Case(SelfAttention(2, 3, 3, 1, compute_dtype='bfloat16', experimental_accumulate_logits_in_float32=True)),
    Case(SelfAttention(2, 3, 3, 1, query_network=sl.Dense(3), key_network=DELAYED, value_network=DELAYED)),
    Case(SelfAttention(2, 3, 4, broadcast_dropout_across_queries=True, **DROPOUT), training=True, exact_field=False),
    Case(
        sl.Serial([sl.Lookahead(2), SelfAttention(2, 2, 3, 1, num_sink_embeddings=1, **DROPOUT)]),
        training=True,
        exact_field=False,
    ),
    Case(sl.Repeat(sl.Residual([SelfAttention(2, 2, 3, 1), sl.DenseShaped([4])]), 2), bfloat16=False),
    # Relative positions.
    Case(SelfAttention(2, 3, -1, 2, relative_position_embedding=SHAW)),
    Case(SelfAttention(4, 3, 3, 2, relative_position_embedding=GROUPED_XL, per_dim_key_scale=True, **GROUPED)),
    Case(SelfAttention(2, 3, 3, 1, relative_position_embedding=sl.ALiBi(2), attention_logits_soft_cap=2.0)),
    Case(SelfAttention(2, 3, 4, relative_position_embedding=T5)),
    # In blocks of queries, with positions and segments.
    Case(sl.DotProductSelfAttentionV2(2, 3, 4, 1, flash_attention_query_block_size=3)),
    Case(sl.DotProductSelfAttentionV2(2, 3, -1, flash_attention_query_block_size=3)),
    Case(
        sl.Serial(
            [
                sl.Lookahead(1),
                sl.DotProductSelfAttentionV2(2, 3, 4, 1, segment_ids_name='segments', position_name='positions'),
            ]
        ),
        constants=labels,
        exact_field=False,
    ),
    Case(sl.LocalDotProductSelfAttention(2, 3, 3, 4, 2, num_sink_embeddings=2, relative_position_embedding=XL)),
    Case(sl.LocalDotProductSelfAttention(4, 3, 5, 2, **GROUPED)),
    Case(sl.BlockwiseDotProductSelfAttention(2, 2, 3, 1, 1)),
    Case(sl.BlockwiseDotProductSelfAttention(3, 2, 3, 0, 1, flash_attention_query_block_size=6)),
    Case(sl.BlockwiseDotProductSelfAttention(2, 2, 3, 0)),
    Case(
        sl.Serial([sl.Lookahead(1), sl.BlockwiseDotProductSelfAttention(2, 2, 3, -1, segment_ids_name='segments')]),
        constants=labels,
        exact_field=False,
    ),
]
