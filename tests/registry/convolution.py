import jax

import seqlayers as sl
from seqlayers.padding import PADDING_MODES, TRANSPOSED_PADDING_MODES
from tests.registry.case import Case

CASES = [
    *(Case(sl.Conv1D(3, 4, strides=2, padding=padding)) for padding in PADDING_MODES),
    *(Case(sl.Conv1D(3, 3, dilation_rate=2, padding=padding)) for padding in PADDING_MODES),
    # Kernels shorter than their stride, and of one tap.
    Case(sl.Conv1D(3, 2, strides=3, padding='reverse_causal')),
    Case(sl.Conv1D(3, 2, strides=3, padding='causal_valid')),
    Case(sl.Conv1D(3, 2, strides=3, padding='semicausal_full')),
    Case(sl.Conv1D(3, 1)),
    Case(sl.Conv1D(3, 1, strides=3, padding='causal_valid')),
    Case(sl.Conv1D(3, 1, padding='causal', use_bias=False)),
    Case(sl.Conv1D(3, 5, strides=3, dilation_rate=2, padding='same')),
    Case(sl.Conv1D(3, 4, strides=2, padding=(2, 1))),
    Case(sl.Conv1D(3, 3, dilation_rate=2, padding=(1, 3))),
    Case(sl.Conv1D(6, 3, padding='causal', groups=2, use_weight_norm=True, activation=jax.nn.gelu)),
    Case(sl.Conv1D(3, 3, padding='same', compute_dtype='bfloat16', param_dtype='bfloat16')),
    Case(sl.Conv1D(3, 3, padding='causal_valid', precision='highest'), dtype='int32'),
    Case(sl.Conv1D(3, 3, padding='causal', kernel_constraint=sl.L2WeightNormalization(epsilon=1e-6))),
    Case(sl.Conv1D(3, 3, padding='causal', kernel_constraint=sl.SpectralWeightNormalization(2))),
    Case(sl.DepthwiseConv1D(3, padding='reverse_causal', depth_multiplier=2, use_weight_norm=True)),
    Case(sl.DepthwiseConv1D(4, strides=2, dilation_rate=2, padding='semicausal', activation=jax.nn.relu)),
    Case(sl.Conv2D(3, 3, time_padding='causal'), channels=(5, 2)),
    Case(sl.Conv2D(2, (3, 2), strides=(2, 1), time_padding='same', spatial_padding=(2, 3)), channels=(4, 2)),
    Case(
        sl.Conv2D(4, 2, 2, dilation_rate=(3, 1), time_padding='causal_valid', spatial_padding='valid', groups=2),
        channels=(5, 2),
    ),
    Case(sl.Conv2D(2, 2, spatial_padding='semicausal', use_weight_norm=True), channels=(3, 1)),
    Case(sl.Conv3D(2, 2, time_padding='reverse_causal'), channels=(3, 4, 1)),
    Case(
        sl.Conv3D(2, (3, 1, 2), (2, 1, 2), time_padding='semicausal', spatial_padding=('causal', (0, 1))),
        channels=(2, 4, 2),
    ),
    *(
        Case(sl.Conv1DTranspose(3, k, strides=s, dilation_rate=d, padding=padding))
        for padding in TRANSPOSED_PADDING_MODES
        for k, s, d in [(5, 2, 1), (3, 2, 2)]
    ),
    Case(sl.Conv1DTranspose(3, 1, padding='same', use_bias=False)),
    Case(sl.Conv1DTranspose(3, 2, strides=3, padding='valid')),
    Case(sl.Serial([sl.Lookahead(1), sl.Conv1DTranspose(3, 5, strides=2, padding='semicausal_full')])),
    Case(sl.Conv1DTranspose(3, 9, strides=2, padding='same')),
    Case(sl.Conv1DTranspose(4, 3, padding='causal', groups=2, use_weight_norm=True, activation=jax.nn.gelu)),
    Case(sl.Conv1DTranspose(3, 4, strides=2, padding='causal', compute_dtype='bfloat16')),
    Case(sl.Conv1DTranspose(3, 4, strides=2, padding='valid', kernel_constraint=sl.L2WeightNormalization())),
    Case(sl.Conv2DTranspose(2, 3, strides=2, time_padding='causal'), channels=(3, 2)),
    Case(
        sl.Conv2DTranspose(2, (4, 3), (2, 1), (1, 2), time_padding='same', spatial_padding='valid'),
        channels=(3, 2),
    ),
    Case(sl.Conv2DTranspose(2, 4, 2, time_padding='valid', spatial_padding='semicausal_full'), channels=(3, 2)),
]
