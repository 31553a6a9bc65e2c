from collections.abc import Sequence as PySequence

import jax.numpy as jnp
from flax import nnx

from seqlayers import timing
from seqlayers.combinators import branches, chain
from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer
from seqlayers.sequence import ChannelSpec, Sequence


class Skip(SequenceLayer):
    """Joins the input and the output of `layers`, applied one after the other, on the first channel axis.

    Shapes: `(batch, time, in, *rest) -> (batch, time, in + out, *rest)`, where the layers give `(out, *rest)`.

    | block size | output ratio | output latency | receptive field |
    |---|---|---|---|
    | of the layers | 1 | of the layers | of the layers, united with (0, 0) |

    In steps the input is delayed until it meets the output. In `layer` the two are cut to the shorter.

    Mask: a timestep is valid where it is in both. State: `(input, layers)`, as the branches of `Parallel`. Emits: a
    dict by layer name.

    Raises:
      LayerError: the layers change the rate, or channel axes other than the first.

    Source: published for TensorFlow; the idea is from Huang et al., "DenseNet", arXiv 1608.06993.

    >>> import seqlayers as sl
    >>> skip = sl.Skip([sl.Conv1D(5, 3, padding='same')])
    >>> skip.output_latency, skip.build(sl.ChannelSpec((2,)), rngs=0).output_spec
    (1, ChannelSpec((7,), float32))
    """

    layers: PySequence[SequenceLayer] = nnx.data(default=())

    def __post_init__(self):
        self.layers = chain.as_layers(self, 'layers', self.layers)
        ratio = timing.serial([layer.timing for layer in self.layers]).output_ratio
        if ratio != 1:
            raise LayerError(
                f'Skip: the layers must keep the rate, their output ratio is {ratio}. To join what has another rate '
                'use Parallel, with Downsample1D or Upsample1D in a branch'
            )

    @property
    def _branches(self) -> branches.Branches:
        return [[], chain.named(self.layers, 'layers')]

    @property
    def timing(self) -> timing.ParallelTiming:
        return timing.parallel([timing.serial([layer.timing for _, layer in branch]) for branch in self._branches])

    def child_offsets(self, offset):
        return branches.child_offsets(self.timing, offset)

    def setup(self, input_spec, rngs, constants):
        self.layers, output = chain.build(self._branches[1], input_spec, rngs, constants)
        if not input_spec.shape or not output.shape or output.shape[1:] != input_spec.shape[1:]:
            raise LayerError(
                f'cannot join channels {input_spec.shape} and {output.shape} on the first axis: there must be one, and '
                'the others must be equal'
            )
        channels = (input_spec.shape[0] + output.shape[0], *output.shape[1:])
        self.output_spec = ChannelSpec(channels, jnp.result_type(input_spec.dtype, output.dtype))

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        return branches.initial_states(
            self._branches, self.timing, self.input_spec, batch_size, offset, training=training, constants=constants
        )

    def layer_with_emits(self, x, *, training, constants=None):
        sides, (_, emits) = branches.layer(self._branches, x, training=training, constants=constants)
        return _join(*sides), emits

    def step_with_emits(self, x, state, *, training, constants=None):
        sides, state, (_, emits) = branches.step(self._branches, x, state, training=training, constants=constants)
        return _join(*sides), state, emits


def _join(x: Sequence, y: Sequence) -> Sequence:
    return Sequence(jnp.concatenate([x.values, y.values], axis=2), x.mask & y.mask)
