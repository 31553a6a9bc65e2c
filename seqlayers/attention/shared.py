"""What the dot-product attention layers share: checks, parameters, and the way to `core.Attention`.

Functions of a layer, by the names of its fields: each layer declares its own, in their published order.
"""

import math
from collections.abc import Sequence as PySequence
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

# softplus(0) is ln 2: in this unit, a learned scale of 0 leaves everything as it is.
_SOFTPLUS_UNIT = 1 / math.log(2)


# --- checks of a declaration ----------------------------------------------------------------------------
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


def check_networks(layer: Any) -> None:
    """Raises a LayerError when a network changes the rate, needs blocks or looks ahead."""
    for field in NETWORKS:
        network, what = getattr(layer, field), f'{type(layer).__name__}.{field}'
        if network is None:
            continue
        if not isinstance(network, SequenceLayer):
            raise LayerError(f'{what} must be a layer or None, got {network!r}')
        if (network.output_ratio, network.block_size, network.output_latency) != (1, 1, 0):
            raise LayerError(
                f'{what} must keep the rate, step by single timesteps and not look ahead; {network!r} has '
                f'output ratio {network.output_ratio}, block size {network.block_size} and '
                f'output latency {network.output_latency}'
            )


# --- parameters -----------------------------------------------------------------------------------------
def setup(layer: Any, input_spec: ChannelSpec, rngs: nnx.Rngs, constants: Context) -> None:
    """Makes projections, networks, scales and sinks.

    Raises:
      LayerError: the input has not exactly one channel axis.
    """
    if len(input_spec.shape) != 1:
        raise LayerError(f'takes one channel axis, got channels {input_spec.shape}. Put DenseShaped([n]) before it')
    layer.input_projection.setup(layer, rngs, input_spec.shape[0])
    for field, spec in zip(NETWORKS, _projected_specs(layer), strict=True):
        if (network := getattr(layer, field)) is not None:
            inner = constants.at(network.name or field)
            setattr(layer, field, network.build(spec, rngs=rngs, constants=inner))
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
    dtype = promoted_dtype(layer.input_spec.dtype, layer.param_dtype, dtype=layer.compute_dtype)
    heads = (layer.num_heads, layer.kv_heads, layer.kv_heads)
    return [ChannelSpec((n, layer.units_per_head), dtype) for n in heads]


# --- queries, keys and values, whole and in steps -------------------------------------------------------
def networks(layer: Any) -> list[SequenceLayer | None]:
    """The networks of queries, keys and values."""
    return [getattr(layer, field) for field in NETWORKS]


def specs(layer: Any) -> list[ChannelSpec]:
    """What queries, keys and values of a built layer are, behind their networks."""
    pairs = zip(networks(layer), _projected_specs(layer), strict=True)
    return [projected if network is None else network.output_spec for network, projected in pairs]


def initial_states(layer: Any, batch_size: int, **kwargs: Any) -> list:
    """The states of the three networks."""
    return [() if n is None else n.get_initial_state(batch_size, **kwargs) for n in networks(layer)]


def run(layer: Any, sequences: list[Sequence], **kwargs: Any) -> list[Sequence]:
    """Projected queries, keys and values through their networks."""
    pairs = zip(networks(layer), sequences, strict=True)
    return [x if network is None else network.layer(x, **kwargs) for network, x in pairs]


def run_step(layer: Any, sequences: list[Sequence], states: PySequence, **kwargs: Any) -> tuple[list[Sequence], list]:
    """The same for a block, and the new states of the networks."""
    outputs, new_states = list(sequences), list(states)
    for i, network in enumerate(networks(layer)):
        if network is not None:
            outputs[i], new_states[i] = network.step(sequences[i], states[i], **kwargs)
    return outputs, new_states


def source(layer: Any, keys: Sequence, values: Sequence, times: jax.Array) -> KeyValues:
    """What queries look at: timesteps count where key and value are valid. `times` is `(batch, time)`."""
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
    """Attention with the scales, sinks, cap and dropout of the layer. `query_times` is `(batch, time)`."""
    unscaled = queries.mask_invalid().values.swapaxes(1, 2)
    past, future = horizons
    dropout, rate = None, layer.attention_probabilities_dropout_rate
    if training and rate:
        dropout = Dropout(constants.layer_key(), rate, layer.broadcast_dropout_across_queries)
    return Attention(
        queries=_scaled(layer, unscaled),
        query_times=query_times,
        sources=sources,
        past=past,
        future=future,
        soft_cap=layer.attention_logits_soft_cap,
        sinks=_sinks(layer, unscaled),
        dropout=dropout,
        precision=layer.precision,
        float32_logits=layer.experimental_accumulate_logits_in_float32,
    )


def _scaled(layer: Any, queries: jax.Array) -> jax.Array:
    scale = layer.units_per_head**-0.5 if layer.query_scale is None else layer.query_scale
    return queries * (scale * _dim_scale(layer.dim_scale, queries.dtype) if layer.per_dim_scale else scale)


def _dim_scale(parameter: nnx.Param, dtype: Any) -> jax.Array:
    return (_SOFTPLUS_UNIT * jax.nn.softplus(parameter[...])).astype(dtype)


def _sinks(layer: Any, queries: jax.Array) -> Sinks | None:
    """The sinks of unscaled queries: as in the published library, scales do not touch their logits."""
    b, heads, m, _ = queries.shape
    if layer.num_sink_embeddings:
        keys = layer.sink_key_embeddings[...].astype(queries.dtype)
        logits = jnp.einsum('bnqh,knh->bnqk', queries, keys, precision=layer.precision)
        values = layer.sink_value_embeddings[...].swapaxes(0, 1)
        return Sinks(logits, jnp.broadcast_to(values, (b, *values.shape)))
    if layer.use_sink_scalars:
        scalars = layer.sink_scalars[...].astype(queries.dtype)
        return Sinks(jnp.broadcast_to(scalars[:, None, None], (b, heads, m, 1)), None)
    return None
