"""Diagrams: the operations that are counted, what is found, folded and refused, and a picture that one can read."""

import functools

import jax
import jax.numpy as jnp
import pytest

import seqlayers as sl
from seqlayers.testing.report import Clause, ContractReport
from tests.viz.calls import packages_called
from tests.viz.layout import check_layout
from viz.plots.diagram import DiagramView, plot_diagram
from viz.plots.diagram_layout import MOST, count_lines, folding
from viz.traces.diagram import trace_diagram

IDS, SPEC = sl.ChannelSpec((), jnp.int32), sl.ChannelSpec((4,))
LONG = 'a_very_long_name_that_has_to_be_cut_somewhere'
BRANCHES = sl.Serial(
    [
        sl.Lookahead(1),
        sl.Conv1D(4, 3, strides=2, padding='causal'),
        sl.Parallel([sl.Delay(1), sl.Serial([sl.Dense(4), sl.Lookahead(1)]), sl.Identity()], 'add'),
        sl.Parallel([sl.Delay(1), sl.Lookahead(1), sl.Identity(), sl.Dense(4)], 'concat'),
        sl.Residual([sl.Lookahead(2), sl.Dense(4)], [sl.Dense(4)]),
    ]
)
MIXED = sl.Serial([sl.Dense(4), sl.Residual([sl.Dense(3)], name='mix'), sl.Residual([sl.LSTM(4)])])


def blocks(count):
    return sl.Serial([sl.Residual([sl.Dense(4), sl.Delay(1)], name=f'b{i}') for i in range(count)])


TRACES = {
    'branches': lambda: trace_diagram(BRANCHES, SPEC),
    'undeclared': lambda: trace_diagram(BRANCHES),
    'transformer': lambda: trace_diagram(sl.models.transformer(7, width=4, num_layers=12, num_heads=2, past=3), IDS),
    'conformer': lambda: trace_diagram(sl.models.conformer(width=8, num_layers=3, num_heads=2, past=3), SPEC),
    'mamba': lambda: trace_diagram(sl.models.mamba(width=4, num_heads=2, state_size=2), SPEC),
    'deep': lambda: trace_diagram(blocks(50), SPEC),
    'failed': lambda: trace_diagram(MIXED, SPEC),
    'blocked': lambda: trace_diagram(sl.Serial([sl.Dense(3), sl.Bidirectional(sl.LSTM(2), sl.LSTM(2))]), SPEC),
    'names': lambda: trace_diagram(sl.Serial([sl.Delay(1, name=LONG), sl.Residual([sl.Delay(1)], name='$x$<b>&')])),
    'alone': lambda: trace_diagram(sl.Dense(2), sl.ChannelSpec((3, 128, 64, 17))),
    'large': lambda: trace_diagram(sl.Repeat(sl.Dense(20_000), 1000), sl.ChannelSpec((20_000,))),
}


@functools.cache
def traced(name):
    return TRACES[name]()


# --- operations --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ('layer', 'flops'),
    [
        (sl.Dense(3), 2 * 4 * 3 + 3),
        (sl.Dense(3, use_bias=False), 2 * 4 * 3),
        (sl.DenseShaped([2, 5], use_bias=False), 2 * 4 * 10),
        (sl.Relu(), 4),
        (sl.Delay(3), 0),
        (sl.Identity(), 0),
        (sl.Conv1D(6, 3, padding='causal', use_bias=False), 2 * 3 * 4 * 6),
        (sl.Conv1D(6, 3, strides=2, padding='causal', use_bias=False), 2 * 3 * 4 * 6),
        (sl.Conv1D(8, 3, groups=2, padding='causal', use_bias=False), 2 * 3 * 2 * 8),
        (sl.Serial([sl.Upsample1D(3), sl.Dense(2, use_bias=False)]), 3 * 2 * 4 * 2),
        (sl.Serial([sl.Downsample1D(3), sl.Dense(2, use_bias=False)]), 2 * 4 * 2),
        (sl.Serial([sl.Dense(4), sl.Blockwise(sl.Dense(4), 5)]), 5 * 2 * (2 * 4 * 4 + 4)),
        (sl.Repeat(sl.Dense(4, use_bias=False), 7), 7 * 2 * 4 * 4),
    ],
    ids=repr,
)
def test_operations_by_formula(layer, flops):
    assert trace_diagram(layer, SPEC).flops[''] == flops


def test_operations_are_about_those_that_xla_counts():
    layers = [
        sl.DotProductSelfAttention(2, 8, 16),
        sl.LSTM(32),
        sl.models.conformer_block(16, num_heads=2, past=16),
        sl.GatedLinearAttention(2, 8),
    ]
    for layer in layers:
        model = jax.eval_shape(lambda layer=layer: layer.build(sl.ChannelSpec((16,)), rngs=0))
        x = sl.Sequence(jax.ShapeDtypeStruct((1, 1, 16), jnp.float32), jax.ShapeDtypeStruct((1, 1), bool))
        state = jax.eval_shape(lambda model: model.get_initial_state(1, training=False), model)
        lowered = jax.jit(lambda model, x, state: model.step(x, state, training=False)).lower(model, x, state)
        assert trace_diagram(model).flops[''] == pytest.approx(lowered.cost_analysis()['flops'], rel=0.1)


def test_tied_logits_are_counted_and_their_table_is_not():
    trace = trace_diagram(sl.models.transformer(7, width=4, num_layers=2, num_heads=2, past=3), IDS)
    assert trace.flops['child_layer/logits'] == 2 * 4 * 7
    assert 'embedding' not in trace.flops
    inside = [trace.flops[f'child_layer/{name}'] for name in ('layers_0', 'blocks', 'norm', 'logits')]
    assert trace.flops[''] == sum(inside)
    assert trace.flops['child_layer/blocks'] == 2 * trace.flops['child_layer/blocks/block']


def test_an_encoder_of_a_whole_source_computes_nothing_in_a_step():
    declaration = sl.models.encoder_decoder(5, width=4, num_layers=1, num_heads=2, past=3)
    source = {'source': sl.Sequence.from_values(jnp.ones((1, 6, 3)))}
    trace = trace_diagram(declaration, IDS, constants=source)
    assert trace.flops[''] == trace.flops['decoder'] > 0
    assert {node.offset for node in trace.root.aside[0].walk()} == {None}


class Until(sl.Stateless):
    """Halves what it is given until it is small."""

    def layer(self, x, *, training, constants=None):
        return x.apply_values(lambda v: jax.lax.while_loop(lambda v: jnp.abs(v).max() > 1, lambda v: v / 2, v))


@pytest.mark.parametrize('layer', [Until(), sl.Bidirectional(sl.LSTM(2), sl.LSTM(2))], ids=repr)
def test_operations_that_cannot_be_counted_are_not_known(layer):
    trace = trace_diagram(sl.Serial([sl.Dense(4), layer]), SPEC)
    assert trace.flops['layers_1'] is None
    assert trace.flops[''] is None
    assert trace_diagram(layer).flops[''] is None


# --- findings ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ('layer', 'finding'),
    [
        (sl.Conv1D(8, 3, padding='same'), 'All latency and 100 % of the state come from one layer: Conv1D'),
        (
            sl.Serial([sl.LSTM(4), sl.Lookahead(2)]),
            'Latency of 2 input steps from Lookahead; 89 % of the state is in one layer: LSTM',
        ),
        (sl.Repeat(sl.LSTM(4), 3), 'No latency; 100 % of the state is in 3 layers: LSTM'),
        (sl.Repeat(sl.LSTM(4), 11), 'No latency; 100 % of the state is in 11 layers: LSTM'),
        (  # half of the latency is of what waits between the two
            sl.Serial([sl.Conv1D(4, 3, padding='same'), sl.Downsample1D(2)]),
            'Latency of 2 input steps; 67 % of the state is in one layer: Conv1D',
        ),
        (sl.Serial([sl.LSTM(4), sl.GRU(4), sl.Delay(2)]), 'Serial: no latency, 82 bytes of state'),
        (sl.Serial([sl.Dense(4)]), 'Serial: no latency, 0 bytes of state'),
        (MIXED, 'Serial: mix cannot be built'),
        (sl.Serial([sl.Bidirectional(sl.LSTM(2), sl.LSTM(2))]), 'Serial cannot run in steps, because of Bidirectional'),
    ],
    ids=repr,
)  # fmt: skip
def test_the_title_is_the_finding(layer, finding):
    assert plot_diagram(trace_diagram(layer, SPEC)).finding == finding


def test_latency_of_a_declaration_is_found_without_its_state():
    assert plot_diagram(traced('undeclared')).finding == f'Serial: latency of {2 * BRANCHES.output_latency} input steps'


def test_the_layer_that_a_report_names_is_marked():
    clauses = (
        Clause('masks', True, 'fine'),
        Clause('layer equals step', False, 'differs at 3', 'layers_4/layers_1', 3),
    )
    trace = trace_diagram(BRANCHES, SPEC, report=ContractReport('Serial', clauses))
    assert trace.problems == {'layers_4/layers_1': 'layer equals step: differs at 3'}
    picture = plot_diagram(trace)
    assert picture.finding == 'Serial: layers_4/layers_1 breaks the contract'
    assert 'layer equals step: differs at 3' in words(picture)
    inside = Clause('masks', False, 'no', 'layers_1/query_network')
    assert 'layers_1' in trace_diagram(BRANCHES, report=ContractReport('', (inside,))).problems
    with pytest.raises(ValueError, match=r"the report names 'other/x', which Serial has not"):
        trace_diagram(BRANCHES, report=ContractReport('', (Clause('masks', False, 'no', 'other/x'),)))


def test_a_failed_build_shows_the_message_and_what_is_known():
    found = words(plot_diagram(traced('failed')))
    assert any('adds channels (3,) of the body' in text for text in found)
    assert '20' in found  # the parameters of the layer before
    assert found.count('?') > 8


# --- folding -------------------------------------------------------------------------------------------------
def test_the_deepest_is_folded_first():
    trace = traced('conformer')
    folded = folding(trace, None)
    assert count_lines(trace.root, folded) <= MOST < count_lines(trace.root, ())
    residuals = {f'{block}/{name}' for block in ('first', 'rest/block')
                 for name in ('feed_forward_start', 'self_attention', 'convolution', 'feed_forward_end')}  # fmt: skip
    assert folded == residuals


def test_folding_by_path():
    trace = traced('branches')
    assert len(DiagramView(trace, fold=()).lines) > len(DiagramView(trace, fold=['layers_3']).lines)
    with pytest.raises(ValueError, match=r"plot_diagram: cannot fold \['layers_0'\]; layers with others inside are"):
        plot_diagram(trace, fold=['layers_0'])


def test_what_has_a_problem_is_never_folded():
    some = blocks(30).layers
    layers = [*some[:14], sl.Residual([sl.Dense(3)], name='broken'), *some[14:]]
    picture = plot_diagram(trace_diagram(sl.Serial(layers), SPEC))
    assert picture.finding == 'Serial: broken cannot be built'
    assert any(text.startswith('broken') for text in words(picture))
    assert any('▸ 6 more' in text for text in words(picture))


def test_lines_and_numbers_of_a_long_chain():
    view = DiagramView(traced('deep'))
    assert [len(line.nodes) for line in view.lines] == [1] * 8 + [34] + [1] * 8
    assert str(34 * 20) in words(view.page.figure)


# --- the picture -----------------------------------------------------------------------------------------------
def words(picture):
    return [text.get_text() for text in picture.axes[0].texts if text.get_text()]


@pytest.mark.parametrize(('name', 'fold'), [*((name, None) for name in TRACES), ('branches', ())])
def test_texts_do_not_overlap_and_stay_on_the_page(name, fold):
    picture = plot_diagram(traced(name), fold=fold)
    picture.canvas.draw()
    check_layout(picture)


def test_the_focus_says_all_about_a_line_and_never_calls_jax():
    view = DiagramView(traced('branches'), fold=())
    seen = set()
    with packages_called() as called:
        for position in view.positions:
            view.show(position)
            seen.add((view._path.get_text(), view._details.get_text()))
    assert not called & {'jax', 'jaxlib', 'flax'}
    assert len(seen) >= len(view.lines) - 1  # a total says what its Repeat says
    where = 'layers_2/layers_1/layers_0: Dense(4)'
    assert (where, '(4,) float32 → (4,) float32 · ratio 1/2 · offset 1 · block size 1 · 80 bytes of parameters') in seen
    assert any('waits 1 step' in path and '17 bytes' in details for path, details in seen)


def test_themes_axes_and_repr():
    trace = traced('branches')
    assert repr(trace) == 'DiagramTrace(Serial: 13 layers, 228 parameters, 220 bytes of state)'
    axes = plot_diagram(trace, theme='dark').axes[0]
    assert plot_diagram(trace, axes) is axes
    with pytest.raises(ValueError, match="there is no theme 'blue'"):
        plot_diagram(trace, theme='blue')


def test_a_transposed_convolution_does_not_count_the_zeros_between_its_inputs():
    spec = sl.ChannelSpec((3,))
    for kernel, stride in ((16, 8), (4, 2)):
        layer = sl.Conv1DTranspose(4, kernel, strides=stride, padding='causal', use_bias=False)
        flops = trace_diagram(layer, spec).flops['']
        assert 2 * kernel * 3 * 4 <= flops <= 2 * 2 * kernel * 3 * 4 + 8 * stride  # the window reaches over two inputs
