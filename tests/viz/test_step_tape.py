"""The step tape: what each edge emits, what it has seen, and what is kept, against loops and perturbed inputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from tests.viz.models import MODELS, Backwards, model, noise
from viz.traces.dependencies import dependencies
from viz.traces.edges import Rows
from viz.traces.memory import carried
from viz.traces.steps import trace_steps

MIXED = sl.Serial(
    [
        sl.Conv1D(4, 5, padding='same'),
        sl.Conv1D(4, 3, strides=2, padding='causal'),
        sl.DotProductSelfAttention(1, 4, max_past_horizon=2, max_future_horizon=1),
        sl.Flatten(),
        sl.Upsample1D(2),
    ]
)

LONG = 66  # timesteps of a stream too long to follow each in the state, which takes time


@functools.cache
def mixed(time=14):
    return trace_steps(MIXED, noise(time, gap=(6,)), 2)


@functools.cache
def branches():
    return trace_steps(model('branches'), noise(12))


@functools.cache
def convolutions():
    return trace_steps(model('convolutions'), noise(LONG, gap=(3, 4, 5, 6, 7)))


def kept(trace, row, name=''):
    return next(m for m in trace.memories if (m.row, m.name) == (row, name) and m.entries)


def inside(intervals, time):
    """The timesteps of intervals, from 0 on."""
    return {t for t in range(time) if any(a <= t <= b for a, b in intervals)}


def test_edges_emit_what_a_plain_loop_emits():
    built, trace = model('convolutions'), convolutions()
    padded = noise(LONG, gap=(3, 4, 5, 6, 7)).pad_time(0, built.input_latency)
    step = jax.jit(lambda built, x, state: built.step(x, state, training=False))
    state, masks = built.get_initial_state(1, training=False), []
    for start in range(0, padded.shape[1], 3):
        y, state = step(built, padded[:, start : start + 3].unmask(), state)
        masks.append(np.asarray(y.mask[0]))
    np.testing.assert_array_equal(trace.rows[-1].mask, np.concatenate(masks))
    np.testing.assert_array_equal(trace.rows[0].mask, np.asarray(padded.mask[0]))
    assert 0 < trace.rows[-1].mask.sum() < trace.rows[-1].mask.size - 4
    assert trace.num_blocks == len(masks) == 23
    assert (trace.time, trace.num_steps) == (LONG, 69)


def test_blocks_number_the_timesteps_that_they_emit():
    trace = mixed()
    assert [row.offset for row in trace.rows] == [0, 2, 1, 2, 2, 4]
    assert [row.per_block for row in trace.rows] == [2, 2, 1, 1, 1, 2]
    assert trace.rows[1].emitted(0) == range(-2, 0)
    assert trace.rows[-1].emitted(6) == range(8, 10)
    assert [len(trace.outputs(block)) for block in range(trace.num_blocks)] == [0, 0] + [2] * 7
    assert trace.outputs(trace.num_blocks - 1)[-1] == 13  # the flush pushes out the last
    assert trace.latency == 4


def changed(layer, x, timesteps):
    """bool `[timesteps, output]`: which outputs of the run in steps change with each input timestep."""
    touched = jnp.arange(x.shape[1]) == jnp.asarray(timesteps)[:, None]
    values = jnp.concatenate([x.values, x.values + touched[..., None]])
    y = np.asarray(jax.jit(sl.step_by_step)(layer, sl.Sequence.from_values(values)).values)
    return np.abs(y[1:] - y[:1]).max(-1) > 1e-5


def test_cones_are_what_perturbed_inputs_change():
    trace, differs = convolutions(), changed(model('convolutions'), noise(LONG), range(LONG))
    for block in range(trace.num_blocks - 1):
        found = set(np.flatnonzero(differs[:, list(trace.outputs(block))].any(1)))
        assert inside(trace.cone(block).sets[0], LONG) == found


def test_cones_are_what_perturbed_timesteps_of_an_inner_edge_change():
    built, edge, time, trace = model('convolutions'), 2, LONG // 3, convolutions()
    behind = sl.Serial(built.layers[edge:]).build(built.layers[edge].input_spec, rngs=0)
    differs = changed(behind, noise(time, channels=4), range(time))
    for block in range(trace.num_blocks - 1):
        found = set(np.flatnonzero(differs[:, list(trace.outputs(block))].any(1)))
        assert inside(trace.cone(block).sets[edge], time) == found


@pytest.mark.parametrize(('name', 'trace'), [('convolutions', convolutions), ('branches', branches)])
def test_cones_of_the_first_period_are_those_of_all(name, trace):
    rows, trace = Rows(model(name)), trace()
    assert len(trace.cones) < trace.num_blocks - 2
    for block in range(trace.num_blocks):
        if trace.outputs(block):
            assert trace.cone(block) == dependencies(rows, len(rows.edges) - 1, trace.outputs(block))
        else:
            assert not any(trace.cone(block).sets)


def test_links_lead_to_every_branch():
    links = {(link.row, link.source): link.read for link in branches().cone(6).links}
    assert set(links) == {(7, 5), (7, 6), (6, 4), (5, 4), (4, 3), (4, 1), (3, 2), (2, 1), (1, 0)}
    assert links[4, 1] == links[4, 3]  # a sum reads the same of both
    assert links[5, 4][0][1] == links[6, 4][0][0] - 2  # one delays by one, the other looks ahead by one


def test_a_buffer_holds_the_last_timesteps_of_its_source():
    trace = mixed()
    first, second = kept(trace, 1), kept(trace, 2)
    assert (first.kind, first.source, second.source) == ('buffer', 0, 1)
    for blocks in range(trace.num_blocks + 1):
        arrived = 2 * blocks
        np.testing.assert_array_equal(first.times[blocks], np.maximum(np.arange(arrived - 4, arrived), -1))
        late = np.arange(arrived - 4, arrived - 2)  # what the convolution before it emitted, two steps late
        np.testing.assert_array_equal(second.times[blocks], np.maximum(late, -1))


def test_a_ring_keeps_its_entries_in_place():
    ring = kept(mixed(), 3, 'entries')
    assert (ring.kind, ring.source) == ('ring', 2)
    for blocks, times in enumerate(ring.times):
        held = np.full(ring.entries, -1)
        for step in range(blocks):
            held[step % ring.entries] = step - 1  # one step is void
        np.testing.assert_array_equal(times, held)
    waiting = kept(mixed(), 3, 'queries')
    assert waiting.times[:, 0].tolist() == [-1, -1, 0, 1, 2, 3, 4, 5, 6, 7]


def test_delays_belong_to_the_edge_that_waits():
    shortcut, delay = kept(branches(), 4, 'delay'), kept(branches(), 5, 'delay')
    assert (shortcut.source, delay.source) == (1, 5)  # the input of the residual; the output of the faster branch
    assert shortcut.times[5].tolist() == [3, 4]
    assert delay.times[5].tolist() == [2]


def test_entries_with_the_same_newest_input_are_told_apart_by_their_order():
    newest = np.array([0, 0, 1, 1, 2, 2, 3, 3])  # behind an upsampling two timesteps come of each input
    assert carried(np.array([1, 2, 2, 3, 3]), newest).tolist() == [3, 4, 5, 6, 7]
    assert carried(np.array([3, 1, 2, 2, 3]), newest).tolist() == [7, 3, 4, 5, 6]  # a ring that has wrapped
    assert carried(np.array([-1, -1, 0]), newest).tolist() == [-1, -1, 1]


def test_what_is_no_buffer_has_a_size():
    memories = trace_steps(sl.Serial([sl.GRU(2), sl.Repeat(sl.Delay(1), 2)]), noise(3)).memories
    assert [(m.row, m.kind, m.entries) for m in memories] == [(1, 'vector', 0), (2, 'folded', 0)]
    assert [m.size for m in memories] == [2, 2 * (2 + 1)]  # two repetitions of a timestep with its mask


def test_of_a_long_stream_nothing_is_followed():
    trace = trace_steps(MODELS['window'], noise(LONG))  # a declaration is enough
    assert (trace.memories, trace.num_blocks) == ((), LONG)


def test_repr_and_errors():
    assert repr(mixed()) == 'StepTrace(Serial: 9 blocks of 2, 6 edges, latency 4)'
    with pytest.raises(ValueError, match=r'the input must have an item and a timestep, got .* \(1, 0\)'):
        trace_steps(model('window'), noise(0))
    with pytest.raises(ValueError, match=r'Serial: block_size must be a multiple of 3 timesteps'):
        trace_steps(model('convolutions'), noise(12), 4)
    with pytest.raises(ValueError, match='It starts at the end'):
        trace_steps(sl.Serial([Backwards()]), noise(4))
