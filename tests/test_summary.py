"""Summaries of models: every number against the model itself, and what is said where building fails."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqlayers as sl
from seqlayers.inside import nbytes
from seqlayers.summary import summarize
from seqlayers.tables import state_summary

IDS = sl.ChannelSpec((), jnp.int32)
SPEC = sl.ChannelSpec((4,))
MODELS = {
    'transformer': (sl.models.transformer(7, width=4, num_layers=3, num_heads=2, past=3), IDS),
    'conformer': (sl.models.conformer(width=4, num_layers=2, num_heads=2, past=3, look_ahead=1), SPEC),
    'mamba': (sl.models.mamba(width=4, num_heads=2, state_size=2), SPEC),
    'branches': (
        sl.Serial(
            [
                sl.Lookahead(1),
                sl.Conv1D(4, 3, strides=2, padding='causal'),  # waits for its input, behind the look-ahead
                sl.Parallel([sl.Delay(1), sl.Serial([sl.Dense(4), sl.Lookahead(2)]), sl.Identity()], 'concat'),
                sl.Skip([sl.Conv1D(3, 3, padding='same')]),
                sl.Blockwise(sl.LSTM(4), 2),
                sl.Autoregressive(sl.Dense(4)),
            ]
        ),
        SPEC,
    ),
    'repeated': (sl.Repeat(sl.Repeat(sl.Residual([sl.Conv1D(4, 3, padding='same')]), 2), 3), SPEC),
}


class Failing(sl.Stateless):
    """Cannot run."""

    def layer(self, x, *, training, constants=None):
        raise KeyError('what it needs')


class Feeder(sl.Composite):
    """A composition."""

    width: int

    def body(self):
        return sl.Residual([sl.Dense(2 * self.width), sl.Dense(self.width)])


def by_path(summary):
    return {layer.path: layer for layer in summary.walk()}


@pytest.mark.parametrize('name', MODELS)
def test_numbers_are_those_of_the_model(name):
    declaration, spec = MODELS[name]
    summary, model = summarize(declaration, spec), nnx.eval_shape(lambda: declaration.build(spec, rngs=0))
    assert summary.parameters == sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert summary.parameter_bytes == 4 * summary.parameters
    state = jax.eval_shape(lambda model: model.get_initial_state(1, training=False), model)
    assert summary.state_bytes == sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    assert summary.output_spec == model.output_spec
    assert summary.latency == model.output_latency / model.output_ratio


def test_a_built_model_has_the_summary_of_its_declaration():
    declaration = sl.Serial([sl.Lookahead(1), sl.Downsample1D(2), sl.Residual([sl.Conv1D(4, 3, padding='same')])])
    model = declaration.build(SPEC, rngs=0)
    assert repr(model.summary()) == repr(declaration.summary(SPEC))
    state = model.get_initial_state(1, training=False)
    assert model.summary().root.state_bytes == sum(leaf.nbytes for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize('name', MODELS)
def test_every_parameter_and_every_byte_of_state_belongs_to_a_line(name):
    summary = summarize(*MODELS[name])
    state = parameters = 0
    for layer in summary.walk():
        waits = [layer.per_repetition(nbytes(layer.wait.buffer))] if layer.wait else []
        ends = [chain[-1] if chain else layer for chain in layer.chains]
        joins = zip(ends, layer.joins, strict=True)
        waits += [end.per_repetition(nbytes(join.buffer)) * len_of(end, layer) for end, join in joins if join]
        state += sum(waits) * math.prod(layer.repeats)
        if layer.type == 'Autoregressive':
            state += nbytes(layer.state[2])  # the last output
        if not layer.children:
            state += layer.state_bytes * math.prod(layer.repeats)
            parameters += layer.parameters * math.prod(layer.repeats)
    assert (state, parameters) == (summary.state_bytes, summary.parameters)


def len_of(end, layer):
    """How many repetitions of a layer inside there are in one of the layer around it."""
    return math.prod(end.repeats) // math.prod(layer.repeats)


def test_a_declaration_is_built_by_shapes_alone():
    leaves = jax.tree.leaves(summarize(*MODELS['transformer']).layer)
    assert leaves
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)


def test_without_an_input_only_the_timing_is_known():
    summary = summarize(MODELS['branches'][0])
    layers = by_path(summary)
    assert (summary.ratio, summary.offset, summary.latency) == (Fraction(1, 2), 4, 8)
    assert {(s.parameters, s.state_bytes, s.output_spec) for s in summary.walk()} == {(None, None, None)}
    assert layers['layers_1'].wait.timesteps == 1
    assert [join and join.timesteps for join in layers['layers_2'].joins] == [2, None, 2]
    assert [join and join.timesteps for join in layers['layers_3'].joins] == [1, None]
    assert layers['layers_2/layers_1/layers_1'].latency == 4
    assert '?' in repr(MODELS['branches'][0].summary())


def test_latencies_of_a_chain_and_its_delays_add_up():
    summary = summarize(*MODELS['branches'])
    own = [layer.latency for layer in summary.chains[0]]
    assert own == [1, 0, 4, 2, 0, 0]
    assert summary.latency == sum(own) + summary.chains[0][1].wait.timesteps


def test_building_that_fails_is_shown_up_to_there():
    model = sl.Serial([sl.Dense(8), sl.Residual([sl.Dense(4), Feeder(4)], name='mix'), sl.Residual([sl.LSTM(8)])])
    layers = by_path(summarize(model, SPEC))
    assert layers['mix'].status == 'failed'
    assert 'adds channels (4,) of the body to channels (8,)' in layers['mix'].problem
    assert layers['layers_0'].parameters == 40
    assert layers['mix/layers_1/network/layers_0'].output_spec == sl.ChannelSpec((8,))
    assert [path for path, s in layers.items() if s.status == 'not reached'] == ['layers_2', 'layers_2/layers_0']
    assert layers['layers_2/layers_0'].parameters is None
    text = repr(model.summary(SPEC))
    assert 'It cannot be built. mix: adds channels' in text
    assert '✗ mix' in text


@pytest.mark.parametrize('around', [lambda m: m, lambda m: sl.Repeat(m, 3), lambda m: sl.CheckpointGradient(m)])
def test_an_error_of_any_kind_is_found_where_it_is_raised(around):
    model = sl.Serial([sl.Dense(4), around(sl.Serial([sl.Delay(1), Failing(), sl.Dense(4)])), sl.Dense(2)])
    failed = [s for s in summarize(model, SPEC).walk() if s.status == 'failed']
    assert [s.type for s in failed] == ['Failing']
    assert failed[0].problem == "KeyError: 'what it needs'"
    delay = next(s for s in summarize(model, SPEC).walk() if s.type == 'Delay')
    assert delay.output_spec == SPEC
    assert delay.parameters == 0


def test_an_error_inside_of_an_opaque_layer_is_that_layers():
    attention = sl.DotProductSelfAttention(2, 2, 3, query_network=sl.Serial([Failing()]))
    layers = by_path(summarize(sl.Serial([attention, sl.Dense(2)]), SPEC))
    assert layers['layers_0'].status == 'failed'
    assert layers['layers_1'].status == 'not reached'
    assert layers['layers_0'].children == ()


def test_shared_layers_before_a_failure_are_followed():
    inside = sl.Serial([sl.Ref('table'), sl.Dense(3), sl.Residual([sl.Dense(2)])])
    layers = by_path(summarize(sl.Shared({'table': sl.Embedding(6, 9)}, inside), IDS))
    assert layers['child_layer/layers_0'].output_spec == sl.ChannelSpec((6,))
    assert layers['child_layer/layers_1'].parameters == 21
    assert layers['child_layer/layers_2'].status == 'failed'


def test_side_inputs_are_passed_on_and_missed():
    model = sl.models.encoder_decoder(5, streaming=True, width=4, num_layers=1, num_heads=2, past=3)
    source = {'source': sl.Sequence.from_values(jnp.ones((1, 6, 3)))}
    summary = summarize(model, IDS, constants=source)
    built = jax.eval_shape(lambda: model.build(IDS, rngs=0, constants=source))
    state = jax.eval_shape(lambda m: m.get_initial_state(1, training=False, constants=source), built)
    assert summary.state_bytes == nbytes(state)
    assert by_path(summary)['encoder'].state_bytes == nbytes(state[0])
    assert "reads constants['source']" in summarize(model, IDS).problem


def test_a_state_that_cannot_be_made_is_not_known():
    endless = sl.DotProductSelfAttention(2, 2, -1)
    summary = summarize(sl.Serial([endless]), SPEC)
    assert summary.state_bytes is None
    assert 'max_length' in summary.problem
    assert 'max_length' in repr(endless.summary(SPEC))


def test_what_blocks_steps_is_named():
    model = sl.Serial([sl.Dense(3), sl.Bidirectional(sl.LSTM(2), sl.LSTM(2), 'add')])
    text = repr(model.summary(SPEC))
    assert 'Serial cannot step, because of\n- layers_1' in text
    summary = summarize(model, SPEC)
    assert {(s.offset, s.latency) for s in summary.walk()} == {(None, None)}
    assert [s.path for s in summary.walk()][-2:] == ['layers_1/forward', 'layers_1/backward']


def test_the_table():
    model = sl.Serial([sl.Dense(4), sl.Repeat(sl.Residual([sl.Delay(1), sl.Lookahead(1)]), 2, name='again')])
    assert repr(model.summary(SPEC)).splitlines() == [
        'layer                            output        ratio  latency  parameters  state, bytes',
        '---------------------------------------------------------------------------------------',
        'Serial           Serial          (4,) float32      1       +2          20            76',
        '  layers_0       Dense(4)        (4,) float32      1        0          20             0',
        '  again          Repeat × 2      (4,) float32      1       +2           0            76',
        '    child_layer  Residual        (4,) float32      1       +1           0            38',
        '      layers_0   Delay(1)        (4,) float32      1        0           0            17',
        '      layers_1   Lookahead(1)    (4,) float32      1       +1           0             4',
        '      (waits)    for 1 timestep                                                      17',
        '',
        '20 parameters in 80 bytes, 76 bytes of state a stream.',
        'Serial streams: block size 1, output ratio 1, input latency 2, output latency 2.',
    ]


def test_wrong_inputs_are_refused():
    with pytest.raises(sl.LayerError, match=r'summary: input_spec must be a ChannelSpec, .* got \(80,\)'):
        sl.Dense(3).summary((80,))
    model = sl.Dense(3).build(SPEC, rngs=0)
    with pytest.raises(sl.LayerError, match=r'the layer is built for ChannelSpec\(\(4,\), float32\), not for'):
        model.summary(sl.ChannelSpec((5,)))


# --- notebooks ----------------------------------------------------------------------------------------------
NAMED = sl.Serial([sl.Dense(4, name='<script>alert(1)</script>'), sl.Residual([sl.Lookahead(2)], name='a&b')])


def pages():
    model = NAMED.build(SPEC, rngs=0)
    state = model.get_initial_state(2, training=False)
    x = sl.Sequence.from_lengths(np.arange(24.0).reshape(2, 3, 4), [3, 1])
    objects = [NAMED, model, NAMED.summary(), NAMED.summary(SPEC), NAMED.summary(sl.ChannelSpec(()))]
    objects += [x, state_summary({'<b>': state})]
    return [found._repr_html_() for found in objects]


def test_html_is_escaped_and_the_same_every_time():
    first, second = pages(), pages()
    assert first == second
    assert not any('<script' in page or '<b>' in page for page in first)
    assert '&lt;script&gt;alert(1)&lt;/script&gt;' in first[0]
    assert all(
        page.count('<td') == page.count('</td>') and page.count('<div') == page.count('</div>') for page in first
    )


def test_a_layer_is_a_folding_tree():
    declared, model = NAMED._repr_html_(), NAMED.build(SPEC, rngs=0)._repr_html_()
    assert declared.count('<details') == model.count('<details') == 2  # Serial, Residual
    assert 'parameters' not in declared
    assert '20 parameters' in model
    assert 'Serial streams: block size 1' in declared


def test_the_mask_of_a_sequence_is_a_strip_of_runs():
    page = sl.Sequence.from_lengths(np.arange(24.0).reshape(2, 3, 4), [3, 1])._repr_html_()
    strips = [strip.split('</td>')[0] for strip in page.split('white-space:nowrap')[1:]]
    assert [strip.count('title="valid"') for strip in strips] == [1, 1]
    assert [strip.count('title="invalid"') for strip in strips] == [0, 1]
    assert '3 of 3 valid' in page
    assert '[0, 1] = 4, 5, 6, 7' in page


def test_a_large_sequence_stays_small():
    mask = np.random.default_rng(0).random((100, 10_000)) < 0.99
    page = sl.Sequence(np.zeros((100, 10_000, 3), np.float32), mask)._repr_html_()
    assert len(page) < 20_000
    assert '96 more' in page
    assert 'partly valid' in page


@pytest.mark.parametrize('shape', [(1, 0, 3), (0, 4, 3), (1, 3), (1, 2, 3, 4)])
def test_any_shape_has_a_page(shape):
    assert str(list(shape)) in sl.Sequence.from_values(np.ones(shape, np.complex64))._repr_html_()


def test_inside_of_a_transformation_a_sequence_is_its_repr():
    seen = []
    jax.jit(lambda x: seen.append(x._repr_html_()))(sl.Sequence.from_values(jnp.ones((1, 2, 3))))
    assert seen == ['MaskedSequence(float32[1, 2, 3])']


def test_a_state_as_a_table():
    model = sl.Serial([sl.Delay(3), sl.LSTM(2)]).build(SPEC, rngs=0)
    state = model.get_initial_state(2, training=False)
    summary = state_summary(state)
    assert summary.nbytes == sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert repr(summary).splitlines() == [
        'leaf      shape      dtype    bytes',
        '-----------------------------------',
        '0/values  (2, 3, 4)  float32     96',
        '0/mask    (2, 3)     bool         6',
        '1/0       (2, 2)     float32     16',
        '1/1       (2, 2)     float32     16',
        '4 arrays, 134 bytes',
    ]
    assert state_summary(jax.eval_shape(lambda: state)).rows == summary.rows
    assert repr(state_summary(())).splitlines()[-1] == '0 arrays, 0 bytes'
