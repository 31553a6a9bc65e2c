from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from seqlayers.context import LayerError
from seqlayers.dtypes import promote
from seqlayers.initializers import embedding_normal
from seqlayers.layer import Stateless
from seqlayers.parameters import param
from seqlayers.sequence import Sequence


class Embedding(Stateless):
    """Looks up a learned vector for every integer.

    Shapes: `(batch, time, *channels) -> (batch, time, *channels, dimension)`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0) |

    A negative index counts from the end of the table; one behind the end gives NaN. Invalid timesteps are
    looked up as 0, so that an id for padding needs no row.

    Mask: unchanged. State: none. Parameters: `embedding [num_embeddings, dimension]`; published under
    `embedding_param_name`.

    Raises:
      LayerError: the input is not of integers.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> model = sl.Embedding(dimension=4, num_embeddings=100).build(sl.ChannelSpec((), jnp.int32), rngs=0)
    >>> model.output_spec
    ChannelSpec((4,), float32)
    """

    dimension: int
    num_embeddings: int
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    embedding_init: Callable = embedding_normal
    embedding_sharding: Any = None
    embedding_param_name: str = 'embedding'

    @property
    def published_names(self) -> dict[str, str]:
        return {'embedding': self.embedding_param_name}

    def setup(self, input_spec, rngs, constants):
        if not jnp.issubdtype(input_spec.dtype, jnp.integer):
            raise LayerError(f'looks up integers and got {input_spec.dtype}. Put sl.Cast("int32") before it')
        self.embedding = param(
            self.embedding_init, rngs, (self.num_embeddings, self.dimension), self.param_dtype,
            fan_in=self.dimension, sharding=self.embedding_sharding,
        )  # fmt: skip

    def layer(self, x, *, training, constants=None):
        table = self.embedding[...].astype(self.compute_dtype or self.param_dtype)
        indices = x.mask_invalid()
        return indices.unmask().replace(values=jnp.take(table, indices.values, axis=0, mode='fill'))

    def attend(self, x: Sequence, embedding_dtype: Any = None, compute_dtype: Any = None) -> Sequence:
        """The dot product of each vector with all rows of the table: logits of a model with tied embeddings.

        Shapes: `(batch, time, *outer, dimension) -> (batch, time, *outer, num_embeddings)`. Mask: unchanged.

        Args:
          x: vectors.
          embedding_dtype: the table is rounded to it first.
          compute_dtype: by default that of the layer, or else the common one of input and table.

        Raises:
          LayerError: the layer is not built, or the last axis of `x` is not `dimension`.
        """
        if not self.is_built:
            raise LayerError('Embedding.attend: is a declaration, without a table. Build it first')
        if x.channel_shape[-1:] != (self.dimension,):
            raise LayerError(
                f'Embedding.attend: the last axis must be {self.dimension}, got channels {x.channel_shape}. '
                f'Project them with sl.Dense({self.dimension})'
            )
        table = self.embedding[...].astype(embedding_dtype or self.param_dtype)
        values, table = promote(x.values, table, dtype=compute_dtype or self.compute_dtype)
        return x.replace(values=jnp.einsum('...d,vd->...v', values, table))
