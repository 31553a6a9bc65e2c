import jax

import seqlayers as sl
from tests.registry.case import Case

CASES = [
    Case(sl.Skip([sl.Lookahead(2), sl.DenseShaped([3, 4])]), channels=(2, 4)),
    Case(sl.Skip([sl.Conv1D(2, 3, padding='same'), sl.Skip([])])),
    Case(sl.StackFrames(3), channels=(2,)),
    Case(sl.StackFrames(2, 'valid'), channels=()),
    Case(sl.UnstackFrames(3), channels=(3, 2)),
    Case(sl.ReverseSequence(), exact_field=False),
    Case(sl.SeparableConv1D(3, 3, strides=2, depth_multiplier=2, padding='same', activation=jax.nn.relu)),
    Case(sl.DepthwiseConv2D((3, 2), (2, 1), 2, time_padding='reverse_causal'), channels=(3, 2)),
    Case(sl.NormalizedDepthwiseConv1D(3, 2, strides=2, padding='causal_valid')),
    Case(sl.NormalizedDepthwiseConv1D(3, 1, dilation_rate=2, padding='same', use_bias=False, activation=jax.nn.tanh)),
    Case(sl.SincFilter1D(5, 0.4, strides=2, padding='same'), channels=(2, 3)),
    Case(sl.SincFilter1D(4, 0.9, kaiser_beta=2.0, padding='causal'), channels=()),
    Case(sl.InstanceNormalization()),
    Case(sl.InstanceNormalization(axis=2, cumulative=True, use_scale=False, use_bias=False), channels=(3, 2)),
    Case(sl.Spectrogram(5, 2, 8, time_padding='causal', power=2.0, log_floor=1e-3), channels=()),
    Case(sl.AssertChannelSpec([None, 3]), channels=(2, 3)),
    Case(sl.StyleToken(5, 2, 3), channels=(4,)),
    Case(sl.Zoneout(sl.LSTM(3), rate=0.3)),
    Case(sl.Zoneout(sl.GRU(3), rate=0.3), training=True),
    # Dropout cuts ways through the loop, and what Lookahead drops is missing at the start: the field is a bound.
    Case(
        sl.Autoregressive(sl.Serial([sl.Dropout(0.3), sl.LSTM(3)]), feedback_layer=sl.Dense(2)),
        training=True,
        bfloat16=False,
        exact_field=False,
    ),
    Case(
        sl.Autoregressive(
            sl.Serial([sl.Conv1D(2, 3, strides=2, padding='causal'), sl.Tanh()]), feedback_layer=sl.Upsample1D(2)
        ),
        bfloat16=False,
    ),
    Case(
        sl.Serial([sl.Lookahead(1), sl.Autoregressive(sl.Blockwise(sl.Serial([sl.Delay(1), sl.Dense(2)]), 2))]),
        bfloat16=False,
        exact_field=False,
    ),
]
