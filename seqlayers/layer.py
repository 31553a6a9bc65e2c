"""The layer: declare, build, then run it whole or in steps.

Authors write `timing`, `setup`, `get_initial_state`, `layer` and `step` and nothing else. What must hold for every
layer is added here, once, around the methods of each subclass: input checks, block sizes, the path in error messages,
the random key, and the offset for the few layers that ask for it.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any, NamedTuple, Self, cast

import jax
from flax import nnx

from seqlayers.calls import ARGUMENTS, WRAPPERS, check_signature, explain
from seqlayers.context import Context, LayerError, root_context
from seqlayers.declaration import Declared, LayerDict, is_child_field
from seqlayers.output_spec import output_spec_of
from seqlayers.sequence import ChannelSpec, Sequence
from seqlayers.timing import Timing

State = Any
Emits = Any
Constants = Any  # what users give is a mapping, what authors receive is a Context


class _StepFacts(NamedTuple):
    """What a step has to check, kept at build: computing `timing` is recursive and too slow for every step."""

    block_size: int
    align: int
    output_ratio: Fraction
    blocked: str | None


class SequenceLayer(Declared):
    """Base of all layers: one object that runs a whole sequence (`layer`) or block by block (`step`), with equal
    results.

    Constructed, a layer is a declaration: hyper-parameters only, with its timing known. `build` returns a new layer
    with parameters. All timesteps count from 0; unless said otherwise, latency at the input is in input timesteps and
    at the output in output timesteps.

    Source: Skerry-Ryan et al., "SequenceLayers", arXiv 2507.23292.
    """

    name: str | None = dataclasses.field(default=None, kw_only=True)

    # Set by build; None in a declaration.
    input_spec = cast(ChannelSpec, None)
    output_spec = cast(ChannelSpec, None)
    _facts = cast(_StepFacts, None)

    # Whether the layer hands `constants` to children: then they see what siblings before them added to it.
    is_combinator = False

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        _wrap_methods(cls)
        cls.is_combinator = any(map(is_child_field, dataclasses.fields(cls)))
        known = LAYER_TYPES.get(cls.__name__)
        if known is None or not _is_ours(known) or _is_ours(cls):  # a name of the library stays the library's
            LAYER_TYPES[cls.__name__] = cls

    # --- what authors write ----------------------------------------------------------------------------------
    @property
    def timing(self) -> Timing:
        """Ratio, block size, latency and receptive field, as a function of the hyper-parameters alone."""
        return Timing()

    def setup(self, input_spec: ChannelSpec, rngs: nnx.Rngs, constants: Context) -> None:
        """Makes the parameters and builds the children of this layer (a fresh object made by `build`)."""

    def get_initial_state(
        self, batch_size: int, *, training: bool, constants: Constants = None, offset: int = 0
    ) -> State:
        """The state before the first step. `offset` is the number of void timesteps that upstream layers emit first."""
        return ()

    def layer(self, x: Sequence, *, training: bool, constants: Constants = None) -> Sequence:
        """The whole sequence at once."""
        return self.layer_with_emits(x, training=training, constants=constants)[0]

    def layer_with_emits(self, x: Sequence, *, training: bool, constants: Constants = None) -> tuple[Sequence, Emits]:
        """Like `layer`, and what the layers inside wish to show (attention weights, say)."""
        return self.layer(x, training=training, constants=constants), ()

    def step(self, x: Sequence, state: State, *, training: bool, constants: Constants = None) -> tuple[Sequence, State]:
        """The next block: `n * block_size` input timesteps to `n * block_size * output_ratio` output timesteps."""
        return self.step_with_emits(x, state, training=training, constants=constants)[:2]

    def step_with_emits(
        self, x: Sequence, state: State, *, training: bool, constants: Constants = None
    ) -> tuple[Sequence, State, Emits]:
        """Like `step`, with emits."""
        return *self.step(x, state, training=training, constants=constants), ()

    def streamed_constants(self, constants: Mapping[str, Any]) -> set[str]:
        """The names of those constants that this layer itself reads in time with the model's input.

        `layer` takes them whole; a step takes the timesteps of its block.
        """
        return set()

    # --- time, known before building ---------------------------------------------------------------------------
    @property
    def block_size(self) -> int:
        """The smallest number of input timesteps of a step; steps take multiples of it."""
        return (self._facts or self.timing).block_size

    @property
    def output_ratio(self) -> Fraction:
        """Output timesteps per input timestep."""
        return (self._facts or self.timing).output_ratio

    @property
    def input_latency(self) -> int:
        """Invalid input timesteps to feed after the data so that every output comes out."""
        return self.timing.input_latency

    @property
    def output_latency(self) -> int:
        """Leading outputs of `step` to drop so that the rest equals `layer`."""
        return self.timing.output_latency

    @property
    def receptive_field(self) -> tuple[float, float] | None:
        """First and last input timestep that an output can depend on, relative to its own time; None if on none."""
        return self.timing.receptive_field

    @property
    def receptive_field_per_step(self) -> dict[int, tuple[float, float] | None]:
        """The receptive field of each output phase."""
        return self.timing.receptive_field_per_step

    @property
    def supports_step(self) -> bool:
        return (self._facts or self.timing).blocked is None

    def explain_streamability(self) -> str:
        """Says that the layer can step, or names each layer inside that cannot and why.

        >>> import seqlayers as sl
        >>> print(sl.Serial([sl.Dense(4), sl.Lookahead(2)]).explain_streamability())
        Serial streams: block size 1, output ratio 1, input latency 0, output latency 2.
        """
        if self.supports_step:
            return (
                f'{type(self).__name__} streams: block size {self.block_size}, output ratio {self.output_ratio}, '
                f'input latency {self.input_latency}, output latency {self.output_latency}.'
            )
        blockers = [(path, layer) for path, layer in walk(self) if _blocks_by_itself(layer)]
        lines = [f'{path or "the layer itself"} ({layer!r}): {layer.timing.blocked}' for path, layer in blockers]
        return '\n'.join([f'{type(self).__name__} cannot step, because of', *(f'- {line}' for line in lines)])

    def children(self) -> list[tuple[str, 'SequenceLayer']]:
        """The layers directly inside, each with its name: its own `name`, or `layers_0`, `child_layer`, ..."""
        found = []
        for attribute, value in vars(self).items():
            if isinstance(value, SequenceLayer):
                found.append((value.name or attribute, value))
            elif isinstance(value, tuple) and value and isinstance(value[0], SequenceLayer):
                found += [(child.name or f'{attribute}_{i}', child) for i, child in enumerate(value)]
            elif isinstance(value, LayerDict):
                found += value.items()
        return found

    def child_offsets(self, offset: int) -> list[int]:
        """For each of `children()`, the void timesteps before its first input, when this layer starts at `offset`."""
        return [offset] * len(self.children())

    # --- building -------------------------------------------------------------------------------------------
    @property
    def is_built(self) -> bool:
        return self._facts is not None

    def build(
        self, input_spec: ChannelSpec, *, rngs: nnx.Rngs | jax.Array | int, constants: Mapping | None = None
    ) -> Self:
        """A new layer with parameters for inputs of `input_spec`. The declaration stays as it was.

        Args:
          input_spec: channel shape and dtype of the input.
          rngs: where the parameters' random keys come from (`nnx.Rngs`, a seed or a key).
          constants: side inputs that layers inside need to know, such as the source of a cross-attention.

        Raises:
          LayerError: the input does not fit a layer, or a parameter would stand in two places of the model.
        """
        rngs = rngs if isinstance(rngs, nnx.Rngs) else nnx.Rngs(rngs)
        nested = isinstance(constants, Context)
        context = (constants if nested else root_context(constants, None)).enter(self, copy=self.is_combinator)
        try:
            if not isinstance(input_spec, ChannelSpec):
                raise LayerError(f'input_spec must be a ChannelSpec, as sl.ChannelSpec((80,)); got {input_spec!r}')
            built = self._reuse(input_spec) if self.is_built else self._build(input_spec, rngs, context)
            if not nested:
                _check_all_stand_once(built)
            return built
        except Exception as error:
            explain(error, context, 'build', input_spec)
            raise

    def _build(self, input_spec: ChannelSpec, rngs: nnx.Rngs, context: Context) -> Self:
        """A fresh object under the current trace: copying an NNX module fails inside `jax.vmap`."""
        built = type(self)(**self.field_values())
        context.owner = built
        built.input_spec = input_spec
        built.setup(input_spec, rngs, context)
        built.settle()
        _check_author_methods(built)
        if built.output_spec is None:
            built.output_spec = output_spec_of(self, built, context)
        return built

    def settle(self) -> None:
        """Notes what steps must know of the timing; once the children are what they will be."""
        timing = self.timing
        self._facts = _StepFacts(timing.block_size, timing.align, timing.output_ratio, timing.blocked)

    def _reuse(self, input_spec: ChannelSpec) -> Self:
        if input_spec != self.input_spec:
            raise LayerError(
                f'is built already, for {self.input_spec}, and cannot be used on {input_spec}. '
                'Declare a new layer with .replace() and build that.'
            )
        return self

    def summary(self, input_spec: ChannelSpec | None = None, *, constants: Mapping | None = None):
        """A table of the layers inside: shapes, timing, parameters, state. See `seqlayers.summary.summarize`."""
        from seqlayers import summary, tables  # they know the combinators, which know this file

        return tables.Summary(summary.summarize(self, input_spec, constants=constants))

    def _repr_html_(self) -> str:
        from seqlayers.tables import layer_html

        return layer_html(self)

    def declaration_text(self) -> str:
        """The layer as it was declared, in Python."""
        return Declared.__repr__(self)

    def __repr__(self) -> str:
        declared = self.declaration_text()
        return f'<{declared}: {self.input_spec} -> {self.output_spec}>' if self.is_built else declared

    def __str__(self) -> str:  # NNX would print every parameter
        return repr(self)


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith('seqlayers.')


def _wrap_methods(cls: type[SequenceLayer]) -> None:
    for method in ARGUMENTS.keys() & cls.__dict__.keys():
        fn = cls.__dict__[method]
        check_signature(fn, method)
        if method in WRAPPERS:
            setattr(cls, method, WRAPPERS[method](fn, method))


_wrap_methods(SequenceLayer)
LAYER_TYPES: dict[str, type[SequenceLayer]] = {}


class Stateless(SequenceLayer):
    """A layer without memory: a step is `layer` of the block. Authors write `layer`, and `timing` if not pointwise."""

    def step(self, x, state, *, training, constants=None):
        return self.layer(x, training=training, constants=constants), state

    def step_with_emits(self, x, state, *, training, constants=None):
        y, emits = self.layer_with_emits(x, training=training, constants=constants)
        return y, state, emits


def children(layer: SequenceLayer) -> list[tuple[str, SequenceLayer]]:
    """The layers directly inside `layer`, each with its name."""
    return layer.children()


def walk(layer: SequenceLayer, path: str = '') -> Iterator[tuple[str, SequenceLayer]]:
    """The layer and all layers inside it, outermost first, each with its path."""
    yield path, layer
    for name, child in layer.children():
        yield from walk(child, f'{path}/{name}' if path else name)


def map_layers(layer: SequenceLayer, fn: Callable[[SequenceLayer], SequenceLayer]) -> SequenceLayer:
    """The declaration with `fn` applied to every layer inside, innermost first, and to itself."""

    def mapped(value: Any) -> Any:
        if isinstance(value, SequenceLayer):
            return map_layers(value, fn)
        if isinstance(value, tuple):
            return tuple(map(mapped, value))
        return LayerDict({k: mapped(v) for k, v in value.items()}) if isinstance(value, LayerDict) else value

    if layer.is_built:
        return fn(layer)
    fields = [f.name for f in dataclasses.fields(layer) if is_child_field(f)]  # type: ignore[arg-type]
    changes = {name: mapped(getattr(layer, name)) for name in fields}
    return fn(layer.replace(**changes) if changes else layer)


def _blocks_by_itself(layer: SequenceLayer) -> bool:
    return not layer.supports_step and all(child.supports_step for _, child in layer.children())


def _check_author_methods(layer: SequenceLayer) -> None:
    """`layer` and `layer_with_emits` are defined by each other, so an author must define one; `step` likewise."""
    pairs = [('layer', 'layer_with_emits', 'it')]
    if layer._facts.blocked is None:
        pairs.append(('step', 'step_with_emits', 'it, derive from sl.Stateless, or say in timing why it is blocked'))
    for first, second, remedy in pairs:
        if all(getattr(type(layer), m) is getattr(SequenceLayer, m) for m in (first, second)):
            raise LayerError(f'defines neither {first} nor {second}: define {remedy}')


def _check_all_stand_once(model: SequenceLayer) -> None:
    """Plain `jax.jit` would make two of a layer or variable that stands in two places, with values of their own."""
    flat = jax.tree_util.tree_flatten_with_path(model, is_leaf=lambda v: isinstance(v, nnx.Variable))[0]
    variables = ((jax.tree_util.keystr(path), variable) for path, variable in flat)
    places: dict[int, str] = {}
    for place, found in itertools.chain(walk(model), variables):
        if (first := places.setdefault(id(found), place)) != place:
            what = 'built layer' if isinstance(found, SequenceLayer) else 'parameter'
            raise LayerError(
                f'holds the same {what} twice, at {first} and {place}, and it may stand in one place only. '
                'Use its declaration in both places, or tie weights with sl.Shared and sl.Ref'
            )
