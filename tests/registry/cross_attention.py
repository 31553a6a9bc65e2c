import numpy as np

import seqlayers as sl
from seqlayers import DotProductAttention, MultiSourceDotProductAttention, StreamingDotProductAttention
from tests.registry.case import Case


def source(time: int, channels: int, name: str = 'source') -> dict:
    return {name: sl.testing.random_sequence(sl.ChannelSpec((channels,)), time, seed=7)}


def one(batch: int, time: int) -> dict:
    """A source, and a position of each query."""
    draw = np.random.default_rng(1)
    return {**source(9, 5), 'positions': draw.integers(0, 3, (batch, time)).cumsum(1)}


def two(batch: int, time: int) -> dict:
    """Two sources of different channels, with the segments of queries and sources."""
    draw = np.random.default_rng(2)
    segments = {name: draw.integers(0, 2, (batch, t)) for name, t in (('q', time), ('a', 9), ('b', 4))}
    return {**source(9, 5, 'text'), **source(4, 3, 'image'), **segments}


def streamed(batch: int, time: int) -> dict:
    return source(time, 5)


SHAW = sl.ShawRelativePositionEmbedding(3, 3, 2, 3)
XL = sl.TransformerXLRelativePositionEmbedding(2, 3, 3, 2, position_bias_dim=6)
T5 = sl.T5RelativePositionEmbedding(8, 4, bidirectional=True, max_distance=6)

# A query that sees a single key does not depend on its own input.
CASES = [
    Case(DotProductAttention('source', 2, 3, use_bias=True), constants=one),
    Case(
        DotProductAttention(
            'source',
            4,
            3,
            num_kv_heads=2,
            num_sink_embeddings=1,
            relative_position_embedding=T5,
            per_dim_key_scale=True,
        ),
        constants=one,
    ),
    Case(
        sl.Serial(
            [
                sl.Lookahead(1),
                DotProductAttention(
                    'source',
                    2,
                    3,
                    relative_position_embedding=SHAW,
                    query_positions_name='positions',
                    query_network=sl.Dense(3),
                ),
            ]
        ),
        constants=one,
    ),
    Case(
        DotProductAttention(
            'source', 2, 3, recompute_kv_per_step=True, key_network=sl.Lookahead(1), value_network=sl.Lookahead(1)
        ),
        constants=one,
    ),
    Case(
        DotProductAttention('source', 2, 3, attention_probabilities_dropout_rate=0.3),
        constants=one,
        training=True,
        exact_field=False,
    ),
    Case(
        MultiSourceDotProductAttention(
            ['text', 'image'],
            2,
            3,
            use_separate_kv_projections=True,
            query_segment_ids_name='q',
            source_segment_ids_names=['a', 'b'],
            flash_attention_query_block_size=4,
        ),
        constants=two,
        exact_field=False,
    ),
    Case(StreamingDotProductAttention('source', 2, 3, 3), constants=streamed, exact_field=False),
    Case(
        StreamingDotProductAttention('source', 2, 3, 3, 2, num_sink_embeddings=1, relative_position_embedding=XL),
        constants=streamed,
    ),
    Case(sl.Serial([sl.Lookahead(1), StreamingDotProductAttention('source', 2, 3, 3, 2)]), constants=streamed),
    Case(
        sl.Serial([sl.Lookahead(3), StreamingDotProductAttention('source', 2, 3, 2, 2, use_query_delay_buffer=False)]),
        constants=streamed,
    ),
    Case(sl.StreamingLocalDotProductAttention('source', 2, 3, 4, 3, 2, use_bias=True), constants=streamed),
]
