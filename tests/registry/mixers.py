import seqlayers as sl
from tests.registry.case import Case

CASES = [
    Case(sl.RGLRU(4, num_heads=2)),
    Case(sl.RGLRU(4, num_heads=1, only_real=False, param_dtype='bfloat16'), dtype='bfloat16'),
    Case(sl.DiagonalStateSpace(6)),
    Case(sl.SelectiveStateSpace(4, units_per_head=2, state_size=3, num_groups=2, chunk_size=4), channels=(24,)),
    Case(sl.GatedLinearAttention(2, units_per_head=3, chunk_size=4)),
    Case(sl.GatedLinearAttention(2, units_per_head=3, decay='head', decay_temperature=1.0)),
    Case(sl.GatedLinearAttention(2, units_per_head=3, decay='fixed', compute_dtype='bfloat16')),
]
