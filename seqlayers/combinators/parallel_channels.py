from typing import ClassVar

from seqlayers import calls
from seqlayers.combinators.combine import CombinationMode, combine, combined_spec
from seqlayers.combinators.wrapper import Wrapper
from seqlayers.context import LayerError
from seqlayers.sequence import ChannelSpec, Sequence


class ParallelChannels(Wrapper):
    """One layer, with one set of parameters, applied to `num_groups` equal parts of the last channel axis; the
    outputs combined.

    Shapes: `(batch, time, *outer, in) -> (batch, time * ratio, *combined)`: the layer maps `(*outer, in /
    num_groups)`; see `CombinationMode` for the channels.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | of the layer inside | of the layer inside | of the layer inside | of the layer inside |

    Mask: that of the layer inside. State and emits: a tuple with one entry a group.

    Raises:
      LayerError: the last channel axis does not divide into the groups.

    >>> import seqlayers as sl
    >>> heads = sl.ParallelChannels(sl.Dense(2), num_groups=3, combination='concat')
    >>> heads.build(sl.ChannelSpec((9,)), rngs=0).output_spec
    ChannelSpec((6,), float32)
    """

    num_groups: int = 1
    combination: CombinationMode | str = CombinationMode.STACK

    published_names: ClassVar = {'child_layer': ''}

    def setup(self, input_spec, rngs, constants):
        if not input_spec.shape or input_spec.shape[-1] % self.num_groups:
            raise LayerError(
                f'divides the last channel axis into {self.num_groups} groups, which channels {input_spec.shape} do '
                'not allow'
            )
        *outer, channels = input_spec.shape
        group = ChannelSpec((*outer, channels // self.num_groups), input_spec.dtype)
        super().setup(group, rngs, constants)
        outputs = [self.child_layer.output_spec] * self.num_groups
        self.output_spec = combined_spec(outputs, CombinationMode(self.combination))

    def _groups(self, x: Sequence) -> list[Sequence]:
        width = x.shape[-1] // self.num_groups
        return [
            x.apply_values_masked(lambda v, i=i: v[..., i * width : (i + 1) * width]) for i in range(self.num_groups)
        ]

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        def initial(i):
            inner = constants.folded(i).at(self.child_name)
            return self.child_layer.get_initial_state(batch_size, training=training, constants=inner, offset=offset)

        return tuple(initial(i) for i in range(self.num_groups))

    def layer_with_emits(self, x, *, training, constants=None):
        outputs, emits = [], []
        for i, group in enumerate(self._groups(x)):
            inner = constants.folded(i).at(self.child_name)
            y, emitted = calls.run(self.child_layer, group, training=training, constants=inner)
            outputs.append(y)
            emits.append(emitted)
        return combine(outputs, CombinationMode(self.combination)), tuple(emits)

    def step_with_emits(self, x, state, *, training, constants=None):
        outputs, states, emits = [], [], []
        for i, (group, old) in enumerate(zip(self._groups(x), state, strict=True)):
            inner = constants.folded(i).at(self.child_name)
            y, new, emitted = calls.run_step(self.child_layer, group, old, training=training, constants=inner)
            outputs.append(y)
            states.append(new)
            emits.append(emitted)
        return combine(outputs, CombinationMode(self.combination)), tuple(states), tuple(emits)
