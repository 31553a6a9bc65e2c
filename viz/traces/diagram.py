"""A model as a tree of blocks: timing on every edge, shapes, state, parameters and operations of every layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

import seqlayers as sl
from seqlayers.combinators.shared import _key as shared_key
from seqlayers.summary import LayerSummary, summarize

from .diagram_flops import step_flops


@dataclass(frozen=True, eq=False, repr=False)
class DiagramTrace:
    """The blocks of a model.

    Attributes:
      name: of the model.
      root: the model as a tree, see `seqlayers.summary.LayerSummary`; inside a `Repeat` numbers are of one repetition.
      flops: by path, the floating point operations in one step of the model, the smallest that it takes; None if not
        known. What combinators themselves compute (a sum of branches) is not counted.
      problems: by path, what is wrong with a layer: why it cannot be built, or the clause of the contract that fails.
    """

    name: str
    root: LayerSummary
    flops: Mapping[str, int | None]
    problems: Mapping[str, str]

    def __repr__(self):
        root = self.root
        layers = sum(not layer.children for layer in root.walk())
        sizes = [f'{root.parameters} parameters'] if root.parameters is not None else []
        sizes += [f'{root.state_bytes} bytes of state'] if root.state_bytes is not None else []
        broken = [f'{path or self.name} {problem}' for path, problem in self.problems.items()]
        return f'DiagramTrace({self.name}: {", ".join([f"{layers} layers", *sizes, *broken])})'


def trace_diagram(
    layer: sl.SequenceLayer,
    input_spec: sl.ChannelSpec | None = None,
    *,
    constants: Mapping | None = None,
    report: Any = None,
) -> DiagramTrace:
    """What a model consists of. Nothing is computed: a declaration is built by shapes alone.

    Args:
      layer: built, or a declaration.
      input_spec: what to build a declaration for; without it only the timing is known. If building fails, the trace
        says where and why, and what is known up to there.
      constants: side inputs of the model.
      report: of `sl.testing.check_contract`; its failures are marked where they are.

    Raises:
      LayerError: `input_spec` does not fit a built layer.
      ValueError: the report is about a layer that the model does not have.
    """
    return of_summary(summarize(layer, input_spec, constants=constants), constants, report)


def of_summary(root: LayerSummary, constants: Mapping | None = None, report: Any = None) -> DiagramTrace:
    """The same of a model that has been summarized."""
    layer = root.layer
    problems = {s.path: str(s.problem) for s in root.walk() if s.status == 'failed'}
    paths = {summary.path for summary in root.walk()}
    for clause in report.failures if report else ():
        path = clause.layer or ''
        while path not in paths and path:  # inside of a layer that is one block
            path = path.rpartition('/')[0]
        if clause.layer and not path and clause.layer.partition('/')[0] not in paths:
            raise ValueError(f'trace_diagram: the report names {clause.layer!r}, which {type(layer).__name__} has not')
        problems.setdefault(path, f'{clause.name}: {clause.detail}')
    flops: dict[str, int | None] = {}
    _count(root, 1, dict(constants or {}), flops, layer.block_size)
    return DiagramTrace(layer.name or type(layer).__name__, root, flops, problems)


def _count(
    summary: LayerSummary, start: Any, constants: dict[str, Any], flops: dict[str, int | None], block: int
) -> int | None:
    """Fills in the operations of a layer and of those inside. `start` is the ratio at its input."""
    layer: Any = summary.layer
    if isinstance(layer, sl.Shared):
        constants = {**constants, **{shared_key(name): _shapes(inner) for name, inner in layer.shared.items()}}
    if not summary.children:
        known = layer.is_built and summary.state is not None
        count = step_flops(summary, constants) if known else None
        total = None if count is None else int(count * block * start / layer.block_size)
    else:
        # What others only read, or what runs before the first step, computes nothing in a step.
        aside = [s for s in summary.aside if s.offset is not None and not isinstance(layer, sl.Shared)]
        counts = [_count(s, start, constants, flops, block) for s in aside]
        for chain in summary.chains:
            ratio = start
            for inside in chain:
                counts.append(_count(inside, ratio, constants, flops, block))
                ratio = inside.ratio
        repeats = layer.num_repeats if isinstance(layer, sl.Repeat) else 1
        total = None if None in counts else repeats * sum(counts)  # type: ignore[arg-type]
    flops[summary.path] = total
    return total


def _shapes(layer: Any) -> Any:
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), layer)
