import seqlayers as sl
from tests.registry.case import Case

CASES = [
    Case(sl.Embedding(4, 8), channels=(), dtype='int32'),
    Case(sl.Embedding(4, 8), channels=(3,), dtype='int8'),
    Case(sl.Embedding(4, 8, compute_dtype='bfloat16', embedding_param_name='table'), channels=(), dtype='int32'),
]
