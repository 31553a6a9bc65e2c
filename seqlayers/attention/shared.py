"""What the dot-product attention layers share: checks, parameters, and the way from three sequences to `core.Attention`.

Functions of the layer, by the names of its fields: each layer declares its own, in their published order.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from seqlayers.attention.core import Attention, Dropout, KeyValues, Sinks, hide
from seqlayers.attention.projections import CombinedQueryKeyValueProjection, InputProjection
from seqlayers.combinators.combine import combine_mask
from seqlayers.context import Context, LayerError
from seqlayers.dtypes import promoted_dtype
from seqlayers.initializers import zeros
from seqlayers.layer import SequenceLayer
from seqlayers.parameters import param
from seqlayers.sequence import ChannelSpec, Sequence

NETWORKS = ('query_network', 'key_network', 'value_network')

# softplus(0) is ln 2, so a learned scale of 0 in these units leaves everything as it is.
_SOFTPLUS_UNIT = 1 / math.log(2)


# --- checks of a declaration -------------------------------------------------------------------------------------------
def check_heads(layer: Any) -> None:
    """Raises a LayerError when numbers of heads and units, or the projection, do not go together."""
    what = type(layer).__name__
    if layer.num_heads < 1 or layer.units_per_head < 1:
        raise LayerError(
            f'{what}: num_heads and units_per_head must be at least 1, got {layer.num_heads} and {layer.units_per_head}'
        )
    if layer.kv_heads < 1 or layer.num_heads % layer.kv_heads:
        raise LayerError(f'{what}: num_kv_heads must divide num_heads={layer.num_heads}, got {layer.kv_heads}')
    projection = layer.input_projection
    if not isinstance(projection, InputProjection):
        raise LayerError(f'{what}: input_projection must be a projection such as SeparateQueryKeyValueProjection(), got {projection!r}')
    if isinstance(projection, CombinedQueryKeyValueProjection) and layer.kv_heads != layer.num_heads:
        raise LayerError(
            f'{what}: CombinedQueryKeyValueProjection makes as many heads of keys as of queries, and num_kv_heads={layer.kv_heads} '
            f'is not num_heads={layer.num_heads}. Give input_projection=SeparateQueryKeyValueProjection() or '
            'QueryAndKeyValueProjection()'
        )


def check_probabilities(layer: Any) -> None:
    """Raises a LayerError for a wrong soft cap, dropout or choice of sinks."""
    what = type(layer).__name__
    if (layer.attention_logits_soft_cap or 0) < 0:
        raise LayerError(
            f'{what}: attention_logits_soft_cap must be positive (None is off), got {layer.attention_logits_soft_cap}'
        )
    if not 0 <= layer.attention_probabilities_dropout_rate < 1:
        rate = layer.attention_probabilities_dropout_rate
        raise LayerError(f'{what}: attention_probabilities_dropout_rate must be in [0, 1), got {rate}')
    if layer.num_sink_embeddings < 0:
        raise LayerError(f'{what}: num_sink_embeddings must not be negative, got {layer.num_sink_embeddings}')
    if layer.num_sink_embeddings and layer.use_sink_scalars:
        raise LayerError(f'{what}: choose num_sink_embeddings={layer.num_sink_embeddings} or use_sink_scalars, not both')
    if layer.zero_fully_masked and (layer.num_sink_embeddings or layer.use_sink_scalars):
        raise LayerError(f'{what}: zero_fully_masked has no meaning with sinks, which every query sees. Leave out one of the two')


def check_networks(layer: Any) -> None:
    """Raises a LayerError when a network changes the rate, needs blocks or looks ahead."""
    for field in NETWORKS:
        network = getattr(layer, field)
        if network is None:
            continue
        what = f'{type(layer).__name__}.{field}'
        if not isinstance(network, SequenceLayer):
            raise LayerError(f'{what} must be a layer or None, got {network!r}')
        if (network.output_ratio, network.block_size, network.output_latency) != (1, 1, 0):
            raise LayerError(
                f'{what} must keep the rate, step by single timesteps and not look ahead; {network!r} has output ratio '
                f'{network.output_ratio}, block size {network.block_size} and output latency {network.output_latency}'
            )


# --- parameters ------------------------------------------------------------------------------------------------------
def setup(layer: Any, input_spec: ChannelSpec, rngs: nnx.Rngs, constants: Context) -> None:
    """Makes projections, networks, scales and sinks.

    Raises:
      LayerError: the input has not exactly one channel axis.
    """
    if len(input_spec.shape) != 1:
        raise LayerError(f'takes one channel axis, got channels {input_spec.shape}. Put Flatten() or DenseShaped([n]) before it')
    layer.input_projection.setup(layer, rngs, input_spec.shape[0])
    for field, spec in zip(NETWORKS, _projected_specs(layer), strict=True):
        if (network := getattr(layer, field)) is not None:
            built = network.build(spec, rngs=rngs, constants=constants.at(network.name or field))
            setattr(layer, field, built)
    units, scale_sharding = (layer.units_per_head,), layer.per_dim_scale_sharding
    if layer.per_dim_scale:
        layer.dim_scale = param(zeros, rngs, units, layer.param_dtype, sharding=scale_sharding)
    if layer.per_dim_key_scale:
        layer.dim_key_scale = param(zeros, rngs, units, layer.param_dtype, sharding=scale_sharding)
    _setup_sinks(layer, rngs)


def _setup_sinks(layer: Any, rngs: nnx.Rngs) -> None:
    def embeddings(heads: int) -> nnx.Param:
        shape = (layer.num_sink_embeddings, heads, layer.units_per_head)
        init, sharding = layer.sink_embeddings_init, layer.sink_embeddings_sharding
        return param(init, rngs, shape, layer.param_dtype, fan_in=heads * layer.units_per_head, sharding=sharding)

    if layer.num_sink_embeddings:
        layer.sink_key_embeddings = embeddings(layer.num_heads)
        layer.sink_value_embeddings = embeddings(layer.kv_heads)
    if layer.use_sink_scalars:
        layer.sink_scalars = param(layer.sink_scalars_init, rngs, (layer.num_heads,), layer.param_dtype)


def _projected_specs(layer: Any) -> list[ChannelSpec]:
    dtype = promoted_dtype(layer.input_spec.dtype, layer.param_dtype, dtype=layer.compute_dtype)
    heads = (layer.num_heads, layer.kv_heads, layer.kv_heads)
    return [ChannelSpec((n, layer.units_per_head), dtype) for n in heads]


# --- queries, keys and values, whole and in steps -----------------------------------------------------------------------
def specs(layer: Any) -> list[ChannelSpec]:
    """Of the queries, keys and values of a built layer."""
    networks = [getattr(layer, field) for field in NETWORKS]
    return [
        spec if network is None else network.output_spec
        for network, spec in zip(networks, _projected_specs(layer), strict=True)
    ]


def initial_states(layer: Any, batch_size: int, **kwargs: Any) -> list:
    """The state of each of the three networks."""
    networks = [getattr(layer, field) for field in NETWORKS]
    return [() if network is None else network.get_initial_state(batch_size, **kwargs) for network in networks]


def run(layer: Any, sequences: list[Sequence], **kwargs: Any) -> list[Sequence]:
    """Projected queries, keys and values through their networks."""
    networks = [getattr(layer, field) for field in NETWORKS]
    return [
        x if network is None else network.layer(x, **kwargs) for network, x in zip(networks, sequences, strict=True)
    ]


def run_step(layer: Any, sequences: list[Sequence], states: list, **kwargs: Any) -> tuple[list[Sequence], list]:
    """The same for a block, and the networks' new states."""
    networks = [getattr(layer, field) for field in NETWORKS]
    results = [
        (x, state) if network is None else network.step(x, state, **kwargs)
        for network, x, state in zip(networks, sequences, states, strict=True)
    ]
    outputs, states = zip(*results, strict=True)
    return list(outputs), list(states)


def source(layer: Any, keys: Sequence, values: Sequence, times: jax.Array) -> KeyValues:
    """What queries can look at: the timesteps that are valid in both keys and values. `times` is `(batch, time)`."""
    mask = combine_mask(keys.mask, values.mask)
    keys, values = (Sequence(s.values, mask).mask_invalid() for s in (keys, values))
    scaled = keys.values * _dim_scale(layer.dim_key_scale, keys.dtype) if layer.per_dim_key_scale else keys.values
    return KeyValues(scaled.swapaxes(1, 2), values.values.swapaxes(1, 2), hide(times, mask))


def attention(
    layer: Any,
    queries: Sequence,
    query_times: jax.Array,
    sources: list[KeyValues],
    horizons: tuple[int, int],
    *,
    training: bool,
    constants: Context,
) -> Attention:
    """Attention with the scales, sinks, soft cap and dropout of the layer. `query_times` is `(batch, time)`."""
    unscaled = queries.mask_invalid().values.swapaxes(1, 2)
    dropout, rate = None, layer.attention_probabilities_dropout_rate
    if training and rate:
        dropout = Dropout(constants.layer_key(), rate, layer.broadcast_dropout_across_queries)
    return Attention(
        _scaled(layer, unscaled), query_times, sources, *horizons,
        soft_cap=layer.attention_logits_soft_cap, sinks=_sinks(layer, unscaled), dropout=dropout,
        precision=layer.precision, float32_logits=layer.experimental_accumulate_logits_in_float32,
    )  # fmt: skip


def _scaled(layer: Any, queries: jax.Array) -> jax.Array:
    scale = layer.units_per_head**-0.5 if layer.query_scale is None else layer.query_scale
    return queries * (scale * _dim_scale(layer.dim_scale, queries.dtype)) if layer.per_dim_scale else queries * scale


def _dim_scale(parameter: nnx.Param, dtype: Any) -> jax.Array:
    return (_SOFTPLUS_UNIT * jax.nn.softplus(parameter[...])).astype(dtype)


def _sinks(layer: Any, queries: jax.Array) -> Sinks | None:
    """Sinks score queries that are not scaled yet, as in the published library."""
    b, heads, m, _ = queries.shape
    if layer.num_sink_embeddings:
        keys, values = layer.sink_key_embeddings[...], layer.sink_value_embeddings[...]
        logits = jnp.einsum('bnqh,knh->bnqk', queries, keys.astype(queries.dtype), precision=layer.precision)
        return Sinks(logits, jnp.broadcast_to(values.swapaxes(0, 1), (b, *values.swapaxes(0, 1).shape)))
    if layer.use_sink_scalars:
        scalars = layer.sink_scalars[...].astype(queries.dtype)
        return Sinks(jnp.broadcast_to(scalars[:, None, None], (b, heads, m, 1)), None)
    return None
