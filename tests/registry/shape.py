import seqlayers as sl
from tests.registry.case import Case

CASES = [
    Case(sl.Flatten(), channels=(2, 3)),
    Case(sl.Flatten(), channels=()),
    Case(sl.Reshape([3, 2]), channels=(6,)),
    Case(sl.ExpandDims(-1)),
    Case(sl.ExpandDims([0, -2]), channels=(3, 4)),
    Case(sl.Squeeze(), channels=(1, 3, 1)),
    Case(sl.Squeeze(-1), channels=(3, 1)),
    Case(sl.Transpose(), channels=(2, 3)),
    Case(sl.Transpose([4, 2, 3]), channels=(2, 3, 4)),
    Case(sl.SwapAxes(2, -1), channels=(2, 3, 4)),
    Case(sl.MoveAxis([2, 3], [3, 4]), channels=(2, 3, 4)),
    Case(sl.Slice([(0, 2, None), None, -1]), channels=(3, 4)),
    Case(sl.EinopsRearrange('a (b c) -> c a b', {'b': 2}), channels=(3, 4)),
    Case(sl.Mean(), channels=(2, 3)),
    Case(sl.Sum(), channels=(2, 3), dtype='int8'),
    Case(sl.Sum([2, 3]), channels=(2, 3)),
    Case(sl.Max(2, keepdims=True), channels=(2, 3)),
    Case(sl.Min(None), channels=(2, 3)),
    Case(sl.Argmax(), channels=(2, 3)),
    Case(sl.OneHot(8), channels=(), dtype='int32'),
]
