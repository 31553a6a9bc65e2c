import functools
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from seqlayers import buffers, calls, timing
from seqlayers.combinators import chain
from seqlayers.combinators.blocks import scan_blocks
from seqlayers.context import Context, LayerError
from seqlayers.layer import SequenceLayer
from seqlayers.layers.structural import Identity
from seqlayers.sequence import ChannelSpec, Sequence
from seqlayers.timing import Timing


class Autoregressive(SequenceLayer):
    """A layer that reads its own previous output: the block before is joined to the input, on the first channel axis.

    Shapes: `(batch, time, in, *rest) -> (batch, time * ratio, *out)`. The layer inside maps
    `(in + fed, *rest)` to `(*out)`, and `feedback_layer` maps `(*out)` to `(fed, *rest)`.

    | block size | output ratio | input latency | output latency | receptive field |
    |---|---|---|---|---|
    | that of the two layers in turn | of the layer | of the layer | 0 | (-inf, last of the layer) |

    The layer runs in blocks of the block size, in `layer` too, where a scan takes one after the other. For teacher
    forcing use `Skip` or `Parallel` with a `Delay` of the target instead: that trains in parallel.

    Mask: that of the layer inside. What is fed back is zero at first, and where the output was invalid.
    State: `(layer, feedback_layer, last output block)`. Emits: those of the layer, with a leading axis of blocks.

    Args:
      layer: what is run; steps without output latency.
      feedback_layer: maps the output before it is fed back, and brings it to the rate of the input; by default the
        identity.

    Raises:
      LayerError: a layer cannot step or looks ahead; the feedback has another rate, dtype or other channels than the
        input; or the output of the layer depends on the number of its input channels.

    Source: published for TensorFlow, as in the decoders of Tacotron (Wang et al., arXiv 1703.10135).

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> add = sl.Autoregressive(sl.Sum(-1, keepdims=True)).build(sl.ChannelSpec((1,)), rngs=0)
    >>> x = sl.Sequence.from_values(jnp.array([[[1.0], [2.0], [3.0]]]))
    >>> add.layer(x, training=False).values.ravel().tolist()
    [1.0, 3.0, 6.0]
    """

    child_layer: SequenceLayer = nnx.data()
    feedback_layer: SequenceLayer = nnx.data(default=Identity())

    field_aliases: ClassVar = {'layer': 'child_layer'}

    def __post_init__(self):
        for field in ('child_layer', 'feedback_layer'):
            (layer,) = chain.as_layers(self, field, getattr(self, field))
            setattr(self, field, layer)
            if not layer.supports_step or layer.output_latency:
                raise LayerError(
                    f'Autoregressive: {field} must step without output latency, as its output is needed at once. '
                    f'{layer.explain_streamability()}'
                )
        if self._loop.output_ratio != 1:
            raise LayerError(
                'Autoregressive: the feedback needs the rate of the input. The output ratio of the layer is '
                f'{self.child_layer.output_ratio}, so that of feedback_layer must be '
                f'{1 / self.child_layer.output_ratio}, not {self.feedback_layer.output_ratio}'
            )

    @property
    def _loop(self) -> timing.SerialTiming:
        return timing.serial([self.child_layer.timing, self.feedback_layer.timing])

    @property
    def timing(self) -> Timing:
        child, loop = self.child_layer.timing, self._loop
        block = math.lcm(loop.block_size, loop.phase)
        fields = child.receptive_field_per_step.items()
        return Timing(
            output_ratio=child.output_ratio,
            block_size=block,
            align=block,
            input_latency=child.input_latency,
            receptive_field={phase: field and (-math.inf, field[1]) for phase, field in fields},
        )

    def child_offsets(self, offset):
        return [offset, int((offset + self.block_size) * self.output_ratio)]  # the feedback is a block late

    def setup(self, input_spec, rngs, constants):
        if not input_spec.shape:
            raise LayerError(
                'joins feedback to the first channel axis and got channels (). Put ExpandDims(0) before it'
            )
        inner = {field: constants.at(getattr(self, field).name or field) for field in ('child_layer', 'feedback_layer')}
        self.output_spec = _output_spec(self.child_layer, input_spec, inner['child_layer'])
        feedback = self.feedback_layer.build(self.output_spec, rngs=rngs, constants=inner['feedback_layer'])
        fed, (channels, *rest) = feedback.output_spec, input_spec.shape
        if not fed.shape or list(fed.shape[1:]) != rest or fed.dtype != input_spec.dtype:
            raise LayerError(
                f'cannot join feedback {fed} to the input {input_spec}: dtype and channels, but for the first axis, '
                'must be equal. Give it a feedback_layer that makes them so'
            )
        joined = ChannelSpec((channels + fed.shape[0], *rest), input_spec.dtype)
        self.feedback_layer = feedback
        self.child_layer = self.child_layer.build(joined, rngs=rngs, constants=inner['child_layer'])
        if self.child_layer.output_spec != self.output_spec:
            raise LayerError(
                'the output of the layer must not depend on the number of input channels: it gives '
                f'{self.output_spec} for the input alone and {self.child_layer.output_spec} with the feedback'
            )

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        child, feedback = self.child_offsets(offset)
        late = constants.behind(self.output_ratio)
        return (
            self.child_layer.get_initial_state(batch_size, training=training, constants=constants, offset=child),
            self.feedback_layer.get_initial_state(batch_size, training=training, constants=late, offset=feedback),
            buffers.empty(batch_size, int(self.block_size * self.output_ratio), self.output_spec),
        )

    def layer_with_emits(self, x, *, training, constants=None):
        length = self._output_length(x, constants)
        block = self.block_size
        blocks = max(math.ceil(x.shape[1] / block), math.ceil(length / self.output_ratio / block))
        limited = constants.lasting(blocks * block)
        state = self.get_initial_state(x.shape[0], training=training, constants=limited)
        padded = x.pad_time(0, blocks * block - x.shape[1])
        y, _, emits = self.step_with_emits(padded, state, training=training, constants=constants)
        return y[:, :length], emits

    def step_with_emits(self, x, state, *, training, constants=None):
        step = functools.partial(self._block, training=training)
        return scan_blocks(step, x, state, self.block_size, self, constants)

    def _block(self, x: Sequence, state: tuple, constants: Context, *, training: bool) -> tuple:
        child, feedback, last = state
        kwargs = {'training': training, 'constants': constants}
        fed, feedback = self.feedback_layer.step(last, feedback, **kwargs)
        y, child, emits = calls.run_step(self.child_layer, _join(x, fed), child, **kwargs)
        return y, (child, feedback, y.unmask()), emits

    def _output_length(self, x: Sequence, constants: Context) -> int:
        """The number of timesteps that `layer` of the layer inside gives, rounded as it rounds."""
        spec = self.child_layer.input_spec
        values = jax.ShapeDtypeStruct((*x.shape[:2], *spec.shape), spec.dtype)
        joined = Sequence(values, jax.ShapeDtypeStruct(x.shape[:2], bool))
        return jax.eval_shape(lambda x: self.child_layer.layer(x, training=False, constants=constants), joined).shape[1]


def _join(x: Sequence, fed: Sequence) -> Sequence:
    return Sequence(jnp.concatenate([x.values, fed.mask_invalid().values], axis=2), x.mask)


def _output_spec(layer: SequenceLayer, spec: ChannelSpec, constants: Context) -> ChannelSpec:
    if layer.is_built:
        return layer.output_spec
    return jax.eval_shape(lambda: layer.build(spec, rngs=nnx.Rngs(0), constants=constants)).output_spec
