import seqlayers as sl
from seqlayers.padding import PADDING_MODES
from tests.registry.case import Case

CASES = [
    *(Case(sl.Frame(5, 2, padding), channels=()) for padding in PADDING_MODES),
    Case(sl.Frame(1, 1), channels=(2,)),
    Case(sl.Frame(4, 2, 'same'), channels=(2, 3)),
    Case(sl.Frame(2, 3), channels=(2,)),
    Case(sl.Frame(5, 2, (1, 3)), channels=(2,)),
    Case(sl.Frame(5, 2, (4, 0), explicit_padding_is_same_like=True), channels=(2,)),
    Case(sl.Frame(4, 2, 'causal'), channels=(), dtype='int32'),
    Case(sl.OverlapAdd(5, 2, 'causal'), channels=(5,)),
    Case(sl.OverlapAdd(6, 2, 'valid'), channels=(6, 2)),
    Case(sl.OverlapAdd(5, 2, 'semicausal_full'), channels=(5, 2)),
    Case(sl.OverlapAdd(3, 3, 'causal'), channels=(3,), dtype='int32'),
    Case(sl.OverlapAdd(1, 1), channels=(1, 2)),
    # The channels of frames cancel taps here, which timing cannot know.
    Case(sl.Serial([sl.Frame(4, 2), sl.OverlapAdd(4, 2, 'causal')]), channels=(), exact_field=False),
]
