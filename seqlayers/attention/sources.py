"""Attention to sources that are there as a whole: the mechanism of such layers."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, cast

import jax
import jax.numpy as jnp

from seqlayers.attention import shared, windows
from seqlayers.attention.core import Attention, KeyValues, Queries
from seqlayers.attention.projections import CombinedQueryKeyValueProjection
from seqlayers.clock import clock, tick
from seqlayers.context import LayerError
from seqlayers.layers import side_input
from seqlayers.sequence import ChannelSpec, Sequence
from seqlayers.timing import Timing


class CrossAttentionEmits(NamedTuple):
    """The attention weights by source: channels `(num_heads, sinks + keys)`, with the mask of the queries."""

    probabilities_by_source: dict[str, Sequence]


class CrossAttentionState(NamedTuple):
    """What attention to a source keeps between steps.

    source: keys and values, computed once; None if every step computes them. time: of the next input, int32 `(batch,)`.
    network: the state of the network of queries. labels: what positions and segments of queries wait in.
    """

    source: KeyValues | None
    time: jax.Array
    network: Any
    labels: dict[str, Any]


class CrossAttention(shared.DotProduct):
    """Base of attention to whole sources, which stand in `constants`, one softmax over all of them."""

    label_fields: ClassVar = {'positions': 'query_positions_name', 'segments': 'query_segment_ids_name'}
    query_positions_name = cast(Any, None)
    query_segment_ids_name = cast(Any, None)
    recompute_kv_per_step = cast(Any, False)

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the sources."""
        raise NotImplementedError

    def labels_of(self, source: str) -> dict[str, str]:
        """The names of the constants with a source's positions and segments."""
        return {}

    @property
    def timing(self) -> Timing:
        return Timing() if self.query_network is None else self.query_network.timing

    def setup(self, input_spec, rngs, constants):
        self.source_specs = tuple(read_source(name, constants).channel_spec for name in self.sources)
        shared.setup(self, input_spec, rngs, constants, self.source_specs[0])

    def layer(self, x, *, training, constants=None):
        return self._layer(x, training, constants)[0]

    def layer_with_emits(self, x, *, training, constants=None):
        y, emits = self._layer(x, training, constants)
        return y, emits()

    def _layer(self, x: Sequence, training: bool, constants: Any) -> tuple[Sequence, Callable[[], Any]]:
        queries = self.input_projection.queries(self, x.mask_invalid())
        if self.query_network is not None:
            queries = self.query_network.layer(queries, training=training, constants=constants)
        labels = shared.labels(self.label_names, constants, queries)
        looking = shared.looking(queries, clock(x.shape[0]), **labels)
        source, rule = self._keys_values(x.shape[0], training, constants), self._rule(training, constants)
        context = windows.context(rule, looking, source, self.queries_together())
        y = Sequence(context.swapaxes(1, 2), queries.mask)
        return y, lambda: self._emits(looking, source, queries.mask, rule)

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        network, inner = self.query_network, {'training': training, 'constants': constants, 'offset': offset}
        source = None
        if not self.recompute_kv_per_step:
            # The state must not hold the user's segments themselves, which would go with a state that is donated.
            source = jax.tree.map(jnp.copy, self._keys_values(batch_size, training, constants))
        return CrossAttentionState(
            source=source,
            time=clock(batch_size, offset),
            network=() if network is None else network.get_initial_state(batch_size, **inner),
            labels={label: side_input.initial_state(batch_size, offset, shared.LABEL) for label in self.label_names},
        )

    def step(self, x, state, *, training, constants=None):
        y, state, _ = self._step(x, state, training, constants)
        return y, state

    def step_with_emits(self, x, state, *, training, constants=None):
        y, state, emits = self._step(x, state, training, constants)
        return y, state, emits()

    def _step(
        self, x: Sequence, state: CrossAttentionState, training: bool, constants: Any
    ) -> tuple[Sequence, CrossAttentionState, Callable[[], Any]]:
        queries, network = self.input_projection.queries(self, x.mask_invalid()), state.network
        if self.query_network is not None:
            queries, network = self.query_network.step(queries, network, training=training, constants=constants)
        labels, waiting = {}, {}
        for label, name in self.label_names.items():
            block = side_input.integers(name, constants, x.shape[0])
            block, waiting[label] = side_input.arrive(name, block, x, state.labels[label])
            labels[label] = block.values
        looking = shared.looking(queries, state.time, **labels)
        source = self._keys_values(x.shape[0], training, constants) if state.source is None else state.source
        rule = self._rule(training, constants)
        y = Sequence(rule.context(looking, [source]).swapaxes(1, 2), queries.mask)
        _, time = tick(state.time, x.shape[1])
        new_state = CrossAttentionState(state.source, time, network, waiting)
        return y, new_state, lambda: self._emits(looking, source, queries.mask, rule)

    # --- what both share --------------------------------------------------------------------------------
    def _keys_values(self, batch_size: int, training: bool, constants: Any) -> KeyValues:
        """All sources, one after the other."""
        parts = []
        for name, spec in zip(self.sources, self.source_specs, strict=True):
            source = source_for(name, constants, spec, batch_size)
            projected = self.input_projection.keys_values(self, source, getattr(self, f'{name}_projection', None))
            keys, values = (
                s if network is None else network.layer(s, training=training, constants=constants)
                for s, network in zip(projected, (self.key_network, self.value_network), strict=True)
            )
            labels = shared.labels(self.labels_of(name), constants, keys)
            parts.append(shared.source(self, keys, values, clock(batch_size), **labels))
        join = lambda *arrays: jnp.concatenate(arrays, axis=2 if arrays[0].ndim == 4 else 1)  # noqa: E731
        return jax.tree.map(join, *parts)

    def _rule(self, training: bool, constants: Any) -> Attention:
        return shared.attention(self, -1, -1, training=training, constants=constants)

    def _emits(self, queries: Queries, source: KeyValues, mask: jax.Array, rule: Attention) -> Any:
        (name,) = self.sources
        weights = rule.weights(queries, [source])
        return CrossAttentionEmits({name: Sequence(weights.swapaxes(1, 2), mask)})


def read_source(name: str, constants: Mapping[str, Any]) -> Sequence:
    """The source of that name.

    Raises:
      LayerError: it is missing, or no Sequence with one channel axis.
    """
    source = side_input.read(constants, name, 'a Sequence (batch, time, channels)')
    if not isinstance(source, Sequence) or source.ndim != 3:
        got = f'{type(source).__name__} {getattr(source, "shape", "")}'
        raise LayerError(f'constants[{name!r}] must be a Sequence (batch, time, channels), got {got}')
    return source


def source_for(name: str, constants: Mapping[str, Any], spec: ChannelSpec, batch_size: int) -> Sequence:
    """The source of that name with the input's batch, zero where invalid.

    Raises:
      LayerError: it does not fit the batch, or the spec for which the layer was built.
    """
    source = side_input.for_batch(name, read_source(name, constants), batch_size)
    if source.channel_spec != spec:
        raise LayerError(
            f'was built for a source of {spec}, and constants[{name!r}] has {source.channel_spec}. '
            'Give it such a source, or build the declaration with this one'
        )
    return source.mask_invalid()


def check_source(layer: Any, names: tuple[str, ...]) -> None:
    """Raises a LayerError for sources without a name, or a projection that needs queries and keys of one input."""
    what = type(layer).__name__
    if not names or not all(isinstance(name, str) and name for name in names):
        raise LayerError(f'{what}: a source is the name of a constant, got {names!r}')
    if len(set(names)) < len(names):
        raise LayerError(f'{what}: sources must be different constants, got {names!r}')
    if isinstance(layer.input_projection, CombinedQueryKeyValueProjection):
        raise LayerError(
            f'{what}: CombinedQueryKeyValueProjection takes queries and keys from one input. '
            'Give QueryAndKeyValueProjection(), or another with queries of their own'
        )
