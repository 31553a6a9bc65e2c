from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers.attention.core import masked_softmax
from seqlayers.attention.weighted_source import WeightedSource
from seqlayers.dtypes import promote
from seqlayers.initializers import lecun_normal, zeros
from seqlayers.layers.dense import DenseShaped
from seqlayers.parameters import param


class AdditiveAttention(WeightedSource):
    """Every timestep looks at all of a source, by a small network that compares the two (Bahdanau attention).

    Shapes: `(batch, time, in) -> (batch, time, num_heads, source_channels)`, with a source `(batch, source_time,
    source_channels)` in `constants[source_name]`, for `build` too. A source of batch 1 serves all items.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0); the source is no part of it |

    For each head, `w = softmax over s of v . tanh(query(x) + key(source[s]))`, in float32 or wider, and the output is
    the sum of w[s] times the source.

    Mask: unchanged. Invalid timesteps of the source are not seen. State: the source, as it was in
    `get_initial_state`, its mask and its keys, `(batch, source_time, num_heads, units_per_head)`.

    Emits: `CrossAttentionEmits`. Parameters: `query_projection/kernel [in, num_heads, units_per_head]`,
    `source_projection/kernel [source_channels, num_heads, units_per_head]` and `/bias`, `v [num_heads,
    units_per_head]`.

    Raises:
      LayerError: sizes below 1, or no name of a source. When built: the source is missing, or input or source have not
        one channel axis.

    Source: Bahdanau et al., arXiv 1409.0473.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> text = sl.Sequence.from_values(jnp.ones((1, 7, 5)))
    >>> attention = sl.AdditiveAttention('text', num_heads=2, units_per_head=8)
    >>> attention.build(sl.ChannelSpec((3,)), rngs=0, constants={'text': text}).output_spec
    ChannelSpec((2, 5), float32)
    """

    num_heads: int
    units_per_head: int
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    precision: Any = None
    kernel_init: Callable = lecun_normal
    bias_init: Callable = zeros

    def __post_init__(self):
        self.check('num_heads', 'units_per_head')

    def setup(self, input_spec, rngs, constants):
        super().setup(input_spec, rngs, constants)
        shape, names = (self.num_heads, self.units_per_head), ('compute_dtype', 'param_dtype', 'precision')
        options = {name: getattr(self, name) for name in (*names, 'kernel_init', 'bias_init')}
        queries, keys = DenseShaped(shape, use_bias=False, **options), DenseShaped(shape, **options)
        self.query_projection = queries.build(input_spec, rngs=rngs, constants=constants.at('query_projection'))
        self.source_projection = keys.build(self.source_spec, rngs=rngs, constants=constants.at('source_projection'))
        self.v = param(self.kernel_init, rngs, shape, self.param_dtype, fan_in=self.units_per_head)

    def keys(self, source, *, training, constants):
        return self.source_projection.layer(source, training=training, constants=constants).values

    def weights(self, x, source, alignment, *, training, constants):
        queries = self.query_projection.layer(x, training=training, constants=constants).values
        return self.compare(queries[:, :, None], source.keys[:, None], source.mask[:, None]), alignment

    def compare(self, queries: jax.Array, keys: jax.Array, mask: jax.Array) -> jax.Array:
        """The weights `(..., heads, source_time)` from what goes into the tanh, `(..., source_time, heads, units)` or
        broadcast to that, and the mask `(..., source_time)`."""
        hidden, v = promote(jnp.tanh(queries + keys), self.v[...], dtype=self.compute_dtype)
        logits = jnp.einsum('...snh,nh->...ns', hidden, v, precision=self.precision)
        return masked_softmax(logits, mask[..., None, :])
