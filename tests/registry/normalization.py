import seqlayers as sl
from tests.registry.case import Case

CASES = [
    Case(sl.LayerNormalization()),
    Case(sl.LayerNormalization(axis=-2), channels=(3, 4)),
    Case(sl.LayerNormalization(axis=(2, -1), use_bias=False), channels=(3, 4)),
    Case(sl.LayerNormalization(axis=2, use_scale=False, epsilon=0.1)),
    Case(sl.LayerNormalization(guard_against_excess_precision=True), dtype='bfloat16'),
    Case(sl.LayerNormalization(reductions_in_at_least_fp32=False), dtype='bfloat16'),
    Case(sl.RMSNormalization()),
    Case(sl.RMSNormalization(axis=[-1, -2]), channels=(3, 4)),
    Case(sl.RMSNormalization(use_scale=False, epsilon=0.1)),
    Case(sl.RMSNormalization(guard_against_excess_precision=True), dtype='bfloat16'),
    Case(sl.RMSNormalization(reductions_in_at_least_fp32=False), dtype='bfloat16'),
]
