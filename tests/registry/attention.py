import seqlayers as sl
from seqlayers import DotProductSelfAttention as SelfAttention
from tests.registry.case import Case

SEPARATE = sl.SeparateQueryKeyValueProjection()

CASES = [
    Case(SelfAttention(2, 3, 3)),
    Case(SelfAttention(2, 3, 5, 2, use_bias=True)),
    Case(SelfAttention(2, 3, 0, 3, input_projection=sl.CombinedQueryKeyValueProjection(share_kv_projection=True))),
    Case(SelfAttention(2, 3, -1)),
    Case(SelfAttention(2, 3, 3, -1, num_sink_embeddings=2)),
    Case(SelfAttention(2, 3, -1, -1, zero_fully_masked=True)),
    Case(SelfAttention(4, 3, 3, 1, num_kv_heads=2, input_projection=SEPARATE, per_dim_key_scale=True)),
    Case(
        SelfAttention(
            4, 3, 3, num_kv_heads=1, input_projection=sl.QueryAndKeyValueProjection(), use_bias=True, num_sink_embeddings=2
        )
    ),
    Case(
        SelfAttention(
            4, 3, 2, 1, num_kv_heads=2, input_projection=sl.QueryAndSharedKeyValueProjection(), use_sink_scalars=True
        )
    ),
    Case(SelfAttention(2, 3, 3, attention_logits_soft_cap=0.5, per_dim_scale=True, query_scale=0.7, precision='highest')),
    Case(SelfAttention(2, 3, 3, 1, compute_dtype='bfloat16', experimental_accumulate_logits_in_float32=True)),
    Case(SelfAttention(2, 3, 4, 2, attention_probabilities_dropout_rate=0.3, num_sink_embeddings=1), training=True),
    Case(
        SelfAttention(2, 3, 4, attention_probabilities_dropout_rate=0.3, broadcast_dropout_across_queries=True), training=True
    ),
    # Networks that keep a state, that change masks, and that draw.
    Case(SelfAttention(2, 3, 3, 1, query_network=sl.Dense(3), key_network=sl.Delay(1), value_network=sl.Delay(1))),
    Case(SelfAttention(2, 3, 3, query_network=sl.Dropout(0.3), value_network=sl.Dense(5)), training=True),
    Case(
        sl.Serial([sl.Lookahead(2), sl.Residual([SelfAttention(2, 2, 3, 1, attention_probabilities_dropout_rate=0.2), sl.DenseShaped([4])])]),
        training=True,
    ),
    Case(sl.Repeat(sl.Residual([SelfAttention(2, 2, 3, 1), sl.DenseShaped([4])]), 2), bfloat16=False),
]
