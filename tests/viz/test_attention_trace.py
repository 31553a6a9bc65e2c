"""Who looks at whom: against loops over the rule, whole and in steps, for every self-attention layer."""

import functools

import numpy as np
import pytest

import seqlayers as sl
from tests.viz.models import model, noise
from tests.viz.test_step_tape_pictures import check_layout, check_that_nothing_runs
from viz.plots.attention import AttentionView, plot_attention
from viz.traces.attention import trace_attention

LAYERS = {
    'endless': sl.DotProductSelfAttentionV2(2, 3, max_past_horizon=-1),
    'local': sl.LocalDotProductSelfAttention(2, 3, 5, max_past_horizon=3, max_future_horizon=1),
    'chunks': sl.BlockwiseDotProductSelfAttention(4, 2, 3, max_past_horizon_blocks=1, max_future_horizon_blocks=1),
    'sinks': sl.Serial(
        [
            sl.Conv1D(4, 5, padding='same'),
            sl.DotProductSelfAttention(2, 3, max_past_horizon=4, max_future_horizon=2, num_sink_embeddings=1),
        ]
    ),
    'repeated': sl.Repeat(
        sl.Residual([sl.DotProductSelfAttention(1, 3, max_past_horizon=30, name='attention'), sl.Flatten()]), 2
    ),
}
REACH = {'endless': (99, 0, 1), 'local': (3, 1, 1), 'chunks': (1, 1, 4), 'sinks': (4, 2, 1)}
OFFSETS = {'sinks': 2}
BLOCKS = {'endless': 3, 'local': 12}
TIME, MANY, GAP = 12, 60, (5,)


@functools.cache
def built(name):
    return LAYERS[name].build(sl.ChannelSpec((3,)), rngs=0)


@functools.cache
def traced(name):
    time = MANY if name == 'repeated' else TIME
    return trace_attention(built(name), noise(time, gap=GAP), BLOCKS.get(name))


@pytest.mark.parametrize('name', REACH)
def test_queries_see_the_valid_keys_within_their_horizons(name):
    trace, (past, future, chunk) = traced(name), REACH[name]
    expected = np.zeros((TIME, TIME), bool)
    for query in range(TIME):
        for key in range(TIME):
            chunks = key // chunk - query // chunk
            expected[query, key] = -past <= chunks <= future and key not in GAP
            assert trace.in_horizon(query)[key] == (-past <= chunks <= future)
    np.testing.assert_array_equal(trace.layer_looks.seen, expected)
    np.testing.assert_array_equal(trace.step_looks.seen, expected)
    assert trace.first_difference is None
    assert np.flatnonzero(~trace.valid).tolist() == list(GAP)


@pytest.mark.parametrize('name', REACH)
def test_weights_are_shares_of_what_is_seen_and_the_same_in_steps(name):
    whole, stepped = traced(name).layer_looks, traced(name).step_looks
    np.testing.assert_array_equal(whole.weights > 0, np.broadcast_to(whole.seen, whole.weights.shape))
    np.testing.assert_allclose(whole.weights.sum(-1) + whole.sinks, 1, rtol=1e-5)
    np.testing.assert_allclose(whole.weights, stepped.weights, atol=1e-6)
    np.testing.assert_allclose(whole.sinks, stepped.sinks, atol=1e-6)
    assert (whole.sinks.min() > 0) == (name == 'sinks')


def test_weights_are_those_that_the_layer_emits():
    emits = built('sinks').layer_with_emits(noise(TIME, gap=GAP), training=False)[1]
    emitted = np.asarray(emits['layers_1'].probabilities.values)[0].swapaxes(0, 1)
    looks = traced('sinks').layer_looks
    np.testing.assert_allclose(np.concatenate([looks.sinks[..., None], looks.weights], -1), emitted, atol=1e-6)


@pytest.mark.parametrize('name', REACH)
def test_a_query_is_answered_when_its_last_key_is_there(name):
    trace, (_, future, chunk) = traced(name), REACH[name]
    assert (trace.offset, trace.future) == (OFFSETS.get(name, 0), future * chunk)
    for query in range(TIME):
        step = trace.step_of(query)
        assert step == query + future * chunk + OFFSETS.get(name, 0)
        arrived = trace.arrived(step)
        last = min((query // chunk + future + 1) * chunk, TIME)
        assert arrived >= last  # all that it looks at
        if trace.block_size == chunk:
            assert trace.arrived(step - chunk) < (query // chunk + future + 1) * chunk  # and not a call earlier


def test_slots_of_a_ring_hold_the_last_valid_timesteps():
    trace = traced('sinks')
    entries = trace.slots.shape[1]
    for call, slots in enumerate(trace.slots):
        for slot, time in enumerate(slots):
            if time >= 0:
                assert (time + trace.offset) % entries == slot
        arrived = trace.arrived(call)
        readable = set(range(max(0, arrived - 7), min(arrived, TIME))) - set(GAP)
        assert readable <= set(slots.tolist()) <= set(range(arrived)) | {-1}
    assert set(trace.held(7).tolist()) >= set(np.flatnonzero(trace.step_looks.seen[7]).tolist())


def test_of_repetitions_the_first_is_traced():
    trace = traced('repeated')
    assert repr(trace) == ('AttentionTrace(attention at child_layer/attention: 60 queries, past 30, future 0)')
    assert trace.layer_looks.weights.shape == (1, 60, 60)
    np.testing.assert_allclose(trace.layer_looks.weights, trace.step_looks.weights, atol=1e-6)


def test_any_layer_of_a_model_can_be_traced():
    twice = sl.Serial([LAYERS['local'], sl.Flatten(), LAYERS['chunks']])
    trace = trace_attention(twice, noise(TIME), layer='layers_2')
    assert (trace.path, trace.past, trace.future, trace.offset) == ('layers_2', 4, 4, 4)  # 1, delayed to a chunk
    with pytest.raises(ValueError, match=r"at 'layers_1' is a Flatten; .* are at \['layers_0', 'layers_2'\]"):
        trace_attention(twice, noise(TIME), layer='layers_1')
    with pytest.raises(ValueError, match=r"at 'nowhere' is no layer"):
        trace_attention(twice, noise(TIME), layer='nowhere')


def test_models_without_self_attention_are_refused():
    with pytest.raises(ValueError, match=r'Conv1D holds no self-attention layer \(one of BlockwiseDotProduct'):
        trace_attention(model('window'), noise(TIME))


@pytest.mark.parametrize('name', LAYERS)
def test_texts_do_not_overlap_and_stay_on_the_page(name):
    view = AttentionView(traced(name))
    for query in (0, view.start, view.positions[-1]):
        check_layout(view.result(query))
    check_that_nothing_runs(view)


@pytest.mark.parametrize(
    ('name', 'finding'),
    [
        ('sinks', 'Looking 2 steps ahead means waiting 2 steps: the band slides below the diagonal'),
        ('endless', 'Every query sees all of the past, so what is kept grows with the stream'),
        ('chunks', 'Looking 1 block of 4 steps ahead means waiting 4 steps'),
        ('repeated', 'Looking only back means no waiting: the band is the same in both'),
    ],
)
def test_the_title_says_what_looking_ahead_costs(name, finding):
    assert plot_attention(traced(name)).finding == finding
