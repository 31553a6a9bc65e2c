import jax.numpy as jnp
from flax import nnx

from seqlayers import calls, timing
from seqlayers.combinators import chain
from seqlayers.combinators.combine import CombinationMode, combine, combined_spec
from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer
from seqlayers.sequence import Sequence


class Bidirectional(SequenceLayer):
    """One layer from the start to the end and one from the end to the start; the outputs combined.

    Shapes: `(batch, time, *in) -> (batch, time * ratio, *combined)`; see `CombinationMode` for the channels.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | cannot step | that of both | - | that of `forward`, united with the mirrored one of `backward` |

    It cannot step, as the backward layer begins at the end.

    Each item is mirrored about its own last valid timestep, so padding never matters. (The published layer mirrors
    the whole array; then the result of a strided layer depends on how far an item was padded.)

    Mask: a timestep is valid where both outputs are. Emits: `(forward, backward)`, those of `backward` in mirrored
      time.

    Raises:
      LayerError: the output ratios differ.

    >>> import seqlayers as sl
    >>> sl.Bidirectional(sl.LSTM(4), sl.LSTM(4)).receptive_field
    (-inf, inf)
    """

    forward: SequenceLayer = nnx.data()
    backward: SequenceLayer = nnx.data()
    combination: CombinationMode | str = CombinationMode.STACK

    def __post_init__(self):
        for side in ('forward', 'backward'):
            (layer,) = chain.as_layers(self, side, getattr(self, side))
            setattr(self, side, layer)
        if self.forward.output_ratio != self.backward.output_ratio:
            raise LayerError(
                'Bidirectional: both layers need one output ratio, got '
                f'{self.forward.output_ratio} and {self.backward.output_ratio}'
            )

    @property
    def timing(self) -> timing.Timing:
        return timing.bidirectional(self.forward.timing, self.backward.timing)

    def setup(self, input_spec, rngs, constants):
        for side in ('forward', 'backward'):
            layer = getattr(self, side)
            setattr(self, side, layer.build(input_spec, rngs=rngs, constants=constants.at(layer.name or side)))
        outputs = [self.forward.output_spec, self.backward.output_spec]
        self.output_spec = combined_spec(outputs, CombinationMode(self.combination))

    def layer_with_emits(self, x, *, training, constants=None):
        y, forward_emits = calls.run(self.forward, x, training=training, constants=constants)
        phase = self.backward.timing.phase
        end = last_valid(x.mask) // phase * phase + phase  # where each item is mirrored: a whole number of phases
        mirrored = mirror(x.pad_to_multiple(phase), end, -(-x.shape[1] // phase) * phase)
        z, backward_emits = calls.run(self.backward, mirrored, training=training, constants=constants)
        z = mirror(
            z, (end * self.backward.output_ratio.numerator) // self.backward.output_ratio.denominator, y.shape[1]
        )
        return combine([y, z], CombinationMode(self.combination)), (forward_emits, backward_emits)


def last_valid(mask):
    """The index of the last valid timestep of each item, -1 if there is none."""
    time = mask.shape[1]
    last = jnp.max(jnp.where(mask, jnp.arange(time), -1), axis=1, initial=-1)
    return last


def mirror(x: Sequence, end, length: int) -> Sequence:
    """Timestep `i` of the result is timestep `end - 1 - i` of each item, invalid where there is no such timestep."""
    if not x.shape[1]:
        return x.pad_time(0, length)
    index = end[:, None] - 1 - jnp.arange(length)
    exists = (index >= 0) & (index < x.shape[1])
    index = jnp.clip(index, 0, x.shape[1] - 1)
    values = jnp.take_along_axis(x.values, index.reshape(index.shape + (1,) * (x.ndim - 2)), axis=1)
    return Sequence(values, jnp.take_along_axis(x.mask, index, axis=1) & exists)
