from collections.abc import Callable
from typing import ClassVar

import jax
from flax import nnx

from seqlayers import calls
from seqlayers.combinators.wrapper import Wrapper


class CheckpointGradient(Wrapper):
    """The layer inside, its inner values recomputed in the backward pass instead of kept: less memory, more work.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | of the layer inside | of the layer inside | of the layer inside | of the layer inside |

    Shapes, mask, state and emits are those of the layer inside too, and so are all results. `prevent_cse` and
    `policy` go to `jax.checkpoint`.

    >>> import seqlayers as sl
    >>> sl.CheckpointGradient(sl.LSTM(4)).receptive_field
    (-inf, 0)
    """

    prevent_cse: bool = True
    policy: Callable | None = None
    share_scope: bool = False

    field_aliases: ClassVar = {'layer': 'child_layer'}

    def _recomputed(self, fn: Callable) -> Callable:
        return jax.checkpoint(fn, prevent_cse=self.prevent_cse, policy=self.policy)

    def layer_with_emits(self, x, *, training, constants=None):
        # Constants stay in the closure: they may hold more than arrays. Running averages must be handed out.
        def run(child, x):
            result = calls.run(child, x, training=training, constants=constants.at(self.child_name))
            return result, nnx.state(child, nnx.BatchStat)

        result, statistics = self._recomputed(run)(self.child_layer, x)
        if training:
            nnx.update(self.child_layer, statistics)
        return result

    def step_with_emits(self, x, state, *, training, constants=None):
        def run(child, x, state):
            return calls.run_step(child, x, state, training=training, constants=constants.at(self.child_name))

        return self._recomputed(run)(self.child_layer, x, state)
