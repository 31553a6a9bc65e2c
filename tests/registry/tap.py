import seqlayers as sl
from tests.registry.case import Case

CASES = [
    Case(sl.NamedEmit('hidden')),
    Case(sl.MaskInvalid()),
    Case(sl.StopGradient(), exact_field=False),
    Case(sl.GradientClipping(0.1)),
    Case(sl.OptimizationBarrier()),
    Case(sl.OptimizationBarrier(apply_to_mask=True)),
    Case(sl.CheckpointName('hidden')),
    Case(sl.ApplySharding(['data', None, 'model'])),
    Case(sl.Logging('here: ')),
    Case(sl.Logging(dump_tensors=True)),
    Case(sl.AddNoise(sl.AddNoise.Normal(0.0, 0.5), training_only=True)),
    Case(sl.AddNoise(sl.AddNoise.Uniform(-1.0, 1.0), training_only=True), training=True),
    Case(sl.AddNoise(sl.AddNoise.TruncatedNormal(0.0, 0.5), training_only=False), training=True),
]
