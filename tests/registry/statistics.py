import seqlayers as sl
from tests.registry.case import Case

CASES = [
    Case(sl.BatchNormalization()),
    Case(sl.BatchNormalization(axis=-2, use_bias=False, guard_against_excess_precision=True), channels=(3, 2)),
    Case(sl.GroupNormalization(2)),
    Case(sl.GroupNormalization(2, axis=2, cumulative=True), channels=(4, 3)),
    Case(
        sl.GroupNormalization(1, cumulative=True, use_scale=False, use_bias=False, guard_against_excess_precision=True)
    ),
    Case(sl.L2Normalize()),
    Case(sl.L2Normalize(axis=(2, 3)), channels=(2, 3)),
]
