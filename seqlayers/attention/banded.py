"""Attention of a sequence to itself within horizons: the mechanism of all self-attention layers."""

import math
from typing import Any, ClassVar, NamedTuple, cast

import jax

from seqlayers import buffers
from seqlayers.attention import decode, shared, windows
from seqlayers.attention.cache import Cache, GrowingCache, RingCache, aligned
from seqlayers.attention.core import Attention, KeyValues, Queries
from seqlayers.clock import clock
from seqlayers.context import LayerError
from seqlayers.layers import side_input
from seqlayers.sequence import ChannelSpec, Sequence
from seqlayers.timing import ParallelTiming, SerialTiming, Timing


class SelfAttentionEmits(NamedTuple):
    """The attention weights: channels `(num_heads, sinks + keys)`, with the mask of the queries."""

    probabilities: Sequence


class SelfAttentionState(NamedTuple):
    """What self-attention keeps between steps.

    cache: of keys and values. time: of the next input, int32 `(batch,)`. queries: those that wait for their last key,
    if any do. networks: the states of the networks of queries, keys and values; `()` of one that only needs the time.
    labels: what positions and segments of constants wait in, behind a latency; and those of the waiting queries.
    """

    cache: Cache
    time: jax.Array
    queries: Sequence | tuple[()]
    networks: list
    labels: dict[str, Any]


class BandedSelfAttention(shared.DotProduct):
    """Base of the self-attention layers; a subclass declares fields, and `horizons` where they are other ones.

    The queries of a block wait until their last key is there, so the layer is late by the future horizon. What
    they look at stands in a ring buffer, or, without a limit to the past, in one of `max_length` timesteps.
    """

    position_name = cast(Any, None)
    segment_ids_name = cast(Any, None)
    label_fields: ClassVar = {'positions': 'position_name', 'segments': 'segment_ids_name'}
    emits_weights: ClassVar[bool] = True

    @property
    def horizons(self: Any) -> tuple[int, int, int]:
        """Past and future in chunks of timesteps (-1 is no limit), and the length of a chunk."""
        return self.max_past_horizon, self.max_future_horizon, 1

    @property
    def timing(self) -> Timing:
        past, future, chunk = self.horizons
        blocked = 'its future horizon of -1 looks ahead to the end of the sequence; give timesteps'
        latency = max(future, 0) * chunk
        back, ahead = (math.inf if horizon == -1 else horizon * chunk for horizon in (past, future))
        band = Timing(
            block_size=chunk,
            align=chunk,
            input_latency=latency,
            output_latency=latency,
            receptive_field={i: (-back - i, ahead + chunk - 1 - i) for i in range(chunk)},
            blocked=blocked if future == -1 else None,
        )
        # Three branches that meet in time: the queries wait for the last of their keys.
        queries, keys, values = ([] if n is None else [n.timing] for n in shared.networks(self))
        timing = ParallelTiming([SerialTiming(b) for b in (queries, [*keys, band], [*values, band])])
        timing.align = chunk  # a parallel of layers could delay a branch to the start of a chunk; one layer cannot
        return timing

    def setup(self, input_spec, rngs, constants):
        shared.setup(self, input_spec, rngs, constants)

    # --- a whole sequence -------------------------------------------------------------------------------
    def layer(self, x, *, training, constants=None):
        mask, queries, source = self._whole(x, training, constants)
        return self._attend(mask, queries, source, self._rule(training, constants))

    def layer_with_emits(self, x, *, training, constants=None):
        mask, queries, source = self._whole(x, training, constants)
        rule = self._rule(training, constants)
        y = self._attend(mask, queries, source, rule)
        # Output and weights are computed apart: a compiled program of which nobody takes the weights has none.
        return y, self._emits(self._whole_weights(queries, source, rule), mask) if self.emits_weights else ()

    def _whole(self, x: Sequence, training: bool, constants: Any) -> tuple[jax.Array, Queries, KeyValues]:
        projected = shared.project(self, x)
        queries, keys, values = shared.run(self, projected, training=training, constants=constants)
        of_queries, of_keys = (shared.labels(self.label_names, constants, s) for s in (queries, keys))
        start = clock(x.shape[0])
        return (
            queries.mask,
            shared.looking(queries, start, **of_queries),
            shared.source(self, keys, values, start, **of_keys),
        )

    def _attend(self, mask: jax.Array, queries: Queries, source: KeyValues, rule: Attention) -> Sequence:
        return Sequence(windows.context(rule, queries, source, self.queries_together()).swapaxes(1, 2), mask)

    def _whole_weights(self, queries: Queries, source: KeyValues, rule: Attention) -> jax.Array:
        return rule.weights(queries, [source])

    # --- a block ----------------------------------------------------------------------------------------
    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        queries, keys, values = shared.specs(self)
        kwargs = {'training': training, 'constants': constants, 'offset': offset}

        def waiting(spec: ChannelSpec) -> Sequence | tuple[()]:
            return buffers.waiting(batch_size, self._late, spec)

        return SelfAttentionState(
            cache=self._empty_cache(batch_size, keys, values, offset, constants.max_length),
            time=clock(batch_size, offset),
            queries=waiting(queries),
            networks=shared.initial_states(self, batch_size, **kwargs),
            labels={
                label: (side_input.initial_state(batch_size, offset, shared.LABEL), waiting(shared.LABEL))
                for label in self.label_names
            },
        )

    def _empty_cache(
        self, batch_size: int, keys: ChannelSpec, values: ChannelSpec, offset: int, max_length: int | None
    ) -> Cache:
        if self.horizons[0] != -1:
            return RingCache.empty(batch_size, aligned(self._window), keys, values, offset, tuple(self.label_names))
        if max_length is None:
            raise LayerError(
                'looks back without limit (its past horizon is -1), so it must know how long the stream will be: '
                'give get_initial_state(..., max_length=timesteps), or the layer a past horizon'
            )
        return GrowingCache.empty(batch_size, max_length, keys, values, offset, tuple(self.label_names))

    def step(self, x, state, *, training, constants=None):
        y, new_state, _ = self._attended(x, state, training, constants)
        return y, new_state

    def step_with_emits(self, x, state, *, training, constants=None):
        y, new_state, (queries, block) = self._attended(x, state, training, constants)
        if not self.emits_weights:
            return y, new_state, ()
        sources = state.cache.sources(new_state.cache, block)
        columns = state.cache.columns(x.shape[1], self._window)
        weights = shared.weights_in_order(self._rule(training, constants), queries, sources, columns)
        return y, new_state, self._emits(weights, y.mask)

    def _attended(
        self, x: Sequence, state: SelfAttentionState, training: bool, constants: Any
    ) -> tuple[Sequence, SelfAttentionState, tuple[Queries, KeyValues]]:
        """A step, and with it the queries and the entries that joined the cache."""
        mask, queries, block, new_state = self._block(x, state, training, constants)
        context, cache = decode.attend(self._rule(training, constants), queries, state.cache, block)
        return Sequence(context.swapaxes(1, 2), mask), new_state._replace(cache=cache), (queries, block)

    @property
    def _late(self) -> int:
        """How many timesteps queries wait for the last key that they see."""
        _, future, chunk = self.horizons
        return future * chunk

    @property
    def _window(self) -> int:
        """How many timesteps before a block its queries look back; they themselves are late by the future."""
        past, future, chunk = self.horizons
        return (past + future) * chunk

    def _block(
        self, x: Sequence, state: SelfAttentionState, training: bool, constants: Any
    ) -> tuple[jax.Array, Queries, KeyValues, SelfAttentionState]:
        """Mask and queries of what comes out, the entries that join the cache, and the state but for the cache."""
        projected = shared.project(self, x)
        (queries, keys, values), networks = shared.run_step(
            self, projected, state.networks, state.time, training=training, constants=constants
        )
        of_queries, of_keys, labels = {}, {}, {}
        for label, name in self.label_names.items():
            arriving, waiting = state.labels[label]
            block = side_input.integers(name, constants, x.shape[0])
            block, arriving = side_input.arrive(name, block, x, arriving)
            late, waiting = buffers.push(waiting, block)
            of_queries[label], of_keys[label], labels[label] = late.values, block.values, (arriving, waiting)
        queries, waiting = buffers.push(state.queries, queries)
        block = shared.source(self, keys, values, state.time, **of_keys)
        looking = shared.looking(queries, state.time - self._late, **of_queries)
        state = SelfAttentionState(state.cache, state.time + x.shape[1], waiting, networks, labels)
        return queries.mask, looking, block, state

    # --- what both share --------------------------------------------------------------------------------
    def _rule(self, training: bool, constants: Any) -> Attention:
        return shared.attention(self, *self.horizons, training=training, constants=constants)

    def _emits(self, weights: jax.Array, mask: jax.Array) -> SelfAttentionEmits:
        return SelfAttentionEmits(Sequence(weights.swapaxes(1, 2), mask))
