import dataclasses
from typing import ClassVar

from seqlayers import timing
from seqlayers.combinators.wrapper import Wrapper
from seqlayers.context import LayerError


class Blockwise(Wrapper):
    """The layer inside, in larger blocks: a step takes a multiple of `block_size` input timesteps at once.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | block_size | of the layer inside | of the layer inside | of the layer inside |

    Shapes, mask, state and emits are those of the layer inside too. A larger block makes steps fewer and better at
    using the machine; it adds no latency of its own, but whoever calls has to wait for a whole block. `layer` is not
    divided into blocks.

    Raises:
      LayerError: `block_size` is no multiple of that of the layer inside.

    >>> import seqlayers as sl
    >>> sl.Blockwise(sl.Conv1D(4, 3, strides=2, padding='causal'), block_size=8).block_size
    8
    """

    block: int = dataclasses.field()

    published_names: ClassVar = {'child_layer': ''}
    field_aliases: ClassVar = {'block_size': 'block'}  # the property of that name comes from the timing

    def __post_init__(self):
        super().__post_init__()
        inner = self.child_layer.block_size
        if self.block < 1 or self.block % inner:
            raise LayerError(
                f'Blockwise: block_size must be a multiple of {inner}, the block size of {self.child_layer!r}; got '
                f'{self.block}'
            )

    @property
    def timing(self):
        return timing.blockwise(self.child_layer.timing, self.block)
