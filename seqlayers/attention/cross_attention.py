from collections.abc import Callable
from typing import Any

import numpy as np
from flax import nnx

from seqlayers.attention import shared
from seqlayers.attention.projections import InputProjection, QueryAndKeyValueProjection
from seqlayers.attention.relative import RelativePositionEmbedding
from seqlayers.attention.sources import CrossAttention, check_source
from seqlayers.context import LayerError
from seqlayers.initializers import embedding_normal, zeros
from seqlayers.layer import SequenceLayer


class DotProductAttention(CrossAttention):
    """Every timestep looks at all of a source, such as the output of an encoder.

    Shapes: `(batch, time, in) -> (batch, time, num_heads, units_per_head)`, with a source `(batch, source_time,
    source_channels)` in `constants[source_name]`, for `build` too. A source of batch 1 serves all items.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0, or those of `query_network` | (0, 0), or its own; the source is no part of it |

    Mask: that of the queries, as a rule the input's. Invalid timesteps of the source are not seen; a query that sees
    nothing gives 0.

    State: keys and values of the source, computed once in `get_initial_state`, each `(batch, kv_heads, source_time,
    units_per_head)`, and their times, int32 `(batch, source_time)`; the time of the next input, int32 `(batch,)`; the
    state of the network of queries.

    Emits: `CrossAttentionEmits`, sinks before the timesteps of the source.

    Args:
      query_network: must run in steps. key_network, value_network: run over the whole source, by their `layer`.
      relative_position_embedding: what the distance of source timestep and query timestep adds to the logits.
      query_positions_name: the name of a constant of integers `(batch, time)`, the positions of queries instead of
        their timesteps. A step takes those of its block.
      recompute_kv_per_step: compute keys and values in every step, from the constants it is given.
      The others: as in `DotProductSelfAttention`.

    Raises:
      LayerError: as `DotProductSelfAttention`; or the source is missing, no Sequence, has not one channel axis, or has
        other channels or another dtype than the one given to `build`.

    Source: Vaswani et al., arXiv 1706.03762.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> attention = sl.DotProductAttention('text', num_heads=2, units_per_head=4)
    >>> text = sl.Sequence.from_values(jnp.ones((1, 7, 5)))
    >>> model = attention.build(sl.ChannelSpec((3,)), rngs=0, constants={'text': text})
    >>> model.output_spec, model.receptive_field
    (ChannelSpec((2, 4), float32), (0, 0))
    """

    source_name: str
    num_heads: int
    units_per_head: int
    attention_probabilities_dropout_rate: float = 0.0
    broadcast_dropout_across_queries: bool = False
    use_bias: bool = False
    input_projection: InputProjection = QueryAndKeyValueProjection()
    query_network: SequenceLayer | None = nnx.data(default=None)
    key_network: SequenceLayer | None = nnx.data(default=None)
    value_network: SequenceLayer | None = nnx.data(default=None)
    relative_position_embedding: RelativePositionEmbedding | None = nnx.data(default=None)
    query_positions_name: str | None = None
    per_dim_scale: bool = False
    per_dim_key_scale: bool = False
    per_dim_scale_sharding: Any = None
    query_scale: float | None = None
    attention_logits_soft_cap: float | None = None
    precision: Any = None
    zero_fully_masked: bool = False
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    num_sink_embeddings: int = 0
    sink_embeddings_init: Callable = embedding_normal
    sink_embeddings_sharding: Any = None
    use_sink_scalars: bool = False
    sink_scalars_init: Callable = zeros
    experimental_accumulate_logits_in_float32: bool = False
    recompute_kv_per_step: bool = False
    num_kv_heads: int | None = None

    def __post_init__(self):
        check_source(self, (self.source_name,))
        shared.check(self, -1, -1, stepped=['query_network'])

    @property
    def sources(self):
        return (self.source_name,)


class MultiSourceDotProductAttention(CrossAttention):
    """Every timestep looks at all of several sources, under one softmax.

    Shapes: `(batch, time, in) -> (batch, time, num_heads, units_per_head)`, with sources as in `DotProductAttention`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0, or those of `query_network` | (0, 0), or its own; the sources are no part of it |

    Mask and state: as `DotProductAttention`, the sources one after the other. Emits nothing.

    Args:
      source_names: a name, or several.
      query_segment_ids_name, source_segment_ids_names: names of constants of integers `(batch, time)`, of the
        queries (a step takes those of its block) and of each source: only equal ones see each other. One name for
        the sources is for all of them.
      query_positions_name, source_position_names: likewise. Without effect, as they would bound a horizon, and this
        layer has none.
      flash_attention_query_block_size: how many queries `layer` takes together.
      flash_attention_source_block_sizes: without effect.
      use_separate_kv_projections: keys and values of each source have weights of their own,
        `<source>_projection/...`; the sources may then differ in their channels.
      The others: as in `DotProductAttention`.

    Raises:
      LayerError: as `DotProductAttention`; or as many names of positions or segments as sources are not given, or
        sources differ in their channels and share a projection, or one with its own is named `query` or `input`.

    Source: the published SequenceLayers library.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> attention = sl.MultiSourceDotProductAttention(['text', 'image'], num_heads=2, units_per_head=4)
    >>> sources = {name: sl.Sequence.from_values(jnp.ones((1, 7, 5))) for name in ('text', 'image')}
    >>> attention.build(sl.ChannelSpec((3,)), rngs=0, constants=sources).output_spec
    ChannelSpec((2, 4), float32)
    """

    source_names: str | tuple[str, ...]
    num_heads: int
    units_per_head: int
    num_kv_heads: int | None = None
    flash_attention_query_block_size: int | None = None
    flash_attention_source_block_sizes: Any = None
    query_positions_name: str | None = None
    query_segment_ids_name: str | None = None
    source_position_names: Any = None
    source_segment_ids_names: Any = None
    use_bias: bool = False
    input_projection: InputProjection = QueryAndKeyValueProjection()
    query_network: SequenceLayer | None = nnx.data(default=None)
    key_network: SequenceLayer | None = nnx.data(default=None)
    value_network: SequenceLayer | None = nnx.data(default=None)
    per_dim_scale: bool = False
    per_dim_scale_sharding: Any = None
    query_scale: float | None = None
    attention_logits_soft_cap: float | None = None
    precision: Any = None
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    experimental_accumulate_logits_in_float32: bool = False
    use_separate_kv_projections: bool = False

    def __post_init__(self):
        check_source(self, self.sources)
        shared.check(self, -1, -1, stepped=['query_network'])
        shared.check_queries_together(self)
        if self.use_separate_kv_projections and (taken := {'query', 'input'}.intersection(self.sources)):
            raise LayerError(
                f'MultiSourceDotProductAttention: a source {taken.pop()!r} cannot have a projection of its own, as the '
                'layer has one of that name. Rename the constant'
            )
        for field in ('source_position_names', 'source_segment_ids_names'):
            names = getattr(self, field)
            if isinstance(names, tuple) and len(names) != len(self.sources):
                raise LayerError(
                    f'MultiSourceDotProductAttention: {field} must be one name, or one for each of the '
                    f'{len(self.sources)} sources; got {names!r}'
                )
        if (self.query_segment_ids_name is None) != (self.source_segment_ids_names is None):
            raise LayerError(
                'MultiSourceDotProductAttention: segments need both query_segment_ids_name and '
                f'source_segment_ids_names; got {self.query_segment_ids_name!r} and {self.source_segment_ids_names!r}'
            )

    @property
    def sources(self):
        return (self.source_names,) if isinstance(self.source_names, str) else self.source_names

    def labels_of(self, source):
        names = {'positions': self.source_position_names, 'segments': self.source_segment_ids_names}
        index = self.sources.index(source)
        return {label: n if isinstance(n, str) else n[index] for label, n in names.items() if n is not None}

    def queries_together(self):
        return self.flash_attention_query_block_size

    def setup_projections(self, rngs):
        if not self.use_separate_kv_projections:
            self._check_equal_sources()
            return super().setup_projections(rngs)
        self.input_projection.setup_queries(self, rngs, self.input_spec.shape[0])
        for name, spec in zip(self.sources, self.source_specs, strict=True):
            weights = SourceWeights()
            self.input_projection.setup_keys_values(self, weights, rngs, spec.shape[0])
            setattr(self, f'{name}_projection', weights)

    def _check_equal_sources(self) -> None:
        if len(set(self.source_specs)) > 1:
            specs = ', '.join(f'{n} {s}' for n, s in zip(self.sources, self.source_specs, strict=True))
            raise LayerError(
                f'projects all sources by the same weights, and they differ: {specs}. '
                'Give use_separate_kv_projections=True'
            )

    def _emits(self, queries, source, mask, rule):
        return ()


class SourceWeights(nnx.Module):
    """The weights of the keys and values of one source."""
