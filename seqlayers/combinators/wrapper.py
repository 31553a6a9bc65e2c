from flax import nnx

from seqlayers import calls
from seqlayers.combinators import chain
from seqlayers.layer import Constants, SequenceLayer


class Wrapper(SequenceLayer):
    """Base of layers around one other layer: time, state, steps and emits are those of the layer inside."""

    child_layer: SequenceLayer = nnx.data()

    def __post_init__(self):
        (self.child_layer,) = chain.as_layers(self, 'child_layer', self.child_layer)

    @property
    def child_name(self) -> str:
        return self.child_layer.name or 'child_layer'

    @property
    def timing(self):
        return self.child_layer.timing

    def setup(self, input_spec, rngs, constants):
        self.child_layer = self.child_layer.build(input_spec, rngs=rngs, constants=constants.at(self.child_name))
        self.output_spec = self.child_layer.output_spec

    def get_initial_state(self, batch_size, *, training, constants: Constants = None, offset=0):
        return self.child_layer.get_initial_state(batch_size, training=training, constants=constants, offset=offset)

    def layer_with_emits(self, x, *, training, constants: Constants = None):
        return calls.run(self.child_layer, x, training=training, constants=constants)

    def step_with_emits(self, x, state, *, training, constants: Constants = None):
        return calls.run_step(self.child_layer, x, state, training=training, constants=constants)
