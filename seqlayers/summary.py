"""What a model consists of: its layers as a tree, with timing, shapes, parameters and state.

A declaration is built abstractly, by shapes alone, so that a summary computes no array and takes milliseconds.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import jax
from flax import nnx

from seqlayers.combinators.repeat import Repeat
from seqlayers.context import LayerError
from seqlayers.inside import Child, Inside, Wait, look_inside, nbytes
from seqlayers.layer import SequenceLayer, walk
from seqlayers.sequence import ChannelSpec


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LayerSummary:
    """One layer of a model, and those inside it. What is not known is None. Inside a `Repeat`, numbers are those of
    one repetition.

    Attributes:
      path: in the model; empty for the model itself.
      layer: built, or a declaration where building was not possible; the arrays may be shapes.
      ratio: output timesteps per input timestep of the model.
      offset: void output timesteps before its first real one; None if the model cannot step.
      latency: what it adds to the latency, in input timesteps of the model.
      input_spec, output_spec: channels.
      state: shapes of its state, for one stream and all repetitions.
      repeats: how many repetitions the arrays of layer and state hold, for each `Repeat` around the layer.
      wait: a delay that is inserted before the layer.
      chains: the layers inside, as the data goes through them: one chain, or branches side by side.
      joins: the delay behind each chain.
      aside: the layers inside that are not on the way of the data.
      status: 'ok'; 'failed' if building stopped here, 'not reached' if it stopped before.
      problem: why building, or making the state, failed.
    """

    path: str
    layer: SequenceLayer
    ratio: Fraction
    offset: int | None
    latency: Fraction | None
    input_spec: ChannelSpec | None
    output_spec: ChannelSpec | None
    state: Any
    repeats: tuple[int, ...] = ()
    wait: Wait | None = None
    chains: tuple[tuple['LayerSummary', ...], ...] = ()
    joins: tuple[Wait | None, ...] = ()
    aside: tuple['LayerSummary', ...] = ()
    status: str = 'ok'
    problem: str | None = None

    @property
    def name(self) -> str:
        """Its own, or the last part of the path; the type of a model without a name."""
        return self.layer.name or self.path.rpartition('/')[2] or self.type

    @property
    def type(self) -> str:
        return type(self.layer).__name__

    @property
    def children(self) -> tuple['LayerSummary', ...]:
        return (*self.aside, *(child for chain in self.chains for child in chain))

    @property
    def parameters(self) -> int | None:
        """How many numbers can be trained."""
        return self._sum(lambda array: math.prod(array.shape))

    @property
    def parameter_bytes(self) -> int | None:
        return self._sum(nbytes)

    @property
    def state_bytes(self) -> int | None:
        """Of one stream."""
        return None if self.state is None else self.per_repetition(nbytes(self.state))

    def per_repetition(self, number: int) -> int:
        return number // math.prod(self.repeats)

    def walk(self) -> Iterator['LayerSummary']:
        """This layer and all inside, outermost first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def _sum(self, size: Any) -> int | None:
        if not self.layer.is_built:
            return None
        leaves = jax.tree.leaves(self.layer, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
        arrays = [leaf.get_value() for leaf in leaves if isinstance(leaf, nnx.Param)]
        return self.per_repetition(sum(map(size, arrays)))

    def __repr__(self):
        inside = f', {len(self.children)} layers inside' if self.children else ''
        return f'LayerSummary({self.path!r}, {self.type}, {self.parameters} parameters{inside})'


# --- finding out ------------------------------------------------------------------------------------------
def summarize(
    layer: SequenceLayer, input_spec: ChannelSpec | None = None, *, constants: Mapping | None = None
) -> LayerSummary:
    """The layers of a model as a tree.

    Args:
      layer: built, or a declaration. Without `input_spec` only the timing of a declaration is known.
      input_spec: what to build a declaration for. If that fails, the tree says where and why, and what is known up
        to there.
      constants: side inputs that layers inside need to know.

    Raises:
      LayerError: `input_spec` is no ChannelSpec, or not the one that a built layer has.
    """
    if input_spec is not None and not isinstance(input_spec, ChannelSpec):
        raise LayerError(f'summary: input_spec must be a ChannelSpec, as sl.ChannelSpec((80,)); got {input_spec!r}')
    if layer.is_built and input_spec not in (None, layer.input_spec):
        raise LayerError(f'summary: the layer is built for {layer.input_spec}, not for {input_spec}')
    return _Summarizer(layer, constants).summarize(input_spec)


class _Summarizer:
    """Goes through a model in the order in which its layers are built."""

    def __init__(self, layer: SequenceLayer, constants: Mapping | None):
        self.layer, self.constants = layer, constants
        self.failed: str | None = None  # the path at which building stopped
        self.message: str | None = None
        self.is_past_failure = False

    def summarize(self, spec: ChannelSpec | None) -> LayerSummary:
        layer, state, problem = self.layer, None, None
        if spec is not None and not layer.is_built:
            try:
                layer = self._abstract(layer, spec)
            except Exception as error:  # whatever goes wrong in there is the finding
                self.failed, self.message = _locate(layer, error)
        if layer.is_built and layer.supports_step:
            try:
                state = _abstract_state(layer, self.constants)
            except Exception as error:
                problem = f'the state is not known: {error}'
        child = Child('', layer, 0 if layer.supports_step else None, None, state)
        summary = self._visit(child, '', spec or layer.input_spec, Fraction(1), ())
        return dataclasses.replace(summary, problem=problem) if problem else summary

    def _abstract(self, layer: SequenceLayer, spec: ChannelSpec) -> Any:
        return jax.eval_shape(lambda: layer.build(spec, rngs=0, constants=self.constants))

    def _visit(
        self, child: Child, path: str, spec: ChannelSpec | None, start: Fraction, repeats: tuple[int, ...]
    ) -> LayerSummary:
        layer, status = child.layer, 'not reached' if self.is_past_failure else 'ok'
        if self.failed is not None and status == 'ok' and not self._is_around_failure(path):
            layer = self._alone(layer, spec)
        inside = look_inside(layer, child.offset, child.state) or Inside((), ())
        inner = (*repeats, layer.num_repeats) if isinstance(layer, Repeat) and layer.is_built else repeats
        chains = tuple(self._chain(chain, path, spec, start, inner) for chain in inside.chains)
        aside = tuple(self._visit(other, _join(path, other.name), None, start, inner) for other in inside.aside)
        if self.failed is not None and not self.is_past_failure and self._is_around_failure(path):
            status, self.is_past_failure = 'failed', True  # not inside of any layer in it, so here
        ratio = start * layer.output_ratio
        offset = latency = None
        if child.offset is not None:
            offset = layer.timing.output_offset(child.offset)
            latency = offset / ratio - child.offset / start
        return LayerSummary(
            path, layer, ratio, offset, latency, layer.input_spec or spec, self._output_spec(layer, spec), child.state,
            repeats, child.wait, chains, inside.joins, aside, status, self.message if status == 'failed' else None,
        )  # fmt: skip

    def _chain(
        self, chain: tuple[Child, ...], path: str, spec: ChannelSpec | None, ratio: Fraction, repeats: tuple[int, ...]
    ) -> tuple[LayerSummary, ...]:
        found = []
        for child in chain:
            found.append(self._visit(child, _join(path, child.name), spec, ratio, repeats))
            spec, ratio = found[-1].output_spec, found[-1].ratio
        return tuple(found)

    # --- after a failure ------------------------------------------------------------------------------------
    def _is_around_failure(self, path: str) -> bool:
        return not path or f'{self.failed}/'.startswith(f'{path}/')

    def _alone(self, layer: SequenceLayer, spec: ChannelSpec | None) -> SequenceLayer:
        """A layer that stood before the failure, built by itself; as it is if it needs what is around it."""
        if layer.is_built or spec is None:
            return layer
        try:
            return self._abstract(layer, spec)
        except LayerError:
            return layer

    def _output_spec(self, layer: Any, spec: ChannelSpec | None) -> ChannelSpec | None:
        target = getattr(layer, 'target', None)  # of a Ref
        if layer.is_built or spec is None or target is None:
            return layer.output_spec
        return self._alone(target.declaration, spec).output_spec


def _join(path: str, name: str) -> str:
    return f'{path}/{name}' if path else name


def _abstract_state(layer: SequenceLayer, constants: Mapping | None) -> Any:
    return jax.eval_shape(lambda layer: layer.get_initial_state(1, training=False, constants=constants), layer)


def _locate(model: SequenceLayer, error: Exception) -> tuple[str, str]:
    """The path of the layer that raised an error, and the message without the place."""
    places = [str(error), *(note.removeprefix('in ') for note in getattr(error, '__notes__', ()))]
    for path, layer in sorted(walk(model), key=lambda found: -len(found[0])):
        place = f'{path} ({type(layer).__name__}.' if path else f'{type(layer).__name__}.'
        if any(text.startswith(place) for text in places):
            message = str(error).partition(': ')[2] if str(error).startswith(place) else ''
            return path, message or f'{type(error).__name__}: {error}'
    return '', f'{type(error).__name__}: {error}'
