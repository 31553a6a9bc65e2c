"""Every layer of the library, by family, with values that one can start from.

Each entry takes vectors, `(batch, time, channels)`, as most models have. A layer that takes something else (images,
ids, spectra) comes in a `Serial` with what leads to it, and a layer that reads a side input reads `SOURCE`.
"""

from typing import Any

import jax
import jax.numpy as jnp

import seqlayers as sl
from seqlayers.layers.noise import NormalNoise

WIDTH = 8  # channels that the entries are made for
SOURCE = 'source'  # the side input
PLANE = sl.ExpandDims(-1)  # vectors as planes of one channel
VOLUME = sl.Reshape((2, WIDTH // 2, 1))


def _in(*layers: sl.SequenceLayer) -> sl.Serial:
    return sl.Serial(layers)


def _named(*layers: sl.SequenceLayer) -> dict[str, sl.SequenceLayer]:
    """The entries by the name of the layer that they show: the last one of a `Serial` made for it."""
    return {type(layer.layers[-1] if type(layer) is sl.Serial else layer).__name__: layer for layer in layers}


_HEADS: dict[str, Any] = {'num_heads': 2, 'units_per_head': 4}
_SHARED = sl.Shared({'shared': sl.Dense(WIDTH)}, sl.Serial([sl.Ref('shared'), sl.Relu(), sl.Ref('shared')]))
_TIED = sl.Shared(
    {'embedding': sl.Embedding(WIDTH, num_embeddings=WIDTH)},
    sl.Serial([sl.Argmax(), sl.Ref('embedding'), sl.EmbeddingTranspose('embedding')]),
)

CATALOGUE: dict[str, dict[str, sl.SequenceLayer]] = {
    'Combinators': {
        'Serial': sl.Serial([sl.Dense(WIDTH), sl.Relu()]),
        **_named(
            sl.Residual([sl.RMSNormalization(), sl.Dense(WIDTH)]),
            sl.Parallel([sl.Dense(WIDTH), sl.Delay(1)], combination='add'),
            sl.Repeat(sl.Residual([sl.RMSNormalization(), sl.Dense(WIDTH)]), 2),
            sl.Skip([sl.Dense(WIDTH)]),
            sl.Bidirectional(sl.LSTM(WIDTH), sl.LSTM(WIDTH), combination='concat'),
            sl.Blockwise(sl.Dense(WIDTH), 2),
            sl.ParallelChannels(sl.Dense(WIDTH // 2), num_groups=2, combination='concat'),
            sl.Autoregressive(sl.LSTM(WIDTH), feedback_layer=sl.Dense(WIDTH)),
            sl.Zoneout(sl.LSTM(WIDTH), rate=0.1),
            sl.CheckpointGradient(sl.Dense(WIDTH)),
            _SHARED,
        ),
        'Ref': _SHARED,
        'EmbeddingTranspose': _TIED,
    },
    'Linear maps and embeddings': _named(
        sl.Dense(WIDTH),
        sl.DenseShaped([WIDTH]),
        sl.EinsumDense('...a,ab->...b', output_shape=[WIDTH]),
        _in(sl.Argmax(), sl.Embedding(WIDTH, num_embeddings=WIDTH)),
        sl.MaskedDense(WIDTH, num_steps=64),
        sl.SequenceDense(WIDTH, num_steps=64),
        _in(sl.Argmax(), sl.SequenceEmbedding(WIDTH, num_embeddings_per_step=WIDTH, num_steps=64)),
    ),
    'Convolution': _named(
        sl.Conv1D(WIDTH, kernel_size=3, padding='causal'),
        sl.DepthwiseConv1D(3, padding='causal'),
        sl.SeparableConv1D(WIDTH, kernel_size=3, padding='causal'),
        sl.NormalizedDepthwiseConv1D(3, num_heads=2, padding='causal'),
        sl.Conv1DTranspose(WIDTH, kernel_size=4, strides=2, padding='causal'),
        _in(PLANE, sl.Conv2D(2, kernel_size=3, time_padding='causal')),
        _in(PLANE, sl.DepthwiseConv2D(3, time_padding='causal')),
        _in(PLANE, sl.Conv2DTranspose(2, kernel_size=3, strides=(2, 1), time_padding='causal')),
        _in(VOLUME, sl.Conv3D(2, kernel_size=2, time_padding='causal')),
    ),
    'Recurrence and state spaces': _named(
        sl.LSTM(WIDTH),
        sl.GRU(WIDTH),
        sl.RGLRU(WIDTH, num_heads=2),
        sl.DiagonalStateSpace(4),
        sl.GatedLinearAttention(2, units_per_head=4),
        _in(sl.Dense(16), sl.SelectiveStateSpace(2, units_per_head=4, state_size=3)),
    ),
    'Attention': _named(
        sl.DotProductSelfAttention(**_HEADS, max_past_horizon=8),
        sl.DotProductSelfAttentionV2(**_HEADS, max_past_horizon=8),
        sl.LocalDotProductSelfAttention(**_HEADS, query_block=4, max_past_horizon=8),
        sl.BlockwiseDotProductSelfAttention(4, **_HEADS, max_past_horizon_blocks=1),
        sl.DotProductAttention(SOURCE, **_HEADS),
        sl.MultiSourceDotProductAttention((SOURCE,), **_HEADS),
        sl.StreamingDotProductAttention(SOURCE, **_HEADS, max_past_horizon=8, max_future_horizon=2),
        sl.StreamingLocalDotProductAttention(
            SOURCE, **_HEADS, query_block=4, max_past_horizon=8, max_future_horizon=2
        ),
        sl.AdditiveAttention(SOURCE, **_HEADS),
        sl.GmmAttention(SOURCE, **_HEADS, num_components=2, monotonic=True),
        sl.LocationSensitiveAttention(SOURCE, **_HEADS, location_filters=2, location_kernel_size=3),
        sl.DynamicConvolutionAttention(SOURCE, units=4, kernel_size=3, max_forward_step=2),
        sl.StyleToken(4, **_HEADS),
    ),
    'Position': _named(
        sl.AddTimingSignal(),
        sl.ConcatTimingSignal(channels=4),
        sl.ConcatPositionEmbedding(64, channels=4),
        sl.ApplyRotaryPositionalEncoding(1e4),
    ),
    'Conditioning': _named(
        sl.Conditioning(SOURCE, projection='linear', combination='add'),
        sl.UpsampleConditioning(SOURCE, projection='linear', combination='add', upsample_ratio=1),
        sl.NoiseConditioning(NormalNoise(), projection='linear', combination='add', noise_channel_shape=[2]),
    ),
    'Normalization': _named(
        sl.RMSNormalization(),
        sl.LayerNormalization(),
        sl.GroupNormalization(2),
        sl.InstanceNormalization(),
        sl.BatchNormalization(),
        sl.L2Normalize(),
    ),
    'Activations and arithmetic': _named(
        sl.Relu(), sl.Gelu(), sl.Swish(), sl.Tanh(), sl.Sigmoid(), sl.Softplus(), sl.Elu(), sl.LeakyRelu(),
        sl.PRelu(), sl.Snake(True), sl.Softmax(), sl.GatedLinearUnit(), sl.GatedTanhUnit(),
        sl.GatedUnit(None, jax.nn.silu), sl.Affine(), sl.Scale(0.5), sl.Add(1.0), sl.Power(2.0), sl.Exp(),
        sl.Abs(), _in(sl.Exp(), sl.Log()), sl.Maximum(0.0), sl.Minimum(0.0), sl.Mod(2), sl.Cast('float32'),
    ),
    'Dropout and noise': _named(sl.Dropout(0.1), sl.AddNoise(NormalNoise(), training_only=True)),
    'Delay and rate': _named(
        sl.Delay(1), sl.Lookahead(1), sl.Downsample1D(2), sl.Upsample1D(2), sl.StackFrames(2),
        _in(sl.Reshape((2, WIDTH // 2)), sl.UnstackFrames(2)), _in(PLANE, sl.Upsample2D(2)),
    ),
    'Pooling': _named(
        *(pool(2, strides=2, padding='causal') for pool in (sl.MaxPooling1D, sl.MinPooling1D, sl.AveragePooling1D)),
        *(
            _in(PLANE, pool(2, strides=2, time_padding='causal'))
            for pool in (sl.MaxPooling2D, sl.MinPooling2D, sl.AveragePooling2D)
        ),
        *(
            _in(VOLUME, pool(2, time_padding='causal'))
            for pool in (sl.MaxPooling3D, sl.MinPooling3D, sl.AveragePooling3D)
        ),
    ),
    'Spectra and filters': _named(
        sl.Frame(4, frame_step=2),
        _in(sl.Frame(4, frame_step=2), sl.OverlapAdd(4, frame_step=2)),
        sl.Window(2),
        sl.FFT(),
        _in(sl.FFT(), sl.IFFT()),
        sl.RFFT(),
        _in(sl.RFFT(), sl.IRFFT()),
        _in(sl.Mean(), sl.STFT(8, frame_step=4, fft_length=8, time_padding='causal')),
        _in(sl.Mean(), sl.STFT(8, frame_step=4, fft_length=8), sl.InverseSTFT(8, frame_step=4, fft_length=8)),
        _in(sl.Mean(), sl.Spectrogram(8, frame_step=4, fft_length=8, time_padding='causal')),
        sl.LinearToMelSpectrogram(4, sample_rate=8000, lower_edge_hertz=100.0, upper_edge_hertz=3800.0),
        sl.SincFilter1D(5, cutoff=0.4, padding='causal'),
    ),
    'Channels': _named(
        sl.Flatten(), sl.Reshape((2, WIDTH // 2)), sl.ExpandDims(-1), _in(PLANE, sl.Squeeze(-1)),
        _in(PLANE, sl.Transpose()), _in(PLANE, sl.SwapAxes(2, 3)), _in(PLANE, sl.MoveAxis(2, 3)),
        sl.Slice([(0, WIDTH // 2, None)]), sl.EinopsRearrange('(a b) -> a b', axes_lengths={'a': 2}),
        sl.Mean(), sl.Sum(), sl.Max(), sl.Min(), sl.Argmax(), _in(sl.Argmax(), sl.OneHot(WIDTH)),
    ),
    'Time rearranged': _named(
        sl.ReverseSequence(),
        sl.GlobalReshape((-1, WIDTH)),
        sl.GlobalEinopsRearrange('t (a b) -> (t a) b', axes_lengths={'a': 2}),
    ),
    'Structure, taps and checks': _named(
        sl.Identity(), sl.Lambda(jnp.square), sl.Emit(), sl.NamedEmit('hidden'), sl.MaskInvalid(),
        sl.StopGradient(), sl.GradientClipping(1.0), sl.AssertChannelSpec([WIDTH]), sl.CheckpointName('hidden'),
        sl.OptimizationBarrier(), sl.Logging(), sl.ApplySharding(),
    ),
}  # fmt: skip
