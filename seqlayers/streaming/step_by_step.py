"""Running a whole sequence in steps, inside one compiled loop."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer, State
from seqlayers.sequence import Sequence
from seqlayers.streaming import constants as side_inputs


def step_by_step(
    model: SequenceLayer,
    x: Sequence,
    block_size: int | None = None,
    *,
    training: bool = False,
    constants: Mapping[str, Any] | None = None,
    rng: jax.Array | None = None,
) -> Sequence:
    """What `model.layer(x)` returns, computed by `model.step`, block by block.

    Feeds `x`, then the invalid timesteps that flush the latency, and drops the outputs before the first real one.
    Traceable: call it under `jax.jit` and `jax.grad`.

    Args:
      model: a built layer that supports steps.
      x: `(batch, time, *channels)`, any number of timesteps.
      block_size: input timesteps a step, a multiple of `model.block_size` (the default).
      training, constants, rng: as for `model.layer`. Constants that stream are cut into the blocks of `x`.

    Raises:
      LayerError: the model cannot step, or `block_size` is no multiple of the model's.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> model = sl.LSTM(2).build(sl.ChannelSpec((3,)), rngs=0)
    >>> x = sl.Sequence.from_lengths(jnp.ones((2, 5, 3)), [5, 3])
    >>> bool(jnp.allclose(step_by_step(model, x).values, model.layer(x, training=False).values, atol=1e-6))
    True
    """
    if not isinstance(x, Sequence):
        raise LayerError(f'step_by_step takes a Sequence, got {type(x).__name__}: sl.Sequence.from_values(array)')
    block = model.block_size if block_size is None else block_size
    if block < 1 or block % model.block_size:
        raise LayerError(
            f"step_by_step: block_size must be a multiple of the model's block size {model.block_size}, got "
            f'{block_size}'
        )
    kwargs = {'training': training, 'constants': constants, 'rng': rng}
    flushed = x.pad_time(0, model.input_latency).pad_to_multiple(block)
    limits: dict[str, Any] = {'max_length': flushed.shape[1], **kwargs}
    state = model.get_initial_state(x.shape[0], **limits)
    y, _ = scan_steps(model, flushed, state, block, **kwargs)
    y = y[:, model.output_latency :]
    length = jax.eval_shape(lambda x: model.layer(x, **kwargs), x).shape[1]
    return y[:, :length].pad_time(0, max(0, length - y.shape[1]))


def scan_steps(
    model: SequenceLayer,
    x: Sequence,
    state: State,
    block_size: int,
    *,
    constants: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> tuple[Sequence, State]:
    """All steps over `x`, a whole number of blocks; nothing flushed or dropped. Returns the outputs and the last
    state.
    """
    batch, time = x.shape[:2]
    blocks = time // block_size
    streamed, others = side_inputs.split(model, constants)

    def split(a):
        return jnp.moveaxis(a.reshape(a.shape[0], blocks, block_size, *a.shape[2:]), 1, 0)

    def join(a):
        return jnp.moveaxis(a, 0, 1).reshape(batch, -1, *a.shape[3:])

    def body(state: State, block: tuple):
        x, streamed = block
        y, state = model.step(x, state, constants={**others, **streamed}, **kwargs)
        return state, y.unmask()

    if not blocks:  # reshaping cannot infer a length of zero
        spec = model.output_spec
        return Sequence(jnp.zeros((batch, 0, *spec.shape), spec.dtype), jnp.zeros((batch, 0), bool)), state
    inputs = (x.unmask(), side_inputs.pad_to(streamed, time))
    state, y = lax.scan(body, state, jax.tree.map(split, inputs))
    return jax.tree.map(join, y), state
