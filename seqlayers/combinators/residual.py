from collections.abc import Sequence as PySequence

import jax
from flax import nnx

from seqlayers import timing
from seqlayers.combinators import branches, chain
from seqlayers.combinators.combine import CombinationMode, combine
from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer
from seqlayers.sequence import ChannelSpec, Sequence


class Residual(SequenceLayer):
    """Adds the input, or `shortcut_layers` of it, to the output of `layers` applied one after the other.

    Shapes: `(batch, time, *in) -> (batch, time * ratio, *out)`; the body and the shortcut must agree on both.

    | block size | output ratio | output latency | receptive field |
    |---|---|---|---|
    | lcm of body and shortcut | that of both | the larger of the two | union |

    In steps, the side of less latency is delayed until the two meet: a residual around a look-ahead streams as it is.
    In `layer`, sides of different length are cut to the shorter.

    Mask: a timestep is valid where both are. State: `(body, shortcut)`, each as in `Serial`, a `Delayed` where a side
      is delayed.
    Emits: `(body, shortcut)`.

    Raises:
      LayerError: the output ratios or the channel shapes of body and shortcut differ.

    >>> import seqlayers as sl
    >>> sl.Residual([sl.Conv1D(8, 3, padding='reverse_causal')]).output_latency
    2
    """

    layers: PySequence[SequenceLayer] = nnx.data(default=())
    shortcut_layers: PySequence[SequenceLayer] | None = nnx.data(default=())
    share_scope: bool | tuple[bool, ...] = False

    def __post_init__(self):
        self.layers = chain.as_layers(self, 'layers', self.layers)
        chain.check_share_scope(self)
        self.shortcut_layers = chain.as_layers(self, 'shortcut_layers', self.shortcut_layers or ())
        body, shortcut = self.timing_of_sides()
        if body.output_ratio != shortcut.output_ratio:
            raise LayerError(
                f'Residual: body and shortcut need one output ratio, got {body.output_ratio} and '
                f'{shortcut.output_ratio}. '
                f'Give shortcut_layers of ratio {body.output_ratio}, such as Downsample1D or Upsample1D'
            )

    @property
    def _branches(self) -> branches.Branches:
        return [chain.named(self.layers, 'layers'), chain.named(self.shortcut_layers or (), 'shortcut_layers')]

    def timing_of_sides(self) -> list[timing.SerialTiming]:
        return [timing.serial([layer.timing for _, layer in side]) for side in self._branches]

    @property
    def timing(self) -> timing.ParallelTiming:
        return timing.parallel(self.timing_of_sides())

    def child_offsets(self, offset):
        return branches.child_offsets(self.timing, offset)

    def setup(self, input_spec, rngs, constants):
        sides = [chain.build(side, input_spec, rngs, constants) for side in self._branches]
        (self.layers, body), (self.shortcut_layers, shortcut) = sides
        if body.shape != shortcut.shape:
            raise LayerError(
                f'adds channels {body.shape} of the body to channels {shortcut.shape} of the shortcut; they must be '
                'equal. '
                f'End the body with DenseShaped({list(shortcut.shape)}), or project the shortcut with '
                f'shortcut_layers=[DenseShaped({list(body.shape)})]'
            )

        self.output_spec = jax.eval_shape(self.residual_function, _abstract(body), _abstract(shortcut)).channel_spec

    def residual_function(self, body: Sequence, shortcut: Sequence) -> Sequence:
        """How the two sides become one: their sum. Subclasses may override it."""
        return combine([body, shortcut], CombinationMode.ADD)

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        return branches.initial_states(
            self._branches, self.timing, self.input_spec, batch_size, offset, training=training, constants=constants
        )

    def layer_with_emits(self, x, *, training, constants=None):
        sides, emits = branches.layer(self._branches, x, training=training, constants=constants)
        return self.residual_function(*sides), tuple(emits)

    def step_with_emits(self, x, state, *, training, constants=None):
        sides, state, emits = branches.step(self._branches, x, state, training=training, constants=constants)
        return self.residual_function(*sides), state, tuple(emits)


def _abstract(spec: ChannelSpec) -> Sequence:
    return Sequence(jax.ShapeDtypeStruct((1, 1, *spec.shape), spec.dtype), jax.ShapeDtypeStruct((1, 1), bool))
