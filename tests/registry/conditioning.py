from collections.abc import Callable
from typing import Any

import numpy as np

import seqlayers as sl
from seqlayers import Conditioning
from seqlayers.testing import random_values
from tests.registry.case import Case


def fixed(*channels: int) -> Callable:
    return lambda batch, time: {'c': random_values(sl.ChannelSpec(channels), (batch,), seed=5)}


def sequence(*channels: int, shared: bool = False, ratio: int = 1) -> Callable:
    """One with gaps; one for the whole batch if `shared`."""

    def make(batch: int, time: int) -> dict:
        shape = (1 if shared else batch, -(-time // ratio))
        mask = np.random.default_rng(5).random(shape) < 0.8
        return {'c': sl.Sequence(random_values(sl.ChannelSpec(channels), shape, seed=5), mask)}

    return make


def moment(*channels: int) -> Callable:
    return lambda batch, time: {k: s[:, :1] for k, s in sequence(*channels)(batch, 1).items()}


AHEAD = sl.Lookahead(2)
SIZES: dict[str, Any] = {'projection_channel_shape': [3, 1]}

CASES = [
    Case(Conditioning('c', 'identity', 'add'), channels=(2, 3), constants=sequence(3)),
    Case(Conditioning('c', 'identity', 'concat'), channels=(2, 3), constants=fixed()),
    Case(Conditioning('c', 'linear', 'mul'), channels=(), constants=moment(2)),
    Case(
        Conditioning('c', 'linear', 'affine_shift', compute_dtype='bfloat16'),
        dtype='bfloat16',
        constants=sequence(2, shared=True),
    ),
    Case(Conditioning('c', 'linear', 'affine_scale', affine_scale_offset=0.5), constants=sequence(2, 3)),
    Case(Conditioning('c', 'linear_affine', 'affine'), channels=(2, 3), constants=fixed(4)),
    Case(Conditioning('c', 'linear', 'concat_before', streaming=True, **SIZES), (3, 2), constants=sequence(4)),
    Case(sl.Serial([AHEAD, Conditioning('c', 'identity', 'add', streaming=True)]), constants=sequence(1, shared=True)),
    Case(Conditioning('c', 'linear', 'concat', streaming=True), constants=fixed(2)),
    Case(
        sl.Serial([AHEAD, sl.UpsampleConditioning('c', 'linear', 'add', upsample_ratio=3)]),
        constants=sequence(2, ratio=3),
    ),
    Case(sl.NoiseConditioning(sl.AddNoise.Normal(), 'linear', 'affine_shift', noise_channel_shape=[2]), training=True),
    Case(sl.NoiseConditioning(sl.AddNoise.Uniform(), 'identity', 'mul'), channels=(2, 3), training=True),
]
