"""Relative positions in attention: what the distance between a key and a query adds to their logit."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from seqlayers.attention.core import KeyValues, Queries
from seqlayers.context import LayerError
from seqlayers.declaration import Declared
from seqlayers.dtypes import promoted_dtype
from seqlayers.initializers import embedding_normal, lecun_normal, zeros
from seqlayers.layers.sinusoid import sinusoids
from seqlayers.parameters import param


class RelativePositionEmbedding(Declared):
    """Base of the relative position embeddings: a part of an attention layer, declared and built like a layer.

    Built and called it gives the bias of the logits, `(batch, heads, queries, keys)`.
    """

    is_built = False

    def build(self, rngs: nnx.Rngs) -> Self:
        """A new embedding with parameters."""
        built = type(self)(**self.field_values())
        built.is_built = True
        built.setup(rngs)
        return built

    def setup(self, rngs: nnx.Rngs) -> None:
        """Makes the parameters."""

    def check(self: Any, what: str, num_heads: int, units: int, past: int, future: int) -> None:
        """Raises a LayerError if an attention layer `what` of these heads and horizons cannot use it."""
        name = type(self).__name__
        if self.num_heads != num_heads:
            raise LayerError(f'{what}: its {name} has num_heads={self.num_heads}, must be {num_heads}')
        if getattr(self, 'units_per_head', units) != units:
            raise LayerError(f'{what}: its {name} has units_per_head={self.units_per_head}, must be {units}')

    def __call__(self, queries: Queries, scaled: jax.Array, source: KeyValues) -> jax.Array:
        """The bias; `scaled` are the values of the queries, scaled."""
        raise NotImplementedError


def distances(queries: Queries, source: KeyValues) -> jax.Array:
    """How far behind its query each key stands, in positions, or else in time; int32 `(batch, queries, keys)`."""
    of_queries = queries.times if queries.positions is None else queries.positions
    of_keys = source.times if source.positions is None else source.positions
    return of_keys[:, None, :] - of_queries[:, :, None]


def _gather(by_distance: jax.Array, index: jax.Array) -> jax.Array:
    """`(batch, heads, queries, table)` at int32 `(batch, queries, keys)`."""
    return jnp.take_along_axis(by_distance, index[:, None], axis=-1, mode='promise_in_bounds')


class ShawRelativePositionEmbedding(RelativePositionEmbedding):
    """Adds the product of a query with a learned embedding of the distance.

    Distances are clipped to `-max_backward .. max_forward`. The query is not scaled, as published.

    Parameters: `embedding [max_backward + max_forward + 1, heads, units]`.

    Source: Shaw et al., arXiv 1803.02155.

    >>> import seqlayers as sl
    >>> shaw = sl.ShawRelativePositionEmbedding(max_backward=8, max_forward=0, num_heads=2, units_per_head=4)
    >>> sl.DotProductSelfAttention(2, 4, max_past_horizon=16, relative_position_embedding=shaw).receptive_field
    (-16, 0)
    """

    max_backward: int
    max_forward: int
    num_heads: int
    units_per_head: int
    embedding_init: Callable = embedding_normal
    embedding_sharding: Any = None
    param_dtype: Any = np.dtype('float32')
    compute_dtype: Any = np.dtype('float32')

    def __post_init__(self):
        if self.max_backward < 0 or self.max_forward < 0:
            raise LayerError(
                'ShawRelativePositionEmbedding: max_backward and max_forward must not be negative, got '
                f'{self.max_backward} and {self.max_forward}'
            )

    def setup(self, rngs):
        shape = (self.max_backward + self.max_forward + 1, self.num_heads, self.units_per_head)
        sharding, fan_in = self.embedding_sharding, self.num_heads * self.units_per_head
        self.embedding = param(self.embedding_init, rngs, shape, self.param_dtype, fan_in=fan_in, sharding=sharding)

    def __call__(self, queries, scaled, source):
        dtype = promoted_dtype(queries.values.dtype, self.param_dtype, dtype=self.compute_dtype)
        embedding = self.embedding[...].astype(dtype)
        by_distance = jnp.einsum('bnqh,dnh->bnqd', queries.values.astype(dtype), embedding)
        clipped = jnp.clip(distances(queries, source), -self.max_backward, self.max_forward)
        return _gather(by_distance, clipped + self.max_backward)


class T5RelativePositionEmbedding(RelativePositionEmbedding):
    """Adds a learned number for each head and bucket of distances, which grow wider with the distance.

    Half of the buckets (of a direction) are single distances, the others lie on a logarithmic scale up to
    `max_distance`, which reaches the last bucket. With `bidirectional` keys ahead have half of the buckets to
    themselves, without it they share that of distance 0.

    Parameters: `embedding [num_buckets, heads]`.

    Source: Raffel et al., arXiv 1910.10683.

    >>> import seqlayers as sl
    >>> t5 = sl.T5RelativePositionEmbedding(num_buckets=32, num_heads=2, bidirectional=False)
    >>> sl.DotProductSelfAttention(2, 4, max_past_horizon=16, relative_position_embedding=t5).receptive_field
    (-16, 0)
    """

    num_buckets: int
    num_heads: int
    bidirectional: bool
    max_distance: int = 128
    bias_matrix_init: Callable = embedding_normal
    bias_matrix_sharding: Any = None
    param_dtype: Any = np.dtype('float32')
    compute_dtype: Any = None

    def __post_init__(self):
        single = self.num_buckets // (4 if self.bidirectional else 2)
        if single < 1 or self.max_distance <= single:
            raise LayerError(
                f'T5RelativePositionEmbedding: num_buckets must be at least {4 if self.bidirectional else 2}, and '
                f'max_distance more than the {single} distances that have a bucket each; got {self.num_buckets} and '
                f'{self.max_distance}'
            )

    def setup(self, rngs):
        shape, sharding = (self.num_buckets, self.num_heads), self.bias_matrix_sharding
        self.embedding = param(
            self.bias_matrix_init, rngs, shape, self.param_dtype, fan_in=self.num_heads, sharding=sharding
        )

    def __call__(self, queries, scaled, source):
        dtype = promoted_dtype(queries.values.dtype, dtype=self.compute_dtype)
        buckets = self.bucket(distances(queries, source))
        return jnp.moveaxis(self.embedding[...].astype(dtype)[buckets], -1, 1)

    def bucket(self, distance: jax.Array) -> jax.Array:
        """The bucket of each distance (of the key, seen from the query), int32."""
        buckets, back, offset = self.num_buckets, -distance, 0
        if self.bidirectional:
            buckets //= 2
            offset, back = jnp.where(back < 0, buckets, 0), jnp.abs(back)
        back = jnp.maximum(back, 0)
        exact = buckets // 2
        far = jnp.maximum(back, exact).astype(jnp.float32)  # only these are on the logarithmic scale
        scale = (buckets - 1 - exact) / math.log(self.max_distance / exact)
        logarithmic = exact + jnp.floor(jnp.log(far / exact + np.finfo(np.float32).eps) * np.float32(scale))
        return offset + jnp.where(back < exact, back, jnp.minimum(logarithmic, buckets - 1).astype(jnp.int32))


class TransformerXLRelativePositionEmbedding(RelativePositionEmbedding):
    """Adds `u k + (q + v) R`: learned biases for content and position, and R, a map of the distance's sinusoids.

    q is scaled, u and v are not. Needs horizons that do not exceed `max_backward` and `max_forward`.

    Parameters: `pos_proj/kernel [position_bias_dim, heads, units]`, and with `use_bias` `u` and `v [heads, units]`.

    Source: Dai et al., arXiv 1901.02860.

    >>> import seqlayers as sl
    >>> xl = sl.TransformerXLRelativePositionEmbedding(2, 4, max_backward=16, max_forward=0, position_bias_dim=8)
    >>> sl.DotProductSelfAttention(2, 4, max_past_horizon=16, relative_position_embedding=xl).receptive_field
    (-16, 0)
    """

    num_heads: int
    units_per_head: int
    max_backward: int
    max_forward: int
    position_bias_dim: int
    use_bias: bool = True
    u_sharding: Any = None
    v_sharding: Any = None
    pos_proj_sharding: Any = None
    param_dtype: Any = np.dtype('float32')

    published_names: ClassVar = {'kernel': 'pos_proj/kernel'}

    def check(self, what, num_heads, units, past, future):
        super().check(what, num_heads, units, past, future)
        if not (0 <= past <= self.max_backward and 0 <= future <= self.max_forward):
            raise LayerError(
                f'{what}: its TransformerXLRelativePositionEmbedding knows distances from '
                f'{self.max_backward} back to {self.max_forward} ahead, but the horizons are {past} and {future} '
                '(-1 is no limit). Give max_backward and max_forward the horizons of the attention'
            )

    def setup(self, rngs):
        units, dim = (self.num_heads, self.units_per_head), self.position_bias_dim
        self.kernel = param(
            lecun_normal, rngs, (dim, *units), self.param_dtype, fan_in=dim, sharding=self.pos_proj_sharding
        )
        if self.use_bias:
            self.u = param(zeros, rngs, units, self.param_dtype, sharding=self.u_sharding)
            self.v = param(zeros, rngs, units, self.param_dtype, sharding=self.v_sharding)

    def __call__(self, queries, scaled, source):
        dtype = scaled.dtype
        back = jnp.arange(self.max_backward, -self.max_forward - 1, -1)
        table = sinusoids(back, self.position_bias_dim).astype(dtype)
        embedding = jnp.einsum('dc,cnh->dnh', table, self.kernel[...].astype(dtype))
        with_bias = scaled + self.v[...].astype(dtype)[:, None] if self.use_bias else scaled
        by_distance = jnp.einsum('bnqh,dnh->bnqd', with_bias, embedding)
        clipped = jnp.clip(distances(queries, source), -self.max_backward, self.max_forward)
        bias = _gather(by_distance, clipped + self.max_backward)
        return bias + self._content(source.keys) if self.use_bias else bias

    def _content(self, keys: jax.Array) -> jax.Array:
        """u k, `(batch, heads, 1, keys)`; a key head serves a group of heads."""
        b, kv_heads, n, units = keys.shape
        u = self.u[...].astype(keys.dtype).reshape(kv_heads, -1, units)
        return jnp.einsum('ngh,bnkh->bngk', u, keys).reshape(b, self.num_heads, 1, n)


class ALiBi(RelativePositionEmbedding):
    """Attention with linear biases: subtracts a slope times the distance, a slope of its own for each head.

    The slopes are `2 ** (-8 i / heads)` for heads 1, 2, ...; there are no parameters. Works at lengths that were
    never trained.

    Source: Press et al., arXiv 2108.12409.

    >>> import seqlayers as sl
    >>> alibi = sl.ALiBi(num_heads=2)
    >>> sl.DotProductSelfAttention(2, 4, max_past_horizon=16, relative_position_embedding=alibi).receptive_field
    (-16, 0)
    """

    num_heads: int

    def __call__(self, queries, scaled, source):
        slopes = 2.0 ** (-8 * np.arange(1, self.num_heads + 1) / self.num_heads)
        away = jnp.abs(distances(queries, source)).astype(jnp.float32)
        return -slopes[:, None, None].astype(np.float32) * away[:, None]
