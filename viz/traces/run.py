"""Running a model for a trace: whole or in blocks, on an input that is given or made up."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import seqlayers as sl
from seqlayers.streaming import constants as side_inputs

from .edges import Rows


def built(layer: Any, input_spec: sl.ChannelSpec | None) -> Any:
    """The layer itself if it is built; else one with random parameters, for 8 channels unless told.

    Raises:
      TypeError: it is no layer.
    """
    if not isinstance(layer, sl.SequenceLayer):
        what = layer.__name__ if isinstance(layer, type) else type(layer).__name__
        raise TypeError(f'viz looks into a model or a declaration, such as sl.Conv1D(8, kernel_size=3); got {what}')
    if layer.is_built:
        return layer
    try:
        return layer.build(input_spec or sl.ChannelSpec((8,)), rngs=0)
    except Exception as error:
        if input_spec is None:
            error.add_note('viz built this declaration for 8 channels: give input_spec=sl.ChannelSpec(...), or a model')
        raise


def built_for(x: sl.Sequence, layer: Any) -> Any:
    """The same for an input that is given.

    Raises:
      TypeError: it is no layer, or the input is no Sequence.
      LayerError: the input does not fit the layer.
      ValueError: the input is empty.
    """
    if not isinstance(x, sl.Sequence):
        raise TypeError(f'viz runs a Sequence, got {type(x).__name__}: wrap an array in sl.Sequence.from_values(array)')
    model = built(layer, x.channel_spec)
    if x.channel_spec.shape != model.input_spec.shape:
        raise sl.LayerError(f'{type(model).__name__} takes {model.input_spec}, got a sequence of {x.channel_spec}')
    if 0 in x.shape[:2]:
        raise ValueError(f'viz: the input must have an item and a timestep, got (batch, time) {x.shape[:2]}')
    return model


def random_input(spec: sl.ChannelSpec, batch_size: int, time: int) -> sl.Sequence:
    """A valid sequence of noise; of zeros and ones if the model takes integers."""
    rng = np.random.default_rng(0)
    shape = (batch_size, time, *spec.shape)
    noise = rng.integers(0, 2, shape) if np.issubdtype(spec.dtype, np.integer) else rng.standard_normal(shape)
    return sl.Sequence.from_values(jnp.asarray(noise, spec.dtype))


def of_first_item(constants: Mapping | None, batch_size: int) -> Any:
    """Side inputs for the first item of a batch."""
    return jax.tree.map(lambda a: a[:1] if np.shape(a)[:1] == (batch_size,) else a, constants)


def repeated(constants: Mapping | None, batch_size: int) -> Any:
    """Side inputs of one item for a batch of alike ones."""
    return jax.tree.map(lambda a: jnp.repeat(a, batch_size, 0) if np.shape(a)[:1] == (1,) else a, constants)


def block_size_of(model: Any, block_size: int | None) -> int:
    """The block size to step with: the model's own if none is given.

    Raises:
      ValueError: the model cannot step, or not in such blocks.
    """
    name, smallest = type(model).__name__, model.block_size
    if not model.supports_step:
        raise ValueError(f'{name}: there are no steps to trace. {model.explain_streamability()}')
    if block_size is None:
        return smallest
    if block_size < 1 or block_size % smallest:
        valid = ', '.join(str(smallest * n) for n in (1, 2, 3))
        raise ValueError(
            f'{name}: block_size must be a multiple of {smallest} timesteps ({valid}, ...), got {block_size}'
        )
    return block_size


def stepper(model: Any, constants: Mapping | None = None, collect: Callable | None = None) -> Callable:
    """`step(x, state, start)` of a model, compiled: the output, or what `collect` makes of the emits, and the state.

    `start` is the number of the first timestep: constants that stream are cut into blocks. The module is flattened
    once: doing it in every call is slow.
    """
    leaves, treedef = jax.tree.flatten(model)
    streamed, fixed = side_inputs.split(model, constants)

    @jax.jit
    def step(leaves: list, block: dict, x: sl.Sequence, state: Any) -> tuple[Any, Any]:
        model = jax.tree.unflatten(treedef, leaves)
        y, state, emits = model.step_with_emits(x, state, training=False, constants={**fixed, **block})
        return collect(emits) if collect else y, state

    def at(x: sl.Sequence, state: Any, start: int) -> tuple[Any, Any]:
        stop = start + x.shape[1]
        known = {name: value[:, start:stop] for name, value in streamed.items()}
        return step(leaves, side_inputs.pad_to(known, x.shape[1]), x, state)

    return at


def steps(
    step: Callable, initial: Any, x: sl.Sequence, block_size: int, forget_state: bool = False
) -> Iterator[tuple[Any, Any]]:
    """Output and state of each block. `forget_state` hands the initial state to every call."""
    state, x = initial, x.unmask()  # one type for all blocks, so that there is one compilation
    for start in range(0, x.shape[1], block_size):
        y, state = step(x[:, start : start + block_size], initial if forget_state else state, start)
        yield y, state


def tapped(rows: Rows, x: sl.Sequence, constants: Mapping | None) -> Any:
    """The model with a tap at every edge, on the parameters of the model itself."""
    return rows.model.build(x.channel_spec, rngs=0, constants=constants)


def whole(rows: Rows, x: sl.Sequence, constants: Mapping | None = None) -> list[sl.Sequence]:
    """The layer-wise run, at every edge behind the input."""

    @jax.jit
    def run(model: Any, x: sl.Sequence) -> list[sl.Sequence]:
        return rows.emitted(model.layer_with_emits(x, training=False, constants=constants)[1])

    return run(tapped(rows, x, constants), x)


def channels(values: Any) -> np.ndarray:
    """Values `[batch, time, ...]` as float32 `[batch, time, channels]`; of complex ones both parts."""
    values = np.asarray(values)
    if np.iscomplexobj(values):
        values = np.stack([values.real, values.imag], -1)
    return values.astype(np.float32).reshape(*values.shape[:2], -1)
