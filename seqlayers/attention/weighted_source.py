"""Attention whose output is the source itself, in weighted averages: the mechanism of such layers."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqlayers.attention.sources import CrossAttentionEmits, read_source
from seqlayers.context import LayerError
from seqlayers.dtypes import promoted_dtype
from seqlayers.layer import SequenceLayer
from seqlayers.layers import side_input
from seqlayers.layers.linear_recurrence import check_sizes
from seqlayers.sequence import Sequence


class Source(NamedTuple):
    """A source as a layer keeps it.

    values: `(batch, source_time, channels)`, zero where invalid. mask: bool `(batch, source_time)`. keys: what the
    layer computes of it once.
    """

    values: jax.Array
    mask: jax.Array
    keys: Any = ()


class WeightedSourceState(NamedTuple):
    """The source, and where the layer is in it: the alignment, which each layer defines."""

    source: Source
    alignment: Any


class WeightedSource(SequenceLayer):
    """Base of attention that does not project values. Subclasses say how timesteps of the source are weighted."""

    source_name: str

    # What a subclass has that does not declare the field of that name.
    compute_dtype = None
    precision = None

    def keys(self, source: Sequence, *, training: bool, constants: Any) -> Any:
        """What is computed of the source once."""
        return ()

    def initial_alignment(self, source: Source) -> Any:
        """The alignment before the first timestep."""
        return ()

    def weights(
        self, x: Sequence, source: Source, alignment: Any, *, training: bool, constants: Any
    ) -> tuple[jax.Array, Any]:
        """The weights `(batch, time, heads, source_time)` of a block whose invalid timesteps are zero, float32 or wider
        and zero where the source is invalid; and the alignment after it."""
        raise NotImplementedError

    def check(self, *sizes: str) -> None:
        """Raises a LayerError for a source without a name, or a field of `sizes` that is below 1."""
        if not isinstance(self.source_name, str) or not self.source_name:
            raise LayerError(
                f'{type(self).__name__}: source_name must be the name of a constant, got {self.source_name!r}'
            )
        check_sizes(self, *sizes)

    def setup(self, input_spec, rngs, constants):
        if len(input_spec.shape) != 1:
            raise LayerError(f'takes one channel axis, got channels {input_spec.shape}. Put sl.Flatten() before it')
        self.source_spec = read_source(self.source_name, constants).channel_spec

    def get_initial_state(self, batch_size, *, training, constants: Any = None):
        given = side_input.for_batch(self.source_name, read_source(self.source_name, constants), batch_size)
        if given.channel_spec != self.source_spec:
            raise LayerError(
                f'was built for a source of {self.source_spec}; constants[{self.source_name!r}] has '
                f'{given.channel_spec}'
            )
        # The state must not be the user's array, which would go with a state that is donated.
        given = given.unmask().mask_invalid()
        keys = self.keys(given, training=training, constants=constants)
        source = Source(given.values, jnp.copy(given.mask), keys)
        return WeightedSourceState(source, self.initial_alignment(source))

    def layer_with_emits(self, x, *, training, constants=None):
        state = self.get_initial_state(x.shape[0], training=training, constants=constants)
        y, _, emits = self.step_with_emits(x, state, training=training, constants=constants)
        return y, emits

    def step_with_emits(self, x, state, *, training, constants=None):
        source, alignment = state
        weights, alignment = self.weights(
            x.mask_invalid(), source, alignment, training=training, constants=constants
        )  # fmt: skip
        dtype = promoted_dtype(x.dtype, source.values.dtype, dtype=self.compute_dtype)
        average = jnp.einsum(
            'btns,bsc->btnc', weights.astype(dtype), source.values.astype(dtype), precision=self.precision
        )
        emits = CrossAttentionEmits({self.source_name: Sequence(weights, x.mask)})
        return Sequence(average, x.mask), WeightedSourceState(source, alignment), emits
