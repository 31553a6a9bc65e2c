import jax

from seqlayers.combinators.parallel import Parallel
from seqlayers.combinators.repeat import Repeat
from seqlayers.combinators.residual import Residual
from seqlayers.combinators.serial import Serial
from seqlayers.layer import SequenceLayer
from seqlayers.layers.convolution import DepthwiseConv1D
from seqlayers.layers.dense import Dense
from seqlayers.layers.normalization import RMSNormalization
from seqlayers.layers.selective_state_space import SelectiveStateSpace
from seqlayers.models import parts


def mamba(
    vocabulary: int | None = None,
    *,
    width: int = 64,
    num_layers: int = 2,
    num_heads: int = 4,
    state_size: int = 16,
    expansion: int = 2,
    kernel_size: int = 4,
) -> SequenceLayer:
    """Mamba-2: a language model of linear cost, whose state does not grow with what came before.

    ids -> embedding -> [block] x num_layers -> RMS norm -> logits, by the table of the embedding
    block: x + projection(norm(state space(convolution(norm x)) * gate(norm x)))

    With a vocabulary it maps ids to logits, `(batch, time) -> (batch, time, vocabulary)`; without one vectors to
    vectors, `(batch, time, features) -> (batch, time, width)`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (-inf, 0) |

    `layer` runs in parallel over time. With `inner = expansion * width`, the state of a layer is a matrix
    `[state_size, inner / num_heads]` for each head, in float32, and the last `kernel_size - 1` timesteps of
    `inner + 2 * state_size` channels.

    Args:
      width: the channels between the blocks.
      num_heads: of the state space, each of `inner / num_heads` units.
      state_size: numbers that each unit remembers.
      kernel_size: of the short convolution before the state space.

    Raises:
      LayerError: the heads do not divide `expansion * width`, or a size is below 1.

    Source: Dao and Gu, "Transformers are SSMs", arXiv 2405.21060.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> declaration = sl.models.mamba(vocabulary=100, width=32)
    >>> declaration.output_latency, declaration.receptive_field
    (0, (-inf, 0))
    >>> declaration.build(sl.ChannelSpec((), jnp.int32), rngs=0).output_spec
    ChannelSpec((100,), float32)
    """
    block = mamba_block(
        width, num_heads=num_heads, state_size=state_size, expansion=expansion, kernel_size=kernel_size
    )  # fmt: skip
    return parts.between_input_and_output(vocabulary, width, Repeat(block, num_layers, name='blocks'))


def mamba_block(
    width: int, *, num_heads: int = 4, state_size: int = 16, expansion: int = 2, kernel_size: int = 4
) -> SequenceLayer:
    """A residual around a gated selective state space.

    Shapes: `(batch, time, width)` unchanged. No latency, receptive field (-inf, 0). Arguments as `mamba`.

    >>> import seqlayers as sl
    >>> sl.models.mamba_block(32).build(sl.ChannelSpec((32,)), rngs=0).output_spec
    ChannelSpec((32,), float32)
    """
    inner = expansion * width
    units = parts.units_per_head(inner, num_heads)
    # What to write and what to read, of `state_size` each, are convolved together with the values.
    values = Dense(inner + 2 * state_size, use_bias=False, name='input')
    convolution = DepthwiseConv1D(kernel_size, padding='causal', activation=jax.nn.silu, name='convolution')
    steps = Dense(num_heads, use_bias=False, name='time_steps')
    inputs = Parallel([Serial([values, convolution], name='values'), steps], 'concat', name='inputs')
    mixer = Serial([inputs, SelectiveStateSpace(num_heads, units, state_size, name='state_space')], name='mixer')
    gate = Dense(inner, use_bias=False, activation=jax.nn.silu, name='gate')
    layers = [
        RMSNormalization(name='norm'),
        Parallel([mixer, gate], 'product', name='gated'),
        RMSNormalization(name='norm_after'),
        Dense(width, use_bias=False, name='output'),
    ]
    return Residual(layers, name='block')
