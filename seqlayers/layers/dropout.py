import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from seqlayers import random
from seqlayers.clock import clock, tick
from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer


class Dropout(SequenceLayer):
    """In training, sets values to 0 with probability `rate` and scales the others by `1 / (1 - rate)`.

    Shapes: `(batch, time, *channels)` unchanged.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0) |

    What is dropped depends on the key given as `rng=`, the place in the model, the row and the timestep. So
    `step` drops the same values as `layer`, however the stream is cut. (The published layer cannot step in
    training.) Integers and booleans are not scaled.

    Mask: unchanged. State: where values are dropped, the time of the next input timestep, int32 `(batch,)`; else none.

    Args:
      rate: probability to drop, from 0 to 1.
      broadcast_dims: axes that share one draw, counted with batch and time: `(1,)` drops channels for the
        whole sequence.
      rng_collection: without effect; keys come from `rng=`.
      always: drop outside of training too, as in the decoder of Tacotron, which takes its variety from this.

    Raises:
      LayerError: `rate` is not in [0, 1], the input lacks an axis, or values are to be dropped and there is no
        key.

    Source: Srivastava et al., JMLR 15 (2014).

    >>> import jax, jax.numpy as jnp, seqlayers as sl
    >>> x = sl.Sequence.from_values(jnp.ones((1, 100, 1)))
    >>> y = sl.Dropout(0.5).build(x.channel_spec, rngs=0).layer(x, training=True, rng=jax.random.key(0))
    >>> sorted(set(y.values.ravel().tolist()))
    [0.0, 2.0]
    """

    rate: float = 0.0
    broadcast_dims: Sequence[int] = ()
    rng_collection: str = 'dropout'
    always: bool = False

    def __post_init__(self):
        if not 0 <= self.rate <= 1:
            raise LayerError(f'Dropout: rate is a probability from 0 to 1, got {self.rate}')

    def _is_on(self, training: bool) -> bool:
        return training or self.always

    def setup(self, input_spec, rngs, constants):
        rank = 2 + len(input_spec.shape)
        if not all(-rank <= axis < rank for axis in self.broadcast_dims):
            raise LayerError(f'broadcast_dims {self.broadcast_dims} must be axes of an input of rank {rank}')

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        return clock(batch_size, offset) if self._is_on(training) else ()

    def layer(self, x, *, training, constants=None):
        if not self._is_on(training):
            return x
        times, _ = tick(clock(x.shape[0]), x.shape[1])
        return self._drop(x, times, constants)

    def step(self, x, state, *, training, constants=None):
        if not self._is_on(training):
            return x, state
        times, state = tick(state, x.shape[1])
        return self._drop(x, times, constants), state

    def _drop(self, x, times, constants):
        if self.rate == 0:
            return x
        if self.rate == 1:
            return x.apply_values_masked(jnp.zeros_like)
        keep = 1 - self.rate
        shared = [axis % x.ndim for axis in self.broadcast_dims]
        draw = functools.partial(jax.random.bernoulli, p=keep)
        kept = random.draw(draw, constants.layer_key(), times, x.channel_shape, shared)
        scaled = x.values / keep if jnp.issubdtype(x.dtype, jnp.inexact) else x.values
        return x.replace(values=jnp.where(kept, scaled, jnp.zeros_like(scaled)))
