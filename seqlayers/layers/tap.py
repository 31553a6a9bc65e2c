"""Layers that leave values as they are and do something on the side: look, name, mark, clip gradients."""

import functools
import logging
from typing import Any

import jax
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer, Stateless
from seqlayers.sequence import Sequence

_LOGGER = logging.getLogger('seqlayers')


class NamedEmit(Stateless):
    """Returns its input and emits `{emit_name: input}`.

    Shapes: `(batch, time, *channels)` unchanged. Block size 1, output ratio 1, no latency, receptive field (0, 0).
      Mask: unchanged.
    State: none.

    >>> import seqlayers as sl
    >>> sl.NamedEmit('hidden').receptive_field
    (0, 0)
    """

    emit_name: str

    def layer_with_emits(self, x, *, training, constants=None):
        return x, {self.emit_name: x}


class MaskInvalid(Stateless):
    """Zeros at invalid timesteps: the output is a `MaskedSequence`. All else as `NamedEmit`, without emits.

    >>> import seqlayers as sl
    >>> sl.MaskInvalid().receptive_field
    (0, 0)
    """

    def layer(self, x, *, training, constants=None):
        return x.mask_invalid()


class StopGradient(Stateless):
    """The identity, with a gradient of zero. All else as `NamedEmit`, without emits.

    >>> import seqlayers as sl
    >>> sl.StopGradient().receptive_field
    (0, 0)
    """

    def layer(self, x, *, training, constants=None):
        return x.apply_values_masked(lax.stop_gradient)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _clip_gradient(values: jax.Array, limit: float) -> jax.Array:
    return values


_clip_gradient.defvjp(
    lambda values, limit: (values, None), lambda limit, _, gradient: (jax.numpy.clip(gradient, -limit, limit),)
)


class GradientClipping(Stateless):
    """The identity, its gradient clipped elementwise to `[-clip_value, clip_value]`. All else as `NamedEmit`, without
    emits.

    Raises:
      LayerError: `clip_value` is not positive.

    >>> import seqlayers as sl
    >>> sl.GradientClipping(0.1).receptive_field
    (0, 0)
    """

    clip_value: float

    def __post_init__(self):
        if not self.clip_value > 0:
            raise LayerError(f'GradientClipping: clip_value must be positive, got {self.clip_value}')

    def layer(self, x, *, training, constants=None):
        return x.apply_values_masked(_clip_gradient, self.clip_value)


class OptimizationBarrier(Stateless):
    """The identity, behind which XLA does not look: what is before is not fused with what follows. All else as
    `NamedEmit`.

    Args:
      apply_to_mask: put the mask behind it too.

    >>> import seqlayers as sl
    >>> sl.OptimizationBarrier().receptive_field
    (0, 0)
    """

    apply_to_mask: bool = False

    def layer(self, x, *, training, constants=None):
        if self.apply_to_mask:
            return type(x)(*lax.optimization_barrier((x.values, x.mask)))
        return x.apply_values_masked(lax.optimization_barrier)


class CheckpointName(Stateless):
    """The identity, which names its values for the policies of `jax.checkpoint` (see `CheckpointGradient`). All else
    as `NamedEmit`.

    >>> import seqlayers as sl
    >>> sl.CheckpointName('hidden').receptive_field
    (0, 0)
    """

    checkpoint_name: str

    def layer(self, x, *, training, constants=None):
        return x.apply_values_masked(checkpoint_name, self.checkpoint_name)


class ApplySharding(Stateless):
    """The identity, which tells how its values are laid out over a mesh (`jax.set_mesh`); without one it does
    nothing.

    All else as `NamedEmit`, without emits.

    Args: values_sharding: mesh axes for the axes of the values, as for `jax.sharding.PartitionSpec`; None leaves them
      to XLA. mask_sharding: the same for the mask; by default the first two of `values_sharding`.

    >>> import seqlayers as sl
    >>> sl.ApplySharding(['data', None, 'model']).receptive_field
    (0, 0)
    """

    values_sharding: Any = None
    mask_sharding: Any = None

    def layer(self, x, *, training, constants=None):
        mask = self.mask_sharding if self.mask_sharding is not None else (self.values_sharding or ())[:2] or None
        return type(x)(_shard(x.values, self.values_sharding), _shard(x.mask, mask))


def _shard(array: jax.Array, axes: Any) -> jax.Array:
    if axes is None or jax.sharding.get_abstract_mesh().empty:
        return array
    return lax.with_sharding_constraint(array, jax.sharding.PartitionSpec(*axes))


class Logging(SequenceLayer):
    """The identity, which logs every call (Python's `logging`, logger `seqlayers`). All else as `NamedEmit`, without
    emits.

    Args:
      prefix: written before each line.
      dump_tensors: log values, at run time; otherwise shapes and dtypes, when the call is traced.

    >>> import seqlayers as sl
    >>> sl.Logging('after the encoder: ').receptive_field
    (0, 0)
    """

    prefix: str = ''
    dump_tensors: bool = False

    def _log(self, call: str, x: Any) -> None:
        if not self.dump_tensors:
            _LOGGER.info('%s%s: %s', self.prefix, call, x)
        elif isinstance(x, Sequence):
            log = functools.partial(_LOGGER.info, '%s%s: values=%s mask=%s', self.prefix, call)
            jax.debug.callback(lambda values, mask: log(values, mask), x.values, x.mask)

    def get_initial_state(self, batch_size, *, training, constants=None):
        self._log('get_initial_state', f'batch_size={batch_size}')
        return ()

    def layer(self, x, *, training, constants=None):
        self._log('layer', x)
        return x

    def step(self, x, state, *, training, constants=None):
        self._log('step', x)
        return x, state
