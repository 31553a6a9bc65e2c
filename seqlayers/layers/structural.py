from collections.abc import Callable
from typing import Any

from seqlayers.context import LayerError
from seqlayers.layer import Stateless
from seqlayers.sequence import ChannelSpec, Sequence


class Identity(Stateless):
    """Returns its input.

    Shapes: `(batch, time, *channels)` unchanged. Block size 1, output ratio 1, no latency, receptive field (0, 0).
      Mask: unchanged.
    State: none.

    >>> import seqlayers as sl
    >>> sl.Identity().receptive_field
    (0, 0)
    """

    def layer(self, x, *, training, constants=None):
        return x


class Emit(Stateless):
    """Returns its input and emits it too: a tap to look at a sequence inside a model.

    Shapes: `(batch, time, *channels)` unchanged. Block size 1, output ratio 1, no latency, receptive field (0, 0).
      Mask: unchanged.
    State: none. Emits: the sequence.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> model = sl.Serial([sl.Dense(2), sl.Emit(name='hidden'), sl.Dense(1)]).build(sl.ChannelSpec((3,)), rngs=0)
    >>> y, emits = model.layer_with_emits(sl.Sequence.from_values(jnp.ones((1, 4, 3))), training=False)
    >>> emits['hidden']
    Sequence(float32[1, 4, 2], lengths=[4])
    """

    def layer_with_emits(self, x, *, training, constants=None):
        return x, x


class Lambda(Stateless):
    """Applies a function to each timestep.

    Shapes: `(batch, time, *in) -> (batch, time, *out)`: `fn` must keep batch and time, and must not mix timesteps, or
    steps would differ from `layer` (`check_contract` finds that out).

    Block size 1, output ratio 1, no latency, receptive field (0, 0). State: none. Mask: unchanged, unless `fn` takes
    the sequence.

    Args: fn: maps values to values, or a `Sequence` to a `Sequence` if `sequence_input`. A named function: two equal
      lambdas are different
        values, so each would be compiled again, and a lambda cannot be written by `to_config`.
      mask_required: False promises that `fn` maps 0 to 0, so that a masked sequence stays masked.
      expected_input_spec: the only input that may be given, if any.

    Raises:
      LayerError: `fn` changes batch or time, or the input is not the expected one.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> sl.Lambda(jnp.square).build(sl.ChannelSpec((3,)), rngs=0).output_spec
    ChannelSpec((3,), float32)
    """

    fn: Callable
    sequence_input: bool = False
    mask_required: bool = True
    expected_input_spec: ChannelSpec | None = None

    def setup(self, input_spec: ChannelSpec, rngs: Any, constants: Any) -> None:
        if self.expected_input_spec not in (None, input_spec):
            raise LayerError(f'expects {self.expected_input_spec} and got {input_spec}')

    def layer(self, x, *, training, constants=None):
        if self.sequence_input:
            y = self.fn(x)
        else:
            y = x.apply_values(self.fn) if self.mask_required else x.apply_values_masked(self.fn)
        if not isinstance(y, Sequence) or y.shape[:2] != x.shape[:2]:
            got = list(y.shape) if hasattr(y, 'shape') else type(y).__name__
            raise LayerError(f'fn must keep batch and time {x.shape[:2]}, it returned {got}')
        return y
