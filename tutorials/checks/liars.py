"""Four layers for lesson 11. The tests that their authors wrote are green; what three of them promise is false.

A test of such an author: all timesteps of a clip are valid, and the valid outputs of `step`, in order, are those
of `layer`.
"""

import jax.numpy as jnp

import seqlayers as sl


class PairSum(sl.SequenceLayer):
    """Each value and the one before it, added. Invalid timesteps count as 0. State: the last value."""

    @property
    def timing(self):
        return sl.Timing(receptive_field=(-1, 0))

    def get_initial_state(self, batch_size, *, training, constants=None):
        return jnp.zeros(batch_size, self.input_spec.dtype)

    def layer(self, x, *, training, constants=None):
        return self._sums(x, jnp.zeros(x.shape[0], x.values.dtype))[0]

    def step(self, x, state, *, training, constants=None):
        return self._sums(x, state)

    def _sums(self, x, last):
        values = x.mask_invalid().values
        before = jnp.concatenate([last[:, None], values], 1)
        return sl.Sequence(values + before[:, :-1], x.mask), before[:, -1]


class LatePairSum(PairSum):
    """The same, and its steps are one timestep late."""

    def get_initial_state(self, batch_size, *, training, constants=None):
        last = super().get_initial_state(batch_size, training=training)
        return last, sl.Sequence(last[:, None], jnp.zeros((batch_size, 1), bool))

    def step(self, x, state, *, training, constants=None):
        last, waiting = state
        y, last = self._sums(x, last)
        waiting = waiting.concatenate(y)
        return waiting[:, :-1], (last, waiting[:, -1:])


class Alternate(sl.SequenceLayer):
    """Turns the sign of every second timestep. State: how many timesteps came."""

    def get_initial_state(self, batch_size, *, training, constants=None):
        return jnp.zeros(batch_size, jnp.int32)

    def layer(self, x, *, training, constants=None):
        return self.step(x, jnp.zeros(x.shape[0], jnp.int32), training=training)[0]

    def step(self, x, state, *, training, constants=None):
        time = state[:, None] + jnp.arange(x.shape[1])
        return x.apply_values_masked(lambda v: jnp.where(time % 2 == 0, v, -v)), state + x.shape[1]


class LongPairSum(PairSum):
    """The same, and valid for one timestep more. State: also whether the last timestep was valid."""

    def get_initial_state(self, batch_size, *, training, constants=None):
        return super().get_initial_state(batch_size, training=training), jnp.zeros(batch_size, bool)

    def step(self, x, state, *, training, constants=None):
        last, was_valid = state
        y, last = self._sums(x, last)
        valid = jnp.concatenate([was_valid[:, None], x.mask], 1)
        return y.replace(mask=valid[:, :-1] | x.mask), (last, valid[:, -1])


LAYERS = {'A': LatePairSum(), 'B': PairSum(), 'C': LongPairSum(), 'D': Alternate()}
LIES = {
    LatePairSum(): 'says that it has no latency, and its steps come one late',
    LongPairSum(): 'has in step a mask that goes on behind the end',
    Alternate(): 'counts its steps and never asked for the offset',
}
