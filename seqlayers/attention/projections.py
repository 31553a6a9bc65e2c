"""Where queries, keys and values come from: linear maps of the input's channels to heads."""

from collections.abc import Callable
from typing import Any

from flax import nnx

from seqlayers.declaration import Declared
from seqlayers.dtypes import promote
from seqlayers.initializers import lecun_normal, zeros
from seqlayers.parameters import param
from seqlayers.products import einsum
from seqlayers.sequence import Sequence


class Projection(nnx.Module):
    """The weights of a linear map of the channels to heads and units, perhaps of several maps stacked."""

    def __init__(self, kernel: nnx.Param, bias: nnx.Param | None):
        self.kernel, self.bias = kernel, bias

    def __call__(self, layer: Any, x: Sequence) -> Sequence:
        """`(batch, time, channels) -> (batch, time, *shape)`."""
        bias = None if self.bias is None else self.bias[...]
        values, kernel, bias = promote(x.values, self.kernel[...], bias, dtype=layer.compute_dtype)
        y = einsum('btc,c...->bt...', values, kernel, layer.precision)
        return type(x)(y, x.mask) if bias is None else Sequence(y + bias, x.mask)


class InputProjection(Declared):
    """Base of the projections. A declaration only: the weights stand on the attention layer, as published."""

    is_built = False

    def setup(self, layer: Any, rngs: nnx.Rngs, inputs: int, sources: int) -> None:
        """Makes the weights on `layer` for queries from `inputs` channels, keys and values from `sources` channels."""
        self.setup_queries(layer, rngs, inputs)
        self.setup_keys_values(layer, layer, rngs, sources)

    def setup_queries(self, layer: Any, rngs: nnx.Rngs, inputs: int) -> None:
        raise NotImplementedError

    def setup_keys_values(self, layer: Any, target: Any, rngs: nnx.Rngs, inputs: int) -> None:
        """Makes the weights of keys and values on `target`: the layer, or a part of it for one of its sources."""
        raise NotImplementedError

    def queries(self, layer: Any, x: Sequence) -> Sequence:
        """`(batch, time, num_heads, units)`."""
        return layer.query_projection(layer, x)

    def keys_values(self, layer: Any, x: Sequence, weights: Any = None) -> list[Sequence]:
        """Keys and values, each `(batch, time, num_kv_heads, units)`; by the weights on the layer, or those given."""
        raise NotImplementedError

    def queries_keys_values(self, layer: Any, x: Sequence) -> list[Sequence]:
        """All three from one input."""
        return [self.queries(layer, x), *self.keys_values(layer, x)]

    def _weights(
        self, layer: Any, rngs: nnx.Rngs, inputs: int, shape: tuple[int, ...], kernel: str, bias: str
    ) -> Projection:
        """Weights by the fields `<kernel>_init`, `<kernel>_sharding`, `<bias>_init` and `<bias>_sharding`.

        The fan-in is the number of input channels, however many maps are stacked. (The published library
        counts the stacked axis of `key_value_projection` too, and starts with too small keys and values.)
        """

        def make(field: str, shape: tuple[int, ...], fan_in: int | None = None) -> nnx.Param:
            init, sharding = getattr(self, f'{field}_init'), getattr(self, f'{field}_sharding')
            return param(init, rngs, shape, layer.param_dtype, fan_in=fan_in, sharding=sharding)

        weights = make(kernel, (inputs, *shape), fan_in=inputs)
        return Projection(weights, make(bias, shape) if layer.use_bias else None)


class CombinedQueryKeyValueProjection(InputProjection):
    """One matrix product for queries, keys and values. Needs as many heads for keys as for queries.

    Parameters, on the attention layer: `query_key_value_projection/kernel [in, 3, heads, units]` and
    `/bias [3, heads, units]`. With `share_kv_projection` keys and values are the same, and the 3 is a 2.
    """

    qkv_kernel_init: Callable = lecun_normal
    qkv_kernel_sharding: Any = None
    bias_init: Callable = zeros
    bias_sharding: Any = None
    share_kv_projection: bool = False

    def setup(self, layer, rngs, inputs, sources):
        shape = (2 if self.share_kv_projection else 3, layer.num_heads, layer.units_per_head)
        layer.query_key_value_projection = self._weights(layer, rngs, inputs, shape, 'qkv_kernel', 'bias')

    def queries_keys_values(self, layer, x):
        queries, keys, *values = _unstack(layer.query_key_value_projection(layer, x))
        return [queries, keys, values[0] if values else keys]


class SeparateQueryKeyValueProjection(InputProjection):
    """A matrix product each for queries, keys and values.

    Parameters, on the attention layer: `query_projection/kernel [in, heads, units]`, `key_projection/kernel` and
    `value_projection/kernel [in, kv_heads, units]`, each with a `/bias` of the same shape without `in`.
    """

    q_kernel_init: Callable = lecun_normal
    k_kernel_init: Callable = lecun_normal
    v_kernel_init: Callable = lecun_normal
    q_kernel_sharding: Any = None
    k_kernel_sharding: Any = None
    v_kernel_sharding: Any = None
    bias_init: Callable = zeros
    bias_sharding: Any = None

    def setup_queries(self, layer, rngs, inputs):
        shape = (layer.num_heads, layer.units_per_head)
        layer.query_projection = self._weights(layer, rngs, inputs, shape, 'q_kernel', 'bias')

    def setup_keys_values(self, layer, target, rngs, inputs):
        shape = (layer.kv_heads, layer.units_per_head)
        target.key_projection = self._weights(layer, rngs, inputs, shape, 'k_kernel', 'bias')
        target.value_projection = self._weights(layer, rngs, inputs, shape, 'v_kernel', 'bias')

    def keys_values(self, layer, x, weights=None):
        weights = weights or layer
        return [weights.key_projection(layer, x), weights.value_projection(layer, x)]


class QueryAndKeyValueProjection(InputProjection):
    """A matrix product for queries, and one for keys and values.

    Parameters, on the attention layer: `query_projection/kernel [in, heads, units]` and
    `key_value_projection/kernel [in, 2, kv_heads, units]`, each with a `/bias` of the same shape without `in`.
    """

    q_kernel_init: Callable = lecun_normal
    q_kernel_sharding: Any = None
    q_bias_init: Callable = zeros
    q_bias_sharding: Any = None
    kv_kernel_init: Callable = lecun_normal
    kv_kernel_sharding: Any = None
    kv_bias_init: Callable = zeros
    kv_bias_sharding: Any = None

    def setup_queries(self, layer, rngs, inputs):
        shape = (layer.num_heads, layer.units_per_head)
        layer.query_projection = self._weights(layer, rngs, inputs, shape, 'q_kernel', 'q_bias')

    def setup_keys_values(self, layer, target, rngs, inputs):
        shape = (2, layer.kv_heads, layer.units_per_head)
        target.key_value_projection = self._weights(layer, rngs, inputs, shape, 'kv_kernel', 'kv_bias')

    def keys_values(self, layer, x, weights=None):
        return _unstack((weights or layer).key_value_projection(layer, x))


class QueryAndSharedKeyValueProjection(QueryAndKeyValueProjection):
    """A matrix product for queries, and one whose result is both the keys and the values.

    Parameters, on the attention layer: `query_projection/kernel [in, heads, units]` and
    `shared_key_value_projection/kernel [in, kv_heads, units]`, each with a `/bias` of the same shape without
    `in`.
    """

    def setup_keys_values(self, layer, target, rngs, inputs):
        shape = (layer.kv_heads, layer.units_per_head)
        target.shared_key_value_projection = self._weights(layer, rngs, inputs, shape, 'kv_kernel', 'kv_bias')

    def keys_values(self, layer, x, weights=None):
        return [(weights or layer).shared_key_value_projection(layer, x)] * 2


def _unstack(x: Sequence) -> list[Sequence]:
    """The sequences that are stacked on the first channel axis."""
    return [x.apply_values_masked(lambda v, i=i: v[:, :, i]) for i in range(x.channel_shape[0])]
