from collections.abc import Sequence as PySequence

from flax import nnx

from seqlayers import timing
from seqlayers.combinators import chain
from seqlayers.layer import SequenceLayer


class Serial(SequenceLayer):
    """Layers applied one after the other.

    Shapes: `(batch, time, *in) -> (batch, time * ratio, *out)` of the layers in turn; an empty `Serial` is the
      identity.

    | block size | output ratio | latencies, receptive field |
    |---|---|---|
    | folded over the layers so that each gets whole blocks | product | composed, see `seqlayers.timing` |

    A layer that cuts time into chunks (a stride, say) behind a look-ahead gets its input on a whole chunk: `step`
    inserts the delay that this takes, and the latencies include it.

    Layers that are built already are used as they are: `Serial([built, built_too])` runs them in turn (published as
    `SerialModules`).

    Mask: as the layers pass it on. State: a tuple with the state of each layer, a `Delayed` where a delay is
      inserted.
    Emits: a dict by layer name.

    Raises:
      LayerError: something in `layers` is no layer.

    >>> import seqlayers as sl
    >>> model = sl.Serial([sl.Conv1D(4, 3, strides=2, padding='causal'), sl.LSTM(4)])
    >>> model.output_ratio, model.block_size, model.receptive_field
    (Fraction(1, 2), 2, (-inf, 0))
    """

    layers: PySequence[SequenceLayer] = nnx.data(default=())
    share_scope: bool | tuple[bool, ...] = False

    def __post_init__(self):
        self.layers = chain.as_layers(self, 'layers', self.layers)
        chain.check_share_scope(self)

    @property
    def _named(self):
        return chain.named(self.layers, 'layers')

    @property
    def timing(self) -> timing.SerialTiming:
        return timing.serial([layer.timing for layer in self.layers])

    def child_offsets(self, offset):
        return [child for _, child in self.timing.plan(offset)[0]]

    def setup(self, input_spec, rngs, constants):
        self.layers, self.output_spec = chain.build(self._named, input_spec, rngs, constants)

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        return chain.initial_state(self._named, self.timing, batch_size, offset, training=training, constants=constants)

    def layer_with_emits(self, x, *, training, constants=None):
        return chain.layer(self._named, x, training=training, constants=constants)

    def step_with_emits(self, x, state, *, training, constants=None):
        return chain.step(self._named, x, state, training=training, constants=constants)
