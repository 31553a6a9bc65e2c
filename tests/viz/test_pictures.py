"""Pictures: what is written in them, and that one can read it. Pixels are not compared."""

import io
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import seqlayers as sl
import viz
from tests.viz.layout import check_layout, texts
from tests.viz.models import MODELS, model, noise
from viz import png, style
from viz.shapes import hatch, rounded

DEEP = sl.Serial([sl.Conv1D(3, 3, padding='causal') for _ in range(24)])
UP = sl.Serial([sl.Upsample1D(6), sl.Conv1D(2, 4, padding='causal')])
LONG = 'a_very_long_name_that_has_to_be_cut_somewhere'
NAMED = sl.Serial([sl.Delay(1, name=LONG), sl.Delay(1, name='$x$<b>&')])


def receptive_field(layer, **kwargs):
    return viz.plot_receptive_field(viz.trace_receptive_field(layer, input_spec=sl.ChannelSpec((3,))), **kwargs)


def mask(layer, time=24, **kwargs):
    return viz.plot_mask(viz.trace_mask(layer, np.arange(time) % 9 != 5, input_spec=sl.ChannelSpec((3,))), **kwargs)


def state(layer, time=24, block_size=None, **kwargs):
    return viz.plot_state(viz.trace_state(layer, noise(time, gap=(7, 8)), block_size), **kwargs)


def comparison(layer, time=24, block_size=None, forget_state=False, **kwargs):
    trace = viz.compare_layer_and_step(layer, noise(time, gap=(7,)), block_size, forget_state=forget_state)
    return viz.plot_comparison(trace, **kwargs)


PICTURES = {
    'receptive field, phases': lambda **k: receptive_field(MODELS['convolutions'], **k),
    'receptive field, branches': lambda **k: receptive_field(MODELS['branches'], **k),
    'receptive field, endless': lambda **k: receptive_field(MODELS['memories'], **k),
    'receptive field, deep': lambda **k: receptive_field(DEEP, **k),
    'receptive field, many phases': lambda **k: receptive_field(UP, **k),
    'receptive field, four phases': lambda **k: receptive_field(UP.layers[0].replace(rate=4), **k),
    'receptive field, names': lambda **k: receptive_field(NAMED, **k),
    'mask, branches': lambda **k: mask(model('branches'), **k),
    'mask, long': lambda **k: mask(model('convolutions'), 600, **k),
    'mask, names': lambda **k: mask(NAMED, **k),
    'state, memories': lambda **k: state(model('memories'), **k),
    'state, blocks': lambda **k: state(model('memories'), 160, 40, **k),
    'state, repeated': lambda **k: state(model('repeated'), **k),
    'state, names': lambda **k: state(NAMED, **k),
    'comparison, equal': lambda **k: comparison(model('branches'), **k),
    'comparison, forgotten': lambda **k: comparison(model('branches'), 24, 8, True, **k),
    'comparison, long': lambda **k: comparison(model('memories'), 700, 37, True, **k),
    'comparison, short': lambda **k: comparison(model('window'), 5, **k),
}


@pytest.mark.parametrize('name', PICTURES)
def test_texts_do_not_overlap_and_stay_on_the_page(name):
    picture = PICTURES[name]()
    picture.canvas.draw()
    check_layout(picture)


@pytest.mark.parametrize('name', ['receptive field, phases', 'mask, long', 'state, memories', 'comparison, long'])
def test_a_picture_is_the_same_every_time_and_differs_by_theme(name):
    first, second, dark = PICTURES[name](), PICTURES[name](), PICTURES[name](theme='dark')
    bundles = [picture._repr_mimebundle_()[0] for picture in (first, second, dark)]
    assert bundles[0] == bundles[1]
    assert bundles[0]['text/plain'] == bundles[2]['text/plain'] == f'<Picture: {first.finding}>'
    light, night = (Image.open(io.BytesIO(b['image/png'])).convert('L') for b in (bundles[0], bundles[2]))
    assert light.size == (1800, round(first.get_figheight() * 200))
    assert np.mean(light) > 200 > 60 > np.mean(night)


@pytest.mark.parametrize('name', ['receptive field, names', 'mask, names', 'state, names'])
def test_names_are_shown_as_they_are_or_cut(name):
    words = [t.get_text() for t in texts(PICTURES[name]())]
    assert any('$x$<b>&' in w for w in words)
    assert any(w.startswith('a_very_long_name') for w in words)


def test_axes_that_are_given_are_drawn_on():
    figure = Figure(figsize=(6, 4))
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    assert receptive_field(MODELS['window'], ax=left) is left
    assert mask(MODELS['window'], ax=right) is right
    figure.savefig(io.BytesIO())
    sizes = {ax.texts[0].get_fontsize() for ax in (left, right)}
    assert max(sizes) < 0.72 * style.TITLE * 0.5  # scaled with the axes


def test_an_unknown_theme_is_refused():
    with pytest.raises(ValueError, match=r"there is no theme 'blue'; choose one of \['dark', 'light'\]"):
        mask(MODELS['window'], theme='blue')


@pytest.mark.parametrize('name', [name for name in viz.__all__ if name.startswith('plot_')])
def test_a_trace_of_another_kind_is_refused(name):
    trace = viz.trace_mask(MODELS['window'], [1, 1, 1, 1]) if name != 'plot_mask' else 'mask'
    with pytest.raises(TypeError, match=f'{name} draws a .*Trace, got {type(trace).__name__}; '):
        getattr(viz, name)(trace)


@pytest.mark.parametrize(
    ('layers', 'words'),
    [
        ([sl.Relu()] * 20, {('▸ 3 × Relu', ''), ('▸ 2 × Relu', '')}),
        ([sl.Relu(name=f'r{i}') for i in range(20)], {('▸ 3 × Relu', 'r0 … r2'), ('▸ 2 × Relu', 'r18 … r19')}),
        ([sl.Relu(), sl.Identity()] * 10, {('▸ 3 layers', 'Relu … Relu'), ('▸ 2 layers', 'Relu … Identity')}),
    ],
)
def test_runs_of_layers_are_called_what_they_are(layers, words):
    edges = viz.trace_mask(sl.Serial(layers), [1, 1]).edges
    assert words <= {(edge.name, edge.detail) for edge in edges}


def test_a_position_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match='viz: there is no sequence 5; choose one from 0 to 0'):
        mask(MODELS['window'], item=5)
    with pytest.raises(ValueError, match='there is no timestep -1; choose one from 0 to 23'):
        comparison(sl.Dense(2), timestep=-1)


def test_pyplot_is_never_imported():
    draw = 'import sys, viz, seqlayers as sl; viz.plot_mask(viz.trace_mask(sl.Delay(1), [1, 0]))'
    code = f"{draw}; print('matplotlib.pyplot' in sys.modules)"
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == 'False'


def test_the_png_is_what_was_drawn():
    image = np.random.default_rng(0).integers(0, 256, (7, 5, 4), np.uint8)
    np.testing.assert_array_equal(Image.open(io.BytesIO(png.encode(image))), image)


@pytest.mark.parametrize('pattern', ['/', 'x'])
def test_hatches_stay_in_their_box_and_run_on_in_the_next(pattern):
    left, right = hatch((10.5, 20, 26, 24), pattern), hatch((36.5, 20, 26, 24), pattern)
    for segments, x in ((left, 10.5), (right, 36.5)):
        points = np.concatenate(segments)
        assert points[:, 0].min() >= x - 1e-9
        assert points[:, 0].max() <= x + 26 + 1e-9
        assert points[:, 1].min() >= 20 - 1e-9
        assert points[:, 1].max() <= 44 + 1e-9
    ends = {tuple(np.round(p, 6)) for s in left for p in s if abs(p[0] - 36.5) < 1e-9}
    starts = {tuple(np.round(p, 6)) for s in right for p in s if abs(p[0] - 36.5) < 1e-9}
    assert ends == starts != set()


def test_a_rounded_box_touches_its_sides():
    box = rounded([(3, 4, 20, 10)]).get_extents()
    np.testing.assert_allclose([box.x0, box.y0, box.x1, box.y1], [3, 4, 23, 14])
