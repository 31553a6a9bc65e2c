import jax

from seqlayers.combinators.repeat import Repeat
from seqlayers.combinators.residual import Residual
from seqlayers.combinators.serial import Serial
from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer
from seqlayers.layers.activation import GatedLinearUnit, Swish
from seqlayers.layers.convolution import Conv1D, DepthwiseConv1D
from seqlayers.layers.dense import Dense
from seqlayers.layers.dropout import Dropout
from seqlayers.layers.elementwise import Scale
from seqlayers.layers.normalization import RMSNormalization
from seqlayers.models import parts


def conformer(
    *,
    width: int = 64,
    num_layers: int = 2,
    num_heads: int = 4,
    past: int = 32,
    look_ahead: int = 2,
    kernel_size: int = 9,
    ffn_width: int | None = None,
    dropout: float = 0.0,
) -> SequenceLayer:
    """A Conformer: an encoder of speech that writes while one speaks, `look_ahead` frames behind.

    features -> two convolutions of stride 2 -> [block] x num_layers, the first with the look-ahead
    block: x + 1/2 feed-forward, x + attention, x + convolution, x + 1/2 feed-forward, norm

    Shapes: `(batch, time, features) -> (batch, time / 4, width)`. A timestep between the blocks, a frame, is 4 input
    timesteps.

    | block size | output ratio | input latency | output latency | receptive field |
    |---|---|---|---|---|
    | 4 | 1/4 | 4 * look_ahead | look_ahead | (-4 * num_layers * (past + kernel_size - 1) - 3, 4 * look_ahead + 3) |

    The 3 are the timesteps of a frame's own block, which are there when it is computed. Look-ahead of several layers
    adds up; therefore all of it is in one place, the attention of the first block. Convolutions are causal.

    Args:
      width: the channels between the blocks. num_heads: each of `width / num_heads` units.
      past: frames before it that each frame attends to. look_ahead: frames after it, in the first block.
      kernel_size: frames of the convolution in each block.
      ffn_width: hidden units of the feed-forward networks, by default 4 * width.
      dropout: the rate, on what every residual adds.

    Raises:
      LayerError: there is no layer, the heads do not divide the width, or other sizes do not go together.

    Source: Gulati et al., arXiv 2005.08100; here with RMS norms for layer and batch norms, and rotary positions.

    >>> import seqlayers as sl
    >>> declaration = sl.models.conformer(look_ahead=2)
    >>> declaration.block_size, declaration.input_latency, declaration.output_latency, declaration.receptive_field
    (4, 8, 2, (-323, 11))
    >>> declaration.build(sl.ChannelSpec((80,)), rngs=0).output_spec
    ChannelSpec((64,), float32)
    """
    if num_layers < 1:
        raise LayerError(f'conformer: num_layers must be at least 1, got {num_layers}')

    def block(future: int, name: str) -> SequenceLayer:
        sizes = {'num_heads': num_heads, 'past': past, 'future': future, 'kernel_size': kernel_size}
        return conformer_block(width, **sizes, ffn_width=ffn_width, dropout=dropout, name=name)

    # A semicausal convolution reads all of its own block: what is there anyway costs no latency.
    halve = Conv1D(width, kernel_size=3, strides=2, padding='semicausal', activation=jax.nn.silu)
    rest = [Repeat(block(0, 'block'), num_layers - 1, name='rest')] if num_layers > 1 else []
    return Serial([Serial([halve, halve], name='frontend'), block(look_ahead, 'first'), *rest])


def conformer_block(
    width: int,
    *,
    num_heads: int = 4,
    past: int = 32,
    future: int = 0,
    kernel_size: int = 9,
    ffn_width: int | None = None,
    dropout: float = 0.0,
    name: str = 'block',
) -> SequenceLayer:
    """Attention and convolution between two half steps of a feed-forward network, and a norm.

    Shapes: `(batch, time, width)` unchanged. Latencies `future`, receptive field `(-past - kernel_size + 1, future)`.
    Arguments as `conformer`; `future` is what the attention looks ahead.

    >>> import seqlayers as sl
    >>> sl.models.conformer_block(32, past=16, future=2).receptive_field
    (-24, 2)
    """
    layers = [
        _half_feed_forward(width, ffn_width, dropout, 'feed_forward_start'),
        parts.self_attention(width, num_heads, past, future, dropout=dropout),
        _convolution(width, kernel_size, dropout),
        _half_feed_forward(width, ffn_width, dropout, 'feed_forward_end'),
        RMSNormalization(name='norm'),
    ]
    return Serial(layers, name=name)


def _half_feed_forward(width: int, hidden: int | None, dropout: float, name: str) -> SequenceLayer:
    layers = [
        RMSNormalization(name='norm'),
        Dense(hidden or 4 * width, activation=jax.nn.silu, name='hidden'),
        Dense(width, name='output'),
        Dropout(dropout),
        Scale(0.5),
    ]
    return Residual(layers, name=name)


def _convolution(width: int, kernel_size: int, dropout: float) -> SequenceLayer:
    layers = [
        RMSNormalization(name='norm'),
        Dense(2 * width, name='input'),
        GatedLinearUnit(),
        DepthwiseConv1D(kernel_size, padding='causal', name='depthwise'),
        RMSNormalization(name='norm_after'),
        Swish(),
        Dense(width, name='output'),
        Dropout(dropout),
    ]
    return Residual(layers, name='convolution')
