"""Constants that stream: whole for `layer`, a block at a time for steps."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer, walk
from seqlayers.sequence import Sequence


def split(model: SequenceLayer, constants: Mapping[str, Any] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The constants that some layer of the model reads in time with the model's input, and the others."""
    constants = dict(constants or {})
    names = set().union(*(layer.streamed_constants(constants) for _, layer in walk(model)))
    streamed = {name: value for name, value in constants.items() if name in names}
    return streamed, {name: value for name, value in constants.items() if name not in names}


def pad_to(constants: Mapping[str, Any], time: int) -> dict[str, Any]:
    """Streamed constants with invalid timesteps after their end, up to `time`; arrays are continued by zeros.

    Raises:
      LayerError: one is longer, or has no time axis.
    """
    padded = {}
    for name, value in constants.items():
        if value.ndim < 2 or value.shape[1] > time:
            raise LayerError(
                f'constants[{name!r}] streams with the input, of {time} timesteps with the flush, and has shape '
                f'{tuple(value.shape)}; it must be (batch, time, ...) and no longer'
            )
        missing = time - value.shape[1]
        if isinstance(value, Sequence):
            padded[name] = value.unmask().pad_time(0, missing)
        else:
            padded[name] = jnp.pad(value, [(0, 0), (0, missing), *[(0, 0)] * (value.ndim - 2)])
    return padded
