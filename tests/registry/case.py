import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx

import seqlayers as sl


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer to put through the contract suite, and the input it gets.

    Attributes:
      layer: the declaration.
      channels: channel shape of the input.
      dtype: dtype of the input.
      constants: makes the side inputs for a batch of `(batch, time)`, for layers that read any.
      high: for integer inputs, the values are below it.
      training: run it as in training, with a random key.
      bfloat16: whether it takes bfloat16 input too (with float32 parameters a layer may not keep the dtype).
      exact_field: whether the receptive field is exact, or an upper bound.
      id: by default the layer as it is written.
    """

    layer: sl.SequenceLayer
    channels: tuple[int, ...] = (4,)
    dtype: Any = 'float32'
    constants: Callable[[int, int], Mapping[str, Any]] | None = None
    high: int = 8
    training: bool = False
    bfloat16: bool = True
    exact_field: bool = True
    name: str | None = None

    @property
    def id(self) -> str:
        return self.name or repr(self.layer)

    @property
    def input_spec(self) -> sl.ChannelSpec:
        return sl.ChannelSpec(self.channels, self.dtype)

    def sequence(self, time: int) -> sl.MaskedSequence:
        """A random input with every kind of mask."""
        return sl.testing.random_sequence(self.input_spec, time, high=self.high)

    def call(self, x: sl.Sequence) -> dict[str, Any]:
        """The keyword arguments for `layer` and `step` on `x`."""
        constants = self.constants(*x.shape[:2]) if self.constants else None
        return {
            'training': self.training,
            'constants': constants,
            'rng': jax.random.key(1) if self.training else None,
        }

    def build(self, x: sl.Sequence) -> sl.SequenceLayer:
        return self.layer.build(x.channel_spec, rngs=nnx.Rngs(0), constants=self.call(x)['constants'])
