"""Small models for the tests of the pictures."""

import functools

import jax.numpy as jnp
import numpy as np

import seqlayers as sl


class Ring(sl.SequenceLayer):
    """Sums the last `size` valid timesteps; its state is a ring of entries, written in place."""

    size: int

    @property
    def timing(self):
        return sl.Timing(receptive_field=(1 - self.size, 0))

    def get_initial_state(self, batch_size, *, training, constants=None):
        entries = jnp.zeros((batch_size, self.size, *self.input_spec.shape))
        return {'entries': entries, 'clock': jnp.zeros((), jnp.int32)}

    def layer(self, x, *, training, constants=None):
        values = x.mask_invalid().values
        padded = jnp.pad(values, ((0, 0), (self.size - 1, 0), (0, 0)))
        return x.apply_values(lambda _: sum(padded[:, i : i + values.shape[1]] for i in range(self.size)))

    def step(self, x, state, *, training, constants=None):
        entries, clock, outputs = state['entries'], state['clock'], []
        for i in range(x.shape[1]):
            entries = entries.at[:, (clock + i) % self.size].set(x.mask_invalid().values[:, i])
            outputs.append(entries.sum(1))
        return sl.Sequence(jnp.stack(outputs, 1), x.mask), {'entries': entries, 'clock': clock + x.shape[1]}


class Forgetful(sl.SequenceLayer):
    """Adds the timestep before, and forgets it in the step: a broken layer."""

    @property
    def timing(self):
        return sl.Timing(receptive_field=(-1, 0))

    def get_initial_state(self, batch_size, *, training, constants=None):
        return ()

    def layer(self, x, *, training, constants=None):
        return x.apply_values(lambda v: v + jnp.pad(v, ((0, 0), (1, 0), (0, 0)))[:, :-1])

    def step(self, x, state, *, training, constants=None):
        return self.layer(x, training=training, constants=constants), state


class Understated(sl.Stateless):
    """Reads the timestep before and declares that it does not."""

    def layer(self, x, *, training, constants=None):
        return x.apply_values(lambda v: v + jnp.pad(v, ((0, 0), (1, 0), (0, 0)))[:, :-1])


class Backwards(sl.SequenceLayer):
    """Cannot step."""

    @property
    def timing(self):
        return sl.Timing(receptive_field=(0, 1), blocked='It starts at the end.')

    def layer(self, x, *, training, constants=None):
        return x.reverse_time()


MODELS = {
    'convolutions': sl.Serial(
        [
            sl.Conv1D(4, 3, dilation_rate=2, padding='causal'),
            sl.Conv1D(4, 3, strides=3, padding='semicausal'),
            sl.Conv1D(4, 3, padding='same'),
            sl.Upsample1D(2),
            sl.Conv1D(4, 2, padding='causal'),
        ]
    ),
    'branches': sl.Serial(
        [
            sl.Conv1D(4, 3, strides=2, padding='causal'),
            sl.Residual([sl.Lookahead(2), sl.Conv1D(4, 2, padding='causal')]),
            sl.Parallel([sl.Delay(1), sl.Lookahead(1)], combination='add'),
        ]
    ),
    'memories': sl.Serial([sl.Conv1D(4, 3, padding='causal'), sl.LSTM(4), Ring(5)]),
    'repeated': sl.Repeat(sl.Residual([sl.Conv1D(3, 3, padding='same')]), 2),
    'window': sl.Conv1D(2, 4, padding='valid'),
}


@functools.cache
def model(name):
    """The model of that name, built for three channels."""
    return MODELS[name].build(sl.ChannelSpec((3,)), rngs=0)


def noise(time, batch=1, channels=3, gap=()):
    """A sequence of noise, invalid at the timesteps of `gap`."""
    values = np.random.default_rng(1).standard_normal((batch, time, channels)).astype(np.float32)
    mask = np.tile(~np.isin(np.arange(time), gap), (batch, 1))
    return sl.Sequence(jnp.asarray(values), jnp.asarray(mask))
