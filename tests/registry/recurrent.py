import jax

import seqlayers as sl
from tests.registry.case import Case

CASES = [
    Case(sl.LSTM(3)),
    Case(sl.LSTM(3, use_bias=False, activation=jax.nn.relu, recurrent_activation=jax.nn.hard_sigmoid)),
    Case(sl.LSTM(3, compute_dtype='bfloat16')),
    Case(sl.LSTM(3, param_dtype='bfloat16'), dtype='bfloat16'),
    Case(sl.GRU(3)),
    Case(sl.GRU(3, use_bias=False)),
    Case(sl.GRU(3, param_dtype='bfloat16'), dtype='bfloat16'),
]
