import jax

import seqlayers as sl
from tests.registry.case import Case

CASES = [
    Case(sl.Identity()),
    Case(sl.Emit()),
    Case(sl.Lambda(jax.numpy.square)),
    Case(sl.Dense(3, activation=jax.nn.relu)),
    Case(sl.Dense(3, use_bias=False), channels=(2, 4)),
    Case(sl.DenseShaped([2, 3]), channels=(2, 2)),
    Case(sl.DenseShaped([]), channels=()),
    Case(sl.Delay(0)),
    Case(sl.Delay(3)),
    Case(sl.Delay(2), dtype='int32'),
    Case(sl.Delay(2, delay_layer_output=False)),
    Case(sl.Lookahead(0)),
    Case(sl.Lookahead(2)),
    Case(sl.Lookahead(2, preserve_length_in_layer=True)),
    Case(sl.Serial([])),
    Case(sl.Serial([sl.Dense(3), sl.Lookahead(1), sl.Delay(1), sl.Dense(2)])),
    Case(sl.Residual([sl.Lookahead(2), sl.Dense(4)])),
    Case(sl.Residual([sl.Dense(3)], shortcut_layers=[sl.Delay(1), sl.Dense(3)])),
    Case(sl.Parallel([])),
    Case(sl.Parallel([sl.Identity(), sl.Lookahead(2)], combination='stack')),
    Case(sl.Parallel([sl.Dense(2), sl.Delay(1)], combination='concat')),
    Case(sl.Parallel([sl.Dense(4), sl.Lookahead(1)], combination='add')),
    Case(sl.Parallel([sl.Dense(1), sl.Lookahead(1)], combination='mean')),
    Case(sl.Parallel([sl.Dense(4), sl.Lookahead(1)], combination='product')),
    Case(sl.Repeat(sl.Dense(4, activation=jax.nn.tanh), 3), bfloat16=False),
    Case(sl.Repeat(sl.Residual([sl.Lookahead(1), sl.Delay(1)]), 2)),
    Case(sl.Repeat(sl.Serial([sl.Downsample1D(2), sl.Upsample1D(2)]), 2)),
    Case(sl.Repeat(sl.Residual([sl.Lookahead(1), sl.Dense(4)]), 2, remat=True), bfloat16=False),
    Case(
        sl.Serial([sl.Lookahead(1), sl.Repeat(sl.Residual([sl.Lookahead(1), sl.Dense(4)]), 2, unroll_step=True)]),
        bfloat16=False,
    ),
]
