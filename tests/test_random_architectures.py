"""Random models keep the contract: 500 of them in one random run each, and some by all of `check_contract`.

A run checks (see `quick_check`) that steps give the values and masks of `layer`, in blocks of 1 to 3 times the block
size, behind 0 to 3 void timesteps, over a full, a cut, a gappy and an empty item, with NaN wherever nothing is valid;
that the latency is void, that the flush is long enough, and that timing agrees with itself. `scripts/fuzz.py` does the
same for as many models as one likes; `test_mutants.py` shows that wrong rules are found.
"""

import itertools
import json

import jax
import jax.numpy as jnp
import pytest

import seqlayers as sl
from scripts import fuzz
from seqlayers.testing.quick import fast_compilation

SPEC = sl.ChannelSpec((4,))
COUNT, IN_A_CLASS = 500, 50
IN_FULL = (4, 9, 14, 20, 22, 23, 26, 28)  # some that compile fast


def make_suite(seeds: range) -> type:
    """The tests of some seeds, as a class: test runners share classes out."""

    class Suite:
        @pytest.mark.parametrize('seed', seeds)
        def test_run(self, seed: int):
            model = sl.testing.random_architecture(seed, SPEC)
            run = sl.testing.random_run(model, seed)
            sl.testing.quick_check(model, SPEC, **run, compiler_options=fast_compilation()).raise_if_failed()
            check_grouping(model.layers)

    return Suite


for first in range(0, COUNT, IN_A_CLASS):
    globals()[f'TestArchitectures{first}'] = make_suite(range(first, first + IN_A_CLASS))


class TestFullContract:
    @pytest.mark.parametrize('seed', IN_FULL)
    def test_full_contract(self, seed: int):
        layer = sl.testing.random_architecture(seed, SPEC)
        x = sl.testing.random_sequence(SPEC, 2 * layer.block_size + 3, seed)
        call = {'constants': sl.testing.random_constants(layer, *x.shape[:2], seed), 'rng': jax.random.key(seed)}
        model = layer.build(SPEC, rngs=seed, constants=call['constants'])
        report = sl.testing.check_contract(model, x, training=True, exact_receptive_field=False, **call)
        report.raise_if_failed()


def check_grouping(layers):
    """Putting some layers of a chain into a chain of their own changes no number."""
    flat = sl.Serial(layers).timing
    for start, stop in itertools.combinations(range(len(layers) + 1), 2):
        grouped = sl.Serial([*layers[:start], sl.Serial(layers[start:stop]), *layers[stop:]]).timing
        for name in ('output_ratio', 'block_size', 'phase', 'period', 'receptive_field_per_step'):
            assert getattr(grouped, name) == getattr(flat, name), name
        if flat.supports_step:
            assert [grouped.output_offset(a) for a in range(5)] == [flat.output_offset(a) for a in range(5)]
            assert [grouped.flush(1, a) for a in range(5)] == [flat.flush(1, a) for a in range(5)]


class TestGenerator:
    def test_models_are_their_own_source(self):
        names = {**vars(sl), 'tanh': jnp.tanh, 'NormalNoise': sl.AddNoise.Normal}
        for seed in range(60):
            model = sl.testing.random_architecture(seed, SPEC)
            assert eval(repr(model), names) == model
            assert sl.from_config(json.loads(json.dumps(sl.to_config(model)))) == model

    def test_limits(self):
        models = [sl.testing.random_architecture(seed, SPEC) for seed in range(60)]
        assert max(model.block_size for model in models) <= 24
        assert max(model.output_latency for model in models) <= 40
        assert len(set(models)) > 55
        drawn = {type(layer) for model in models for _, layer in sl.layer.walk(model)}
        assert {sl.Parallel, sl.Residual, sl.Skip, sl.Repeat, sl.Blockwise, sl.ParallelChannels} < drawn
        assert len(drawn) > 40

    def test_other_inputs(self):
        for channels in ((6,), (3, 2), ()):
            model = sl.testing.random_architecture(1, spec := sl.ChannelSpec(channels))
            constants = sl.testing.random_constants(model, 2, 5)
            output = jax.eval_shape(lambda m=model, s=spec, c=constants: m.build(s, rngs=0, constants=c)).output_spec
            assert output == sl.ChannelSpec((6,) if channels == (6,) else (4,))


class Hasty(sl.Lookahead):
    """Calls outputs valid that come before the first real one."""

    def step(self, x, state, *, training, constants=None):
        return x, state


class TestFuzzing:
    def broken(self, seed: int) -> sl.SequenceLayer:
        layers = sl.testing.random_architecture(seed, SPEC).layers
        return sl.Serial([*layers, Hasty(2), sl.Dense(4)])

    def test_a_broken_layer_is_found_and_all_else_left_out(self):
        model = self.broken(3)
        run = {'time': 9, 'offset': 2, 'blocks': 2, 'seed': 0}
        small, run, failure = fuzz.smallest(model, run)
        assert small == Hasty(1)
        assert run == {'time': 1, 'offset': 0, 'blocks': 1, 'seed': 0}
        assert 'latency' in failure.kinds

    def test_report_and_exit_status(self, monkeypatch, capsys):
        assert fuzz.main(['--count', '2', '--seed', '7']) == 0
        assert '2 of 2 checked, 0 failed' in capsys.readouterr().out
        monkeypatch.setattr(sl.testing, 'random_architecture', lambda seed, spec: sl.Serial([Hasty(seed)]))
        assert fuzz.main(['--count', '1', '--seed', '2']) == 1
        printed = capsys.readouterr().out
        assert 'seed 2: Serial(layers=[Hasty(2)])\nsmallest: Hasty(1)' in printed
        assert '1 of 1 checked, 1 failed' in printed

    def test_what_does_not_fail_is_not_shrunk(self):
        with pytest.raises(ValueError, match='does not fail'):
            fuzz.smallest(sl.Dense(4), {'time': 2, 'offset': 0, 'blocks': 1, 'seed': 0})
