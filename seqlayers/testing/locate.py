"""Which layer inside a model is the first to go wrong, and when?"""

from collections.abc import Mapping

from seqlayers.layer import SequenceLayer
from seqlayers.sequence import Sequence
from seqlayers.testing.compare import Difference, first_difference
from seqlayers.testing.runs import Runs
from seqlayers.testing.tape import output_offsets, record_layer, record_step

# The path of the layer, the layer, and its first difference.
Located = tuple[str, SequenceLayer, Difference] | None


def locate_in_layer(runs: Runs, x: Sequence, other: Sequence, tolerance: float, what: str) -> Located:
    """The first layer whose output in `layer(other)` differs from that in `layer(x)`."""
    wanted, got = (record_layer(runs.model, s, **runs.call_at(0, s.shape[1])) for s in (x, other))
    return _first(runs.model, wanted, got, tolerance, what)


def locate_in_steps(runs: Runs, x: Sequence, split: str, tolerance: float, what: str) -> Located:
    """The first layer whose outputs in steps differ from those in `layer`."""
    model = runs.model
    offsets = output_offsets(model)
    # What a Ref stands for runs inside it, and is no child of it: the Ref speaks for it.
    whole = record_layer(model, x, **runs.call_at(0, x.shape[1]))
    wanted = {path: y for path, y in whole.items() if path in offsets}
    parts: dict[str, list[Sequence]] = {path: [] for path in wanted}
    flush = model.input_latency + (2 + model.output_latency) * model.block_size
    x = x.unmask().pad_time(0, flush).pad_to_multiple(model.block_size)
    state = runs.states(x.shape[0])[0]
    start = 0
    for n in runs.blocks(x.shape[1], split):
        outputs, state = record_step(model, x[:, start : start + n], state, **runs.call_at(start, start + n))
        for path, part in parts.items():
            part.append(outputs[path])
        start += n
    got = {path: Sequence.concatenate_sequences(part)[:, offsets[path] :] for path, part in parts.items()}
    return _first(model, wanted, got, tolerance, what)


def _first(model: SequenceLayer, wanted: Mapping, got: Mapping, tolerance: float, what: str) -> Located:
    for path, sequence in wanted.items():
        if difference := first_difference(sequence, got[path], tolerance, what):
            return path, _layer_at(model, path), difference
    return None


def _layer_at(model: SequenceLayer, path: str) -> SequenceLayer:
    for name in filter(None, path.split('/')):
        model = dict(model.children())[name]
    return model
