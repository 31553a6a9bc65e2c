import jax
import jax.numpy as jnp
import numpy as np

import seqlayers as sl
from tests.registry.case import Case

CASES = [
    Case(sl.Abs()),
    Case(sl.Cast('bfloat16')),
    Case(sl.Elu()),
    Case(sl.Elu(alpha=0.5)),
    Case(sl.Exp()),
    Case(sl.Gelu()),
    Case(sl.Gelu(approximate=False)),
    Case(sl.LeakyRelu()),
    Case(sl.LeakyRelu(0.5)),
    Case(sl.Serial([sl.Exp(), sl.Log()])),
    Case(sl.Power(2.0)),
    Case(sl.Serial([sl.Exp(), sl.Power(-0.5)])),
    Case(sl.PRelu()),
    Case(sl.PRelu(0.25), channels=()),
    Case(sl.Relu()),
    Case(sl.Sigmoid()),
    Case(sl.Snake(separate_beta=False)),
    Case(sl.Snake(separate_beta=True), channels=(2, 3)),
    Case(sl.Softmax()),
    Case(sl.Softmax(axis=2), channels=(2, 3)),
    Case(sl.Softplus()),
    Case(sl.Swish()),
    Case(sl.Tanh()),
    Case(sl.GatedUnit(None, jax.nn.gelu)),
    Case(sl.GatedUnit(jnp.tanh, None), channels=(3, 4)),
    Case(sl.GatedLinearUnit()),
    Case(sl.GatedTanhUnit()),
    Case(sl.Scale(2.5)),
    Case(sl.Scale(np.array([1.0, 2.0, 3.0])), channels=(4, 1)),
    Case(sl.Scale(2.5), dtype='int32'),
    Case(sl.Add([1.0, 2.0, 3.0, 4.0])),
    Case(sl.Maximum(0.3)),
    Case(sl.Minimum(-0.2)),
    Case(sl.Mod(0.5)),
    Case(sl.Mod(3), dtype='int32'),
    Case(sl.Affine()),
    Case(sl.Affine(use_bias=False, shape=(4,))),
    Case(sl.Affine(use_scale=False, shape=(3, 1)), channels=(3, 4)),
    Case(sl.Dropout(0.5)),
    Case(sl.Dropout(0.5), training=True, exact_field=False),
    Case(sl.Dropout(0.5, broadcast_dims=(1, 2)), training=True, exact_field=False),
    Case(sl.Dropout(0.5), dtype='int32', training=True),
    Case(sl.Dropout(1.0), training=True, exact_field=False),
    Case(
        sl.Serial(
            [sl.Lookahead(1), sl.Repeat(sl.Residual([sl.Lookahead(1), sl.Dropout(0.5), sl.Dense(4)]), 2)]
        ),
        training=True,
        bfloat16=False,
        exact_field=False,
        name='dropout behind latency',
    ),
]
