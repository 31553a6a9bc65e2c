"""Many live streams through one model, in one batch."""

import collections
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer
from seqlayers.sequence import Sequence
from seqlayers.streaming import rows
from seqlayers.streaming.compiled import CompiledStep, as_block, invalid


class Full(LayerError):
    """A pool has no slot free, or a stream of it has too much waiting: nothing was taken."""


class PooledStream:
    """A stream of a `StreamPool`: push chunks, let the pool run, read outputs, close.

    All outputs together are `model.layer` of all chunks together, as if the stream were alone.
    """

    def __init__(self, pool: 'StreamPool', slot: int):
        self._pool, self.slot = pool, slot
        self._waiting: collections.deque[Sequence] = collections.deque()  # chunks that have not run
        self.waiting = 0  # their timesteps
        self._outputs: list[Sequence] = []
        self._received = self._emitted = 0
        self._to_drop = pool.output_latency
        self._length: int | None = None  # of all outputs, once the input has ended
        self.is_closed = False

    def push(self, chunk: Any) -> None:
        """Adds a chunk, as for `Stream.push`. It runs when the pool runs.

        Raises:
          Full: more than the pool's `queue` timesteps would wait. The chunk was not taken.
          LayerError: the chunk does not fit, or the stream is closed.
        """
        if self.is_closed:
            raise LayerError('PooledStream.push: the stream is closed; open another')
        chunk = as_block(self._pool.model, chunk, 1)
        time = chunk.shape[1]
        if self.waiting + time > self._pool.queue:
            raise Full(
                f'PooledStream.push: {self.waiting} timesteps wait and {time} more came; the queue holds '
                f'{self._pool.queue}. Call run() of the pool, or push less'
            )
        self._pool.check_length(self._received + time)
        self._received += time
        self._append(chunk)

    def close(self) -> None:
        """Ends the input. What is still to come comes out when the pool runs; then the slot is free."""
        if self.is_closed:
            raise LayerError('PooledStream.close: the stream is closed already')
        self.is_closed = True
        self._length = self._pool.output_length(self._received)
        self._append(invalid(self._pool.model.input_spec, 1, self._pool.flushed(self.waiting) - self.waiting))
        if self.is_done:
            self._fill_up()
            self._pool.release_if_done(self)

    def read(self) -> Sequence:
        """The outputs since the last call: a Sequence `(1, time, *channels)`, perhaps of no timesteps."""
        nothing = invalid(self._pool.model.output_spec, 1)
        outputs, self._outputs = Sequence.concatenate_sequences([nothing, *self._outputs]), []
        return outputs

    def __repr__(self) -> str:
        state = 'done' if self.is_done else 'closed' if self.is_closed else 'open'
        return f'PooledStream(slot {self.slot}, {state}: {self._received} timesteps in, {self._emitted} out)'

    @property
    def is_done(self) -> bool:
        """Whether the stream is closed and all of it has run."""
        return self.is_closed and not self.waiting

    def _append(self, chunk: Sequence) -> None:
        if chunk.shape[1]:
            self._waiting.append(chunk)
            self.waiting += chunk.shape[1]

    def take(self, time: int) -> Sequence:
        """The next timesteps of those that wait; for the pool."""
        parts, missing = [], time
        while missing:
            chunk = self._waiting.popleft()
            parts.append(chunk[:, :missing])
            if chunk.shape[1] > missing:
                self._waiting.appendleft(chunk[:, missing:])
            missing -= parts[-1].shape[1]
        self.waiting -= time
        return Sequence.concatenate_sequences(parts)

    def receive(self, y: Sequence) -> None:
        """Takes an output of a step; for the pool."""
        dropped = min(self._to_drop, y.shape[1])
        self._to_drop -= dropped
        y = y[:, dropped:]
        if self._length is not None:
            y = y[:, : max(0, self._length - self._emitted)]
        self._emitted += y.shape[1]
        self._outputs.append(y)
        if self.is_done:
            self._fill_up()

    def _fill_up(self) -> None:
        """What `layer` has beyond all outputs is invalid."""
        missing = max(0, (self._length or 0) - self._emitted)
        self._emitted += missing
        self._outputs.append(invalid(self._pool.model.output_spec, 1, missing))


class StreamPool:
    """Runs many streams in one batch; they open, pause and close at any time, each exactly as if it were alone.

    A step runs all slots; a stream with less than a block waiting rests, and its state stays as it is. Nothing is
    compiled after the first step.

    Args:
      model: a built layer that can step. Its repetitions are unstacked, once.
      slots: how many streams may be open at a time: the batch of a step.
      block_size: input timesteps a step, a multiple of `model.block_size` (the default).
      queue: how many timesteps of a stream may wait; by default 64 blocks.
      constants: side inputs that all streams share. None of them may stream.
      max_length: the longest stream with its flush, for a model that looks back without limit.
      rate: input timesteps a second; then `repr` shows which part of real time the steps take.

    Raises:
      LayerError: as for `Stream`; or a constant streams.

    >>> import numpy as np, seqlayers as sl
    >>> model = sl.LSTM(4).build(sl.ChannelSpec((2,)), rngs=0)
    >>> pool = sl.StreamPool(model, slots=2)
    >>> first, second = pool.open(), pool.open()
    >>> first.push(np.ones((3, 2), np.float32)), second.push(np.ones((1, 2), np.float32)), second.close()
    (None, None, None)
    >>> pool.run(), first.read().shape, second.read().shape, second.is_done
    (3, (1, 3, 4), (1, 1, 4), True)
    """

    def __init__(
        self,
        model: SequenceLayer,
        slots: int = 64,
        *,
        block_size: int | None = None,
        queue: int | None = None,
        constants: Mapping[str, Any] | None = None,
        max_length: int | None = None,
        rate: float | None = None,
    ):
        if slots < 1:
            raise LayerError(f'StreamPool: slots must be at least 1, got {slots}')
        call = {'constants': constants, 'max_length': max_length}
        self._step = CompiledStep(model, slots, block_size=block_size, around=self._keep_resting, **call)
        if self._step.streamed:
            raise LayerError(f'StreamPool: no constant may stream, got {", ".join(self._step.streamed)}; see Stream')
        self.model, self.block_size, self.rate = self._step.model, self._step.block_size, rate
        self.queue = 64 * self.block_size if queue is None else queue
        if self.queue < self.block_size:
            raise LayerError(f'StreamPool: queue must hold a block of {self.block_size} timesteps, got {self.queue}')
        self._longest_block = rows.longest_block(self.model, self.block_size)
        self._axes = rows.batch_axes(self._step.initial_state_of)
        self._initial, self._state = self._step.initial_leaves(), self._step.initial_leaves()
        self._set_anew = jax.jit(self._traced_reset, donate_argnums=0)
        self._streams: list[PooledStream | None] = [None] * slots
        self._fresh: set[int] = set()  # slots whose next block is the first of a stream
        self._lengths: dict[int, int] = {}

    def open(self) -> PooledStream:
        """A new stream.

        Raises:
          Full: all slots are taken.
        """
        if None not in self._streams:
            raise Full(f'StreamPool.open: all {len(self._streams)} slots are taken; close a stream and run the pool')
        slot = self._streams.index(None)
        stream = self._streams[slot] = PooledStream(self, slot)
        self._fresh.add(slot)
        return stream

    def run(self, max_steps: int | None = None) -> int:
        """Steps as long as any stream has a block waiting, at most `max_steps` times. Returns how many ran."""
        done = 0
        while max_steps is None or done < max_steps:
            ready = [s for s in self._streams if s is not None and s.waiting >= self.block_size]
            if not ready:
                break
            self._run_once(ready)
            done += 1
        return done

    @property
    def streams(self) -> list[PooledStream]:
        """The open streams, and closed ones that have not run to their end."""
        return [stream for stream in self._streams if stream is not None]

    @property
    def compilations(self) -> int:
        """How often the step was compiled."""
        return self._step.compilations

    def __repr__(self) -> str:
        taken = len(self.streams)
        return (
            f'StreamPool({type(self.model).__name__}: {taken} of {len(self._streams)} slots taken, block of '
            f'{self.block_size}; states of {self._step.state_bytes} bytes; {self._step.cost(self.rate)})'
        )

    # --- for the streams --------------------------------------------------------------------------------
    @property
    def output_latency(self) -> int:
        """How many leading outputs of a stream are void."""
        return self._step.output_latency

    def output_length(self, time: int) -> int:
        """How many outputs an input of so many timesteps has."""
        if time not in self._lengths:
            self._lengths[time] = self._step.output_length(time)
        return self._lengths[time]

    def flushed(self, time: int) -> int:
        """How many timesteps so many are with their flush, in whole blocks."""
        return self._step.flushed(time)

    def check_length(self, time: int) -> None:
        """Raises a LayerError if a stream of so many timesteps is longer than `max_length`."""
        self._step.check_length(time)

    def release_if_done(self, stream: PooledStream) -> None:
        """Frees the slot of a stream that has ended."""
        if stream.is_done:
            self._streams[stream.slot] = None

    # --- running ----------------------------------------------------------------------------------------
    def _run_once(self, ready: list[PooledStream]) -> None:
        spec, slots = self.model.input_spec, len(self._streams)
        values = np.zeros((slots, self.block_size, *spec.shape), spec.dtype)
        mask, active = np.zeros((slots, self.block_size), bool), np.zeros(slots, bool)
        for stream in ready:
            block = stream.take(self.block_size)
            values[stream.slot], mask[stream.slot], active[stream.slot] = block.values[0], block.mask[0], True
        self._reset_fresh(active)
        y, self._state = self._step(self._state, Sequence(values, mask), {}, active)
        for stream in ready:
            stream.receive(y[stream.slot : stream.slot + 1])
            self.release_if_done(stream)

    def _reset_fresh(self, active: np.ndarray) -> None:
        starting = [slot for slot in self._fresh if active[slot]]
        if starting:
            fresh = np.zeros(len(self._streams), bool)
            fresh[starting] = True
            self._state = self._set_anew(self._state, self._initial, fresh)
            self._fresh.difference_update(starting)

    def _traced_reset(self, state: list, initial: list, fresh: jax.Array) -> list:
        return rows.select(fresh, initial, state, jax.tree.leaves(self._axes), shared='old')

    def _keep_resting(self, step: Any, state: Any, active: jax.Array) -> tuple[Sequence, Any]:
        y, new = step(state)
        return y, rows.advance(active, new, state, self._axes, self._longest_block)
