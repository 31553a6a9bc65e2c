from collections.abc import Sequence as PySequence

from flax import nnx

from seqlayers import timing
from seqlayers.combinators import branches, chain
from seqlayers.combinators.combine import CombinationMode, combine, combined_spec
from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer
from seqlayers.sequence import Sequence


class Parallel(SequenceLayer):
    """Layers applied side by side to the same input, their outputs combined.

    Shapes: `(batch, time, *in) -> (batch, time * ratio, *combined)`; see `CombinationMode` for the channels.

    | block size | output ratio | output latency | receptive field |
    |---|---|---|---|
    | lcm of the branches | that of the branches | the largest of the branches | union of the branches |

    In steps, a branch of less latency is delayed until it meets the slowest, so branches may look ahead differently.
    In `layer`, branches of different length are cut to the shortest.

    Mask: a timestep is valid where all branches are. State: a tuple with the state of each branch, itself a tuple as
    in `Serial`, a `Delayed` where the branch is delayed. Emits: a dict by layer name. Without branches it is the
    identity.

    Raises:
      LayerError: the output ratios differ, or the channels do not broadcast.

    >>> import seqlayers as sl
    >>> branches = sl.Parallel([sl.Identity(), sl.Lookahead(2)], combination='add')
    >>> branches.output_latency, branches.receptive_field
    (2, (0, 2))
    """

    layers: PySequence[SequenceLayer] = nnx.data(default=())
    combination: CombinationMode | str = CombinationMode.STACK
    share_scope: bool | tuple[bool, ...] = False

    def __post_init__(self):
        self.layers = chain.as_layers(self, 'layers', self.layers)
        chain.check_share_scope(self)
        CombinationMode(self.combination)
        ratios = [layer.output_ratio for layer in self.layers]
        if len(set(ratios)) > 1:
            raise LayerError(
                f'Parallel: all branches need one output ratio, got {", ".join(map(str, ratios))} for '
                f'{self.layers!r}. '
                'Add Downsample1D or Upsample1D to a branch'
            )

    @property
    def _branches(self) -> branches.Branches:
        return [[named] for named in chain.named(self.layers, 'layers')] or [[]]

    @property
    def timing(self) -> timing.ParallelTiming:
        return timing.parallel([timing.serial([layer.timing for _, layer in branch]) for branch in self._branches])

    def child_offsets(self, offset):
        return branches.child_offsets(self.timing, offset)

    def setup(self, input_spec, rngs, constants):
        built = [chain.build(branch, input_spec, rngs, constants) for branch in self._branches]
        self.layers = tuple(layer for layers, _ in built for layer in layers)
        specs = [spec for _, spec in built]
        try:
            self.output_spec = combined_spec(specs, CombinationMode(self.combination)) if self.layers else input_spec
        except ValueError as error:
            raise LayerError(f'cannot {self.combination} branches with the outputs {specs}: {error}') from error

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        return branches.initial_states(
            self._branches, self.timing, self.input_spec, batch_size, offset, training=training, constants=constants
        )

    def layer_with_emits(self, x, *, training, constants=None):
        outputs, emits = branches.layer(self._branches, x, training=training, constants=constants)
        return self._combine(outputs), _merge(emits)

    def step_with_emits(self, x, state, *, training, constants=None):
        outputs, state, emits = branches.step(self._branches, x, state, training=training, constants=constants)
        return self._combine(outputs), state, _merge(emits)

    def _combine(self, outputs: list[Sequence]) -> Sequence:
        return combine(outputs, CombinationMode(self.combination)) if self.layers else outputs[0]


def _merge(emits: list[dict]) -> dict:
    return {name: emit for branch in emits for name, emit in branch.items()}
