import seqlayers as sl
from seqlayers.padding import PADDING_MODES
from tests.registry.case import Case

CASES = [
    *(Case(sl.MaxPooling1D(3, strides=2, padding=padding)) for padding in PADDING_MODES),
    Case(sl.AveragePooling1D(3, strides=2, padding='same')),
    Case(sl.AveragePooling1D(3, strides=2, padding='reverse_causal', masked_average=True)),
    Case(sl.AveragePooling1D(3, dilation_rate=2, padding='causal_valid', masked_average=True)),
    Case(sl.AveragePooling1D(3, dilation_rate=2, padding='semicausal_full', masked_average=True)),
    Case(sl.MaxPooling1D(1), channels=()),
    Case(sl.MaxPooling1D(2, strides=3, padding=(1, 0)), channels=(2, 3)),
    Case(sl.MaxPooling1D(3, dilation_rate=2, padding='causal'), dtype='bfloat16'),
    Case(sl.MaxPooling1D(3, padding='reverse_causal'), dtype='int8'),
    Case(sl.MinPooling1D(3, strides=2, dilation_rate=2, padding='same')),
    Case(sl.MinPooling1D(2, padding='causal'), dtype='bool'),
    Case(sl.AveragePooling2D(2, time_padding='same', spatial_padding='valid'), channels=(4, 2), dtype='int32'),
    Case(sl.MaxPooling3D(2, strides=2), channels=(3, 3, 2), dtype='int8'),
    Case(sl.AveragePooling1D(2, padding='causal', masked_average=True), dtype='int8'),
    Case(sl.AveragePooling1D(3, padding='causal'), dtype='bfloat16'),
    Case(sl.MaxPooling2D((3, 2), strides=2, time_padding='causal'), channels=(5, 2)),
    Case(sl.MinPooling2D(2, dilation_rate=(1, 2), time_padding='same', spatial_padding=(1, 2)), channels=(5,)),
    Case(
        sl.AveragePooling2D((2, 3), (2, 1), time_padding='causal_valid', masked_average=True),
        channels=(4, 2),
    ),
    Case(
        sl.MaxPooling3D(2, (1, 2, 1), time_padding='causal', spatial_padding=('same', 'valid')),
        channels=(4, 3),
    ),
    Case(sl.MinPooling3D((1, 2, 2), time_padding='semicausal', spatial_padding='causal'), channels=(3, 3, 2)),
    Case(sl.AveragePooling3D(2, 2, time_padding='reverse_causal_valid'), channels=(4, 3, 1)),
]
