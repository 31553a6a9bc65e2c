from collections.abc import Callable

import numpy as np

import seqlayers as sl
from seqlayers.testing import random_values
from tests.registry.case import Case


def source(shared: bool = False) -> Callable:
    """A source of three channels with gaps; one for the whole batch if `shared`."""

    def make(batch: int, time: int) -> dict:
        shape = (1 if shared else batch, 6)
        mask = np.random.default_rng(7).random(shape) < 0.8
        return {'text': sl.Sequence(random_values(sl.ChannelSpec((3,)), shape, seed=5), mask)}

    return make


CASES = [
    Case(sl.GmmAttention('text', 2, 6, 2, monotonic=True, init_offset_bias=-1.0), constants=source()),
    Case(
        sl.GmmAttention('text', 2, 6, 2, monotonic=True, output_use_bias=False, max_offset=0.5, precision='highest'),
        constants=source(shared=True),
    ),
    Case(sl.GmmAttention('text', 2, 6, 2, monotonic=False, init_scale_bias=1.0), constants=source()),
    Case(sl.AdditiveAttention('text', 2, 3), constants=source()),
    Case(sl.LocationSensitiveAttention('text', 2, 3, location_filters=2, location_kernel_size=3), constants=source()),
    Case(sl.DynamicConvolutionAttention('text', 4, kernel_size=3, max_forward_step=2), constants=source()),
    Case(
        sl.Autoregressive(sl.Serial([sl.LSTM(3), sl.Skip([sl.GmmAttention('text', 1, 4, 2, True), sl.Flatten()])])),
        constants=source(),
        bfloat16=False,
    ),
]
