"""A live stream through a model, in chunks of any length."""

from collections.abc import Mapping
from typing import Any, Self

import jax
import numpy as np

from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer
from seqlayers.sequence import Sequence
from seqlayers.streaming import constants as side_inputs
from seqlayers.streaming.compiled import CompiledStep, as_block, invalid


class Stream:
    """Runs a model over chunks of any length, as they come.

    `push` keeps what does not fill a block, runs the model block by block in one compiled step, drops the outputs
    before the first real one, and returns what is new. `close` brings out the rest. All outputs together are
    `model.layer` of all chunks together. Outputs are in NumPy arrays.

    Args:
      model: a built layer that can step. Its repetitions are unstacked, once.
      batch_size: how many streams run in parallel, always with chunks of one length; for streams that come and go
        there is `StreamPool`.
      block_size: input timesteps a step, a multiple of `model.block_size` (the default). A larger block takes fewer
        steps and waits longer.
      constants: as for `model.layer`. Those that stream come with `push`; here stands an example, which may have no
        timesteps.
      training, rng: as for `model.layer`.
      max_length: the longest stream with its flush, for a model that looks back without limit.
      rate: input timesteps a second; then `repr` shows which part of real time the steps take.

    Raises:
      LayerError: the model is not built or cannot step, or the block is no multiple of its block.

    >>> import numpy as np, seqlayers as sl
    >>> model = sl.Conv1D(4, 3, strides=2, padding='same').build(sl.ChannelSpec((2,)), rngs=0)
    >>> with sl.Stream(model) as stream:
    ...     parts = [stream.push(np.ones((n, 2), np.float32)) for n in (3, 1, 4)]
    >>> [part.shape[1] for part in [*parts, stream.last]]
    [1, 1, 2, 0]
    """

    def __init__(
        self,
        model: SequenceLayer,
        batch_size: int = 1,
        *,
        block_size: int | None = None,
        training: bool = False,
        constants: Mapping[str, Any] | None = None,
        rng: jax.Array | None = None,
        max_length: int | None = None,
        rate: float | None = None,
    ):
        self._step = CompiledStep(
            model,
            batch_size,
            block_size=block_size,
            training=training,
            constants=constants,
            rng=rng,
            max_length=max_length,
        )
        self.rate = rate
        self.reset()

    def reset(self) -> None:
        """Begins a new stream; what waits in the old one is dropped. Nothing is compiled again."""
        model, batch = self._step.model, self._step.batch_size
        self._state = self._step.initial_leaves()
        self._waiting = invalid(model.input_spec, batch)
        self._constants = {name: value[:, :0] for name, value in self._step.streamed.items()}
        self._received = 0  # timesteps that came
        self._to_drop = self._step.output_latency
        self._emitted = 0
        self.is_closed = False
        self.last: Sequence | None = None

    def push(self, chunk: Any, constants: Mapping[str, Any] | None = None) -> Sequence:
        """The outputs that a chunk brings out: a Sequence `(batch, time, *channels)`, perhaps of no timesteps.

        Args:
          chunk: an array or a Sequence `(batch, time, *channels)`, of any number of timesteps; an array without a
            batch axis, if the batch is 1.
          constants: the timesteps of constants that stream, as many as of the chunk.

        Raises:
          LayerError: the chunk or the constants do not fit, the stream is closed, or it becomes longer than
            `max_length`. The stream then stands as before.
        """
        if self.is_closed:
            raise LayerError('Stream.push: the stream is closed; reset() begins a new one')
        chunk = as_block(self._step.model, chunk, self._step.batch_size)
        self._step.check_length(self._received + chunk.shape[1])
        self._append_constants(constants or {}, chunk.shape[1])
        self._received += chunk.shape[1]
        self._waiting = _joined([self._waiting, chunk])
        return self._advance()

    def close(self) -> Sequence:
        """The outputs that are still to come: invalid timesteps push out the latency. Also in `last`."""
        if self.is_closed:
            raise LayerError('Stream.close: the stream is closed already; reset() begins a new one')
        self.is_closed = True
        waiting = self._waiting.shape[1]
        self._waiting = self._waiting.pad_time(0, self._step.flushed(waiting) - waiting)
        self._constants = side_inputs.pad_to(self._constants, self._waiting.shape[1])
        length = self._step.output_length(self._received)
        before = self._emitted
        rest = self._advance()
        self.last = rest[:, : max(0, length - before)]
        self.last = self.last.pad_time(0, max(0, length - before - self.last.shape[1]))
        return self.last

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        if not self.is_closed and error[0] is None:
            self.close()

    @property
    def compilations(self) -> int:
        """How often the step was compiled."""
        return self._step.compilations

    def __repr__(self) -> str:
        step = self._step
        state = 'closed' if self.is_closed else f'{self._waiting.shape[1]} of {step.block_size} timesteps wait'
        return (
            f'Stream({type(step.model).__name__}: block of {step.block_size}, {state}; '
            f'state of {step.state_bytes} bytes; {step.cost(self.rate)})'
        )

    def _advance(self) -> Sequence:
        """Runs the whole blocks that wait."""
        block, outputs = self._step.block_size, [invalid(self._step.model.output_spec, self._step.batch_size)]
        whole = self._waiting.shape[1] // block * block
        for start in range(0, whole, block):
            constants = {name: value[:, start : start + block] for name, value in self._constants.items()}
            try:
                y, self._state = self._step(self._state, _part(self._waiting, start, start + block), constants)
            except Exception as error:
                self.is_closed = True  # the state went into the step that failed
                error.add_note('The stream has ended here; reset() begins a new one.')
                raise
            outputs.append(_part(y, min(self._to_drop, y.shape[1]), y.shape[1]))
            self._to_drop = max(0, self._to_drop - y.shape[1])
        self._waiting = _part(self._waiting, whole, self._waiting.shape[1])
        self._constants = {name: value[:, whole:] for name, value in self._constants.items()}
        y = _joined(outputs)
        self._emitted += y.shape[1]
        return y

    def _append_constants(self, given: Mapping[str, Any], time: int) -> None:
        if given.keys() != self._constants.keys():
            wanted = ', '.join(sorted(self._constants)) or 'none'
            raise LayerError(f'Stream.push: constants that stream are {wanted}, got {", ".join(given) or "none"}')
        joined = {}
        for name, before in self._constants.items():
            new = jax.tree.map(np.asarray, given[name])
            wanted = (*before.shape[:1], time, *before.shape[2:])
            if isinstance(new, Sequence) != isinstance(before, Sequence) or new.shape != wanted:
                kind = 'a Sequence' if isinstance(before, Sequence) else 'an array'
                raise LayerError(
                    f'Stream.push: constants[{name!r}] must be {kind} {list(wanted)}, for the {time} timesteps of the '
                    f'chunk; got {type(new).__name__} {list(np.shape(getattr(new, "values", new)))}'
                )
            new = new.astype(before.dtype)
            joined[name] = before.concatenate(new) if isinstance(before, Sequence) else np.concatenate([before, new], 1)
        self._constants = joined


# Most pushes bring one block and take out what it gives. Then nothing is cut or joined.
def _part(x: Sequence, start: int, stop: int) -> Sequence:
    return x if (start, stop) == (0, x.shape[1]) else x[:, start:stop]


def _joined(parts: list[Sequence]) -> Sequence:
    full = [part for part in parts if part.shape[1]] or parts[:1]
    return full[0] if len(full) == 1 else Sequence.concatenate_sequences(full)
