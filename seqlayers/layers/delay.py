from seqlayers import buffers
from seqlayers.clock import clock, tick
from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer
from seqlayers.timing import Timing


class Delay(SequenceLayer):
    """Delays a sequence by `length` timesteps.

    Shapes: `(batch, time, *channels) -> (batch, time + length, *channels)` in `layer`, the length kept in `step`.

    | `delay_layer_output` | block size | output ratio | input latency | output latency | receptive field |
    |---|---|---|---|---|---|
    | True | 1 | 1 | length | 0 | (-length, -length) |
    | False | 1 | 1 | length | length | (0, 0) |

    With `delay_layer_output=False` only steps are delayed: a means to wait for something else, whose delay is
    latency. Combinators put such delays where they are needed by themselves.

    Mask: delayed alike; the first `length` timesteps are invalid. State: the last `length` timesteps.

    Raises:
      LayerError: a negative length.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> model = sl.Delay(2).build(sl.ChannelSpec(()), rngs=0)
    >>> y = model.layer(sl.Sequence.from_values(jnp.array([[1.0, 2.0]])), training=False)
    >>> y.values.tolist(), y.mask.tolist()
    ([[0.0, 0.0, 1.0, 2.0]], [[False, False, True, True]])
    """

    length: int
    delay_layer_output: bool = True

    def __post_init__(self):
        if self.length < 0:
            raise LayerError(f'Delay: length must not be negative, got {self.length}. To look ahead use Lookahead')

    @property
    def timing(self) -> Timing:
        if self.delay_layer_output:
            return Timing(input_latency=self.length, receptive_field=(-self.length, -self.length))
        return Timing(input_latency=self.length, output_latency=self.length)

    def get_initial_state(self, batch_size, *, training, constants=None):
        return buffers.empty(batch_size, self.length, self.input_spec)

    def layer(self, x, *, training, constants=None):
        return x.pad_time(self.length, 0) if self.delay_layer_output else x

    def step(self, x, state, *, training, constants=None):
        return buffers.push(state, x)


class Lookahead(SequenceLayer):
    """Drops the first `length` timesteps: output `t` is input `t + length`.

    Shapes: `(batch, time, *channels) -> (batch, max(0, time - length), *channels)`; the length is kept in `step`, and
    with `preserve_length_in_layer`, where invalid timesteps fill up the end.

    | block size | output ratio | input latency | output latency | receptive field |
    |---|---|---|---|---|
    | 1 | 1 | 0 | length | (length, length) |

    It counts timesteps, valid or not. (The published layer counts valid ones in `step`, so that its `step` and
    `layer` differ on sequences with gaps.)

    Mask: dropped alike; in `step` the first `length` outputs are void, which the mask says. State: the time of the
    next input timestep, int32 `(batch,)`.

    Raises:
      LayerError: a negative length.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> model = sl.Lookahead(1).build(sl.ChannelSpec(()), rngs=0)
    >>> model.layer(sl.Sequence.from_values(jnp.array([[1.0, 2.0, 3.0]])), training=False).values.tolist()
    [[2.0, 3.0]]
    """

    length: int
    preserve_length_in_layer: bool = False

    def __post_init__(self):
        if self.length < 0:
            raise LayerError(f'Lookahead: length must not be negative, got {self.length}. To wait use Delay')

    @property
    def timing(self) -> Timing:
        return Timing(output_latency=self.length, receptive_field=(self.length, self.length))

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        return clock(batch_size, offset)

    def layer(self, x, *, training, constants=None):
        ahead = x[:, self.length :]
        return ahead.pad_time(0, x.shape[1] - ahead.shape[1]) if self.preserve_length_in_layer else ahead

    def step(self, x, state, *, training, constants=None):
        times, state = tick(state, x.shape[1])
        return x.unmask().replace(mask=x.mask & (times >= self.length)), state
