"""Eight causal Conformer blocks of width 144, written in the spelling that both libraries read."""

import jax

WIDTH, FEATURES, BLOCKS, FRAMES = 144, 80, 8, 200


def conformer(sl, blocks: int = BLOCKS):
    """The model in the library `sl`: this one or the published one."""

    def serial(layers):
        return sl.Serial.Config(layers)

    def residual(layers):
        return sl.Residual.Config(layers)

    def feed_forward():
        return residual(
            [
                sl.RMSNormalization.Config(),
                sl.Dense.Config(4 * WIDTH, activation=jax.nn.swish),
                sl.Dense.Config(WIDTH),
                sl.Scale.Config(0.5),
            ]
        )

    attention = residual(
        [
            sl.RMSNormalization.Config(),
            sl.DotProductSelfAttention.Config(num_heads=4, units_per_head=WIDTH // 4, max_past_horizon=32),
            sl.DenseShaped.Config([WIDTH]),
        ]
    )
    convolution = residual(
        [
            sl.RMSNormalization.Config(),
            sl.Dense.Config(2 * WIDTH),
            sl.GatedLinearUnit.Config(),
            sl.DepthwiseConv1D.Config(15, padding='causal'),
            sl.RMSNormalization.Config(),
            sl.Swish.Config(),
            sl.Dense.Config(WIDTH),
        ]
    )
    block = [feed_forward(), attention, convolution, feed_forward(), sl.RMSNormalization.Config()]
    return serial([sl.Dense.Config(WIDTH), *(serial(block) for _ in range(blocks))])
