"""The proof must be able to fail: each of these layers breaks one promise, and the right clause says so."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import seqlayers as sl
from seqlayers import buffers
from seqlayers.clock import clock, tick

SPEC = sl.ChannelSpec((3,))


class RunningSum(sl.SequenceLayer):
    """A correct layer, from which the broken ones are made: the sum of this timestep and the one before."""

    @property
    def timing(self):
        return sl.Timing(receptive_field=(-1, 0))

    def get_initial_state(self, batch_size, *, training, constants=None):
        return buffers.empty(batch_size, 1, self.input_spec)

    def layer(self, x, *, training, constants=None):
        x = x.mask_invalid()
        return x.apply_values(lambda v: v + jnp.pad(v, ((0, 0), (1, 0), (0, 0)))[:, :-1])

    def step(self, x, state, *, training, constants=None):
        joined = state.concatenate(x.mask_invalid()).mask_invalid()
        return sl.Sequence(joined.values[:, 1:] + joined.values[:, :-1], x.mask), joined[:, -1:].unmask()


class LeaksTheFuture(RunningSum):
    def layer(self, x, *, training, constants=None):
        x = x.mask_invalid()
        return x.apply_values(lambda v: v + jnp.pad(v, ((0, 0), (0, 1), (0, 0)))[:, 1:])


class PromisesZeros(sl.Stateless):
    """Keeps the type of a MaskedSequence, and adds one to its zeros."""

    def layer(self, x, *, training, constants=None):
        return x.apply_values_masked(lambda v: v + 1)


class ForgetsItsState(RunningSum):
    def step(self, x, state, *, training, constants=None):
        return RunningSum.step(
            self, x, buffers.empty(x.shape[0], 1, self.input_spec), training=training, constants=constants
        )


class ReturnsTheOldState(sl.SequenceLayer):
    """Delays by 2, but hands the state back as it came: no output is ever valid."""

    @property
    def timing(self):
        return sl.Timing(input_latency=2, receptive_field=(-2, -2))

    def get_initial_state(self, batch_size, *, training, constants=None):
        return buffers.empty(batch_size, 2, self.input_spec)

    def layer(self, x, *, training, constants=None):
        return x.pad_time(2, 0)

    def step(self, x, state, *, training, constants=None):
        return buffers.push(state, x)[0], state


class ReturnsNoState(RunningSum):
    def step(self, x, state, *, training, constants=None):
        return RunningSum.step(self, x, state, training=training, constants=constants)[0]


class ForgetsTheBufferInLongBlocks(RunningSum):
    def step(self, x, state, *, training, constants=None):
        y, state = RunningSum.step(self, x, state, training=training, constants=constants)
        return (y, state) if x.shape[1] == 1 else (y, buffers.empty(x.shape[0], 1, self.input_spec))


class IgnoresTheMask(RunningSum):
    def layer(self, x, *, training, constants=None):
        return x.apply_values(lambda v: v + jnp.pad(v, ((0, 0), (1, 0), (0, 0)))[:, :-1])

    def step(self, x, state, *, training, constants=None):
        joined = state.unmask().concatenate(x.unmask())
        return sl.Sequence(joined.values[:, 1:] + joined.values[:, :-1], x.mask), joined[:, -1:]


class MultipliesByTheMask(RunningSum):
    def layer(self, x, *, training, constants=None):
        x = x.apply_values(lambda v: v * x.expanded_mask())
        return x.apply_values(lambda v: v + jnp.pad(v, ((0, 0), (1, 0), (0, 0)))[:, :-1])


class SaysTooLittleLatency(sl.SequenceLayer):
    @property
    def timing(self):
        return sl.Timing(output_latency=1, input_latency=2, receptive_field=(0, 0))

    def get_initial_state(self, batch_size, *, training, constants=None):
        return buffers.empty(batch_size, 2, self.input_spec)

    def layer(self, x, *, training, constants=None):
        return x

    def step(self, x, state, *, training, constants=None):
        return buffers.push(state, x)


class FlushesTooLittle(SaysTooLittleLatency):
    @property
    def timing(self):
        return sl.Timing(output_latency=2, input_latency=1)


class VoidOutputsAreValid(SaysTooLittleLatency):
    @property
    def timing(self):
        return sl.Timing(output_latency=2, input_latency=2)

    def get_initial_state(self, batch_size, *, training, constants=None):
        return buffers.empty(batch_size, 2, self.input_spec, valid=True)


class SaysTooNarrowAField(RunningSum):
    @property
    def timing(self):
        return sl.Timing(receptive_field=(0, 0))


class SaysTooWideAField(RunningSum):
    @property
    def timing(self):
        return sl.Timing(receptive_field=(-2, 0))


class ReturnsOtherChannelsInSteps(RunningSum):
    def step(self, x, state, *, training, constants=None):
        y, state = RunningSum.step(self, x, state, training=training, constants=constants)
        return y.apply_values(lambda v: v[..., :2]), state


class DriftsInDtype(RunningSum):
    def step(self, x, state, *, training, constants=None):
        y, state = RunningSum.step(self, x, state, training=training, constants=constants)
        return y.astype(jnp.bfloat16), state


class GrowsItsState(RunningSum):
    def step(self, x, state, *, training, constants=None):
        y, _ = RunningSum.step(self, x, state[:, -1:], training=training, constants=constants)
        return y, state.concatenate(x.mask_invalid().unmask())


class DependsOnTheBatch(sl.Stateless):
    def layer(self, x, *, training, constants=None):
        return x.apply_values(lambda v: v - jnp.where(x.expanded_mask(), v, 0).mean(axis=0, keepdims=True))


class MaskDependsOnValues(sl.Stateless):
    def layer(self, x, *, training, constants=None):
        return x.replace(mask=x.mask | (x.values != 0).any(-1))


class DropsTheMaskInSteps(RunningSum):
    def step(self, x, state, *, training, constants=None):
        y, state = RunningSum.step(self, x, state, training=training, constants=constants)
        return y.replace(mask=jnp.ones_like(y.mask)), state


class CountsVoidTimesteps(sl.SequenceLayer):
    """Adds the timestep's number, and is not told the offset."""

    def get_initial_state(self, batch_size, *, training, constants=None):
        return clock(batch_size)

    def layer(self, x, *, training, constants=None):
        return x.apply_values(lambda v: v + jnp.arange(v.shape[1], dtype=v.dtype)[:, None])

    def step(self, x, state, *, training, constants=None):
        times, state = tick(state, x.shape[1])
        return x.apply_values(lambda v: v + times[..., None].astype(v.dtype)), state


class NormalizesByLength(sl.SequenceLayer):
    """Divides by the length of the array, padding included."""

    @property
    def timing(self):
        return sl.Timing(blocked='it needs the whole sequence')

    def layer(self, x, *, training, constants=None):
        return x.apply_values(lambda v: v / v.shape[1])


class StopsTheGradientInSteps(RunningSum):
    def step(self, x, state, *, training, constants=None):
        y, state = RunningSum.step(self, x, state, training=training, constants=constants)
        return y, state.apply_values(jax.lax.stop_gradient)


BROKEN = [
    (LeaksTheFuture, 'layer equals step'),
    (PromisesZeros, 'output spec'),
    (ForgetsItsState, 'layer equals step'),
    (ReturnsTheOldState, 'masks'),
    (ReturnsNoState, 'output spec'),
    (ForgetsTheBufferInLongBlocks, 'layer equals step'),
    (IgnoresTheMask, 'padding invariance'),
    (MultipliesByTheMask, 'padding invariance'),
    (SaysTooLittleLatency, 'latency'),
    (FlushesTooLittle, 'flush'),
    (VoidOutputsAreValid, 'latency'),
    (SaysTooNarrowAField, 'receptive field'),
    (SaysTooWideAField, 'receptive field'),
    (ReturnsOtherChannelsInSteps, 'output spec'),
    (DriftsInDtype, 'output spec'),
    (GrowsItsState, 'state'),
    (DependsOnTheBatch, 'batch invariance'),
    (MaskDependsOnValues, 'masks'),
    (DropsTheMaskInSteps, 'masks'),
    (CountsVoidTimesteps, 'start'),
    (NormalizesByLength, 'end'),
    (StopsTheGradientInSteps, 'gradients'),
]


def report_on(layer: sl.SequenceLayer) -> sl.testing.ContractReport:
    return sl.testing.check_contract(layer.build(SPEC, rngs=nnx.Rngs(0)))


def test_the_correct_layer_passes():
    report_on(RunningSum()).raise_if_failed()


@pytest.mark.parametrize(('broken', 'clause'), BROKEN, ids=[layer.__name__ for layer, _ in BROKEN])
def test_the_right_clause_fails(broken, clause):
    report = report_on(broken())
    assert report[clause].passed is False, report
    with pytest.raises(sl.testing.ContractError, match=clause):
        report.raise_if_failed()


def test_the_first_broken_layer_and_timestep_are_named():
    model = sl.Serial([sl.Dense(3), sl.Residual([sl.Dense(3), ForgetsItsState()]), sl.Dense(2)])
    report = report_on(model)
    clause = report['layer equals step']
    assert (clause.layer, clause.timestep) == ('layers_1/layers_1', 1)
    assert 'layers_1/layers_1 (ForgetsItsState)' in clause.detail
    assert 'layers_1/layers_1' in str(report) and 'layers_1/layers_1' in report._repr_html_()


def test_a_layer_that_cannot_step_is_checked_as_far_as_it_goes():
    report = report_on(NormalizesByLength())
    assert report['layer equals step'].passed is None
    assert 'needs the whole sequence' in report['layer equals step'].detail


def test_labels_are_escaped_in_html():
    report = sl.testing.ContractReport('<script>', (sl.testing.Clause('end', True, 'a < b'),))
    assert '<script>' not in report._repr_html_() and 'a &lt; b' in report._repr_html_()


def test_values_count_as_equal_only_where_both_are_valid():
    clause = report_on(ReturnsTheOldState())['layer equals step']
    assert clause.passed is None and clause.detail == 'see masks'


def test_a_declaration_is_refused():
    with pytest.raises(sl.LayerError, match='call its build first'):
        sl.testing.check_contract(sl.Dense(3))


def test_a_fault_in_a_model_with_shared_layers_is_found():
    layers = [sl.Ref('dense'), ForgetsItsState()]
    model = sl.Shared({'dense': sl.Dense(3)}, sl.Serial(layers)).build(SPEC, rngs=0)
    report = sl.testing.check_contract(model, clauses=['layer equals step'])
    assert 'child_layer/layers_1 (ForgetsItsState)' in report.failures[0].detail


def test_a_streamed_constant_may_be_longer_than_the_input():
    source = {'source': sl.testing.random_sequence(SPEC, 20)}
    model = sl.StreamingDotProductAttention('source', 2, 4, 4, 2).build(SPEC, rngs=0, constants=source)
    x = sl.testing.random_sequence(SPEC, 17)
    clauses = ['layer equals step', 'masks', 'gradients', 'end']
    sl.testing.check_contract(model, x, constants=source, clauses=clauses).raise_if_failed()
