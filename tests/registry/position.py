from typing import Any

import jax.numpy as jnp
import numpy as np

import seqlayers as sl
from seqlayers import ApplyRotaryPositionalEncoding as Rotary
from tests.registry.case import Case

PHYSICAL: dict[str, Any] = {'only_advance_position_for_valid_timesteps': False}


def positions(batch, time):
    return {'positions': jnp.asarray(np.random.default_rng(0).integers(0, 50, (1, time)))}


def positions_with_gaps(batch, time):
    draw = np.random.default_rng(0)
    return {'positions': sl.Sequence(draw.integers(0, 50, (batch, time)), draw.random((batch, time)) < 0.8)}


# A count of valid timesteps depends on the masks of the past, which no gradient shows.
CASES = [
    Case(sl.AddTimingSignal(), channels=(2, 3), exact_field=False),
    Case(sl.AddTimingSignal(2.0, 100.0, axes=0, trainable_scale=True, **PHYSICAL), channels=(4, 3)),
    Case(sl.AddTimingSignal(axes=[-1, -3], param_dtype='bfloat16'), channels=(2, 3, 2), exact_field=False),
    Case(sl.ConcatTimingSignal(5), channels=(), exact_field=False),
    Case(sl.ConcatTimingSignal(4, 2.0, 8.0, **PHYSICAL), channels=(2, 3)),
    Case(sl.ConcatPositionEmbedding(32, 2), channels=(2, 3)),
    Case(Rotary(1e4, axis=-2), channels=(4, 3), exact_field=False),
    Case(Rotary(1e2, axis=2, positions_in_at_least_fp32=False, **PHYSICAL)),
    Case(Rotary(1e4, positions_name='positions', **PHYSICAL), constants=positions),
    Case(
        sl.Serial([sl.Lookahead(2), Rotary(1e4, positions_name='positions', **PHYSICAL)]),
        constants=positions_with_gaps,
    ),
    Case(sl.DotProductSelfAttention(2, 4, 3, 1, query_network=Rotary(1e4), key_network=Rotary(1e4)), exact_field=False),
]
