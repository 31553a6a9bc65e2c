"""Attention to a source that streams in time with the input: the mechanism of such layers."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqlayers import buffers
from seqlayers.attention import shared, windows
from seqlayers.attention.cache import RingCache
from seqlayers.attention.core import Attention, KeyValues, Queries
from seqlayers.attention.sources import CrossAttentionEmits, check_source, read_source, source_for
from seqlayers.clock import clock
from seqlayers.context import LayerError
from seqlayers.layers import side_input
from seqlayers.sequence import Sequence
from seqlayers.timing import Timing


class StreamingAttentionState(NamedTuple):
    """What attention to a source that streams keeps between steps.

    cache: of keys and values of the source. time: of the next timestep of the source, int32 `(batch,)`. ago: how many
    timesteps before that the next query is, int32 `(batch,)`. queries: those that wait for the source. networks: the
    states of the networks.
    """

    cache: RingCache
    time: jax.Array
    ago: jax.Array
    queries: Sequence | tuple[()]
    networks: list


class _Meeting(Timing):
    """Queries behind an offset meet a source that is not late; they wait until it is `future` timesteps ahead."""

    def __init__(self, network: Timing, future: int, waits: bool, blocked: str | None):
        super().__init__(receptive_field=network.deps, period=network.period, blocked=blocked)
        self.network, self.future, self.waits = network, future, waits

    def output_offset(self, offset):
        return max(offset, self.future) if self.waits else offset

    def flush(self, steps, offset):
        return self.network.flush(steps + self.output_offset(offset) - offset, offset)


class StreamingAttention(shared.DotProduct):
    """Base of attention to a source that streams in time with the input, within horizons."""

    @property
    def source(self: Any) -> str:
        """The name of the source."""
        return self.source_name

    @property
    def horizons(self: Any) -> tuple[int, int]:
        """Past and future in timesteps."""
        return self.max_past_horizon, self.max_future_horizon

    @property
    def waits(self: Any) -> bool:
        """Whether queries wait here for what they look ahead to."""
        return self.use_query_delay_buffer

    @property
    def timing(self) -> Timing:
        network = Timing() if self.query_network is None else self.query_network.timing
        blocked = next((n.timing.blocked for n in shared.networks(self) if n is not None and n.timing.blocked), None)
        return _Meeting(network, self.horizons[1], self.waits, blocked)

    def streamed_constants(self, constants):
        return {self.source}

    def setup(self, input_spec, rngs, constants):
        shared.setup(self, input_spec, rngs, constants, read_source(self.source, constants).channel_spec)

    def layer(self, x, *, training, constants=None):
        mask, queries, source = self._whole(x, training, constants)
        return self._attend(mask, queries, source, self._rule(training, constants))

    def layer_with_emits(self, x, *, training, constants=None):
        mask, queries, source = self._whole(x, training, constants)
        rule = self._rule(training, constants)
        return self._attend(mask, queries, source, rule), self._emits(self._whole_weights(queries, source, rule), mask)

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        past, future = self.horizons
        if not self.waits and offset < future:
            raise LayerError(
                f'must start behind {future} void timesteps, as use_query_delay_buffer=False says that layers '
                f'before it make queries wait; it starts behind {offset}. Put sl.Lookahead or another layer '
                'that looks ahead before it, or let it wait itself'
            )
        queries, keys, values = shared.specs(self)
        late = max(offset, future)
        # The source is not behind the offset, and the networks of keys and values see nothing void.
        states = [
            () if n is None else n.get_initial_state(batch_size, training=training, constants=constants, offset=a)
            for n, a in zip(shared.networks(self), (offset, 0, 0), strict=True)
        ]
        return StreamingAttentionState(
            cache=RingCache.empty(batch_size, past + late, keys, values),
            time=clock(batch_size),
            ago=jnp.full((batch_size,), late, jnp.int32),
            queries=buffers.waiting(batch_size, late - offset, queries),
            networks=states,
        )

    def step(self, x, state, *, training, constants=None):
        mask, queries, sources, new_state = self._block(x, state, training, constants)
        return Sequence(self._rule(training, constants).context(queries, sources).swapaxes(1, 2), mask), new_state

    def step_with_emits(self, x, state, *, training, constants=None):
        mask, queries, sources, new_state = self._block(x, state, training, constants)
        rule = self._rule(training, constants)
        y = Sequence(rule.context(queries, sources).swapaxes(1, 2), mask)
        columns = state.cache.columns(x.shape[1], state.cache.window)
        return y, new_state, self._emits(shared.weights_in_order(rule, queries, sources, columns), mask)

    # --- queries and source -----------------------------------------------------------------------------
    def _project(self, x: Sequence, constants: Any) -> list[Sequence]:
        source = source_for(self.source, constants, self.source_spec, x.shape[0])
        queries = self.input_projection.queries(self, x.mask_invalid())
        return [queries, *self.input_projection.keys_values(self, source)]

    def _whole(self, x: Sequence, training: bool, constants: Any) -> tuple[jax.Array, Queries, KeyValues]:
        projected = self._project(x, constants)
        queries, keys, values = shared.run(self, projected, training=training, constants=constants)
        start = clock(x.shape[0])
        return queries.mask, shared.looking(queries, start), shared.source(self, keys, values, start)

    def _block(
        self, x: Sequence, state: StreamingAttentionState, training: bool, constants: Any
    ) -> tuple[jax.Array, Queries, list[KeyValues], StreamingAttentionState]:
        projected = self._project(x, constants)
        side_input.arrive(self.source, projected[1], x, ())  # of one length
        (queries, keys, values), networks = shared.run_step(
            self, projected, state.networks, training=training, constants=constants
        )
        queries, waiting = buffers.push(state.queries, queries)
        cache, sources = state.cache.append(shared.source(self, keys, values, state.time))
        looking = shared.looking(queries, state.time - state.ago)
        new_state = StreamingAttentionState(cache, state.time + x.shape[1], state.ago, waiting, networks)
        return queries.mask, looking, sources, new_state

    def _rule(self, training: bool, constants: Any) -> Attention:
        return shared.attention(self, *self.horizons, training=training, constants=constants)

    def _attend(self, mask: jax.Array, queries: Queries, source: KeyValues, rule: Attention) -> Sequence:
        return Sequence(windows.context(rule, queries, source, self.queries_together()).swapaxes(1, 2), mask)

    def _whole_weights(self, queries: Queries, source: KeyValues, rule: Attention) -> jax.Array:
        return rule.weights(queries, [source])

    def _emits(self, weights: jax.Array, mask: jax.Array) -> CrossAttentionEmits:
        return CrossAttentionEmits({self.source: Sequence(weights.swapaxes(1, 2), mask)})


def check_streaming(layer: StreamingAttention) -> None:
    """Raises a LayerError for fields that do not go together."""
    past, future = layer.horizons
    check_source(layer, (layer.source,))
    if past < 1 or future < 0:
        raise LayerError(
            f'{type(layer).__name__}: max_past_horizon must be at least 1 and max_future_horizon at least 0; '
            f'got {past} and {future}'
        )
    shared.check(layer, past, future)
