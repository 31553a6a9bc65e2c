"""A live stream on the clock: when chunks come, what waits, which blocks run, and what delays each output.

The timing of a model says which block brings out which output, so nothing has to run: the events are those of
`sl.Stream` on one machine. Times are in milliseconds since the first timestep began.
"""

import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import jax
import numpy as np

import seqlayers as sl
from seqlayers.combinators.unstack import unstack
from seqlayers.streaming import constants as side_inputs

from .run import block_size_of, built, random_input

OUTPUTS = 12  # of a stream whose length is not given


@dataclass(frozen=True, eq=False, repr=False)
class Calls:
    """The pushes of a stream, one a chunk, and at last its `close`. Arrays `[calls]`.

    Attributes:
      received: input timesteps that have come, this chunk included.
      arrives: when the chunk is there; `close` follows on the last one.
      returns: when the call hands over its outputs.
      waiting: input timesteps that fill no block yet and stay in the stream.
    """

    received: np.ndarray
    arrives: np.ndarray
    returns: np.ndarray
    waiting: np.ndarray

    @property
    def close(self) -> int:
        """The index of the last call."""
        return len(self.arrives) - 1


@dataclass(frozen=True, eq=False, repr=False)
class Blocks:
    """The blocks that run. Arrays `[blocks]`: the call that a block belongs to, when it begins and when it ends."""

    call: np.ndarray
    begins: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Outputs:
    """The output timesteps, and where their time goes. Arrays `[outputs]`.

    Attributes:
      block, call: which bring the output out; block -1 for what is invalid and added by `close`.
      own_begins, own_ends: the time of the inputs that the output stands for; from their end the delay counts.
      needed: when the last input is heard that the model waits for: of its look-ahead, in its smallest blocks.
      ready: when the chunk is there that fills the output's block.
      starts: when the block begins to run.
      returns: when the call returns, and the output with it.
    """

    block: np.ndarray
    call: np.ndarray
    own_begins: np.ndarray
    own_ends: np.ndarray
    needed: np.ndarray
    ready: np.ndarray
    starts: np.ndarray
    returns: np.ndarray

    @property
    def look_ahead(self) -> np.ndarray:
        """The model's part: its latency, as far as the stream goes on."""
        return self.needed - self.own_ends

    @property
    def waiting(self) -> np.ndarray:
        """The caller's part: until the block is full, its chunk complete, and transported."""
        return self.ready - self.needed

    @property
    def queue(self) -> np.ndarray:
        """The machine's part: until earlier blocks are computed."""
        return self.starts - self.ready

    @property
    def compute(self) -> np.ndarray:
        """The machine's part: the block itself, and those that run after it in the same call."""
        return self.returns - self.starts

    @property
    def total(self) -> np.ndarray:
        """The sum of the four."""
        return self.returns - self.own_ends


@dataclass(frozen=True, eq=False, repr=False)
class StreamTrace:
    """A stream through a model.

    Attributes:
      name: of the model.
      rate: input timesteps a second.
      ratio: output timesteps per input timestep.
      block_size: in input timesteps.
      latency: void output timesteps, which the stream drops.
      measured: whether the blocks took the time of real ones.
      calls, blocks, outputs: what happened.
    """

    name: str
    rate: float
    ratio: Fraction
    block_size: int
    latency: int
    measured: bool
    calls: Calls
    blocks: Blocks
    outputs: Outputs

    @property
    def emitted(self) -> np.ndarray:
        """int `[calls]`: how many outputs each call returns."""
        return np.bincount(self.outputs.call, minlength=len(self.calls.arrives))

    @property
    def flushed(self) -> np.ndarray:
        """bool `[outputs]`: what only `close` brings out."""
        return self.outputs.call == self.calls.close

    @property
    def compute(self) -> float:
        """What a block takes, in the mean (ms)."""
        return float(np.mean(self.blocks.ends - self.blocks.begins))

    @property
    def falls_behind(self) -> float:
        """By how much each block takes longer than its inputs last (ms); 0 if the machine keeps up."""
        return max(0.0, self.compute - self.ms(self.block_size))

    @cached_property
    def backlog(self) -> tuple[np.ndarray, np.ndarray]:
        """When the inputs that have come and are in no block yet change, and how many they are from then on."""
        times = np.unique(np.concatenate([[0.0], self.calls.arrives, self.blocks.begins]))
        come = np.append(0, self.calls.received)[np.searchsorted(self.calls.arrives, times, 'right')]
        begun = self.block_size * np.searchsorted(self.blocks.begins, times, 'right')
        return times, np.maximum(come - begun, 0)

    def ms(self, timesteps: Any) -> Any:
        """How long input timesteps last."""
        return timesteps * 1000 / self.rate

    def __repr__(self):
        counts = f'{self.calls.close} chunks, {len(self.blocks.call)} blocks of {self.block_size}'
        total = self.outputs.total
        late = 'no outputs' if not len(total) else f'{len(total)} outputs'
        if len(total) and not self.measured:  # what is measured differs from run to run
            late += f', {total.min():.0f} to {total.max():.0f} ms late'
        return f'StreamTrace({self.name}: {counts}, {late})'


def trace_stream(
    model: Any,
    chunk_sizes: int | Sequence[int],
    *,
    rate: float,
    time: int | None = None,
    block_size: int | None = None,
    compute: float = 0.0,
    transport: float = 0.0,
    measure: bool = False,
    input_spec: sl.ChannelSpec | None = None,
    constants: Mapping | None = None,
) -> StreamTrace:
    """Follows a live stream through `sl.Stream`: chunks that arrive, blocks that run, outputs with their delays.

    Each chunk is pushed as soon as it is there and the machine is free; `close` follows on the last one.

    Args:
      model: a layer that can step, built or a declaration.
      chunk_sizes: input timesteps of each chunk; repeated as often as `time` needs.
      rate: input timesteps a second.
      time: input timesteps in all; the last chunk ends there. By default the sum of the chunk sizes; for one size,
        what makes a dozen outputs.
      block_size: input timesteps a step, a multiple of the model's.
      compute: milliseconds that a block takes.
      transport: milliseconds from the end of a chunk until it is there.
      measure: run the model on noise, block by block, and take the time that each takes here (once compiled).
      input_spec: for a declaration, the input to build it for (8 channels if not given).
      constants: side inputs of the model.

    Raises:
      ValueError: the model cannot step, or not in such blocks; or a size, rate or duration that is not positive.

    >>> import seqlayers as sl
    >>> layer = sl.Conv1D(4, kernel_size=5, strides=4, padding='reverse_causal')
    >>> trace_stream(layer, [3, 5, 2, 6, 4, 7, 5], rate=100, compute=9, transport=4)
    StreamTrace(Conv1D: 7 chunks, 9 blocks of 4, 8 outputs, 31 to 102 ms late)
    """
    if rate <= 0 or min(compute, transport) < 0:
        raise ValueError(
            'trace_stream: rate must be above 0 timesteps a second, compute and transport at least 0 ms; '
            f'got rate={rate}, compute={compute}, transport={transport}'
        )
    if measure and compute:
        raise ValueError(f'trace_stream: give compute={compute} or measure=True, not both')
    given = jax.eval_shape(lambda: built(model, input_spec))  # without weights
    streamed = jax.eval_shape(unstack, given)  # what Stream runs
    block_size = block_size_of(streamed, block_size)
    received = _received(streamed, chunk_sizes, time)
    total = int(received[-1])
    blocks = -(-(total + streamed.input_latency) // block_size)
    each = np.full(blocks, float(compute))
    if measure:
        each = _measured(built(model, input_spec), blocks, block_size, constants)
    calls, ran = _run(received, rate, block_size, each, transport)
    outputs = _outputs(streamed, _output_length(given, total, constants), rate, block_size, calls, ran)
    name, latency = model.name or type(model).__name__, streamed.output_latency
    return StreamTrace(name, rate, streamed.output_ratio, block_size, latency, measure, calls, ran, outputs)


def _received(model: Any, chunk_sizes: int | Sequence[int], time: int | None) -> np.ndarray:
    """How many timesteps have come with each chunk."""
    sizes = np.atleast_1d(chunk_sizes)
    if sizes.ndim != 1 or not sizes.size or sizes.dtype.kind not in 'iu' or sizes.min() < 1:
        raise ValueError(f'trace_stream: chunk_sizes must be one or more integers of at least 1, got {chunk_sizes!r}')
    if time is None:
        time = int(OUTPUTS / model.output_ratio) if np.ndim(chunk_sizes) == 0 else int(sizes.sum())
    if time < 1:
        raise ValueError(f'trace_stream: time must be at least 1 timestep, got {time}')
    ends = np.cumsum(np.tile(sizes, -(-time // int(sizes.sum()))))
    return np.append(ends[ends < time], time)


def _output_length(model: Any, time: int, constants: Mapping | None) -> int:
    """How many timesteps `layer` gives: found from shapes alone."""
    spec = model.input_spec
    x = sl.Sequence(jax.ShapeDtypeStruct((1, time, *spec.shape), spec.dtype), jax.ShapeDtypeStruct((1, time), np.bool_))
    return jax.eval_shape(lambda m, x: m.layer(x, training=False, constants=constants), model, x).shape[1]


def _measured(model: Any, blocks: int, block_size: int, constants: Mapping | None) -> np.ndarray:
    """Milliseconds that each of so many blocks takes in a real stream that has been compiled."""
    streamed, _ = side_inputs.split(model, constants)
    total = blocks * block_size
    longest = total + model.input_latency
    stream = sl.Stream(model, block_size=block_size, constants=constants, max_length=longest + -longest % block_size)
    # In NumPy, as chunks come: cutting arrays of JAX takes as long as many a block.
    x, streamed = jax.tree.map(
        np.asarray, (random_input(model.input_spec, 1, total), side_inputs.pad_to(streamed, total))
    )

    def push(start: int) -> float:
        block = slice(start, start + block_size)
        chunk, beside = x[:, block], {name: value[:, block] for name, value in streamed.items()}
        begin = clock.perf_counter()
        stream.push(chunk, beside)
        return 1000 * (clock.perf_counter() - begin)

    push(0)
    stream.reset()
    return np.array([push(start) for start in range(0, total, block_size)])


def _run(
    received: np.ndarray, rate: float, block_size: int, compute: np.ndarray, transport: float
) -> tuple[Calls, Blocks]:
    """One machine takes the calls in turn; the blocks behind the last whole one belong to `close`."""
    count = len(received)
    needs = block_size * np.arange(1, len(compute) + 1)
    call = np.searchsorted(received, needs)
    received = np.append(received, received[-1])
    arrives = received * 1000 / rate + transport
    begins, ends, returns = np.zeros(len(compute)), np.zeros(len(compute)), np.zeros(count + 1)
    free = 0.0
    for i in range(count + 1):
        free = max(free, arrives[i])
        for block in range(*np.searchsorted(call, [i, i + 1])):
            begins[block], free = free, free + compute[block]
            ends[block] = free
        returns[i] = free
    waiting = np.append(received[:-1] % block_size, 0)
    return Calls(received, arrives, returns, waiting), Blocks(call, begins, ends)


def _outputs(model: Any, count: int, rate: float, block_size: int, calls: Calls, blocks: Blocks) -> Outputs:
    """Output o is number o + latency of what the blocks emit; `close` adds invalid ones that none emits."""
    ratio, total, emitted = model.output_ratio, calls.received[-1], np.arange(count) + model.output_latency
    block = emitted // int(block_size * ratio)
    computed = block < len(blocks.call)
    block = np.where(computed, block, -1)
    call = np.where(computed, blocks.call[block], calls.close)
    times = np.arange(count + 1) * ratio.denominator
    own = times[:-1] // ratio.numerator, -(-times[1:] // ratio.numerator)
    needed = (emitted // int(model.block_size * ratio) + 1) * model.block_size
    own_begins, own_ends, needed = (np.minimum(t, total) * 1000 / rate for t in (*own, needed))
    starts, returns = np.where(computed, blocks.begins[block], calls.returns[call]), calls.returns[call]
    return Outputs(block, call, own_begins, own_ends, needed, calls.arrives[call], starts, returns)
