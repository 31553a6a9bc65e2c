import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers.dtypes import in_at_least_float32, promote
from seqlayers.initializers import VarianceScaling
from seqlayers.layer import Stateless
from seqlayers.layers.dense import Dense, DenseShaped
from seqlayers.parameters import param
from seqlayers.sequence import ChannelSpec, Sequence


class StyleToken(Stateless):
    """Attention of each timestep to a few learned tokens: a bottleneck through weighted averages of them.

    Shapes: `(batch, time, *channels) -> (batch, time, num_heads, units_per_head)`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0) |

    With heads n and tokens s, `p = softmax over s of v . tanh(query[n] + key[n, s])`, in float32 or wider, and
    `output[n] = sum over s of p[n, s] token[s]`.

    Mask: unchanged. State: none. Parameters: `style_tokens [num_style_tokens, units_per_head]`, `style_token_keys [1,
    1, num_heads, num_style_tokens, units_per_head]`, `query_projection/kernel` and `/bias` (a `DenseShaped`),
    `to_logits/kernel` (v) and `/bias` (without effect; published checkpoints have it).

    Args:
      style_tokens_init: by default uniform with variance `1 / units_per_head`.
      style_token_keys_init: None is uniform in both directions, up to `sqrt(6 / (num_style_tokens + units_per_head))`.
        (In the published layer all keys start positive.)

    Source: Wang et al., "Style tokens", arXiv 1803.09017; additive attention by Bahdanau et al., arXiv 1409.0473.

    >>> import seqlayers as sl
    >>> model = sl.StyleToken(num_style_tokens=10, num_heads=2, units_per_head=4).build(sl.ChannelSpec((16,)), rngs=0)
    >>> model.output_spec, model.style_token_keys.shape
    (ChannelSpec((2, 4), float32), (1, 1, 2, 10, 4))
    """

    num_style_tokens: int
    num_heads: int
    units_per_head: int
    style_tokens_init: Callable = VarianceScaling(1.0, 'uniform')
    style_token_keys_init: Callable | None = None
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    precision: Any = None

    def setup(self, input_spec, rngs, constants):
        tokens, heads, units = self.num_style_tokens, self.num_heads, self.units_per_head
        glorot = functools.partial(VarianceScaling(2.0, 'uniform'), fan_in=tokens + units)
        self.style_tokens = param(self.style_tokens_init, rngs, (tokens, units), self.param_dtype, fan_in=units)
        shape = (1, 1, heads, tokens, units)
        self.style_token_keys = param(self.style_token_keys_init or glorot, rngs, shape, self.param_dtype)
        dense = {name: getattr(self, name) for name in ('compute_dtype', 'param_dtype', 'precision')}
        query = DenseShaped((heads, 1, units), **dense)
        self.query_projection = query.build(input_spec, rngs=rngs, constants=constants.at('query_projection'))
        hidden = ChannelSpec((heads, tokens, units), self.query_projection.output_spec.dtype)
        self.to_logits = Dense(1, **dense).build(hidden, rngs=rngs, constants=constants.at('to_logits'))

    def layer(self, x, *, training, constants=None):
        queries = self.query_projection.layer(x, training=training, constants=constants)
        hidden = jnp.tanh(queries.values + self.style_token_keys[...].astype(queries.dtype))
        # The bias would move all logits alike, which the softmax does not see.
        hidden, kernel = promote(hidden, self.to_logits.kernel[...], dtype=self.compute_dtype)
        logits = jnp.matmul(hidden, kernel, precision=self.precision)[..., 0]
        weights = in_at_least_float32(jax.nn.softmax, logits)
        weights, tokens = promote(weights, self.style_tokens[...], dtype=self.compute_dtype)
        return Sequence(jnp.einsum('btns,su->btnu', weights, tokens, precision=self.precision), x.mask)
