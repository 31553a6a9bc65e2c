"""Layers against inputs, weights and outputs of the published library; see golden/README.md."""

import dataclasses
import functools
import json
import math
from collections.abc import Collection
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import seqlayers as sl
from seqlayers.interop import load_published
from tests.golden_differences import DIFFERENCES, REFUSED, Difference

GOLDEN = Path(__file__).parent / 'golden'


@dataclasses.dataclass(frozen=True)
class Golden:
    """A layer with its data. `meta` is what the published library says about it."""

    id: str
    meta: dict[str, Any]

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        family, number = self.id.split('/')
        with np.load(GOLDEN / f'{family}.npz') as data:
            return {key.split(':')[1]: data[key] for key in data.files if key.startswith(f'{number}:')}

    def sequence(self, name: str) -> sl.Sequence:
        return sl.Sequence(self.arrays[f'{name}/values'], self.arrays[f'{name}/mask'])

    @property
    def constants(self) -> dict[str, sl.Sequence]:
        names = {key.split('/')[1] for key in self.arrays if key.startswith('constants/')}
        return {name: self.sequence(f'constants/{name}') for name in names}

    @property
    def tolerance(self) -> float:
        return 2e-2 if 'bfloat16' in json.dumps(self.meta['config']) else 1e-5

    def build(self) -> sl.SequenceLayer:
        """The layer with its weights. It is built in the abstract, so that none is drawn first."""
        layer, spec = sl.from_config(self.meta['config']), self.sequence('x').channel_spec
        abstract = jax.eval_shape(lambda: layer.build(spec, rngs=0, constants=self.constants))
        weights = {k.removeprefix('params/'): a for k, a in self.arrays.items() if k.startswith('params/')}
        return load_published(abstract, weights)


def golden_cases() -> list[Golden]:
    cases = []
    for path in sorted(GOLDEN.glob('*.npz')):
        with np.load(path) as data:
            metas = {key: json.loads(str(data[key])) for key in data.files if key.endswith(':meta')}
        cases += [Golden(f'{path.stem}/{key.split(":")[0]}', meta) for key, meta in metas.items()]
    return cases


CASES = golden_cases()


# --- what both libraries say about a layer --------------------------------------------------------


def published(case: Golden) -> dict[str, Any]:
    """What the published library says and computes."""
    meta, arrays = case.meta, case.arrays
    fields = {int(phase): field for phase, field in meta['receptive_field_per_step'].items()}
    facts = {
        'output spec': sl.ChannelSpec(meta['output_channel_shape'], meta['output_dtype']),
        'output ratio': Fraction(*meta['output_ratio']),
        'block size': meta['block_size'],
        'receptive field': as_field(meta['receptive_field']),
        'receptive fields': [as_field(fields[phase]) for phase in sorted(fields)],
        'mask': arrays['y/mask'],
        'values': arrays['y/values'],
    }
    if meta['supports_step']:
        facts['supports step'] = True
        facts['input latency'] = meta['input_latency']
        facts['output latency'] = meta['output_latency']
    if 'dx' in arrays:
        facts['gradient'] = arrays['dx']
    return facts


def as_field(field: list | None) -> tuple[float, float] | None:
    return field and (float(field[0]), float(field[1]))


def ours(case: Golden, model: sl.SequenceLayer, facts: Collection[str]) -> dict[str, Any]:
    """The same, said and computed by a model. Its steps, if it has them, must give what `layer` gives."""
    y, gradient, stepped = run(case, model, 'gradient' in facts)
    if stepped is not None:
        assert not (difference := sl.testing.first_difference(y, stepped, case.tolerance)), f'step: {difference}'
    return {
        'output spec': model.output_spec,
        'output ratio': model.output_ratio,
        'block size': model.block_size,
        'receptive field': model.receptive_field,
        'receptive fields': list(model.receptive_field_per_step.values()),
        'supports step': model.supports_step,
        'input latency': model.input_latency,
        'output latency': model.output_latency,
        'mask': np.asarray(y.mask),
        'values': np.asarray(y.values),
        'gradient': gradient,
    }


def run(case: Golden, model: sl.SequenceLayer, differentiate: bool) -> tuple:
    """The masked output, its gradient by the input, and the output in steps; None for what there is not."""
    kwargs = {'training': case.meta['training'], 'constants': case.constants}

    @jax.jit
    def compute(model: sl.SequenceLayer, x: sl.Sequence, cotangent: Any):
        def forward(values):
            y = model.layer(x.replace(values=values), **kwargs).mask_invalid()
            return y.values, y.mask

        gradient = None
        if cotangent is None:
            values, mask = forward(x.values)
        else:
            values, pull, mask = jax.vjp(forward, x.values, has_aux=True)
            gradient = x.replace(values=pull(cotangent.astype(values.dtype))[0]).mask_invalid().values
        stepped = sl.step_by_step(model, x, **kwargs) if model.supports_step else None
        return sl.Sequence(values, mask), gradient, stepped

    return compute(model, case.sequence('x'), case.arrays['ct'] if differentiate else None)


# --- comparison -----------------------------------------------------------------------------------


def agree(a: Any, b: Any, tolerance: float) -> bool:
    """Arrays: relative to the largest of `a`, where it is known. Lists: one entry a phase, periodic."""
    if isinstance(a, list):
        period = math.lcm(len(a), len(b))
        return all(a[i % len(a)] == b[i % len(b)] for i in range(period))
    if not isinstance(a, np.ndarray):
        return a == b
    if a.shape != np.shape(b) or a.dtype == bool:
        return np.array_equal(a, b)
    largest = np.abs(np.asarray(a)).max(initial=0)
    return bool((np.abs(a - np.asarray(b, a.dtype)) <= tolerance * largest).all())


def check(case: Golden, expected: dict[str, Any], got: dict[str, Any], difference: Difference | None) -> None:
    """Asserts that all facts agree. Where a difference is known ours must be right, and the published not."""
    right = difference.right if difference else {}
    for fact, value in expected.items():
        if fact not in right:
            assert agree(value, got[fact], case.tolerance), f'{fact}: expected\n{value}\ngot\n{got[fact]}'
            continue
        wanted = right[fact](case)
        assert agree(wanted, got[fact], case.tolerance), f'{fact}: right is\n{wanted}\ngot\n{got[fact]}'
        assert not agree(value, got[fact], case.tolerance), f'{fact} is no difference: take it from the list'


@pytest.mark.parametrize('case', [c for c in CASES if c.id in REFUSED], ids=lambda case: case.id)
def test_refused(case: Golden):
    with pytest.raises(sl.LayerError, match=REFUSED[case.id][1]):
        sl.from_config(case.meta['config'])


@pytest.mark.parametrize('case', [c for c in CASES if c.id not in REFUSED], ids=lambda case: case.id)
def test_golden(case: Golden):
    difference, expected = DIFFERENCES.get(case.id), published(case)
    for fact in difference.no_reference if difference else ():
        expected.pop(fact, None)
    check(case, expected, ours(case, case.build(), expected), difference)


# --- the comparison can fail ----------------------------------------------------------------------


SAMPLE = next(case for case in CASES if case.id == 'conv1d/036')


@pytest.fixture(scope='module')
def facts() -> tuple[Golden, dict[str, Any], dict[str, Any]]:
    expected = published(SAMPLE)
    return SAMPLE, expected, ours(SAMPLE, SAMPLE.build(), expected)


@pytest.mark.parametrize('fact', published(SAMPLE))
def test_a_changed_fact_is_noticed(facts, fact):
    case, expected, got = facts
    changes = {
        'output spec': sl.ChannelSpec((1,)),
        'receptive field': (0, 0),
        'receptive fields': [(0, 0)],
        'mask': ~expected['mask'],
        'values': expected['values'] * (1 + 1e-4),
        'gradient': expected['gradient'] * (1 + 1e-4),
    }
    with pytest.raises(AssertionError, match=fact):
        check(case, {**expected, fact: changes.get(fact, 7)}, got, None)


def test_a_known_difference_is_asserted(facts):
    case, expected, got = facts
    wrong = {**expected, 'block size': 7}
    check(case, wrong, got, Difference('Q-0', {'block size': lambda case: 1}))
    with pytest.raises(AssertionError, match='block size: right is'):
        check(case, wrong, got, Difference('Q-0', {'block size': lambda case: 2}))
    with pytest.raises(AssertionError, match='block size is no difference'):
        check(case, expected, got, Difference('Q-0', {'block size': lambda case: 1}))
