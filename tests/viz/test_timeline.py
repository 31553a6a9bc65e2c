"""The timeline of a stream: its counts against the real Stream, its times against a slow simulation by hand."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

import seqlayers as sl
from tests.viz.layout import check_layout, texts
from tests.viz.models import MODELS, Backwards, model
from viz.page import Cells
from viz.plots.timeline import TimelineView, plot_stream, title
from viz.traces.timeline import trace_stream

LOOK = sl.Conv1D(2, 5, strides=4, padding='reverse_causal')  # one output of latency
CHUNKS = [3, 5, 2, 6, 4, 7, 5]
EAR = sl.Serial([
    sl.STFT(frame_length=400, frame_step=160, fft_length=512, output_magnitude=True),
    sl.Conv1D(8, 5, strides=2, padding='causal'), sl.Conv1D(8, 5, strides=2, padding='causal'),
    sl.DotProductSelfAttention(2, 4, max_past_horizon=32, max_future_horizon=2), sl.DenseShaped([8]),
])  # fmt: skip


def test_where_the_time_goes():
    trace = trace_stream(LOOK, CHUNKS, rate=100, compute=9, transport=4)
    o = trace.outputs
    assert o.look_ahead.tolist() == [40] * 7 + [0]
    assert o.waiting.tolist() == [4, 44, 4, 4, 34, 44, 4, 4]
    assert o.queue.tolist() == [9, 0, 9, 0, 0, 0, 9, 18]
    assert o.compute.tolist() == [9, 18, 9, 9, 9, 18, 9, 9]
    assert o.total.tolist() == [62, 102, 62, 53, 83, 102, 62, 31]
    np.testing.assert_allclose(o.look_ahead + o.waiting + o.queue + o.compute, o.total)
    assert trace.emitted.tolist() == [0, 1, 0, 2, 1, 1, 2, 1]
    assert trace.calls.waiting.tolist() == [3, 0, 2, 0, 0, 3, 0, 0]
    assert trace.flushed.tolist() == [False] * 7 + [True]
    assert repr(trace) == 'StreamTrace(Conv1D: 7 chunks, 9 blocks of 4, 8 outputs, 31 to 102 ms late)'


STREAMED = {
    **MODELS,
    'tail': sl.Conv1DTranspose(2, kernel_size=3, padding='valid'),  # no block brings out its last two outputs
    'whole blocks': sl.Repeat(sl.Serial([sl.Downsample1D(2), sl.Upsample1D(2)]), 2),  # a stream ends earlier
}


@pytest.mark.parametrize(
    ('name', 'blocks'), [('convolutions', 1), ('convolutions', 2), ('branches', 1), ('tail', 1), ('whole blocks', 1)]
)
def test_counts_are_those_of_the_real_stream(name, blocks):
    built, sizes = STREAMED[name].build(sl.ChannelSpec((3,)), rngs=0), [1, 4, 7, 2, 13, 1, 1]
    trace = trace_stream(built, sizes, rate=50, block_size=blocks * built.block_size)
    stream, emitted, waiting = sl.Stream(built, block_size=trace.block_size), [], []
    for size in sizes:
        emitted.append(stream.push(np.ones((size, 3), np.float32)).shape[1])
        waiting.append(repr(stream))
    emitted.append(stream.close().shape[1])
    assert trace.emitted.tolist() == emitted
    words = f'{{}} of {trace.block_size} timesteps wait'
    assert all(words.format(n) in text for n, text in zip(trace.calls.waiting[:-1], waiting, strict=True))


def test_the_lesson_of_the_first_output():
    """Chunks of 317 samples: the first output in push 9, 66 while one listens, 4 when the stream closes."""
    trace = trace_stream(EAR, 317, rate=16000, time=44580, input_spec=sl.ChannelSpec(()))
    assert (trace.block_size, trace.latency, trace.ratio) == (640, 3, Fraction(1, 640))
    assert np.flatnonzero(trace.emitted)[0] + 1 == 9
    assert set(trace.emitted[:-1].tolist()) == {0, 1}
    assert (trace.emitted[:-1].sum(), trace.emitted[-1]) == (66, 4)
    received = trace.calls.received[:-1]
    assert np.cumsum(trace.emitted[:-1]).tolist() == np.maximum(0, received // 640 - 3).tolist()
    assert trace.outputs.look_ahead[:66].tolist() == [120] * 66  # a window, an inserted delay, two frames ahead


@pytest.mark.parametrize('compute', [0, 7, 90])
def test_events_are_those_of_a_clock_that_ticks(compute):
    """Millisecond by millisecond: chunks arrive, and a free machine takes the oldest block that is full."""
    trace = trace_stream(LOOK, CHUNKS, rate=100, compute=compute, transport=3)
    arrived, begun, busy_until, ends, backlog = 0, 0, 0, [], []
    for now in range(1200):
        arrived = max([n for n, at in zip(trace.calls.received, trace.calls.arrives, strict=True) if at <= now] + [0])
        closed = now >= trace.calls.arrives[-1]
        while begun < 9 and now >= busy_until and (arrived >= 4 * (begun + 1) or closed):
            begun, busy_until = begun + 1, now + compute
            ends.append(busy_until)
        backlog.append(max(0, arrived - 4 * begun))
    assert trace.blocks.ends.tolist() == ends
    times, counts = trace.backlog
    assert [counts[np.searchsorted(times, now, 'right') - 1] for now in range(1200)] == backlog


def test_a_slow_machine_falls_behind():
    trace = trace_stream(LOOK, 4, rate=100, time=400, compute=52)
    assert trace.falls_behind == 12  # a block lasts 40 ms
    queue = trace.outputs.queue[~trace.flushed]
    assert np.diff(queue).tolist() == [12] * (len(queue) - 1)
    assert trace_stream(LOOK, 4, rate=100, compute=40).falls_behind == 0
    assert title(trace) == 'Falls behind by 12 ms a block: 104 ms late at first, 1\N{THIN SPACE}280 ms in the end'


def test_a_larger_block_is_the_callers_wait():
    small, large = (trace_stream(LOOK, 4, rate=100, time=160, block_size=size) for size in (4, 16))
    np.testing.assert_array_equal(small.outputs.look_ahead, large.outputs.look_ahead)
    assert small.outputs.waiting.max() == 0
    assert large.outputs.waiting[~large.flushed].max() == 120


def test_one_size_repeats_and_the_last_chunk_is_cut():
    assert trace_stream(LOOK, 7, rate=100).calls.received.tolist() == [7, 14, 21, 28, 35, 42, 48, 48]
    assert trace_stream(LOOK, [3, 5], rate=100, time=12).calls.received.tolist() == [3, 8, 11, 12, 12]


def test_measured_blocks_take_time_and_the_same_counts():
    given, measured = (trace_stream(model('window'), 5, rate=100, measure=m) for m in (False, True))
    assert measured.measured
    assert (measured.blocks.ends > measured.blocks.begins).all()
    assert measured.emitted.tolist() == given.emitted.tolist()
    assert repr(measured) == 'StreamTrace(Conv1D: 3 chunks, 12 blocks of 1, 9 outputs)'


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r'Backwards: there are no steps to trace(.|\n)*It starts at the end'):
        trace_stream(Backwards(), 4, rate=100)
    with pytest.raises(ValueError, match='block_size must be a multiple of 4'):
        trace_stream(LOOK, 4, rate=100, block_size=6)
    for sizes in (0, [3, 0], [], [2.5], [[3]]):
        with pytest.raises(ValueError, match='chunk_sizes must be one or more integers of at least 1'):
            trace_stream(LOOK, sizes, rate=100)
    with pytest.raises(ValueError, match='time must be at least 1 timestep, got 0'):
        trace_stream(LOOK, 4, rate=100, time=0)
    with pytest.raises(ValueError, match=r'rate must be above 0.*got rate=0, compute=0.0, transport=0.0'):
        trace_stream(LOOK, 4, rate=0)
    with pytest.raises(ValueError, match='give compute=3 or measure=True, not both'):
        trace_stream(LOOK, 4, rate=100, compute=3, measure=True)


# --- the picture ----------------------------------------------------------------------------------------
STREAMS = {
    'short': lambda: trace_stream(LOOK, CHUNKS, rate=100, compute=9, transport=4),
    'long': lambda: trace_stream(LOOK, [4, 9, 2, 30], rate=100, time=4000, compute=3, transport=4),
    'behind': lambda: trace_stream(LOOK, [4, 9, 2], rate=100, time=1000, compute=52),
    'samples': lambda: trace_stream(EAR, 1, rate=16000, time=9000, compute=5, input_spec=sl.ChannelSpec(())),
    'too short': lambda: trace_stream(MODELS['window'], 3, rate=100, time=2, compute=1),
}


@pytest.fixture(scope='module')
def streams():
    return {name: make() for name, make in STREAMS.items()}


@pytest.mark.parametrize('name', STREAMS)
def test_texts_do_not_overlap_and_stay_on_the_page(streams, name):
    picture = plot_stream(streams[name])
    picture.canvas.draw()
    check_layout(picture)


@pytest.mark.parametrize('name', STREAMS)
def test_cells_stay_on_the_page_and_do_not_overlap(streams, name, monkeypatch):
    view, drawn = TimelineView(streams[name]), []
    monkeypatch.setattr(Cells, 'set', lambda self, cells: drawn.extend(cells))
    for position in {view.positions[0], view.start, view.positions[-1]}:
        drawn.clear()
        view.show(position)
        assert min(c.x for c in drawn) >= 10
        assert max(c.x + c.width for c in drawn) <= 894
        for _, row in itertools.groupby(sorted(drawn, key=lambda c: (c.y, c.x)), key=lambda c: c.y):
            assert all(a.x + a.width <= b.x + 1.6 for a, b in itertools.pairwise(row))


def test_a_move_gives_another_image_and_the_same_place_the_same(streams):
    view, images = TimelineView(streams['long']), []
    for position in (700, 20, 700):
        view.show(position)
        images.append(view.page.png())
    assert images[0] == images[2] != images[1]


def test_titles_say_what_was_found(streams):
    found = {name: title(trace) for name, trace in streams.items()}
    assert found['short'] == 'Same model, same look-ahead: 53 to 102 ms, depending on how the chunks fall'
    assert found['samples'] == 'Every output comes 125 ms after its inputs until the stream closes'
    assert title(trace_stream(sl.Dense(2), 1, rate=100)) == 'Every output comes 0 ms after its inputs'
    blocks = trace_stream(sl.Blockwise(sl.Dense(2), 4), 4, rate=100)  # the first of a block is heard, and has to wait
    assert title(blocks) == 'Same model: 0 to 30 ms, depending on their place in a block of the model'
    assert found['too short'] == 'The stream is too short for any output'
    view = TimelineView(streams['short'])
    view.show(4)
    words = [t.get_text() for t in texts(view.page.figure)]
    assert (
        'Output 4 comes with push 6, 83 ms after its inputs: look-ahead 40, chunk 34, queue 0, compute 9 ms.' in words
    )
