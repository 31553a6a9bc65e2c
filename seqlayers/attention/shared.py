"""What the dot-product attention layers share: checks, parameters, and the way to `core.Attention`."""

import math
from collections.abc import Mapping
from collections.abc import Sequence as PySequence
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
from flax import nnx

from seqlayers.attention.core import Attention, Dropout, KeyValues, Queries, Sinks, hide, timesteps
from seqlayers.attention.projections import CombinedQueryKeyValueProjection, InputProjection
from seqlayers.attention.relative import RelativePositionEmbedding
from seqlayers.combinators.combine import combine_mask
from seqlayers.context import Context, LayerError
from seqlayers.dtypes import promoted_dtype
from seqlayers.initializers import zeros
from seqlayers.layer import SequenceLayer
from seqlayers.layers import side_input
from seqlayers.layers.position import Positional
from seqlayers.parameters import param
from seqlayers.sequence import ChannelSpec, Sequence

# One timestep of positions or segments.
LABEL = ChannelSpec((), jnp.int32)

NETWORKS = ('query_network', 'key_network', 'value_network')

# softplus(0) is ln 2: in this unit, a learned scale of 0 leaves everything as it is.
_SOFTPLUS_UNIT = 1 / math.log(2)


class DotProduct(SequenceLayer):
    """Base of the dot-product attention layers: what one has that does not declare the field of that name.

    Every layer declares its own fields, in their published order; the functions below go by their names. Nothing
    is annotated here: a dataclass would put these names before the fields of the subclass.
    """

    input_projection = query_network = key_network = value_network = cast(Any, None)
    num_kv_heads = cast(Any, None)
    relative_position_embedding = cast(Any, None)
    attention_probabilities_dropout_rate = cast(Any, 0.0)
    broadcast_dropout_across_queries = cast(Any, False)
    per_dim_key_scale = cast(Any, False)
    zero_fully_masked = cast(Any, False)
    num_sink_embeddings = cast(Any, 0)
    use_sink_scalars = cast(Any, False)

    source_spec = cast(ChannelSpec, None)  # of what keys and values are made of; set when built

    published_names: ClassVar = {'dim_scale': 'per_dim_scale', 'dim_key_scale': 'per_dim_key_scale'}

    @property
    def kv_heads(self: Any) -> int:
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    def queries_together(self) -> int | None:
        """How many queries `layer` takes in a block; None is what suits the horizons."""
        return None

    # The fields that name the constants with positions and segments, for layers that have such fields.
    label_fields: ClassVar[Mapping[str, str]] = {}

    @property
    def label_names(self) -> dict[str, str]:
        """The names of the constants with positions and segments, as far as they are given."""
        names = {label: getattr(self, field) for label, field in self.label_fields.items()}
        return {label: name for label, name in names.items() if name is not None}

    def streamed_constants(self, constants):
        return set(self.label_names.values())

    def setup_projections(self: Any, rngs: nnx.Rngs) -> None:
        """Makes the weights of the projections."""
        self.input_projection.setup(self, rngs, self.input_spec.shape[0], self.source_spec.shape[0])


# --- checks of a declaration ----------------------------------------------------------------------------
def check(layer: Any, past: int, future: int, block: int = 1, stepped: PySequence[str] = NETWORKS) -> None:
    """Raises a LayerError for fields that do not go together, or with these horizons and this block size.

    `stepped` are the networks that run in steps.
    """
    check_heads(layer)
    check_weights(layer)
    check_networks(layer, block, stepped)
    check_horizons(layer, past, future)


def check_heads(layer: Any) -> None:
    """Raises a LayerError when heads, units and projection do not go together."""
    what, heads, kv_heads = type(layer).__name__, layer.num_heads, layer.kv_heads
    if heads < 1 or layer.units_per_head < 1:
        raise LayerError(
            f'{what}: num_heads and units_per_head must be at least 1, got {heads} and {layer.units_per_head}'
        )
    if kv_heads < 1 or heads % kv_heads:
        raise LayerError(f'{what}: num_kv_heads must divide num_heads={heads}, got {kv_heads}')
    projection = layer.input_projection
    if not isinstance(projection, InputProjection):
        raise LayerError(
            f'{what}: input_projection must be a projection, such as SeparateQueryKeyValueProjection(); '
            f'got {projection!r}'
        )
    if isinstance(projection, CombinedQueryKeyValueProjection) and kv_heads != heads:
        raise LayerError(
            f'{what}: CombinedQueryKeyValueProjection makes as many heads of keys as of queries, but '
            f'num_kv_heads={kv_heads} and num_heads={heads}. '
            'Give input_projection=SeparateQueryKeyValueProjection() or QueryAndKeyValueProjection()'
        )


def check_weights(layer: Any) -> None:
    """Raises a LayerError for a wrong soft cap, dropout or choice of sinks."""
    what, cap = type(layer).__name__, layer.attention_logits_soft_cap
    rate, sinks = layer.attention_probabilities_dropout_rate, layer.num_sink_embeddings
    if cap is not None and cap < 0:
        raise LayerError(f'{what}: attention_logits_soft_cap must be positive, or None for none; got {cap}')
    if not 0 <= rate < 1:
        raise LayerError(f'{what}: attention_probabilities_dropout_rate must be in [0, 1), got {rate}')
    if sinks < 0:
        raise LayerError(f'{what}: num_sink_embeddings must not be negative, got {sinks}')
    if sinks and layer.use_sink_scalars:
        raise LayerError(f'{what}: give num_sink_embeddings={sinks} or use_sink_scalars, not both')
    if layer.zero_fully_masked and (sinks or layer.use_sink_scalars):
        raise LayerError(f'{what}: zero_fully_masked has no meaning with sinks, which every query sees')


def check_horizons(layer: Any, past: int, future: int) -> None:
    """Raises a LayerError for wrong horizons, or a relative position embedding that does not go with them."""
    what, embedding = type(layer).__name__, layer.relative_position_embedding
    if past < -1 or future < -1:
        raise LayerError(f'{what}: horizons are timesteps, or -1 for no limit; got past {past} and future {future}')
    if embedding is None:
        return
    if not isinstance(embedding, RelativePositionEmbedding):
        raise LayerError(
            f'{what}: relative_position_embedding must be one of {", ".join(relative_position_names())} or None; '
            f'got {embedding!r}'
        )
    embedding.check(what, layer.num_heads, layer.units_per_head, past, future)


def check_not_alone(layer: Any) -> None:
    """Raises a LayerError when both horizons are 0."""
    if layer.max_past_horizon == layer.max_future_horizon == 0:
        raise LayerError(
            f'{type(layer).__name__}: max_past_horizon and max_future_horizon must not both be 0, or a timestep sees '
            'itself alone'
        )


def check_queries_together(layer: Any, block: int = 1) -> None:
    """Raises a LayerError when `layer` cannot take queries in blocks as long as it is told."""
    queries = layer.flash_attention_query_block_size
    if queries is not None and (queries < 1 or queries % block):
        raise LayerError(
            f'{type(layer).__name__}: flash_attention_query_block_size must be {block} or a multiple of it, or None '
            f'for what suits the horizons; got {queries}'
        )


def relative_position_names() -> list[str]:
    return sorted(cls.__name__ for cls in RelativePositionEmbedding.__subclasses__())


def check_networks(layer: Any, block: int, stepped: PySequence[str]) -> None:
    """Raises a LayerError when a network changes the rate, needs other blocks of timesteps or looks ahead.

    Those that are not stepped may, if there are as many keys as values.
    """
    for field in NETWORKS:
        network, what = getattr(layer, field), f'{type(layer).__name__}.{field}'
        if network is None:
            continue
        if not isinstance(network, SequenceLayer):
            raise LayerError(f'{what} must be a layer or None, got {network!r}')
        if field in stepped and (network.output_ratio, block % network.block_size, network.output_latency) != (1, 0, 0):
            raise LayerError(
                f'{what} must keep the rate, step by {block} and not look ahead; {network!r} has '
                f'output ratio {network.output_ratio}, block size {network.block_size} and '
                f'output latency {network.output_latency}'
            )
    of_keys, of_values = (1 if n is None else n.output_ratio for n in (layer.key_network, layer.value_network))
    if of_keys != of_values:
        raise LayerError(
            f'{type(layer).__name__}: key_network and value_network must have the same output ratio, got {of_keys} and '
            f'{of_values}'
        )


# --- parameters -----------------------------------------------------------------------------------------
def setup(
    layer: Any, input_spec: ChannelSpec, rngs: nnx.Rngs, constants: Context, source_spec: ChannelSpec | None = None
) -> None:
    """Makes projections, networks, scales, positions and sinks. Keys come from the input, or from a source.

    Raises:
      LayerError: the input has not exactly one channel axis.
    """
    for spec in (input_spec, source_spec or input_spec):
        if len(spec.shape) != 1:
            raise LayerError(f'takes one channel axis, got channels {spec.shape}. Put DenseShaped([n]) before it')
    layer.source_spec = source_spec or input_spec
    layer.setup_projections(rngs)
    for field, spec in zip(NETWORKS, _projected_specs(layer), strict=True):
        if (network := getattr(layer, field)) is not None:
            inner = constants.at(network.name or field)
            setattr(layer, field, network.build(spec, rngs=rngs, constants=inner))
    if layer.relative_position_embedding is not None:
        layer.relative_position_embedding = layer.relative_position_embedding.build(rngs)
    units, sharding = (layer.units_per_head,), layer.per_dim_scale_sharding
    if layer.per_dim_scale:
        layer.dim_scale = param(zeros, rngs, units, layer.param_dtype, sharding=sharding)
    if layer.per_dim_key_scale:
        layer.dim_key_scale = param(zeros, rngs, units, layer.param_dtype, sharding=sharding)
    _setup_sinks(layer, rngs)


def _setup_sinks(layer: Any, rngs: nnx.Rngs) -> None:
    def embeddings(heads: int) -> nnx.Param:
        init, sharding = layer.sink_embeddings_init, layer.sink_embeddings_sharding
        shape, width = (layer.num_sink_embeddings, heads, layer.units_per_head), heads * layer.units_per_head
        return param(init, rngs, shape, layer.param_dtype, fan_in=width, sharding=sharding)

    if layer.num_sink_embeddings:
        layer.sink_key_embeddings = embeddings(layer.num_heads)
        layer.sink_value_embeddings = embeddings(layer.kv_heads)
    if layer.use_sink_scalars:
        layer.sink_scalars = param(layer.sink_scalars_init, rngs, (layer.num_heads,), layer.param_dtype)


def _projected_specs(layer: Any) -> list[ChannelSpec]:
    heads = (layer.num_heads, layer.kv_heads, layer.kv_heads)
    inputs = (layer.input_spec, layer.source_spec, layer.source_spec)
    dtypes = [promoted_dtype(spec.dtype, layer.param_dtype, dtype=layer.compute_dtype) for spec in inputs]
    return [ChannelSpec((n, layer.units_per_head), dtype) for n, dtype in zip(heads, dtypes, strict=True)]


# --- queries, keys and values, whole and in steps -------------------------------------------------------
def project(layer: Any, x: Sequence) -> list[Sequence]:
    """Queries, keys and values of one input."""
    return layer.input_projection.queries_keys_values(layer, x.mask_invalid())


def networks(layer: Any) -> list[SequenceLayer | None]:
    """The networks of queries, keys and values."""
    return [getattr(layer, field) for field in NETWORKS]


def specs(layer: Any) -> list[ChannelSpec]:
    """What queries, keys and values of a built layer are, behind their networks."""
    pairs = zip(networks(layer), _projected_specs(layer), strict=True)
    return [projected if network is None else network.output_spec for network, projected in pairs]


def initial_states(layer: Any, batch_size: int, **kwargs: Any) -> list:
    """The states of the three networks; nothing for one that goes by the clock of the attention."""
    return [() if n is None or is_clocked(n) else n.get_initial_state(batch_size, **kwargs) for n in networks(layer)]


def is_clocked(network: SequenceLayer) -> bool:
    """Whether the state of a network is the time of its next input, and nothing else."""
    return isinstance(network, Positional) and network.state_is_clock


def run(layer: Any, sequences: list[Sequence], **kwargs: Any) -> list[Sequence]:
    """Projected queries, keys and values through their networks."""
    pairs = zip(networks(layer), sequences, strict=True)
    return [x if network is None else network.layer(x, **kwargs) for network, x in pairs]


def run_step(
    layer: Any, sequences: list[Sequence], states: PySequence, time: jax.Array | None = None, **kwargs: Any
) -> tuple[list[Sequence], list]:
    """The same for a block, and the new states of the networks. `time` is that of the block, if they go by it."""
    outputs, new_states = list(sequences), list(states)
    for i, network in enumerate(networks(layer)):
        if network is None:
            continue
        if time is not None and is_clocked(network):
            outputs[i], _ = network.step(sequences[i], time, **kwargs)
        else:
            outputs[i], new_states[i] = network.step(sequences[i], states[i], **kwargs)
    return outputs, new_states


def weights_in_order(rule: Attention, queries: Queries, sources: list[KeyValues], columns: jax.Array) -> jax.Array:
    """The weights of a step, sinks first, and of the keys those at `columns`, int32 `(batch, keys)`."""
    sinks, keys = jnp.split(rule.weights(queries, sources), [rule.num_sinks], axis=-1)
    return jnp.concatenate([sinks, jnp.take_along_axis(keys, columns[:, None, None], axis=-1)], axis=-1)


def source(layer: Any, keys: Sequence, values: Sequence, first: jax.Array, **labels: jax.Array) -> KeyValues:
    """What queries look at, from the time `first` `(batch,)` on: timesteps count where key and value are valid.

    `labels` may be `positions` and `segments`, each `(batch, time)`.
    """
    time = min(keys.shape[1], values.shape[1])  # a network that delays makes a whole sequence longer
    keys, values = keys[:, :time], values[:, :time]
    mask = combine_mask(keys.mask, values.mask)
    keys, values = (Sequence(s.values, mask).mask_invalid() for s in (keys, values))
    scaled = keys.values
    if layer.per_dim_key_scale:
        scaled = scaled * _dim_scale(layer.dim_key_scale).astype(keys.dtype)
    labels = {name: label[:, :time] for name, label in labels.items()}
    times = hide(timesteps(first, time), mask)
    return KeyValues(scaled.swapaxes(1, 2), values.values.swapaxes(1, 2), times, **labels)


def labels(names: Mapping[str, str], constants: Context, x: Sequence) -> dict[str, jax.Array]:
    """Positions and segments of the timesteps of `x`, by the names of the constants that hold them."""
    given = {label: (name, side_input.integers(name, constants, x.shape[0])) for label, name in names.items()}
    return {label: side_input.whole(name, value, x.shape[1]).values for label, (name, value) in given.items()}


def looking(queries: Sequence, first: jax.Array, **labels: jax.Array) -> Queries:
    """Queries as `core.Attention` takes them, from the time `first` `(batch,)` on; `labels` as in `source`."""
    times = timesteps(first, queries.shape[1])
    return Queries(queries.mask_invalid().values.swapaxes(1, 2), times, **labels)


def attention(layer: Any, past: int, future: int, chunk: int = 1, *, training: bool, constants: Context) -> Attention:
    """Attention with the horizons given, and the scales, sinks, cap, positions and dropout of the layer."""
    dropout, rate = None, layer.attention_probabilities_dropout_rate
    if training and rate:
        dropout = Dropout(constants.layer_key(), rate, layer.broadcast_dropout_across_queries)
    return Attention(
        past=past,
        future=future,
        chunk=chunk,
        scale=_scale(layer),
        soft_cap=layer.attention_logits_soft_cap,
        sinks=_sinks(layer),
        bias=layer.relative_position_embedding,
        dropout=dropout,
        precision=layer.precision,
        float32_logits=layer.experimental_accumulate_logits_in_float32,
    )


def _scale(layer: Any) -> float | jax.Array:
    scale = layer.units_per_head**-0.5 if layer.query_scale is None else layer.query_scale
    return scale * _dim_scale(layer.dim_scale) if layer.per_dim_scale else scale


def _dim_scale(parameter: nnx.Param) -> jax.Array:
    return _SOFTPLUS_UNIT * jax.nn.softplus(parameter[...])


def _sinks(layer: Any) -> Sinks | None:
    if layer.num_sink_embeddings:
        return Sinks(layer.sink_key_embeddings[...], layer.sink_value_embeddings[...])
    return Sinks(logits=layer.sink_scalars[...]) if layer.use_sink_scalars else None
