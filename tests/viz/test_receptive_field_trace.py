"""Receptive fields of `viz` against what NaN in one input timestep reaches."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
import viz
from tests.viz.models import MODELS, Understated, model

NAMES = sorted(MODELS)


def poisoned_outputs(built, time):
    """bool `[input timestep, output timestep]`: NaN comes out."""
    ones = jnp.ones((time, time, *built.input_spec.shape))
    poison = jnp.where(jnp.eye(time, dtype=bool)[..., None], jnp.nan, ones)
    values = built.layer(sl.Sequence.from_values(poison), training=False).values
    return np.isnan(np.asarray(values)).any(-1)


def timesteps(intervals, time):
    return {t for a, b in intervals for t in range(int(max(a, 0)), int(min(b, time - 1)) + 1)}


@pytest.mark.parametrize('name', NAMES)
def test_the_calculated_field_is_what_nan_reaches(name):
    trace = viz.trace_receptive_field(model(name))
    time = trace.time + -trace.time % model(name).block_size
    reached = poisoned_outputs(model(name), time)
    for field in trace.fields:
        assert timesteps(field.sets[0], time) == set(np.flatnonzero(reached[:, field.output]).tolist())


@pytest.mark.parametrize('name', NAMES)
def test_the_measured_support_is_the_calculated_field(name):
    trace = viz.trace_receptive_field(model(name))
    assert trace.status == 'equal'
    for field in trace.fields:
        support = set(np.flatnonzero(field.measured > 0).tolist())
        assert support == timesteps(field.sets[0], trace.time)


def test_the_field_at_inner_edges_is_that_of_the_layers_behind_them():
    trace = viz.trace_receptive_field(MODELS['convolutions'])
    layers = MODELS['convolutions'].layers
    assert [edge.path for edge in trace.edges] == ['', *(f'layers_{i}' for i in range(5))]
    for field in trace.fields:
        for i, intervals in enumerate(field.sets):
            assert intervals == sl.Serial(layers[i:]).timing.deps(field.output).intervals


def test_every_output_is_the_examined_one_of_its_phase_shifted():
    layer = MODELS['convolutions']
    trace = viz.trace_receptive_field(layer)
    assert trace.period == 2
    for output in range(-3, 40):
        field = trace.at(output)
        assert field.output == output
        assert field.sets[0] == layer.timing.deps(output).intervals
        assert field.own == math.floor(output / layer.output_ratio)
        assert field.sets[0][0][0] - field.own == field.field[0]


def test_branches_are_rows_and_their_links_are_kept_apart():
    trace = viz.trace_receptive_field(sl.Residual([sl.Lookahead(2), sl.Dense(3)]))
    assert [(e.name, e.depth, e.sources, e.offset) for e in trace.edges] == [
        ('input', 0, (), 0),
        ('Lookahead', 1, (0,), 2),
        ('Dense', 1, (1,), 2),
        ('Residual', 0, (2, 0), 2),
    ]
    links = {(edge, source): intervals for edge, source, intervals in trace.fields[0].links}
    assert links == {(3, 2): ((4, 4),), (3, 0): ((4, 4),), (2, 1): ((4, 4),), (1, 0): ((6, 6),)}
    assert trace.fields[0].sets[0] == ((4, 4), (6, 6))


def test_a_field_that_is_larger_than_declared_is_found():
    trace = viz.trace_receptive_field(sl.Serial([Understated(), sl.Dense(2)]), input_spec=sl.ChannelSpec((3,)))
    (field,) = trace.fields
    assert trace.status == 'exceeded'
    assert trace.outside(field) == [field.output - 1]
    assert trace.outside(trace.at(field.output + 3)) == [field.output + 2]
    finding = f'Output {field.output} depends on input {field.output - 1}, which the calculation excludes'
    assert viz.plot_receptive_field(trace).finding == finding


def test_an_output_that_sees_nothing():
    trace = viz.trace_receptive_field(sl.Conv1DTranspose(2, 1, strides=2, padding='causal'))
    assert [field.field for field in trace.fields] == [(0, 0), None]
    assert viz.plot_receptive_field(trace).finding == 'Even outputs see 1 input, odd ones none'


@pytest.mark.parametrize(
    ('layers', 'finding'),
    [
        ([sl.Conv1D(1, 15, padding='causal')], 'Outputs see 5 to 6 inputs, by their phase of 3'),
        (
            [sl.Conv1D(1, 3, dilation_rate=5, padding='causal')],
            'Outputs see from 3 of 4 inputs up to 3 of 5 inputs, by their phase of 3',
        ),
    ],
)
def test_of_many_phases_the_title_says_the_least_and_the_most(layers, finding):
    trace = viz.trace_receptive_field(sl.Serial([sl.Upsample1D(3), *layers]))
    assert viz.plot_receptive_field(trace).finding.startswith(finding)


def test_a_field_without_end():
    trace = viz.trace_receptive_field(model('memories'))
    assert trace.fields[0].field == (-math.inf, 0)
    assert trace.fields[0].size == math.inf


def test_of_many_phases_only_the_extremes_are_examined():
    trace = viz.trace_receptive_field(sl.Serial([sl.Upsample1D(20), sl.Conv1D(1, 15, padding='causal')]))
    assert len(trace.table) == 20
    assert [(f.output % 20, f.size) for f in trace.fields] == [(0, 2), (14, 1)]
    assert trace.at(1) is None


def test_integers_are_not_measured():
    layer = sl.Serial([sl.Embedding(dimension=2, num_embeddings=3), sl.Delay(1)])
    trace = viz.trace_receptive_field(layer, input_spec=sl.ChannelSpec((), 'int32'))
    assert trace.status == 'not measured'
    assert trace.fields[0].field == (-1, -1)


def test_repr_is_short_and_the_same_every_time():
    texts = {repr(viz.trace_receptive_field(model('convolutions'))) for _ in range(2)}
    assert texts == {'ReceptiveFieldTrace(Serial, {0: (-10, 5), 1: (-8, 4)}, equal)'}
