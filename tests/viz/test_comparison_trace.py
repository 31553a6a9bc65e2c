"""Layer against step: what differs is found, and nothing else."""

import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
import viz
from tests.viz.models import MODELS, Backwards, Forgetful, model, noise


@pytest.mark.parametrize('name', sorted(MODELS))
@pytest.mark.parametrize('blocks', [1, 2])
def test_good_models_agree_at_every_layer(name, blocks):
    built = model(name)
    x = noise(20, batch=2, gap=(7, 8))
    trace = viz.compare_layer_and_step(built, x, blocks * built.block_size)
    assert trace.first_row is None
    assert [row.first for row in trace.rows] == [None] * len(trace.rows)
    y = built.layer(x, training=False)
    np.testing.assert_array_equal(trace.output.layer_mask[:, : y.shape[1]], y.mask)
    assert trace.latency == built.output_latency


def test_a_forgotten_state_differs_where_each_block_begins():
    built = sl.Conv1D(1, kernel_size=4, padding='causal').build(sl.ChannelSpec((3,)), rngs=0)
    x = noise(20)
    trace = viz.compare_layer_and_step(built, x, 8, forget_state=True)
    whole = np.asarray(built.layer(x, training=False).values)
    initial = built.get_initial_state(1, training=False)
    parts = [built.step(x.pad_time(0, 4)[:, i : i + 8], initial, training=False)[0] for i in (0, 8, 16)]
    stepped = np.concatenate([np.asarray(part.values) for part in parts], 1)[:, :20]
    np.testing.assert_allclose(trace.output.difference, np.abs(whole - stepped)[0, :, 0], atol=1e-6)
    assert np.flatnonzero(trace.output.differs).tolist() == [8, 9, 10, 16, 17, 18]
    assert (trace.first_layer, trace.first_timestep) == ('Conv1D', 8)
    assert 'first difference at Conv1D, timestep 8; 6 of 20 output timesteps differ' in repr(trace)


def test_a_block_as_long_as_the_input_needs_no_state():
    built = model('memories')
    assert viz.compare_layer_and_step(built, noise(12), 12, forget_state=True).first_row is None


def test_the_broken_layer_is_named_not_those_behind_it():
    body = [sl.Conv1D(3, 3, padding='causal'), Forgetful(), sl.Dense(3)]
    layer = sl.Serial([sl.Dense(3), sl.Residual(body), sl.LSTM(2)])
    trace = viz.compare_layer_and_step(layer, noise(12), 4)
    assert trace.first_layer == 'layers_1/layers_1'
    assert trace.first_timestep == 4
    firsts = {row.edge.path: row.first for row in trace.rows}
    assert firsts['layers_0'] is None
    assert firsts['layers_1/layers_0'] is None
    assert firsts['layers_2'] == 4
    finding = 'Layer and step agree until timestep 4; Forgetful is the first to differ'
    assert viz.plot_comparison(trace).finding == finding


def test_a_difference_that_the_output_hides_is_still_named():
    layer = sl.Serial([Forgetful(), sl.Scale(0.0)])
    trace = viz.compare_layer_and_step(layer, noise(8), 4)
    assert trace.output.first is None
    assert trace.first_layer == 'layers_0'
    finding = 'Layer and step agree in the output, but not in Forgetful'
    assert viz.plot_comparison(trace).finding == finding


class MaskForgetful(Forgetful):
    """Equal values, but the step calls its first timestep invalid."""

    def layer(self, x, *, training, constants=None):
        return x

    def step(self, x, state, *, training, constants=None):
        return sl.Sequence(x.values, x.mask & (jnp.arange(x.shape[1]) > 0)), state


def test_masks_that_differ_count_whatever_the_tolerance():
    trace = viz.compare_layer_and_step(MaskForgetful(), noise(6), 3, tolerance=1e9)
    assert np.flatnonzero(trace.output.mask_differs).tolist() == [0, 3]
    assert trace.first_timestep == 0
    assert trace.output.difference.max() == 0


class NaNStep(Forgetful):
    """The step gives NaN at its second timestep."""

    def layer(self, x, *, training, constants=None):
        return x

    def step(self, x, state, *, training, constants=None):
        return x.apply_values(lambda v: v.at[:, 1].set(jnp.nan)), state


def test_nan_in_one_run_is_an_infinite_difference():
    trace = viz.compare_layer_and_step(NaNStep(), noise(4), 4)
    assert trace.output.difference.tolist() == [0, np.inf, 0, 0]
    assert trace.first_timestep == 1
    assert viz.plot_comparison(trace).finding.startswith('Layer and step agree until timestep 1')


def test_the_tolerance_is_relative_to_large_values():
    x = noise(4)
    x = x.replace(values=x.values.at[0, 0, 0].set(1000.0))
    trace = viz.compare_layer_and_step(sl.Delay(1), x)
    assert trace.output.tolerance == pytest.approx(1e-2)


def test_layers_that_cannot_step_say_why():
    with pytest.raises(ValueError, match='It starts at the end'):
        viz.compare_layer_and_step(sl.Serial([Backwards()]), noise(4))


def test_repr_is_the_same_every_time():
    texts = {repr(viz.compare_layer_and_step(model('window'), noise(8))) for _ in range(2)}
    assert texts == {'ComparisonTrace(Conv1D in blocks of 1: layer and step agree on all 5 timesteps)'}


def test_shared_layers_do_not_hide_the_model():
    declaration = sl.Shared(
        {'embedding': sl.Embedding(3, 5)},
        sl.Serial([sl.Ref('embedding'), sl.LSTM(3), sl.Lookahead(1), sl.EmbeddingTranspose('embedding')]),
    )
    spec = sl.ChannelSpec((), np.int32)
    x = sl.Sequence.from_values(np.arange(12, dtype=np.int32)[None] % 5)
    for tied in (declaration.build(spec, rngs=0), sl.Serial([declaration]).build(spec, rngs=0)):
        trace = viz.compare_layer_and_step(tied, x, 4)
        assert [row.edge.name for row in trace.rows] == ['Ref', 'LSTM', 'Lookahead', 'EmbeddingTranspose']
        assert trace.first_layer is None
        np.testing.assert_allclose(trace.output.layer, tied.layer(x, training=False).values, rtol=1e-5)
        forgetful = viz.compare_layer_and_step(tied, x, 4, forget_state=True)
        assert forgetful.first_layer.endswith('child_layer/layers_1') and forgetful.first_timestep == 4
        [*state] = viz.trace_state(tied, x).leaves
        assert {leaf.path.rpartition('/')[2] for leaf in state} == {'layers_1', 'layers_2'}
