"""States block by block, and which input each entry comes from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
import viz
from tests.viz.models import MODELS, Ring, model, noise
from viz.plots.state import StateView


def leaves(trace):
    return {(leaf.path, leaf.name): leaf for leaf in trace.leaves}


def test_values_are_those_of_a_plain_loop():
    built, x = model('memories'), noise(12, batch=2, gap=(5, 6))
    trace = viz.trace_state(built, x, 3)
    state = built.get_initial_state(2, training=False)
    states = [state]
    for start in range(0, 12, 3):
        _, state = built.step(x[:, start : start + 3], state, training=False)
        states.append(state)
    assert trace.num_blocks == 4
    for i, leaf in enumerate(trace.leaves):
        expected = [np.asarray(jax.tree.leaves(s)[i]) for s in states]
        assert leaf.shape == expected[0].shape
        assert leaf.nbytes == expected[0].nbytes
        item = [e[0] if e.ndim and e.shape[0] == 2 else e for e in expected]
        np.testing.assert_allclose(leaf.values.reshape(5, -1), np.reshape(item, (5, -1)), rtol=1e-5, atol=1e-6)
    assert trace.nbytes == sum(a.nbytes for a in jax.tree.leaves(states[0]))


def test_a_buffer_holds_the_last_timesteps_and_moves_them():
    trace = viz.trace_state(sl.Delay(3), noise(6, gap=(2,)))
    values = leaves(trace)['', 'values']
    expected = [[n - 3, n - 2, n - 1] for n in range(7)]
    assert values.newest.tolist() == [[max(t, -1) for t in row] for row in expected]
    assert values.is_buffer
    assert not values.is_ring
    assert values.changed.all(-1)[3:].all()
    assert values.held([1]) == 3
    assert not trace.mask[2]


def test_a_ring_is_written_in_place():
    ring = leaves(viz.trace_state(model('memories'), noise(12)))['layers_2', 'entries']
    assert ring.is_ring
    written = (ring.newest[1:] != ring.newest[:-1]).sum(-1)
    np.testing.assert_array_equal(written, 1)
    for block in range(12):  # behind an LSTM, an entry comes from its own timestep and all before it
        assert ring.newest[block + 1, block % 5] == block
    assert ring.held([4]) == 5


def test_a_recurrent_state_depends_on_the_last_valid_timestep():
    trace = viz.trace_state(sl.LSTM(4), noise(6, gap=(3, 4)))
    for leaf in trace.leaves:
        assert leaf.kind == 'vector'
        assert leaf.newest[:, 0].tolist() == [-1, 0, 1, 2, 3, 4, 5]  # whether 3 is valid matters too
        np.testing.assert_array_equal(leaf.values[4:6], leaf.values[3:5])


def test_a_block_of_several_timesteps():
    values = leaves(viz.trace_state(sl.Delay(3), noise(8), 2))['', 'values']
    assert values.newest.tolist() == [[-1, -1, -1], [-1, 0, 1], [1, 2, 3], [3, 4, 5], [5, 6, 7]]


def test_timesteps_of_a_long_input_are_followed_in_runs():
    values = leaves(viz.trace_state(sl.Delay(3), noise(130), 65))['', 'values']
    assert values.newest[-1].tolist() == [128, 128, 129]  # runs of three: 126 to 128, and 129


@pytest.mark.parametrize('layer', [sl.Delay(5), sl.Conv1D(2, 6, padding='causal')], ids=repr)
def test_a_buffer_of_a_long_silence_is_no_ring(layer):
    silence = noise(130).replace(values=np.zeros((1, 130, 3), np.float32))
    assert not any(leaf.is_ring for leaf in viz.trace_state(layer, silence).leaves)
    ring = leaves(viz.trace_state(sl.Serial([Ring(7)]), silence))['layers_0', 'entries']
    assert ring.is_ring


def test_what_cannot_be_told_apart_is_followed_together():
    view = viz.view(viz.trace_state(sl.Delay(3), noise(130)))  # runs of three
    picture = view.picture(100)
    said = [text.get_text() for text in picture.axes[0].texts]
    assert 'Follow inputs 99 to 101: they are kept for 5 blocks in Delay.' in said
    values = leaves(view.trace)['', 'values']
    assert values.held(view.trace.followed(range(100, 101))) == 5  # three timesteps, each for three blocks
    assert view.trace.followed(range(129, 130)) == range(129, 130)
    exact = viz.trace_state(sl.Delay(3), noise(64))
    assert exact.followed(range(7, 9)) == range(7, 9)


def test_repetitions_in_repetitions_are_all_counted():
    layer = sl.Repeat(sl.Repeat(sl.Residual([sl.Delay(1)]), 2), 3)
    assert {leaf.repeats for leaf in viz.trace_state(layer, noise(4)).leaves} == {6}
    memories = viz.trace_steps(layer, noise(4)).memories
    state = layer.build(sl.ChannelSpec((3,)), rngs=0).get_initial_state(1, training=False)
    assert sum(memory.size for memory in memories) == sum(leaf.size for leaf in jax.tree.leaves(state))


def test_delays_of_combinators_and_repetitions_are_named():
    trace = viz.trace_state(model('branches'), noise(16))
    found = leaves(trace)
    assert ('layers_1', 'delay.values') in found  # the shortcut waits for the look-ahead
    assert found['layers_1', 'delay.values'].layer == 'Residual'
    assert {path for path, _ in found} <= {'layers_0', 'layers_1', 'layers_2'} | {
        f'layers_{i}/layers_{j}' for i in (1, 2) for j in (0, 1)
    }
    repeated = viz.trace_state(model('repeated'), noise(8))
    assert {leaf.repeats for leaf in repeated.leaves} == {2}
    assert {leaf.shape[:2] for leaf in repeated.leaves} == {(2, 1)}


def test_integer_inputs_are_followed():
    layer = sl.Serial([sl.Embedding(dimension=2, num_embeddings=3), sl.Delay(2)])
    x = sl.Sequence.from_values(np.array([[0, 1, 0, 2, 2]], np.int32))
    values = leaves(viz.trace_state(layer, x))['layers_1', 'values']
    assert values.newest.tolist() == [[-1, -1], [-1, 0], [0, 1], [1, 2], [2, 3], [3, 4]]


def test_a_layer_without_state():
    trace = viz.trace_state(sl.Dense(2), noise(4))
    assert trace.leaves == ()
    assert viz.plot_state(trace).finding == 'Nothing is remembered from block to block'


@pytest.mark.parametrize(
    ('buffer', 'finding'),
    [
        (MODELS['memories'], 'Conv1D moves its entries, Ring only a pointer'),
        (sl.Delay(3), 'Delay remembers its last inputs; every block moves them on'),
        (sl.LSTM(2), 'LSTM remembers a few numbers, however long the stream'),
        (sl.Lookahead(2), 'Only a clock is kept from block to block'),
    ],
)
def test_the_title_says_what_kind_of_memory_it_is(buffer, finding):
    assert viz.plot_state(viz.trace_state(buffer, noise(12))).finding == finding


def test_repr_and_errors():
    trace = viz.trace_state(sl.Delay(3), noise(6), 2)
    assert repr(trace) == 'StateTrace(Delay: 3 blocks of 2, 2 leaves, 39 bytes)'
    with pytest.raises(
        ValueError, match=r'Serial: block_size must be a multiple of 3 timesteps \(3, 6, 9, ...\), got 4'
    ):
        viz.trace_state(model('convolutions'), noise(12), 4)


def test_the_entries_of_a_cache_are_found_whichever_axis_they_are_on():
    layer = sl.DotProductSelfAttention(num_heads=2, units_per_head=3, max_past_horizon=4)
    rings = [leaf for leaf in viz.trace_state(layer, noise(10)).leaves if leaf.nbytes > 100]
    assert len(rings) == 2  # keys and values
    for leaf in rings:
        assert leaf.is_ring
        assert leaf.values.shape[1] * 2 * 3 == np.prod(leaf.shape)
        assert leaf.newest[10, :10].tolist() == list(range(10))


def test_chains_in_branches():
    branches = [sl.Serial([sl.Conv1D(2, 3, padding='causal'), sl.LSTM(2)]), sl.Lookahead(2), sl.Delay(1)]
    leaves = viz.trace_state(sl.Parallel(branches, combination='concat'), noise(8)).leaves
    paths = [leaf.path for leaf in leaves]
    assert list(dict.fromkeys(paths)) == ['layers_0/layers_0', 'layers_0/layers_1', 'layers_0', 'layers_1', 'layers_2']
    waiting = [leaf.path for leaf in leaves if leaf.name.startswith('delay.')]
    assert set(waiting) == {'layers_0', 'layers_2'}  # they wait for the branch that looks ahead


def test_the_source_of_a_decoder_is_that_of_its_item():
    model = sl.models.encoder_decoder(9, width=8, num_layers=1, num_heads=1, past=4)
    spec = sl.ChannelSpec((), np.int32)
    source = sl.testing.random_sequence(sl.ChannelSpec((8,)), 5)[:1]
    built = model.build(spec, rngs=0, constants={'source': source})
    x = sl.Sequence.from_values(np.zeros((1, 6), np.int32))
    assert viz.trace_state(built, x, constants={'source': source}).num_blocks == 6


@pytest.mark.parametrize('trace', [viz.trace_state, viz.trace_steps, viz.compare_layer_and_step])
def test_inputs_that_no_trace_can_run(trace):
    built = model('window')
    wrong = sl.ChannelSpec((built.input_spec.shape[0] + 1,))
    with pytest.raises(sl.LayerError, match='got a sequence of'):
        trace(built, sl.testing.random_sequence(wrong, 4))
    with pytest.raises(ValueError, match='must have an item and a timestep'):
        trace(built, noise(4)[:, :0])
    with pytest.raises(TypeError, match='wrap an array in sl'):
        trace(built, np.zeros((1, 4, 3)))
    with pytest.raises(TypeError, match='viz looks into a model or a declaration'):
        trace(sl.Conv1D, noise(4))


class Total(sl.SequenceLayer):
    """The sum of all that came, in one number."""

    @property
    def timing(self):
        return sl.Timing(receptive_field=(-np.inf, 0))

    def get_initial_state(self, batch_size, *, training, constants=None):
        return jnp.zeros((batch_size, 1), jnp.int32)

    def layer(self, x, *, training, constants=None):
        return x.apply_values(lambda values: jnp.cumsum(values, 1))

    def step(self, x, state, *, training, constants=None):
        y = x.apply_values(lambda values: state + jnp.cumsum(values, 1))
        return y, y.values[:, -1:]


def test_a_delay_of_one_integer_is_a_buffer_and_a_sum_is_none():
    tokens = sl.Sequence.from_values(jnp.arange(6, dtype=jnp.int32)[None])
    values = viz.trace_state(sl.Delay(1), tokens).leaves[0]
    assert (values.kind, values.newest.ravel().tolist()) == ('buffer', [-1, 0, 1, 2, 3, 4, 5])
    total = viz.trace_state(Total(), tokens).leaves[0]
    assert (total.kind, total.newest.ravel().tolist()) == ('counter', [-1, 0, 1, 2, 3, 4, 5])


def test_the_last_block_that_is_filled_up_and_the_streams_of_a_batch_are_said():
    trace = viz.trace_state(sl.Conv1D(2, 3, padding='causal'), noise(7, batch=3), 4)
    assert (trace.time, trace.num_blocks, trace.batch_size) == (7, 2, 3)
    view = StateView(trace)
    view.show(1)
    assert view._following.get_text().startswith('Follow inputs 4 to 6: they are kept for 1 block in Conv1D.')
    assert view._following.get_text().endswith('1 invalid timestep fills the block.')
    said = [text.get_text() for text in view.page.ax.texts]
    assert 'total of 3 streams' in said
