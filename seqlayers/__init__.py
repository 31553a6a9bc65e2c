"""Streamable sequence layers for JAX and Flax NNX: every layer runs whole or in steps, with identical results."""

from seqlayers import interop, signal, testing
from seqlayers.attention.projections import (
    CombinedQueryKeyValueProjection,
    QueryAndKeyValueProjection,
    QueryAndSharedKeyValueProjection,
    SeparateQueryKeyValueProjection,
)
from seqlayers.attention.self_attention import DotProductSelfAttention, SelfAttentionEmits
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
from seqlayers.config import from_config, to_config
from seqlayers.context import LayerError
from seqlayers.layer import Composite, SequenceLayer, Stateless
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
from seqlayers.layers.batch_normalization import BatchNormalization
from seqlayers.layers.convolution import Conv1D, Conv2D, Conv3D, DepthwiseConv1D
from seqlayers.layers.delay import Delay, Lookahead
from seqlayers.layers.dense import Dense, DenseShaped, EinsumDense
from seqlayers.layers.dropout import Dropout
from seqlayers.layers.elementwise import Add, Affine, Maximum, Minimum, Mod, Scale
from seqlayers.layers.embedding import Embedding
from seqlayers.layers.fft import FFT, IFFT, IRFFT, RFFT, Window
from seqlayers.layers.frame import Frame, OverlapAdd
from seqlayers.layers.group_normalization import GroupNormalization
from seqlayers.layers.mel import LinearToMelSpectrogram
from seqlayers.layers.noise import AddNoise
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
from seqlayers.layers.recurrent import GRU, LSTM
from seqlayers.layers.reduction import Argmax, Max, Mean, Min, OneHot, Sum
from seqlayers.layers.resample import Downsample1D, Upsample1D, Upsample2D
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
from seqlayers.layers.stft import STFT, InverseSTFT
from seqlayers.layers.structural import Emit, Identity, Lambda
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
from seqlayers.layers.whole import GlobalEinopsRearrange, GlobalReshape
from seqlayers.sequence import ChannelSpec, MaskedSequence, Sequence, sequence_mask
from seqlayers.streaming.step_by_step import step_by_step
from seqlayers.timing import Timing

__all__ = [
    'Abs',
    'Add',
    'AddNoise',
    'Affine',
    'ApplySharding',
    'Argmax',
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
    'Conv1D',
    'Conv1DTranspose',
    'Conv2D',
    'Conv2DTranspose',
    'Conv3D',
    'Delay',
    'Dense',
    'DenseShaped',
    'DepthwiseConv1D',
    'DotProductSelfAttention',
    'Downsample1D',
    'Dropout',
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
    'GatedLinearUnit',
    'GatedTanhUnit',
    'GatedUnit',
    'Gelu',
    'GlobalEinopsRearrange',
    'GlobalReshape',
    'GradientClipping',
    'GroupNormalization',
    'GRU',
    'Identity',
    'IFFT',
    'InverseSTFT',
    'IRFFT',
    'L2Normalize',
    'L2WeightNormalization',
    'Lambda',
    'LayerError',
    'LayerNormalization',
    'LeakyRelu',
    'LinearToMelSpectrogram',
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
    'RFFT',
    'RMSNormalization',
    'Scale',
    'SelfAttentionEmits',
    'SeparateQueryKeyValueProjection',
    'Sequence',
    'SequenceDense',
    'SequenceEmbedding',
    'SequenceLayer',
    'Serial',
    'Shared',
    'Sigmoid',
    'Slice',
    'Snake',
    'Softmax',
    'Softplus',
    'SpectralWeightNormalization',
    'Squeeze',
    'Stateless',
    'STFT',
    'StopGradient',
    'Sum',
    'SwapAxes',
    'Swish',
    'Tanh',
    'Timing',
    'Transpose',
    'Upsample1D',
    'Upsample2D',
    'WeightNormalization',
    'Window',
    'from_config',
    'interop',
    'sequence_mask',
    'signal',
    'step_by_step',
    'testing',
    'to_config',
]
