from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from seqlayers import buffers, calls, timing
from seqlayers.combinators.chain import Delayed, as_layers
from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer, walk
from seqlayers.sequence import Sequence


class Repeat(SequenceLayer):
    """`num_repeats` copies of a layer one after the other, each with parameters of its own, run by one compiled body.

    Shapes: `(batch, time, *channels)` kept, as the layer inside must keep them; `layer` fills the time up to whole
    blocks. Parameters carry a leading axis of `num_repeats`. Compiling costs as much as one copy, however many there
    are.

    | block size | output ratio | latencies, receptive field |
    |---|---|---|
    | of the layer | 1 | of the layer applied `num_repeats` times |

    Mask: as the layers pass it on. State: a tuple of one, the state of the layer (a `Delayed` where each repetition
    is delayed), with a leading axis of `num_repeats` on every leaf. Emits: those of the layer, with the same leading
    axis.

    Args:
      layer: what is repeated; output ratio 1 and the same channels in and out.
      remat: recompute each repetition in the backward pass (`prevent_cse` and `policy` go to `jax.checkpoint`).
      unroll_layer, unroll_step: a Python loop instead of a scan. The state is the same.

    Raises:
      LayerError: the layer changes the rate or the channels, or `num_repeats` is not positive.

    >>> import seqlayers as sl
    >>> sl.Repeat(sl.Conv1D(8, 3, padding='causal'), 4).receptive_field
    (-8, 0)
    """

    child_layer: SequenceLayer = nnx.data()
    num_repeats: int
    remat: bool = False
    prevent_cse: bool = False
    policy: Callable | None = None
    unroll_layer: bool = False
    unroll_step: bool = False

    field_aliases: ClassVar = {'layer': 'child_layer'}

    def __post_init__(self):
        (self.child_layer,) = as_layers(self, 'child_layer', self.child_layer)
        if self.num_repeats < 1:
            raise LayerError(f'Repeat: num_repeats must be at least 1, got {self.num_repeats}')
        if self.child_layer.output_ratio != 1:
            raise LayerError(
                f'Repeat: the layer must keep the rate, its output ratio is {self.child_layer.output_ratio}: '
                f'{self.child_layer!r}'
            )

    @property
    def timing(self) -> timing.RepeatTiming:
        return timing.repeat(self.child_layer.timing, self.num_repeats)

    def setup(self, input_spec, rngs, constants):
        if any(layer.is_built for _, layer in walk(self.child_layer)):
            raise LayerError('needs a declaration: each repetition has parameters of its own. Give it layer.replace()')
        declared, inner = self.child_layer, constants.at(self.child_name)
        build = jax.vmap(lambda key: declared.build(input_spec, rngs=nnx.Rngs(key), constants=inner))
        self.child_layer = build(jax.random.split(rngs.params(), self.num_repeats))
        self.output_spec = input_spec
        if self.child_layer.output_spec != input_spec:
            raise LayerError(
                f'the layer must keep channels and dtype; it maps {input_spec} to {self.child_layer.output_spec}'
            )

    @property
    def child_name(self) -> str:
        return self.child_layer.name or 'child_layer'

    def _repetition(self, i: Any) -> SequenceLayer:
        return jax.tree.map(lambda a: a[i], self.child_layer)

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        time = self.timing
        inner = constants.at(self.child_name)

        def initial(child: SequenceLayer, child_offset: int):
            state = child.get_initial_state(batch_size, training=training, constants=inner, offset=child_offset)
            delay = time.delay(offset)
            return (Delayed(state, buffers.empty(batch_size, delay, self.output_spec)) if delay else state,)

        offsets = time.offsets(offset)
        if len(set(offsets)) == 1:
            return jax.vmap(lambda child: initial(child, offsets[0]), axis_size=self.num_repeats)(self.child_layer)
        states = [initial(self._repetition(i), o) for i, o in enumerate(offsets)]
        shapes = {tuple(leaf.shape for leaf in jax.tree.leaves(state)) for state in states}
        if len(shapes) > 1:
            raise LayerError(
                'the state of the layer has another shape in each repetition, because it depends on the latency '
                'before it. '
                f'Write Serial([layer] * {self.num_repeats}) instead'
            )
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

    def layer_with_emits(self, x, *, training, constants=None):
        # Repetitions must keep the number of timesteps, so work on whole blocks of the layer. They stay whole: cut to
        # the length of the input, outputs would depend on how far an item is padded.
        block = self._facts.block_size

        def body(x: Sequence, repetition: tuple):
            child, i = repetition
            inner = constants.folded(i).at(self.child_name)
            y, emits = calls.run(child, x, training=training, constants=inner)
            if y.shape[1] > x.shape[1]:
                raise LayerError(f'the layer must not lengthen the sequence: {x.shape[1]} to {y.shape[1]} timesteps')
            # What a repetition changes in itself leaves the loop as an output.
            statistics = nnx.state(child, nnx.BatchStat) if training else None
            return y.pad_time(0, x.shape[1] - y.shape[1]).unmask(), (emits, statistics)

        if self.remat:
            body = jax.checkpoint(body, prevent_cse=self.prevent_cse, policy=self.policy)
        y, (emits, statistics) = self._scan(body, x.pad_to_multiple(block).unmask(), unroll=self.unroll_layer)
        if training:
            nnx.update(self.child_layer, statistics)
        return y, emits

    def step_with_emits(self, x, state, *, training, constants=None):
        def body(carry: tuple, repetition: tuple):
            # The state of all repetitions stays in the carry, where it is updated in place. As inputs and outputs of
            # the scan all of it would be copied in every step.
            (x, states), (child, i) = carry, repetition
            (state,) = jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, i, keepdims=False), states)
            inner = constants.folded(i).at(self.child_name)
            state, buffer = state if isinstance(state, Delayed) else (state, None)
            x, state, emits = calls.run_step(child, x, state, training=training, constants=inner)
            if buffer is not None:
                x, buffer = buffers.push(buffer, x)
                state = Delayed(state, buffer)
            states = jax.tree.map(lambda a, new: lax.dynamic_update_index_in_dim(a, new, i, 0), states, (state,))
            return (x.unmask(), states), emits

        (y, state), emits = self._scan(body, (x.unmask(), state), unroll=self.unroll_step)
        return y, state, emits

    def _scan(self, body: Callable, carry: Any, unroll: bool) -> tuple[Any, Any]:
        repetitions = (self.child_layer, jnp.arange(self.num_repeats))
        return lax.scan(body, carry, repetitions, unroll=self.num_repeats if unroll else 1)
