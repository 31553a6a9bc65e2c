import numpy as np

import seqlayers as sl
from seqlayers import models
from seqlayers.testing import random_values
from tests.registry.case import Case


def source(batch: int, time: int) -> dict:
    """Vectors with gaps, as many as timesteps of the input."""
    mask = np.random.default_rng(7).random((batch, time)) < 0.8
    return {'source': sl.Sequence(random_values(sl.ChannelSpec((3,)), (batch, time), seed=5), mask)}


# More layers are only dearer here: tests/models has them.
SMALL = {'width': 4, 'num_heads': 2, 'num_layers': 1, 'ffn_width': 6}
IDS = {'channels': (), 'dtype': 'int32', 'high': 5}

CASES = [
    Case(models.transformer(5, past=3, num_kv_heads=1, **SMALL), **IDS, name='transformer'),
    Case(models.conformer(past=2, look_ahead=1, kernel_size=3, **SMALL), channels=(3,), name='conformer'),
    Case(
        models.wavenet(5, width=3, skip_width=4, dilations=[2], num_stacks=1),
        channels=(2,),
        bfloat16=False,
        name='wavenet',
    ),
    Case(models.mamba(5, width=4, num_layers=1, num_heads=2, state_size=3), **IDS, name='mamba'),
    Case(
        models.EncoderDecoder(
            sl.Conv1D(3, 3, padding='same'),
            sl.Residual([sl.DotProductAttention('source/encoded', num_heads=1, units_per_head=2), sl.DenseShaped([4])]),
        ),
        constants=source,
        name='EncoderDecoder',
    ),
    Case(
        models.encoder_decoder(5, past=3, streaming=True, look_ahead=1, **SMALL),
        **IDS,
        constants=source,
        name='streaming encoder_decoder',
    ),
]
