import seqlayers as sl
from tests.registry.case import Case

CASES = [
    Case(sl.Downsample1D(1)),
    Case(sl.Downsample1D(2), dtype='int32'),
    Case(sl.Downsample1D(3), channels=(2, 3)),
    Case(sl.Upsample1D(1)),
    Case(sl.Upsample1D(3), channels=()),
    Case(sl.Upsample2D(2), channels=(3, 2)),
    Case(sl.Upsample2D((1, 3)), channels=(2, 2)),
    Case(sl.Serial([sl.Lookahead(1), sl.Downsample1D(2), sl.Upsample1D(3)])),
]
