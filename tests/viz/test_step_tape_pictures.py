"""The pictures of the step tape: what their titles say, and that one can read them at every block."""

import functools

import pytest

import seqlayers as sl
from tests.viz.calls import packages_called
from tests.viz.layout import check_layout
from tests.viz.models import noise
from tests.viz.test_step_tape import branches, mixed
from viz.plots.steps import StepTapeView, plot_steps, seen_before
from viz.traces.steps import trace_steps

DEEP = sl.Serial([sl.Conv1D(1, 5, padding='same'), *[sl.Delay(2)] * 49])


@functools.cache
def deep():
    return trace_steps(DEEP, noise(1000, gap=range(60, 80)), 4)


@functools.cache
def no_latency():
    return trace_steps(sl.Serial([sl.Delay(1, name='a_very_long_name_that_has_to_be_cut')]), noise(4))


TRACES = {
    'mixed': mixed,
    'branches': branches,
    'deep': deep,
    'large blocks': lambda: trace_steps(sl.Upsample1D(160), noise(1000, gap=range(500, 510)), 60),
    'no latency': no_latency,
}


def check_that_nothing_runs(view):
    """Moving the focus calls no JAX and no layer."""
    with packages_called() as called:
        view.show(view.positions[-1])
    assert 'viz' in called
    assert not called & {'jax', 'jaxlib', 'flax', 'seqlayers'}


@pytest.mark.parametrize('name', TRACES)
def test_texts_do_not_overlap_and_stay_on_the_page(name):
    view = StepTapeView(TRACES[name]())
    for position in sorted({0, 1, view.start, *view.positions[-4:]} & set(view.positions)):
        check_layout(view.result(position))
    check_that_nothing_runs(view)


@pytest.mark.parametrize(
    ('block', 'finding'),
    [
        (0, 'Block 0 emits nothing yet: outputs leave four steps late'),
        (4, 'Block 4 emits outputs 4 and 5, four steps after inputs 4 and 5 arrived'),
        (8, 'The flush pushes out outputs 12 and 13, four steps late'),
    ],
)
def test_the_title_says_what_the_block_does(block, finding):
    assert plot_steps(mixed(), block=block).finding == finding


@pytest.mark.parametrize(
    ('block', 'finding'),
    [
        (0, 'Block 0 emits output 0 as soon as input 0 is there'),
        (1, 'Block 1 emits outputs 1 and 2, up to one step after inputs 0 and 1 arrived'),
    ],
)
def test_of_outputs_of_one_input_some_wait_and_some_do_not(block, finding):
    trace = trace_steps(sl.Serial([sl.Upsample1D(2), sl.Lookahead(1)]), noise(4))
    assert plot_steps(trace, block=block).finding == finding


def test_without_latency_nothing_waits():
    picture = plot_steps(no_latency())
    assert picture.finding == 'Block 3 emits output 3 as soon as input 3 is there'
    assert not any('latency' in text.get_text() for text in picture.axes[0].texts)


def test_what_lies_before_the_window_is_counted():
    trace, start = deep(), 464
    seen = trace.cone(125).sets
    for row, intervals in zip(trace.rows, seen, strict=True):
        times = range(start - row.offset)  # at a ratio of 1
        assert seen_before(row, intervals, start) == sum(any(a <= t <= b for a, b in intervals) for t in times)
    assert seen_before(trace.rows[0], seen[0], start) > 0 == seen_before(trace.rows[-1], seen[-1], start)
