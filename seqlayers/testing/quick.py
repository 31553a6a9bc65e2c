"""The heart of the contract for one model and one way of running it, in one compilation: for many random models."""

import contextlib
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers.intervals import IntervalSet
from seqlayers.layer import SequenceLayer
from seqlayers.sequence import ChannelSpec, Sequence
from seqlayers.streaming.step_by_step import scan_steps
from seqlayers.testing.compare import first_difference
from seqlayers.testing.random_architectures import random_constants
from seqlayers.testing.report import Clause, ContractReport
from seqlayers.testing.runs import on_host
from seqlayers.testing.sequences import poison, random_sequence
from seqlayers.timing import Timing

# Weights are drawn without care and models are deep, so that rounding may grow.
TOLERANCE = 1e-3


@functools.cache
def fast_compilation() -> dict[str, Any]:
    """Options of XLA that this version knows and that make compiling for the CPU three times faster.

    Most of the time of a check goes into compiling what runs once.
    """
    known = {}
    for option in {'xla_cpu_use_fusion_emitters': False, 'xla_cpu_parallel_codegen_split_count': 1}.items():
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            jax.jit(lambda: 0, compiler_options=dict([option])).lower().compile()
            known.update([option])
    return known


def random_run(declaration: SequenceLayer, seed: int) -> dict[str, int]:
    """How to run a random model: arguments of `quick_check`."""
    draw = np.random.default_rng(seed)
    run = {'time': int(draw.integers(0, 2 * declaration.block_size + 6)), 'blocks': int(draw.choice([1, 1, 2, 3]))}
    return {**run, 'offset': int(draw.choice([0, 0, 0, 1, 2, 3])), 'seed': seed}


def quick_check(
    declaration: SequenceLayer,
    input_spec: ChannelSpec,
    *,
    time: int,
    offset: int = 0,
    blocks: int = 1,
    seed: int = 0,
    compiler_options: Mapping[str, Any] | None = None,
) -> ContractReport:
    """Whether a model keeps the contract when it runs in one way: `layer` once and steps once, in training.

    Args:
      declaration: of the model. It may read the constants of `random_constants`.
      input_spec: of the input, floating.
      time: the timesteps of the input, which holds NaN where it is invalid. There is one item for each kind of mask.
      offset: void timesteps before the input, in multiples of the model's alignment.
      blocks: how many blocks each step takes.
      seed: of weights, values, masks and constants. All weights are random, biases too.
      compiler_options: for `jax.stages.Lowered.compile`.

    Returns:
      A report of these clauses:

      * timing: no output comes before an input that it needs, and the table of receptive fields repeats;
      * padding invariance: values of invalid timesteps change nothing;
      * latency: the outputs before the first real one are invalid;
      * masks, layer equals step: all that comes after is what `layer` gives, then only invalid timesteps. This over
        inputs of many lengths includes that invalid timesteps after the end of an item change nothing;
      * flush: `input_latency` timesteps bring out everything;
      * end: of a model that cannot step, in place of the last four.

    A state that changes its shape raises what `jax.lax.scan` raises.

    >>> import seqlayers as sl
    >>> model = sl.Residual([sl.Lookahead(2), sl.Dense(3)])
    >>> quick_check(model, sl.ChannelSpec((3,)), time=5, offset=1).passed
    True
    """
    constants = random_constants(declaration, 6, time, seed)
    model = _with_random_weights(declaration, input_spec, constants, seed)
    x = poison(random_sequence(input_spec, time, seed)).unmask()
    trial = _Trial(model, x, constants, offset * model.timing.align, blocks)
    lowered = jax.jit(trial.run).lower(model, x, constants)
    compiled = lowered.compile(dict(compiler_options or {}))
    clean, _ = compiled(model, x.mask_invalid().unmask(), constants)
    y, z = compiled(model, x, constants)
    return ContractReport(declaration.declaration_text(), tuple(trial.clauses(*map(on_host, (clean, y, z)))))


def _with_random_weights(layer: SequenceLayer, spec: ChannelSpec, constants: Mapping, seed: int) -> SequenceLayer:
    """A built layer without compiling its initializers."""
    draw = np.random.default_rng(seed)
    abstract = jax.eval_shape(lambda: layer.build(spec, rngs=0, constants=constants))
    return jax.tree.map(lambda a: (draw.standard_normal(a.shape) / 2).astype(a.dtype), abstract)


class _Trial:
    """One way of running a model."""

    def __init__(self, model: SequenceLayer, x: Sequence, constants: Mapping, offset: int, blocks: int):
        self.timing, self.time, self.offset = model.timing, x.shape[1], offset
        self.block_size, self.blocks = model.block_size, blocks

    def run(self, model: SequenceLayer, x: Sequence, constants: Mapping) -> tuple[Sequence, Sequence]:
        """The output of `layer`, and what to compare with it."""
        call = {'training': True, 'constants': constants, 'rng': jax.random.key(0)}
        y = model.layer(x, **call)
        if not self.timing.supports_step:
            return y, model.layer(x.unmask().pad_time(0, 1 + self.time % 3), **call)
        return y, self._steps(model, x, call)

    def _steps(self, model: SequenceLayer, x: Sequence, call: dict[str, Any]) -> Sequence:
        """All outputs of steps, with some blocks after the flush."""
        more = 2 * self.block_size + math.ceil(self.void / self.timing.output_ratio)
        x = (
            x.unmask()
            .pad_time(self.offset, 0, pad_value=jnp.nan)
            .pad_time(0, self.fed - self.offset - self.time + more)
        )
        x = x.pad_to_multiple(self.blocks * self.block_size)
        limits: dict[str, Any] = {'max_length': x.shape[1], **call}
        state = model.get_initial_state(x.shape[0], offset=self.offset, **limits)
        return scan_steps(model, x, state, self.blocks * self.block_size, **call)[0]

    @property
    def void(self) -> int:
        return self.timing.output_offset(self.offset)

    @property
    def fed(self) -> int:
        """The timesteps that a caller feeds: void ones, the input, the flush, filled up to a block."""
        needed = self.offset + self.time + self.timing.flush(0, self.offset)
        return needed + -needed % self.block_size

    def clauses(self, clean: Sequence, y: Sequence, z: Sequence) -> Iterator[Clause]:
        yield _clause('padding invariance', 'zeros and NaN in the padding', first_difference(clean, y, TOLERANCE))
        yield from timing_clauses(self.timing)
        if not self.timing.supports_step:
            yield _clause('end', 'invalid timesteps after the end', first_difference(y, z, TOLERANCE))
            return
        yield _clause('latency', f'valid among the first {self.void} outputs', z.mask[:, : self.void].any())
        z = z[:, self.void :]
        for name, what in (('masks', 'mask'), ('layer equals step', 'values')):
            yield _clause(name, 'layer and step', first_difference(y, z, TOLERANCE, what))
        produced = int(self.fed * self.timing.output_ratio) - self.void
        yield _clause('flush', f'valid outputs behind the {produced} that come out', y.mask[:, produced:].any())


def timing_clauses(timing: Timing) -> Iterator[Clause]:
    """What must hold for the numbers of any layer."""
    ratio, table = timing.output_ratio, timing.receptive_field_per_step
    late = broken = None
    for o in range(3 * timing.period):
        field: IntervalSet = timing.deps(o)
        relative = field.hull and tuple(end - math.floor(o / ratio) for end in field.hull)
        broken = broken or (relative != table[o % timing.period] and f'output {o} reads {field.hull}')
        needed = math.floor((o + timing.output_latency) / ratio) + 1  # inputs until the output comes, in whole blocks
        available = needed + -needed % timing.block_size
        late = late or (field.hull and field.hull[1] >= available and f'output {o} comes after {available} inputs')
    yield _clause('timing: period', f'the table of {timing.period} outputs does not repeat', broken)
    if timing.supports_step:
        yield _clause('timing: latency', 'an output would come before its input', late)


def _clause(name: str, what: str, found: Any) -> Clause:
    """`found` is a truth value, or a description of what is wrong."""
    text = '' if isinstance(found, bool | np.bool_) else f': {found}'
    return Clause(name, not found, what + text if found else 'ok')
