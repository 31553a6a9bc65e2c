"""Streamable sequence layers for JAX and Flax NNX: every layer runs whole or in steps, with identical results."""

import importlib
from typing import TYPE_CHECKING

from seqlayers import models, signal
from seqlayers.attention.additive import AdditiveAttention
from seqlayers.attention.banded import SelfAttentionEmits
from seqlayers.attention.blockwise_self_attention import BlockwiseDotProductSelfAttention
from seqlayers.attention.cross_attention import DotProductAttention, MultiSourceDotProductAttention
from seqlayers.attention.gmm import GmmAttention
from seqlayers.attention.local_self_attention import LocalDotProductSelfAttention
from seqlayers.attention.location import DynamicConvolutionAttention, LocationSensitiveAttention
from seqlayers.attention.projections import (
    CombinedQueryKeyValueProjection,
    QueryAndKeyValueProjection,
    QueryAndSharedKeyValueProjection,
    SeparateQueryKeyValueProjection,
)
from seqlayers.attention.relative import (
    ALiBi,
    RelativePositionEmbedding,
    ShawRelativePositionEmbedding,
    T5RelativePositionEmbedding,
    TransformerXLRelativePositionEmbedding,
)
from seqlayers.attention.self_attention import DotProductSelfAttention
from seqlayers.attention.self_attention_v2 import DotProductSelfAttentionV2
from seqlayers.attention.sources import CrossAttentionEmits
from seqlayers.attention.streaming_attention import StreamingDotProductAttention, StreamingLocalDotProductAttention
from seqlayers.combinators.autoregressive import Autoregressive
from seqlayers.combinators.bidirectional import Bidirectional
from seqlayers.combinators.blockwise import Blockwise
from seqlayers.combinators.checkpoint_gradient import CheckpointGradient
from seqlayers.combinators.combine import CombinationMode
from seqlayers.combinators.parallel import Parallel
from seqlayers.combinators.parallel_channels import ParallelChannels
from seqlayers.combinators.repeat import Repeat
from seqlayers.combinators.residual import Residual
from seqlayers.combinators.serial import Serial
from seqlayers.combinators.shared import EmbeddingTranspose, Ref, Shared
from seqlayers.combinators.skip import Skip
from seqlayers.combinators.zoneout import Zoneout
from seqlayers.composite import Composite
from seqlayers.config import from_config, to_config
from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer, Stateless
from seqlayers.layers.activation import (
    Abs,
    Cast,
    Elu,
    Exp,
    GatedLinearUnit,
    GatedTanhUnit,
    GatedUnit,
    Gelu,
    LeakyRelu,
    Log,
    Power,
    PRelu,
    Relu,
    Sigmoid,
    Snake,
    Softmax,
    Softplus,
    Swish,
    Tanh,
)
from seqlayers.layers.assert_channel_spec import AssertChannelSpec
from seqlayers.layers.batch_normalization import BatchNormalization
from seqlayers.layers.conditioning import Conditioning, UpsampleConditioning
from seqlayers.layers.convolution import Conv1D, Conv2D, Conv3D, DepthwiseConv1D
from seqlayers.layers.delay import Delay, Lookahead
from seqlayers.layers.dense import Dense, DenseShaped, EinsumDense
from seqlayers.layers.dropout import Dropout
from seqlayers.layers.elementwise import Add, Affine, Maximum, Minimum, Mod, Scale
from seqlayers.layers.embedding import Embedding
from seqlayers.layers.fft import FFT, IFFT, IRFFT, RFFT, Window
from seqlayers.layers.frame import Frame, OverlapAdd
from seqlayers.layers.group_normalization import GroupNormalization
from seqlayers.layers.instance_normalization import InstanceNormalization
from seqlayers.layers.lightweight_convolution import NormalizedDepthwiseConv1D
from seqlayers.layers.linear_attention import GatedLinearAttention
from seqlayers.layers.mel import LinearToMelSpectrogram
from seqlayers.layers.noise import AddNoise
from seqlayers.layers.noise_conditioning import NoiseConditioning
from seqlayers.layers.normalization import L2Normalize, LayerNormalization, RMSNormalization
from seqlayers.layers.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    AveragePooling3D,
    MaxPooling1D,
    MaxPooling2D,
    MaxPooling3D,
    MinPooling1D,
    MinPooling2D,
    MinPooling3D,
)
from seqlayers.layers.position import AddTimingSignal, ConcatPositionEmbedding, ConcatTimingSignal
from seqlayers.layers.recurrent import GRU, LSTM
from seqlayers.layers.reduction import Argmax, Max, Mean, Min, OneHot, Sum
from seqlayers.layers.resample import Downsample1D, Upsample1D, Upsample2D
from seqlayers.layers.rglru import RGLRU
from seqlayers.layers.rotary import ApplyRotaryPositionalEncoding
from seqlayers.layers.selective_state_space import SelectiveStateSpace
from seqlayers.layers.separable_convolution import DepthwiseConv2D, SeparableConv1D
from seqlayers.layers.shape import (
    EinopsRearrange,
    ExpandDims,
    Flatten,
    MoveAxis,
    Reshape,
    Slice,
    Squeeze,
    SwapAxes,
    Transpose,
)
from seqlayers.layers.sinc_filter import SincFilter1D
from seqlayers.layers.spectrogram import Spectrogram
from seqlayers.layers.stack_frames import StackFrames, UnstackFrames
from seqlayers.layers.state_space import DiagonalStateSpace
from seqlayers.layers.stft import STFT, InverseSTFT
from seqlayers.layers.structural import Emit, Identity, Lambda
from seqlayers.layers.style_token import StyleToken
from seqlayers.layers.tap import (
    ApplySharding,
    CheckpointName,
    GradientClipping,
    Logging,
    MaskInvalid,
    NamedEmit,
    OptimizationBarrier,
    StopGradient,
)
from seqlayers.layers.time_varying import MaskedDense, SequenceDense, SequenceEmbedding
from seqlayers.layers.transposed_convolution import Conv1DTranspose, Conv2DTranspose
from seqlayers.layers.weight_normalization import (
    L2WeightNormalization,
    SpectralWeightNormalization,
    WeightNormalization,
)
from seqlayers.layers.whole import GlobalEinopsRearrange, GlobalReshape, ReverseSequence
from seqlayers.sequence import ChannelSpec, MaskedSequence, Sequence, sequence_mask
from seqlayers.streaming.pool import Full, PooledStream, StreamPool
from seqlayers.streaming.step_by_step import step_by_step
from seqlayers.streaming.stream import Stream
from seqlayers.tables import state_summary
from seqlayers.timing import Timing

if TYPE_CHECKING:
    from seqlayers import interop, testing


def __getattr__(name: str):  # models run without these, so they are imported when first asked for
    if name in {'interop', 'testing'}:
        return importlib.import_module(f'seqlayers.{name}')
    raise AttributeError(f'module seqlayers has no attribute {name!r}')


def __dir__() -> list[str]:
    return __all__


__all__ = [
    'Full',
    'PooledStream',
    'StreamPool',
    'Stream',
    'StreamingLocalDotProductAttention',
    'StreamingDotProductAttention',
    'CrossAttentionEmits',
    'MultiSourceDotProductAttention',
    'DotProductAttention',
    'LocalDotProductSelfAttention',
    'BlockwiseDotProductSelfAttention',
    'DotProductSelfAttentionV2',
    'TransformerXLRelativePositionEmbedding',
    'T5RelativePositionEmbedding',
    'ShawRelativePositionEmbedding',
    'RelativePositionEmbedding',
    'ALiBi',
    'Abs',
    'Add',
    'AdditiveAttention',
    'AddNoise',
    'AddTimingSignal',
    'Affine',
    'ApplyRotaryPositionalEncoding',
    'ApplySharding',
    'Argmax',
    'AssertChannelSpec',
    'Autoregressive',
    'AveragePooling1D',
    'AveragePooling2D',
    'AveragePooling3D',
    'BatchNormalization',
    'Bidirectional',
    'Blockwise',
    'Cast',
    'ChannelSpec',
    'CheckpointGradient',
    'CheckpointName',
    'CombinationMode',
    'CombinedQueryKeyValueProjection',
    'Composite',
    'ConcatPositionEmbedding',
    'ConcatTimingSignal',
    'Conditioning',
    'Conv1D',
    'Conv1DTranspose',
    'Conv2D',
    'Conv2DTranspose',
    'Conv3D',
    'Delay',
    'Dense',
    'DenseShaped',
    'DepthwiseConv1D',
    'DepthwiseConv2D',
    'DiagonalStateSpace',
    'DotProductSelfAttention',
    'Downsample1D',
    'Dropout',
    'DynamicConvolutionAttention',
    'EinopsRearrange',
    'EinsumDense',
    'Elu',
    'Embedding',
    'EmbeddingTranspose',
    'Emit',
    'Exp',
    'ExpandDims',
    'FFT',
    'Flatten',
    'Frame',
    'GatedLinearAttention',
    'GatedLinearUnit',
    'GatedTanhUnit',
    'GatedUnit',
    'Gelu',
    'GlobalEinopsRearrange',
    'GlobalReshape',
    'GmmAttention',
    'GradientClipping',
    'GroupNormalization',
    'GRU',
    'Identity',
    'IFFT',
    'InstanceNormalization',
    'InverseSTFT',
    'IRFFT',
    'L2Normalize',
    'L2WeightNormalization',
    'Lambda',
    'LayerError',
    'LayerNormalization',
    'LeakyRelu',
    'LinearToMelSpectrogram',
    'LocationSensitiveAttention',
    'Log',
    'Logging',
    'Lookahead',
    'LSTM',
    'MaskedDense',
    'MaskedSequence',
    'MaskInvalid',
    'Max',
    'Maximum',
    'MaxPooling1D',
    'MaxPooling2D',
    'MaxPooling3D',
    'Mean',
    'Min',
    'Minimum',
    'MinPooling1D',
    'MinPooling2D',
    'MinPooling3D',
    'Mod',
    'MoveAxis',
    'NamedEmit',
    'NoiseConditioning',
    'NormalizedDepthwiseConv1D',
    'OneHot',
    'OptimizationBarrier',
    'OverlapAdd',
    'Parallel',
    'ParallelChannels',
    'Power',
    'PRelu',
    'QueryAndKeyValueProjection',
    'QueryAndSharedKeyValueProjection',
    'Ref',
    'Relu',
    'Repeat',
    'Reshape',
    'Residual',
    'ReverseSequence',
    'RFFT',
    'RGLRU',
    'RMSNormalization',
    'Scale',
    'SelectiveStateSpace',
    'SelfAttentionEmits',
    'SeparableConv1D',
    'SeparateQueryKeyValueProjection',
    'Sequence',
    'SequenceDense',
    'SequenceEmbedding',
    'SequenceLayer',
    'Serial',
    'Shared',
    'Sigmoid',
    'SincFilter1D',
    'Skip',
    'Slice',
    'Snake',
    'Softmax',
    'Softplus',
    'SpectralWeightNormalization',
    'Spectrogram',
    'Squeeze',
    'StackFrames',
    'Stateless',
    'STFT',
    'StopGradient',
    'StyleToken',
    'Sum',
    'SwapAxes',
    'Swish',
    'Tanh',
    'Timing',
    'Transpose',
    'UnstackFrames',
    'Upsample1D',
    'Upsample2D',
    'UpsampleConditioning',
    'WeightNormalization',
    'Window',
    'Zoneout',
    'from_config',
    'interop',
    'models',
    'sequence_mask',
    'signal',
    'state_summary',
    'step_by_step',
    'testing',
    'to_config',
]
