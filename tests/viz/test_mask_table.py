"""The table of padding modes: against masks computed by hand and by the published library, and against steps."""

import itertools

import jax
import numpy as np
import pytest

import seqlayers as sl
from seqlayers.padding import PADDING_MODES
from tests.viz.layout import check_layout, texts
from tests.viz.models import MODELS, noise
from viz.plots.mask_table import MaskTableView, plot_mask_table
from viz.traces.mask import trace_mask
from viz.traces.mask_table import trace_mask_table

PREFIX = [1, 1, 1, 1, 1, 0, 0, 0]
PUBLISHED = {  # of the mask above, for the modes in the order of PADDING_MODES: kernel, stride, dilation
    (3, 2, 1): '110 1110 1110 1100 1110 1110 1110 11100',
    (4, 2, 1): '100 1110 1110 1000 1110 1110 1110 11110',
    (3, 1, 2): '1000 11111000 11111000 10000000 11111000 11111000 11111000 111111111000',
}


def by_name(trace):
    return {mode.name: mode for mode in trace.modes}


def bits(mask):
    return ''.join(map(str, np.asarray(mask).astype(int)))


@pytest.mark.parametrize('window', PUBLISHED)
def test_masks_are_those_of_the_published_library(window):
    trace = trace_mask_table(*window, PREFIX)
    assert ' '.join(bits(mode.mask) for mode in trace.modes) == PUBLISHED[window]
    assert [mode.padding for mode in trace.modes] == list(PADDING_MODES)


@pytest.mark.parametrize(('kernel', 'stride', 'dilation'), [(3, 2, 1), (2, 3, 1), (3, 1, 2)])
def test_the_deciding_timesteps_decide(kernel, stride, dilation):
    """Any mask follows from the rule, the deciding timesteps and the padding alone."""
    mask = np.array([1, 1, 0, 1, 1, 1, 1, 0, 1], bool)
    trace = trace_mask_table(kernel, stride, dilation, mask, [*PADDING_MODES, (1, (kernel - 1) * dilation - 1)])
    for mode in trace.modes:
        left, right = mode.pads
        padded = np.pad(mask, mode.pads, constant_values=mode.pads_valid)
        assert (mode.taps >= -left).all()
        assert (mode.taps < len(mask) + right).all()
        decide = {'tap': np.all, 'all': np.all, 'any': np.any}[mode.rule]
        np.testing.assert_array_equal(decide(padded[mode.deciding + left], axis=1), mode.mask, mode.name)
        reads = set(mode.taps[1].tolist())
        assert reads == set(range(min(reads), max(reads) + 1, dilation))
        assert len(reads) == kernel


def test_taps_are_what_an_output_depends_on():
    """An impulse at an input reaches just the outputs that have it among their taps."""
    time = 9
    x = sl.Sequence.from_values(np.eye(time, dtype=np.float32)[..., None])
    modes = trace_mask_table(3, 2, 1, np.ones(time), ['same', 'semicausal_full', 'valid']).modes
    layers = [sl.AveragePooling1D(3, 2, padding=mode.padding).build(x.channel_spec, rngs=0) for mode in modes]
    outputs = jax.jit(lambda x: [layer.layer(x, training=False).values[..., 0] for layer in layers])(x)
    for mode, y in zip(modes, outputs, strict=True):
        reached = [[t in taps for taps in mode.taps] for t in range(time)]
        np.testing.assert_array_equal(np.asarray(y) != 0, reached, mode.name)


def test_latency_and_buffer_of_the_steps():
    """Latency: the void steps of a stream. Buffer: the timesteps of the state."""
    for mode in trace_mask_table(3, 2).modes:
        model = sl.Conv1D(1, 3, 2, padding=mode.padding).build(sl.ChannelSpec((1,)), rngs=0)
        state = model.get_initial_state(1, training=False)
        assert mode.buffer == (state[0].shape[1] if state else 0)
        assert mode.latency == max(0, mode.taps[0, -1]) // 2  # the block in which its last tap lies
        assert mode.supports_step


def test_pooling_has_the_same_masks():
    masks = [
        [
            bits(mode.mask)
            for mode in trace_mask_table(3, 2, modes=['same', 'causal_valid', 'semicausal_full'], layer=layer).modes
        ]
        for layer in ('convolution', 'max_pooling', 'average_pooling')
    ]
    assert masks[0] == masks[1] == masks[2]


def test_explicit_pads_and_repr():
    trace = trace_mask_table(3, 2, modes=['causal', (1, 1)])
    explicit = by_name(trace)['explicit (1, 1)']
    assert (explicit.pads, explicit.rule, bits(explicit.mask)) == ((1, 1), 'tap', '1101')
    assert repr(trace) == (
        'MaskTableTrace(kernel 3, stride 2, dilation 1; outputs valid: causal 3 of 4, explicit (1, 1) 3 of 4)'
    )


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"no layer 'dense'; choose one of \['convolution', 'max_pooling'"):
        trace_mask_table(3, layer='dense')
    with pytest.raises(ValueError, match=r'the mask must have the shape \(time,\), got \(1, 8\)'):
        trace_mask_table(3, mask=[PREFIX])
    with pytest.raises(ValueError, match='at least one padding mode'):
        trace_mask_table(3, modes=())
    with pytest.raises(sl.LayerError, match="padding must be one of 'valid', 'same'"):
        trace_mask_table(3, modes=['centered'])
    with pytest.raises(sl.LayerError, match='Explicit padding in time must sum to 2'):
        trace_mask_table(3, modes=[(1, 2)])


def test_a_sequence_is_traced_with_its_own_mask():
    x = noise(10, gap=(4,))
    trace = trace_mask(MODELS['window'], x)
    assert trace.masks[0].tolist() == np.asarray(x.mask).tolist()
    y = MODELS['window'].build(x.channel_spec, rngs=0).layer(x, training=False)
    np.testing.assert_array_equal(trace.masks[-1], y.mask)
    with pytest.raises(sl.LayerError):
        trace_mask(MODELS['window'].build(sl.ChannelSpec((5,)), rngs=0), x)


# --- the picture ----------------------------------------------------------------------------------------
LONG = np.arange(1000) % 17 != 5
TABLES = {
    'all': lambda: trace_mask_table(3, 2),
    'explicit, dilated': lambda: trace_mask_table(3, 2, 2, modes=['causal', 'valid', (1, 3)]),
    'many windows, long': lambda: trace_mask_table(5, 1, 1, LONG),
    'wide': lambda: trace_mask_table(9, 1, 8, LONG, ['same', 'valid']),
}


@pytest.fixture(scope='module')
def tables():
    return {name: make() for name, make in TABLES.items()}


@pytest.mark.parametrize('name', TABLES)
def test_texts_do_not_overlap_and_stay_on_the_page(tables, name):
    picture = plot_mask_table(tables[name])
    picture.canvas.draw()
    check_layout(picture)


@pytest.mark.parametrize('name', TABLES)
def test_cells_lie_side_by_side_on_the_page(tables, name):
    view = MaskTableView(tables[name])
    for position in (view.positions[0], view.start, view.positions[-1]):
        view.show(position)
        for panel in view.panels:
            cells = list(panel.cells())
            marks = {(cell.mark, cell.label) for cell in cells}
            known = position < len(panel.mode.mask)
            assert any(mark in ('now', 'lost', 'fed') for mark, _ in marks) == known
            assert min(cell.x for cell in cells) >= panel.left
            assert max(cell.x + cell.width for cell in cells) <= panel.left + 306 + 0.01
            for row in {cell.y for cell in cells}:
                in_row = sorted(cell for cell in cells if cell.y == row)
                assert all(a.x + a.width <= b.x + 1e-6 for a, b in itertools.pairwise(in_row))


def test_the_title_counts_and_the_first_difference_is_in_focus(tables):
    picture = plot_mask_table(tables['all'])
    assert picture.finding == '3 outputs valid where one tap decides, 1 to 4 where the whole window decides'
    view = MaskTableView(tables['all'])
    assert view.start == 1
    assert list(view.positions) == [0, 1, 2, 3, 4]
    words = [t.get_text() for t in texts(picture)]
    assert words.count('latency 1') == 3
    assert {'input 2i valid', 'all taps valid', 'any tap valid', 'all taps, pads = 1'} <= set(words)
    images = []
    for position in (1, 2, 1):
        view.show(position)
        images.append(view.page.png())
    assert images[0] == images[2] != images[1]
