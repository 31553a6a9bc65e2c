"""Layers that are a composition of others."""

from typing import cast

from seqlayers import calls
from seqlayers.layer import SequenceLayer
from seqlayers.timing import Timing


class Composite(SequenceLayer):
    """A layer that is a composition of others: `body` returns the declaration that it stands for.

    Everything else (timing, state, steps, emits) follows from the body.

    >>> import seqlayers as sl
    >>> class FeedForward(sl.Composite):
    ...     width: int
    ...     def body(self):
    ...         return sl.Residual([sl.Dense(4 * self.width), sl.Swish(), sl.Dense(self.width)])
    >>> FeedForward(8).receptive_field
    (0, 0)
    """

    network = cast(SequenceLayer, None)  # the built body

    def body(self) -> SequenceLayer:
        raise NotImplementedError(f'{type(self).__name__} is a Composite and must define body(self)')

    @property
    def timing(self) -> Timing:
        return (self.network or self.body()).timing

    def children(self):
        return super().children() if self.is_built else [('network', self.body())]

    def setup(self, input_spec, rngs, constants):
        self.network = self.body().build(input_spec, rngs=rngs, constants=constants.at('network'))
        self.output_spec = self.network.output_spec

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        return self.network.get_initial_state(batch_size, training=training, constants=constants, offset=offset)

    def layer_with_emits(self, x, *, training, constants=None):
        return calls.run(self.network, x, training=training, constants=constants)

    def step_with_emits(self, x, state, *, training, constants=None):
        return calls.run_step(self.network, x, state, training=training, constants=constants)
