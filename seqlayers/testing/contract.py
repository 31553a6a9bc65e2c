"""The proof that a layer streams: `check_contract`."""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers.context import LayerError, OutputError
from seqlayers.layer import SequenceLayer
from seqlayers.sequence import MaskedSequence, Sequence
from seqlayers.testing.compare import Difference, first_difference, tolerance_for
from seqlayers.testing.field import enough_time, field_text, hull_within, measured_support
from seqlayers.testing.locate import Located, locate_in_layer, locate_in_steps
from seqlayers.testing.report import Clause, ContractReport
from seqlayers.testing.runs import OFFSETS, SPLITS, Runs, on_host
from seqlayers.testing.sequences import poison, random_sequence, random_values


def check_contract(
    model: SequenceLayer,
    x: Sequence | None = None,
    *,
    training: bool = False,
    constants: Mapping[str, Any] | None = None,
    rng: jax.Array | None = None,
    tolerance: float | None = None,
    exact_receptive_field: bool = True,
    clauses: Iterable[str] | None = None,
    seed: int = 0,
) -> ContractReport:
    """Checks every promise that a layer makes about running in steps.

    Args: model: a built layer. x: the input to check with; by default a random one with full, cut, gappy and empty
      items. training, constants, rng: as for `model.layer`. tolerance: the difference allowed to values, relative to
      the largest; by default what rounding in the output's dtype explains. exact_receptive_field: also demand that
      the declared receptive field is not wider than the measured one. clauses: the names of the clauses to check, by
      default all. seed: of the random input, masks and block splits.

    Returns:
      A report with one entry a clause. `print` it, show it in a notebook, or call `report.raise_if_failed()`:

      * output spec: channels, dtype and number of timesteps are as declared, in `layer` and in `step`; a
        MaskedSequence holds zeros where it is invalid;
      * state: a step keeps the structure, shapes and dtypes of the state;
      * latency: `output_latency` is the number of outputs before the first real one, and those are invalid;
      * layer equals step: values, in blocks of 1, 2 and uneven multiples of the block size;
      * masks: the same for masks, and masks depend on masks only;
      * start: behind `n` void timesteps (from a layer that looks ahead) the stream starts in the same way;
      * end: invalid timesteps after the end add only invalid outputs;
      * flush: `input_latency` invalid timesteps after the data are enough to get every output;
      * gradients: by inputs and parameters, equal for `layer` and `step`;
      * padding invariance: NaN at invalid timesteps changes nothing;
      * batch invariance: an item's result does not depend on the other items;
      * receptive field: inputs that outputs depend on, by gradient, are those that timing declares.

    >>> import seqlayers as sl
    >>> model = sl.Residual([sl.Dense(3), sl.Lookahead(2)]).build(sl.ChannelSpec((3,)), rngs=0)
    >>> check_contract(model).passed
    True
    """
    if not model.is_built:
        raise LayerError(f'check_contract takes a built layer: {model!r} is a declaration, call its build first')
    if x is None:
        time = 2 * model.block_size + 9 + min(model.input_latency, 32 * model.block_size)
        x = random_sequence(model.input_spec, time, seed)
    runs = Runs(model, x.shape[1], training, constants, rng, seed)
    check = _Check(runs, on_host(x).mask_invalid(), tolerance, exact_receptive_field)
    return ContractReport(_title(model), tuple(check.clauses(clauses)))


def _title(model: SequenceLayer) -> str:
    text = model.declaration_text()
    return text if len(text) <= 100 else f'{text[:97]}...'


class _Check:
    """The clauses for one model and input. A clause returns what it found fine, or raises `_Broken` or
    `_Inapplicable`.
    """

    def __init__(self, runs: Runs, x: Sequence, tolerance: float | None, exact_field: bool):
        self.runs, self.model, self.x, self.exact_field = runs, runs.model, x, exact_field
        self.timing = self.model.timing
        self.tolerance = tolerance_for(self.model.output_spec.dtype) if tolerance is None else tolerance
        self.latency = self.model.output_latency  # or what it turns out to be
        self.state_changes = False

    @functools.cached_property
    def whole(self) -> dict[str, Sequence]:
        """`layer` of the input: as it is, poisoned, and with the odd or even items replaced by garbage."""
        x = self.x
        garbage = np.asarray(random_values(x.channel_spec, x.shape[:2], self.runs.seed + 2))
        odd = (np.arange(x.shape[0]) % 2 == 1).reshape((-1,) + (1,) * (x.ndim - 1))
        inputs = {'x': x.unmask(), 'poisoned': poison(x)}
        for name, replaced in (('odd', odd), ('even', ~odd)):
            mask = x.mask | replaced.reshape(-1, 1)
            inputs[name] = Sequence(np.where(replaced, garbage, x.values), mask)
        return dict(zip(inputs, self.runs.layer(*inputs.values()), strict=True))

    @property
    def expected(self) -> Sequence:
        return self.whole['x']

    @functools.cached_property
    def stepped(self) -> dict[str, Sequence]:
        """The outputs of steps by kind of block split, flushed generously."""
        extra = 2 + self.model.output_latency
        return {split: self.runs.steps(self.x, split, extra_blocks=extra) for split in SPLITS}

    def clauses(self, names: Iterable[str] | None) -> Iterator[Clause]:
        blocked = self.timing.blocked
        known: dict[str, Callable[[], str]] = {
            'output spec': self.output_spec,
            'state': self.state,
            'latency': self.check_latency,
            'layer equals step': functools.partial(self.layer_equals_step, 'values'),
            'masks': self.masks,
            'start': self.start,
            'flush': self.flush,
            'end': self.end,
            'gradients': self.gradients,
            'padding invariance': self.padding_invariance,
            'batch invariance': self.batch_invariance,
            'receptive field': self.receptive_field,
        }
        wanted = list(known if names is None else names)
        if unknown := [name for name in wanted if name not in known]:
            raise ValueError(f'check_contract: no clause {", ".join(unknown)}; there are: {", ".join(known)}')
        for name in wanted:
            clause = known[name]
            needs_steps = name in ('state', 'latency', 'layer equals step', 'start', 'flush', 'gradients')
            yield Clause(name, None, f'cannot step: {blocked}') if blocked and needs_steps else self.run(name, clause)

    def run(self, name: str, clause: Callable[[], str]) -> Clause:
        try:
            return Clause(name, True, clause())
        except _Inapplicable as reason:
            return Clause(name, None, str(reason))
        except _Broken as broken:
            return Clause(name, False, broken.detail, broken.layer, broken.timestep)
        except OutputError as error:  # the clause "output spec" reports it
            return Clause(name, False, str(error)) if name == 'output spec' else Clause(name, None, 'see output spec')
        except LayerError as error:
            return Clause(name, False, str(error))

    # --- clauses -----------------------------------------------------------------------------------------------
    def output_spec(self) -> str:
        y = self.expected
        if self.timing.blocked is None:
            _ = self.stepped
        self.check_promise_of_zeros()
        return f'{y.channel_spec}, output ratio {self.model.output_ratio}'

    def check_promise_of_zeros(self) -> None:
        """A layer that returns a MaskedSequence says that its invalid timesteps hold zeros."""
        masked = self.x.mask_invalid()
        if not isinstance(self.runs.layer_type(masked), MaskedSequence):
            return
        (y,) = self.runs.layer(masked)
        wrong = np.flatnonzero(
            ((y.values != 0) & ~y.expanded_mask()).any(axis=tuple(i for i in range(y.ndim) if i != 1))
        )
        if wrong.size:
            raise _Broken('layer returns a MaskedSequence whose invalid timesteps are not 0', '', int(wrong[0]))

    def state(self) -> str:
        block = self.x.unmask()[:, :0].pad_time(0, self.model.block_size)
        before = jax.eval_shape(lambda: self.runs.states(block.shape[0])[0])
        after = jax.eval_shape(lambda s: self.runs.step(block, s)[1], before)
        (old, old_structure), (new, new_structure) = map(jax.tree_util.tree_flatten_with_path, (before, after))
        self.state_changes = True
        if old_structure != new_structure:
            raise _Broken(f'a step changes the structure of the state from {old_structure} to {new_structure}')
        for (path, a), (_, b) in zip(old, new, strict=True):
            if (a.shape, a.dtype) != (b.shape, b.dtype):
                place = jax.tree_util.keystr(path)
                raise _Broken(f'a step changes state{place} from {a.dtype}{list(a.shape)} to {b.dtype}{list(b.shape)}')
        self.state_changes = False
        size = sum(a.size * a.dtype.itemsize for _, a in old)
        return f'{len(old)} arrays, {size} bytes, unchanged by a step'

    def check_latency(self) -> str:
        y, declared = self.stepped['1x'], self.model.output_latency
        if self.differs(y[:, declared:]) and np.any(self.expected.mask):
            for latency in range(y.shape[1] - self.expected.shape[1] + 1):
                if not self.differs(y[:, latency:]):
                    self.latency = latency
                    detail = f'steps emit {latency} outputs before the first real one; timing says {declared}'
                    raise _Broken(detail, '', min(latency, declared))
        self.check_void(y, declared, 'at the start of a stream')
        return f'input {self.model.input_latency}, output {declared} timesteps'

    def layer_equals_step(self, what: str) -> str:
        """Values are compared where both are valid, so they prove nothing while the masks differ."""
        for split, y in self.stepped.items():
            self.compare(
                self.expected, y[:, self.latency :], f'{split} blocks', what,
                locate=lambda split=split: locate_in_steps(self.runs, self.x, split, self.tolerance, what),
            )  # fmt: skip
        aligned = [y[:, self.latency :] for y in self.stepped.values()]
        if what == 'values' and any(first_difference(self.expected, y, what='mask') for y in aligned):
            raise _Inapplicable('see masks')
        count = int(self.expected.mask.sum())
        blocks = ', '.join(str(n * self.model.block_size) for n in (1, 2))
        return f'blocks of {blocks} and uneven: equal on {count} valid timesteps'

    def masks(self) -> str:
        self.compare(self.expected, self.whole['poisoned'], 'the mask depends on values', 'mask', poison(self.x))
        if self.timing.blocked is not None:
            return 'independent of values'
        return self.layer_equals_step('mask')

    def start(self) -> str:
        for n in OFFSETS[1:]:
            void = self.timing.output_offset(n * self.timing.align)
            situation = f'behind {n * self.timing.align} void timesteps'
            y = self.runs.steps(poison(self.x), SPLITS[n % len(SPLITS)], offsets=n)
            self.check_void(y, void, situation)
            self.compare(self.expected, y[:, void:], situation)
        offsets = ', '.join(str(n * self.timing.align) for n in OFFSETS[1:])
        return f'behind {offsets} void timesteps: the same'

    def check_void(self, y: Sequence, void: int, situation: str) -> None:
        early = np.flatnonzero(y.mask[:, :void].any(axis=0))
        if early.size:
            detail = f'{situation}: output {early[0]} is valid, but the first {void} come before the first real one'
            raise _Broken(detail, '', int(early[0]))

    def flush(self) -> str:
        y, latency = self.runs.steps(self.x, '1x'), self.model.input_latency
        produced = y.shape[1] - self.latency
        missing = np.flatnonzero(self.expected.mask[:, produced:].any(axis=0))
        if missing.size:
            t = produced + int(missing[0])
            raise _Broken(f'output {t} has not come out after input_latency={latency} invalid timesteps', '', t)
        return f'{latency} invalid timesteps after the data bring out every output'

    def end(self) -> str:
        added = sorted({1, 2, 3, self.model.block_size})
        longer = [self.x.unmask().pad_time(0, k) for k in added]
        for k, x, y in zip(added, longer, self.runs.layer(*longer), strict=True):
            self.compare(self.expected, y, f'with {k} invalid timesteps after the end', other=x)
        return f'{", ".join(map(str, added))} invalid timesteps after the end add only invalid outputs'

    def gradients(self) -> str:
        if self.state_changes:
            raise _Inapplicable('see state')
        leaves = jax.tree_util.tree_leaves_with_path((self.model, self.x.values))
        smooth = [jnp.issubdtype(leaf.dtype, jnp.inexact) for _, leaf in leaves]
        if not any(smooth) or not jnp.issubdtype(self.model.output_spec.dtype, jnp.inexact):
            raise _Inapplicable('nothing to differentiate')
        by_layer, by_steps = self.runs.gradients(self.x, self.expected, self.latency)
        for (path, _), a, b in zip(leaves, jax.tree.leaves(by_layer), jax.tree.leaves(by_steps), strict=True):
            if a.dtype == jax.dtypes.float0:
                continue
            a, b = (np.asarray(g, np.complex128 if jnp.iscomplexobj(g) else np.float64) for g in (a, b))
            error = np.abs(a - b).max(initial=0)
            if not error <= 20 * self.tolerance * max(np.abs(a).max(initial=0), 1e-3):
                name = 'the input' if path[0].idx == 1 else f'parameter {_parameter_name(path[1:])}'
                raise _Broken(f'the gradient by {name} differs between layer and step by {error:.3g}', '')
        parameters = f'{len(leaves) - 1} parameter{"s" * (len(leaves) != 2)}'
        return f'by {"the input and " * smooth[-1]}{parameters}: equal'

    def padding_invariance(self) -> str:
        poisoned = poison(self.x)
        self.compare(self.expected, self.whole['poisoned'], 'layer, NaN in the padding', other=poisoned)
        if self.timing.blocked is None:
            y = self.runs.steps(poisoned, '1x', extra_blocks=2 + self.model.output_latency)
            self.compare(self.stepped['1x'], y, 'step, NaN in the padding')
        return f'NaN at {int((~self.x.mask).sum())} invalid timesteps changes no valid output'

    def batch_invariance(self) -> str:
        """Each item keeps its place between neighbours of garbage: a random draw may depend on the place."""
        batch = self.x.shape[0]
        if batch < 2:
            raise _Inapplicable('the batch has one item only')
        odd = (np.arange(batch) % 2 == 1)[:, None]
        for replaced, kept in (('odd', ~odd), ('even', odd)):
            wanted, got = (Sequence(y.values, y.mask & kept) for y in (self.expected, self.whole[replaced]))
            self.compare(wanted, got, 'other neighbours in the batch')
        return f'each of {batch} items keeps its result among other neighbours'

    def receptive_field(self) -> str:
        if not jnp.issubdtype(self.model.output_spec.dtype, jnp.inexact):
            raise _Inapplicable('the outputs are integers')
        spec, time = self.x.channel_spec, enough_time(self.timing)
        # A maximum depends on one of its inputs at a time: so many random numbers that each has its turn.
        batch = self.x.shape[0] if self.runs.call['constants'] else max(3, 32 // math.prod(spec.shape))
        call = self.runs.call_all_valid(time)
        high = 1 + int(self.x.values.max()) if jnp.issubdtype(spec.dtype, jnp.integer) else 8
        x = Sequence.from_values(random_values(spec, (batch, time), self.runs.seed + 3, high=high))
        support, mask = map(np.asarray, jax.jit(functools.partial(measured_support, call))(self.model, x))
        declared, seen_whole = self.timing.receptive_field, 0
        for o in range(len(support)):
            field, measured = self.timing.deps(o), np.flatnonzero(support[o]).tolist()
            if outside := [i for i in measured if i not in field]:
                raise _Broken(f'output {o} depends on input {outside[0]}, outside of the declared {declared}', '', o)
            reach = hull_within(field, time)
            if not self.exact_field or not reach or not mask[:, o].any():
                continue
            seen_whole += 1
            if not measured or (measured[0], measured[-1]) != reach:
                got = f'{measured[0]} to {measured[-1]}' if measured else 'none'
                hint = '; exact_receptive_field=False takes the declared one for an upper bound' if measured else ''
                detail = f'output {o} declares inputs {reach[0]} to {reach[1]} and depends on {got}{hint}'
                raise _Broken(detail, '', o)
        if seen_whole or declared is None:
            return f'{field_text(declared)}: as measured on {seen_whole or len(support)} outputs'
        unseen = ', too wide to see all of it' if self.exact_field else ''
        return f'{field_text(declared)}: contains what was measured on {len(support)} outputs{unseen}'

    # --- comparing ----------------------------------------------------------------------------------------------
    def differs(self, y: Sequence) -> bool:
        return first_difference(self.expected, y, self.tolerance) is not None

    def compare(
        self,
        expected: Sequence,
        got: Sequence,
        situation: str,
        what: str = 'mask or values',
        other: Sequence | None = None,
        locate: Callable[[], Located] | None = None,
    ) -> None:
        """Raises if they differ. The first layer inside that does is found by `locate`, or by running on `other`."""
        difference = first_difference(expected, got, self.tolerance, what)
        if difference is None:
            return
        if other is not None:
            locate = functools.partial(locate_in_layer, self.runs, self.x, other, self.tolerance, what)
        raise _broken(difference, situation, locate() if locate else None)


def _broken(difference: Difference, situation: str, located: Located) -> '_Broken':
    if located is None or not located[0]:
        return _Broken(f'{situation}: {difference}', '', difference.timestep)
    path, layer, inner = located
    detail = f'{situation}: {difference}. The first layer to differ is {path} ({type(layer).__name__}): {inner}'
    return _Broken(detail, path, inner.timestep)


class _Inapplicable(Exception):
    """A clause does not apply; the message says why."""


class _Broken(Exception):
    """A clause does not hold."""

    def __init__(self, detail: str, layer: str | None = None, timestep: int | None = None):
        super().__init__(detail)
        self.detail, self.layer, self.timestep = detail, layer, timestep


def _parameter_name(path: tuple) -> str:
    keys = (getattr(k, 'name', getattr(k, 'idx', getattr(k, 'key', ''))) for k in path)
    return '/'.join(str(k) for k in keys if k != 'value')
