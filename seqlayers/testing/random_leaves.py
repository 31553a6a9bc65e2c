"""Random layers with tables of all that the library has, for random models.

To add a layer, add a line to `LEAVES`: a function of a `Draw` that returns a layer of `(channels,)` to `(channels,)`.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

import seqlayers as sl
from seqlayers.layer import SequenceLayer
from seqlayers.padding import PADDING_MODES

# The constants that they read.
VECTOR, SEQUENCE, STREAM = 'vector', 'sequence', 'stream'
# Timesteps that layers with parameters for each timestep have.
LONGEST = 256


class Draw:
    """Random choices for a place in a model.

    Attributes:
      channels: of the input and the output of every layer.
      may_lengthen: whether `layer` may give more timesteps than its ratio says.
      may_block: whether layers that cannot step are wanted.
    """

    def __init__(self, rng: np.random.Generator, channels: int, may_lengthen: bool = True, may_block: bool = False):
        self.rng, self.channels, self.may_lengthen, self.may_block = rng, channels, may_lengthen, may_block

    def of(self, *options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def within(self, channels: int | None = None) -> 'Draw':
        """For a place inside of a layer that must not grow longer."""
        return Draw(self.rng, channels or self.channels, False, self.may_block)

    def divisor(self) -> int:
        """A number of groups or heads."""
        return self.of(*(n for n in range(1, self.channels + 1) if self.channels % n == 0))

    def padding(self, span: int) -> Any:
        """In time, of a window of `span + 1` timesteps."""
        left = int(self.rng.integers(0, span + 1))
        modes = [m for m in PADDING_MODES if self.may_lengthen or m != 'semicausal_full']
        return self.of(*modes, (left, span - left))

    def window(self, size: str = 'kernel_size') -> dict[str, Any]:
        """The arguments of a layer with a window over time; that of its length is called `size`."""
        n, dilation = self.of(1, 2, 3, 4), self.of(1, 1, 2)
        padding = self.padding((n - 1) * dilation)
        return {size: n, 'strides': self.of(1, 1, 2, 3), 'dilation_rate': dilation, 'padding': padding}


def to_width(d: Draw, *layers: SequenceLayer) -> SequenceLayer:
    return sl.Serial([*layers, sl.DenseShaped([d.channels])])


def norm() -> SequenceLayer:
    """For layers that multiply their input by itself: repeated, numbers would overflow."""
    return sl.RMSNormalization(epsilon=0.1)


def _transposed(d: Draw) -> SequenceLayer:
    padding = d.of('causal', 'same', *(['valid'] if d.may_lengthen else []))
    return sl.Conv1DTranspose(d.channels, d.of(1, 2, 3, 4), d.of(1, 1, 2, 3), d.of(1, 1, 2), padding)


def _in_two_dimensions(d: Draw) -> SequenceLayer:
    strides, padding = (d.of(1, 2), 1), d.padding(2)
    layer = d.of(
        sl.Conv2D(2, 3, strides, time_padding=padding),
        sl.DepthwiseConv2D(3, strides, time_padding=padding),
        sl.Conv2DTranspose(2, 3, strides, time_padding=d.of('causal', 'same')),
        *(pool(3, strides, time_padding=padding) for pool in (sl.MaxPooling2D, sl.MinPooling2D, sl.AveragePooling2D)),
        sl.Upsample2D(strides),
    )
    return to_width(d, sl.ExpandDims(-1), layer)


def _frame(d: Draw) -> SequenceLayer:
    length = d.of(2, 3, 4)
    return to_width(d, sl.Frame(length, d.of(1, 2, 3), d.padding(length - 1)))


def _overlap_add(d: Draw) -> SequenceLayer:
    step, padding = d.of(1, 2, 3), d.of('causal', *(['valid'] if d.may_lengthen else []))
    length = step + d.of(0, 1, 2)
    return sl.Serial([sl.DenseShaped([length, d.channels]), sl.OverlapAdd(length, step, padding)])


def _spectrum(d: Draw) -> SequenceLayer:
    stft = sl.STFT(4, d.of(1, 2, 3), 4, time_padding=d.padding(3), output_magnitude=d.chance(0.5))
    if stft.output_magnitude:
        return to_width(d, stft)
    padding = d.of('causal', *(['valid'] if d.may_lengthen else []))
    return sl.Serial([stft, sl.InverseSTFT(4, stft.frame_step, 4, time_padding=padding)])


def _relative(d: Draw, heads: int, units: int, past: int, future: int) -> Any:
    return d.of(
        None,
        None,
        sl.ShawRelativePositionEmbedding(2, 1, heads, units),
        sl.T5RelativePositionEmbedding(8, heads, bidirectional=d.chance(0.5), max_distance=16),
        sl.TransformerXLRelativePositionEmbedding(heads, units, past, future, 4),
        sl.ALiBi(heads),
    )


def _attention_fields(d: Draw, heads: int) -> dict[str, Any]:
    """Fields that all kinds of attention with dropout have."""
    sinks = d.of({}, {}, {'num_sink_embeddings': 2}, {'use_sink_scalars': True}, {'zero_fully_masked': True})
    dropout = d.of({}, {}, {'attention_probabilities_dropout_rate': 0.3})
    scale = d.of({}, {'per_dim_scale': True}, {'attention_logits_soft_cap': 2.0}, {'use_bias': True})
    groups = d.of({}, {'num_kv_heads': 1, 'input_projection': sl.QueryAndKeyValueProjection()}) if heads > 1 else {}
    return sinks | dropout | scale | groups


def _self_attention(d: Draw) -> SequenceLayer:
    heads, units, past, future = d.of(1, 2), d.of(2, 4), d.of(1, 2, 5), d.of(0, 0, 1, 2)
    fields = _attention_fields(d, heads) | {'relative_position_embedding': _relative(d, heads, units, past, future)}
    local = {'query_block': d.of(2, 3)} if d.chance(0.3) else {}
    if d.chance(0.2):
        fields['query_network'] = fields['key_network'] = sl.ApplyRotaryPositionalEncoding(100.0)
    kind = sl.LocalDotProductSelfAttention if local else sl.DotProductSelfAttention
    return to_width(d, kind(heads, units, max_past_horizon=past, max_future_horizon=future, **local, **fields))


def _cross_attention(d: Draw) -> SequenceLayer:
    heads = d.of(1, 2)
    return to_width(d, sl.DotProductAttention(SEQUENCE, heads, 4, **_attention_fields(d, heads)))


def _linear_attention(d: Draw) -> SequenceLayer:
    return to_width(d, norm(), sl.GatedLinearAttention(2, 2, d.of('unit', 'head', 'fixed'), chunk_size=d.of(2, 4)))


def _selective_state_space(d: Draw) -> SequenceLayer:
    return to_width(d, norm(), sl.Dense(10), sl.SelectiveStateSpace(2, 2, 2, chunk_size=d.of(2, 4)))


def _conditioning(d: Draw) -> SequenceLayer:
    projection, combination = d.of(('linear', 'add'), ('linear', 'mul'), ('linear_affine', 'affine'))
    if d.chance(0.3):
        return sl.UpsampleConditioning(SEQUENCE, projection, combination, upsample_ratio=d.of(2, 3))
    return sl.Conditioning(d.of(VECTOR, SEQUENCE), projection, combination)


def _autoregressive(d: Draw) -> SequenceLayer:
    inner = d.of(sl.GRU(d.channels), sl.Conv1D(d.channels, 2, padding='causal'), sl.RGLRU(d.channels, num_heads=1))
    return sl.Autoregressive(sl.Serial([sl.Dense(d.channels), inner, sl.Tanh()]))


LEAVES: dict[str, list[Callable[[Draw], SequenceLayer]]] = {
    'windows': [
        lambda d: sl.Conv1D(d.channels, **d.window()),
        lambda d: sl.Conv1D(d.channels, **d.window()),
        lambda d: sl.DepthwiseConv1D(**d.window()),
        lambda d: sl.SeparableConv1D(d.channels, **d.window()),
        lambda d: sl.NormalizedDepthwiseConv1D(num_heads=d.divisor(), **d.window()),
        lambda d: sl.MaxPooling1D(**d.window('pool_size')),
        lambda d: sl.MinPooling1D(**d.window('pool_size')),
        lambda d: sl.AveragePooling1D(masked_average=d.chance(0.5), **d.window('pool_size')),
        lambda d: sl.SincFilter1D(d.of(2, 3), 0.4, d.of(1, 2), padding=d.of('same', 'causal', 'valid')),
        _in_two_dimensions,
    ],
    'frames': [
        _transposed,
        _transposed,
        _frame,
        _overlap_add,
        _spectrum,
        lambda d: to_width(d, sl.StackFrames(d.of(2, 3), d.of('causal_valid', 'causal', 'valid'))),
        lambda d: sl.Serial([sl.DenseShaped([2, d.channels]), sl.UnstackFrames(2)]),
    ],
    'rates and latencies': [
        lambda d: sl.Downsample1D(d.of(2, 3)),
        lambda d: sl.Upsample1D(d.of(2, 3)),
        lambda d: sl.Delay(d.of(1, 2, 3), delay_layer_output=d.may_lengthen and d.chance(0.5)),
        lambda d: sl.Lookahead(d.of(1, 2, 3), preserve_length_in_layer=d.chance(0.3)),
    ],
    'recurrences': [
        lambda d: sl.LSTM(d.channels),
        lambda d: sl.Zoneout(sl.GRU(d.channels), rate=0.3),
        lambda d: sl.RGLRU(d.channels, num_heads=1),
        lambda d: sl.DiagonalStateSpace(4, min_step=0.05, max_step=0.5),
        _linear_attention,
        _selective_state_space,
        _autoregressive,
    ],
    'attention': [
        _self_attention,
        _self_attention,
        _cross_attention,
        lambda d: to_width(d, sl.DotProductSelfAttentionV2(2, 2, d.of(1, 3), d.of(0, 1))),
        lambda d: to_width(d, sl.BlockwiseDotProductSelfAttention(d.of(2, 3), 2, 2, d.of(0, 1), d.of(0, 0, 1))),
        lambda d: to_width(d, sl.MultiSourceDotProductAttention(SEQUENCE, 2, 2)),
        lambda d: to_width(d, sl.StyleToken(3, 2, 2)),
    ],
    'positions': [
        lambda d: sl.AddTimingSignal(only_advance_position_for_valid_timesteps=d.chance(0.5)),
        lambda d: to_width(d, sl.ConcatTimingSignal(2, only_advance_position_for_valid_timesteps=d.chance(0.5))),
        lambda d: to_width(d, sl.ConcatPositionEmbedding(LONGEST, 2)),
        lambda d: sl.SequenceDense(d.channels, num_steps=LONGEST),
        lambda d: sl.MaskedDense(d.channels, num_steps=LONGEST),
        _conditioning,
    ],
    'pointwise': [
        lambda d: sl.Dense(d.channels, activation=d.of(None, jnp.tanh)),
        lambda d: sl.Dropout(0.3),
        lambda d: sl.AddNoise(sl.AddNoise.Normal(0.0, 0.5), training_only=True),
        lambda d: sl.NoiseConditioning(sl.AddNoise.Normal(), 'linear', 'add'),
        lambda d: sl.RMSNormalization(epsilon=0.1),
        lambda d: sl.LayerNormalization(epsilon=0.1),
        lambda d: sl.GroupNormalization(d.divisor(), cumulative=True, epsilon=0.1),
        lambda d: sl.InstanceNormalization(cumulative=True, epsilon=0.1),
        lambda d: to_width(d, sl.Dense(2 * d.channels), sl.GatedLinearUnit()),
        lambda d: to_width(d, sl.Max(-1, keepdims=True)),
        lambda d: sl.Affine(),
        lambda d: sl.Softmax(),
    ],
}

# These stop a model from running in steps.
BLOCKED: list[Callable[[Draw], SequenceLayer]] = [
    lambda d: sl.ReverseSequence(),
    lambda d: sl.InstanceNormalization(epsilon=0.1),
    lambda d: sl.Conv1DTranspose(d.channels, d.of(2, 3), d.of(1, 2), padding='semicausal_full'),
]

# These read a constant in time with the input of the model, so only layers that keep the rate may stand before them.
STREAMED: list[Callable[[Draw], SequenceLayer]] = [
    lambda d: sl.Conditioning(STREAM, 'linear', 'add', streaming=True),
    lambda d: to_width(d, sl.StreamingDotProductAttention(STREAM, 2, 2, d.of(1, 3), d.of(0, 1, 2))),
    lambda d: to_width(d, sl.StreamingLocalDotProductAttention(STREAM, 2, 2, 2, d.of(1, 3), d.of(0, 1, 2))),
]


def random_leaf(d: Draw) -> SequenceLayer:
    if d.may_block and d.chance(0.3):
        return d.of(*BLOCKED)(d)
    return d.of(*d.of(*LEAVES.values()))(d)
