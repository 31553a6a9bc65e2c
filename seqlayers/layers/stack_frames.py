from seqlayers.composite import Composite
from seqlayers.layers.frame import Frame, OverlapAdd
from seqlayers.padding import Padding


class StackFrames(Composite):
    """Groups `factor` timesteps into one: a lower rate, with as many more channels.

    Shapes: `(batch, time, *channels) -> (batch, time / factor, factor, *channels)`, rounded up; with 'valid' padding
    rounded down. `Flatten` behind it makes one channel axis of it.

    | padding | block size | output ratio | latencies | receptive field |
    |---|---|---|---|---|
    | 'causal_valid', 'causal' | factor | 1 / factor | 0 | (1 - factor, 0) |
    | 'valid', 'semicausal' | factor | 1 / factor | 0 | (0, factor - 1) |

    All paddings of `Frame` will do. With the causal ones, output 0 is `factor - 1` zeros and the first timestep, so
    that a decoder can work on groups of past timesteps. Mask and state: those of `Frame`; for 'causal_valid' and
    'valid', a group is valid if all its timesteps are.

    Raises:
      LayerError: a factor below 1, or an unknown padding.

    Source: the reduction factor of Tacotron (Wang et al., arXiv 1703.10135). Published for TensorFlow as `Squeeze`,
    with 'causal_valid' called 'causal'.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> model = sl.StackFrames(2).build(sl.ChannelSpec(()), rngs=0)
    >>> model.layer(sl.Sequence.from_values(jnp.array([[1.0, 2.0, 3.0]])), training=False).values.tolist()
    [[[0.0, 1.0], [2.0, 3.0]]]
    """

    factor: int
    padding: Padding = 'causal_valid'

    def __post_init__(self):
        self.body()

    def body(self):
        return Frame(self.factor, self.factor, self.padding)


class UnstackFrames(Composite):
    """Turns the first channel axis, of size `factor`, back into time: the inverse of `StackFrames`.

    Shapes: `(batch, time, factor, *channels) -> (batch, time * factor, *channels)`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | factor | 0 | (0, 0) |

    What `StackFrames` with a causal padding groups comes back `factor - 1` timesteps late; with 'semicausal' at its
    own time. Mask: repeated `factor` times. State: none.

    Raises:
      LayerError: a factor below 1, or the first channel axis has another size.

    Source: published for TensorFlow as `Unsqueeze`.

    >>> import seqlayers as sl
    >>> sl.UnstackFrames(2).build(sl.ChannelSpec((2, 3)), rngs=0).output_spec
    ChannelSpec((3,), float32)
    """

    factor: int

    def __post_init__(self):
        self.body()

    def body(self):
        return OverlapAdd(self.factor, self.factor, 'causal')
