import jax

import seqlayers as sl
from tests.registry.case import Case

CASES = [
    Case(sl.EinsumDense('...ab,ac->...cb', [3, None], bias_axes='c', activation=jax.nn.tanh), channels=(2, 3)),
    Case(sl.EinsumDense('...nh,nhd->...d', [5]), channels=(2, 3)),
    Case(sl.SequenceEmbedding(3, num_embeddings_per_step=8, num_steps=40), channels=(), dtype='int32'),
    Case(
        sl.SequenceEmbedding(
            3, num_embeddings_per_step=[8, 9] * 20, num_steps=40, round_num_embeddings_to_multiple_of=16
        ),
        channels=(2,),
        dtype='int32',
    ),
    Case(sl.SequenceDense(3, num_steps=40, activation=jax.nn.tanh)),
    Case(sl.MaskedDense(3, num_steps=10), exact_field=False),
]
