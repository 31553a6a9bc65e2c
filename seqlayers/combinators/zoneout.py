import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from seqlayers import calls, random
from seqlayers.clock import clock, tick
from seqlayers.combinators.blocks import scan_blocks
from seqlayers.combinators.wrapper import Wrapper
from seqlayers.context import Context, LayerError
from seqlayers.sequence import Sequence


class Zoneout(Wrapper):
    """A recurrent layer whose state units keep their old value with probability `rate` at each timestep.

    Shapes, output ratio, latencies, receptive field and mask are those of the layer inside; the block size is 1.

    In training each unit draws by itself whether it keeps its old value. Otherwise the new state is the expectation,
    `rate * old + (1 - rate) * new`. The output is the one that the layer computes, before its state is mixed. What is
    kept depends on the key given as `rng=`, the place in the model, the row and the timestep; see `Dropout`.

    State: `(layer,)`, in training `(layer, clock)`; int32 `(batch,)` for the time of the next input timestep. Emits:
    those of the layer, with a leading axis of timesteps.

    Raises:
      LayerError: `rate` is not in [0, 1], the layer is not recurrent, or, in training, there is no key.

    Source: Krueger et al., arXiv 1606.01305.

    >>> import seqlayers as sl
    >>> model = sl.Zoneout(sl.LSTM(8), rate=0.1).build(sl.ChannelSpec((3,)), rngs=0)
    >>> model.output_spec, model.receptive_field
    (ChannelSpec((8,), float32), (-inf, 0))
    """

    rate: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.rate <= 1:
            raise LayerError(f'Zoneout: rate is a probability from 0 to 1, got {self.rate}')
        child = self.child_layer
        steps_alone = child.supports_step and (child.block_size, child.output_ratio, child.output_latency) == (1, 1, 0)
        if not steps_alone or child.receptive_field != (-math.inf, 0):
            raise LayerError(
                'Zoneout: takes a recurrent layer, such as LSTM, which steps timestep by timestep without latency, got '
                f'{child!r}'
            )

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        child = super().get_initial_state(batch_size, training=training, constants=constants, offset=offset)
        return (child, clock(batch_size, offset)) if training else (child,)

    def layer_with_emits(self, x, *, training, constants=None):
        limited = constants.lasting(x.shape[1])
        state = self.get_initial_state(x.shape[0], training=training, constants=limited)
        y, _, emits = self.step_with_emits(x, state, training=training, constants=constants)
        return y, emits

    def step_with_emits(self, x, state, *, training, constants=None):
        timestep = self._draw if training else self._expect
        return scan_blocks(timestep, x, state, 1, self, constants)

    def _expect(self, x: Sequence, state: tuple, constants: Context) -> tuple:
        (old,) = state
        y, new, emits = calls.run_step(self.child_layer, x, old, training=False, constants=constants)
        return y, (_mix(lambda i, old, new: new + self.rate * (old - new), old, new),), emits

    def _draw(self, x: Sequence, state: tuple, constants: Context) -> tuple:
        old, now = state
        times, now = tick(now, 1)
        key = constants.layer_key()

        def mix(i: int, old: jax.Array, new: jax.Array) -> jax.Array:
            bernoulli = functools.partial(jax.random.bernoulli, p=self.rate)
            keeps = random.draw(bernoulli, jax.random.fold_in(key, i), times, old.shape[1:])
            return jnp.where(keeps[:, 0], old, new)

        y, new, emits = calls.run_step(self.child_layer, x, old, training=True, constants=constants)
        return y, (_mix(mix, old, new), now), emits


def _mix(fn: Any, old: Any, new: Any) -> Any:
    """`fn(index, old, new)` for the units of a state; counters are taken from the new one."""
    leaves, structure = jax.tree.flatten(new)
    units = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]
    pairs = zip(units, jax.tree.leaves(old), leaves, strict=True)
    return structure.unflatten([fn(i, a, b) if unit else b for i, (unit, a, b) in enumerate(pairs)])
