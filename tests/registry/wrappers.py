import seqlayers as sl
from tests.registry.case import Case

CASES = [
    Case(sl.Blockwise(sl.Conv1D(3, 3, padding='causal'), block_size=4)),
    Case(sl.Blockwise(sl.Serial([sl.Conv1D(3, 3, padding='reverse_causal'), sl.Downsample1D(2)]), block_size=4)),
    Case(sl.CheckpointGradient(sl.LSTM(3))),
    Case(sl.CheckpointGradient(sl.Serial([sl.Dense(4), sl.Dropout(0.5)])), training=True),
    Case(sl.ParallelChannels(sl.Dense(2), num_groups=2, combination='stack')),
    Case(sl.ParallelChannels(sl.Conv1D(3, 3, padding='reverse_causal'), num_groups=2, combination='concat')),
    Case(sl.ParallelChannels(sl.LSTM(3), num_groups=2, combination='add')),
    Case(sl.ParallelChannels(sl.Dropout(0.5), num_groups=2, combination='mean'), training=True),
    Case(sl.Bidirectional(sl.LSTM(3), sl.LSTM(3))),
    Case(sl.Bidirectional(sl.Conv1D(3, 3, padding='causal'), sl.Conv1D(3, 3, padding='causal'), combination='concat')),
    Case(
        sl.Bidirectional(
            sl.Conv1D(3, 3, strides=2, padding='causal'),
            sl.Conv1D(3, 4, strides=2, padding='same'),
            combination='add',
        )
    ),
    Case(
        sl.Bidirectional(
            sl.Conv1D(3, 3, strides=3, padding='causal_valid'),
            sl.Conv1D(3, 2, strides=3, padding='valid'),
            combination='mean',
        )
    ),
    Case(
        sl.Shared({'conv': sl.Conv1D(4, 3, padding='same')}, sl.Serial([sl.Ref('conv'), sl.Repeat(sl.Ref('conv'), 2)])),
        bfloat16=False,
    ),
    Case(
        sl.Shared(
            {'embedding': sl.Embedding(dimension=4, num_embeddings=8)},
            sl.Serial([sl.Ref('embedding'), sl.LSTM(4), sl.EmbeddingTranspose('embedding')]),
        ),
        channels=(),
        dtype='int32',
    ),
]
