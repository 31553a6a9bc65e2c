from collections.abc import Sequence as PySequence

from seqlayers.combinators.repeat import Repeat
from seqlayers.combinators.residual import Residual
from seqlayers.combinators.serial import Serial
from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer
from seqlayers.layers.activation import GatedTanhUnit, Relu
from seqlayers.layers.convolution import Conv1D
from seqlayers.layers.dense import Dense
from seqlayers.layers.shape import Slice


def wavenet(
    outputs: int = 256,
    *,
    width: int = 32,
    skip_width: int = 64,
    kernel_size: int = 2,
    dilations: PySequence[int] = (1, 2, 4, 8, 16),
    num_stacks: int = 2,
) -> SequenceLayer:
    """WaveNet: a stack of dilated causal convolutions, whose reach doubles from block to block.

    samples -> causal convolution -> [a block for each dilation] x num_stacks -> sum of skips -> relu, dense, relu,
    dense
    block: dilated convolution of x -> tanh * sigmoid -> one part is added to x, the other to the sum of skips

    Shapes: `(batch, time, features) -> (batch, time, outputs)`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (-(kernel_size - 1) * (1 + num_stacks * sum(dilations)), 0) |

    x and the sum of skips are carried from block to block as two parts of one vector, of `width` and `skip_width`
    channels: so each block is a residual that reads the first part and adds to both. The sum starts with a skip from
    the first convolution.

    To predict the next sample, delay the samples by one: `Serial([Delay(1), OneHot(256), wavenet()])`. The
    state of a block is its last `(kernel_size - 1) * dilation` inputs.

    Raises:
      LayerError: a size is below 1.

    Source: van den Oord et al., arXiv 1609.03499.

    >>> import seqlayers as sl
    >>> declaration = sl.models.wavenet(dilations=[1, 2, 4], num_stacks=2)
    >>> declaration.output_latency, declaration.receptive_field
    (0, (-15, 0))
    >>> declaration.build(sl.ChannelSpec((1,)), rngs=0).output_spec
    ChannelSpec((256,), float32)
    """
    sizes = {'outputs': outputs, 'width': width, 'skip_width': skip_width, 'kernel_size': kernel_size}
    sizes |= {'num_stacks': num_stacks, 'dilations': min(dilations, default=0)}
    if small := {name: size for name, size in sizes.items() if size < 1}:
        raise LayerError(f'wavenet: sizes must be at least 1, got {small}')
    blocks = [
        wavenet_block(width, skip_width, dilation, kernel_size=kernel_size, name=f'block_{i}')
        for i, dilation in enumerate(dilations)
    ]
    layers = [
        Conv1D(width + skip_width, kernel_size, padding='causal', name='input'),
        Repeat(Serial(blocks, name='stack'), num_stacks, name='stacks'),
        Slice([(width, None, None)]),
        Relu(),
        Dense(skip_width, name='hidden'),
        Relu(),
        Dense(outputs, name='output'),
    ]
    return Serial(layers)


def wavenet_block(
    width: int, skip_width: int, dilation: int, *, kernel_size: int = 2, name: str = 'block'
) -> SequenceLayer:
    """A dilated causal convolution with gated units, that adds to its input and to a sum of skips.

    Shapes: `(batch, time, width + skip_width)` unchanged. No latency, receptive field `(-(kernel_size - 1) * dilation,
    0)`.

    >>> import seqlayers as sl
    >>> sl.models.wavenet_block(32, 64, dilation=8).receptive_field
    (-8, 0)
    """
    layers = [
        Slice([(0, width, None)]),
        Conv1D(2 * width, kernel_size, dilation_rate=dilation, padding='causal', name='dilated'),
        GatedTanhUnit(),
        Dense(width + skip_width, name='output'),
    ]
    return Residual(layers, name=name)
