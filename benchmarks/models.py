"""The models that are measured, in the spelling that both libraries read. `sl` is the one or the other."""

import jax
import jax.numpy as jnp

WIDTH = 144  # channels of the input and of every layer


def conformer(sl, blocks: int = 8, window: int = 32):
    """Causal Conformer blocks, whose attention looks back `window` timesteps."""

    def residual(*layers):
        return sl.Residual.Config([sl.RMSNormalization.Config(), *layers])

    def feed_forward():
        return residual(
            sl.Dense.Config(4 * WIDTH, activation=jax.nn.swish), sl.Dense.Config(WIDTH), sl.Scale.Config(0.5)
        )

    attention = residual(
        sl.DotProductSelfAttention.Config(num_heads=4, units_per_head=WIDTH // 4, max_past_horizon=window),
        sl.DenseShaped.Config([WIDTH]),
    )
    convolution = residual(
        sl.Dense.Config(2 * WIDTH),
        sl.GatedLinearUnit.Config(),
        sl.DepthwiseConv1D.Config(15, padding='causal'),
        sl.RMSNormalization.Config(),
        sl.Swish.Config(),
        sl.Dense.Config(WIDTH),
    )
    block = [feed_forward(), attention, convolution, feed_forward(), sl.RMSNormalization.Config()]
    return sl.Serial.Config([sl.Serial.Config(block) for _ in range(blocks)])


def convolutions(sl, layers: int = 8):
    """Causal convolutions in residuals, each dilated twice as much as the one before."""

    def layer(dilation):
        return sl.Conv1D.Config(WIDTH, 3, dilation_rate=dilation, padding='causal', activation=jax.nn.swish)

    return sl.Serial.Config([sl.Residual.Config([layer(2**i)]) for i in range(layers)])


def lstm(sl, width: int = WIDTH):
    return sl.LSTM.Config(width)


def rglru(sl, width: int = WIDTH):
    """The recurrence of Griffin."""
    return sl.RGLRU.Config(width, num_heads=4)


def attention(sl, window: int = 32):
    """Beside the recurrences: what looks back `window` timesteps instead."""
    return sl.Serial.Config(
        [
            sl.DotProductSelfAttention.Config(num_heads=4, units_per_head=WIDTH // 4, max_past_horizon=window),
            sl.DenseShaped.Config([WIDTH]),
        ]
    )


def decoder(sl, window: int = 1024, layers: int = 12, width: int = 1024, hidden: int = 4096, **repeat):
    """A Transformer in bfloat16 as language models are: rotary positions and a gated feed-forward; heads of 64."""
    half = {'param_dtype': jnp.bfloat16, 'compute_dtype': jnp.bfloat16}
    rotate = sl.ApplyRotaryPositionalEncoding.Config(
        max_wavelength=1e4, only_advance_position_for_valid_timesteps=False
    )
    attention = [
        sl.RMSNormalization.Config(param_dtype=jnp.bfloat16),
        sl.DotProductSelfAttention.Config(
            num_heads=width // 64,
            units_per_head=64,
            max_past_horizon=window - 1,
            query_network=rotate,
            key_network=rotate,
            **half,
        ),
        sl.DenseShaped.Config([width], use_bias=False, **half),
    ]
    feed_forward = [
        sl.RMSNormalization.Config(param_dtype=jnp.bfloat16),
        sl.Dense.Config(2 * hidden, use_bias=False, **half),
        sl.GatedUnit.Config(None, jax.nn.silu),
        sl.Dense.Config(width, use_bias=False, **half),
    ]
    block = sl.Serial.Config([sl.Residual.Config(attention), sl.Residual.Config(feed_forward)])
    return sl.Repeat.Config(layer=block, num_repeats=layers, **repeat)


MODELS = {f.__name__: f for f in (conformer, convolutions, lstm, rglru, attention, decoder)}
