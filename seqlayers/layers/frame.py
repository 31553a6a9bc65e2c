from seqlayers.context import LayerError
from seqlayers.framing import frames, overlap_and_add
from seqlayers.layers.overlap import Overlapping
from seqlayers.layers.windows import Axis, Windowed
from seqlayers.padding import Padding


class Frame(Windowed):
    """Cuts a sequence into overlapping frames of `frame_length` timesteps, one every `frame_step`.

    Shapes: `(batch, time, *channels) -> (batch, time / frame_step, frame_length, *channels)`, rounded up; for
    'valid' and 'semicausal_full' see the number of windows in `padding.output_length`.

    Block size, output ratio, latencies, receptive field, mask and state: those of `Conv1D` with kernel_size =
    frame_length and strides = frame_step; for the default padding the latencies are frame_length - 1 and
    (frame_length - 1) // frame_step. Invalid inputs become zeros. `padding` may also be two ints (past,
    future) that sum to frame_length - 1. These behave like 'same', from the first step on, so
    `explicit_padding_is_same_like` has no effect. (In the published layer, unless it is set, steps start with
    valid garbage.)

    Raises:
      LayerError: a length or step below 1, or an unknown padding.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> model = sl.Frame(3, 2, padding='causal').build(sl.ChannelSpec(()), rngs=0)
    >>> model.layer(sl.Sequence.from_values(jnp.arange(1.0, 6.0)[None]), training=False).values.tolist()
    [[[0.0, 0.0, 1.0], [1.0, 2.0, 3.0], [3.0, 4.0, 5.0]]]
    """

    frame_length: int
    frame_step: int
    padding: Padding = 'reverse_causal_valid'
    explicit_padding_is_same_like: bool = False

    @property
    def axes(self):
        return [Axis(self.frame_length, self.frame_step, 1, self.padding)]

    @property
    def keeps_zeros(self):
        return True

    def slide(self, x, time, training):
        return frames(x.values, self.frame_length, self.frame_step)


class OverlapAdd(Overlapping):
    """Adds up overlapping frames, one every `frame_step`: the transpose of `Frame`.

    Shapes: `(batch, time, frame_length, *channels) -> (batch, time * frame_step, *channels)`; with 'valid'
    padding frame_length - frame_step longer.

    Block size, output ratio, latencies, receptive field, mask and state: those of `Conv1DTranspose` with
    kernel_size = frame_length and strides = frame_step. `padding` is 'valid', 'causal' or 'semicausal_full';
    the last undoes a `Frame` of the same padding, sample by sample. (The published layer
    ends frame_step - 1 samples earlier there, and its mask is as much ahead.)

    Raises:
      LayerError: not frame_length >= frame_step >= 1, an unknown padding, or an input whose first channel
        axis is not frame_length.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> model = sl.OverlapAdd(3, 2, padding='causal').build(sl.ChannelSpec((3,)), rngs=0)
    >>> model.layer(sl.Sequence.from_values(jnp.ones((1, 3, 3))), training=False).values.tolist()
    [[1.0, 1.0, 2.0, 1.0, 2.0, 1.0]]
    """

    frame_length: int
    frame_step: int
    padding: str = 'valid'

    def __post_init__(self):
        super().__post_init__()
        if self.frame_length < self.frame_step or self.padding == 'same':
            raise LayerError(
                f'{self!r}: frame_length must be at least frame_step, '
                "and padding 'valid', 'causal' or 'semicausal_full'"
            )

    @property
    def axes(self):
        return [Axis(self.frame_length, self.frame_step, 1, self.padding)]

    def setup(self, input_spec, rngs, constants):
        if input_spec.shape[:1] != (self.frame_length,):
            raise LayerError(f'takes channels ({self.frame_length}, ...), got {input_spec.shape}')

    def spread(self, values, training):
        return overlap_and_add(values, self.frame_step)
