"""Every layer of the registry keeps the contract, in each way in which one may use a layer.

One class a family of layers, so that test runners can share the families out.
"""

import copy
import json
import pickle

import jax
import jax.numpy as jnp
import pytest

import seqlayers as sl
from seqlayers.testing import first_difference
from tests.registry import families
from tests.registry.case import Case


def make_suite(cases: list[Case]) -> type:
    """The tests of one family, as a class."""

    def every(chosen: list[Case]):
        return pytest.mark.parametrize('case', chosen, ids=lambda case: case.id)

    class Suite:
        @every(cases)
        def test_contract(self, case: Case):
            x = case.sequence(2 * case.layer.block_size + 7)
            report = sl.testing.check_contract(case.build(x), x, exact_receptive_field=case.exact_field, **case.call(x))
            report.raise_if_failed()

        @every(cases)
        def test_short_inputs_and_bfloat16(self, case: Case):
            """No timestep, one timestep, and (all in one compilation) a few of bfloat16."""
            inputs = [case.sequence(0), case.sequence(1)]
            if case.bfloat16 and jnp.issubdtype(case.dtype, jnp.floating):
                inputs.append(case.sequence(case.layer.block_size + 5).astype(jnp.bfloat16))
            models, calls = [case.build(x) for x in inputs], [case.call(x) for x in inputs]

            @jax.jit
            def run(models, inputs):
                whole, stepped = [], []
                for model, x, call in zip(models, inputs, calls, strict=True):
                    whole.append(model.layer(x, **call))
                    stepped.append(sl.step_by_step(model, x, **call) if model.supports_step else whole[-1])
                return whole, stepped

            for model, whole, stepped in zip(models, *run(models, inputs), strict=True):
                assert whole.channel_spec == stepped.channel_spec == model.output_spec
                assert not first_difference(whole, stepped)

        @every([case for case in cases if case.layer.supports_step])
        def test_donated_state_and_scan_carry(self, case: Case):
            x = case.sequence(case.layer.block_size)
            model, call = case.build(x), case.call(x)
            state = model.get_initial_state(x.shape[0], max_length=64, **call)
            step = jax.jit(lambda state: model.step(x, state, **call)[1], donate_argnums=0)
            jax.eval_shape(lambda s: jax.lax.scan(lambda s, _: (model.step(x, s, **call)[1], None), s, length=2), state)
            before = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)]
            assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(step(step(state)))] == before

        @every(cases)
        def test_configuration_and_copies(self, case: Case):
            assert sl.from_config(json.loads(json.dumps(sl.to_config(case.layer)))) == case.layer
            model = case.build(case.sequence(1))
            structure = jax.tree.structure(model)  # the same structure is the same compiled function
            assert jax.tree.structure(copy.deepcopy(model)) == structure
            assert jax.tree.structure(pickle.loads(pickle.dumps(model))) == structure
            assert pickle.loads(pickle.dumps(case.layer)) == case.layer

    return Suite


for family, family_cases in families().items():
    globals()[f'Test{family.title().replace("_", "")}'] = make_suite(family_cases)


def test_every_layer_is_registered():
    used = {type(layer) for cases in families().values() for case in cases for _, layer in sl.layer.walk(case.layer)}
    public = {v for v in vars(sl).values() if isinstance(v, type) and issubclass(v, sl.SequenceLayer)}
    abstract = {sl.SequenceLayer, sl.Stateless, sl.Composite}
    whole = {sl.GlobalReshape, sl.GlobalEinopsRearrange}  # for one length only: tests/layers/test_whole.py
    assert not sorted(layer.__name__ for layer in public - used - abstract - whole)
