"""The explorer: sliders that move through a trace, and a bundle that reads well without widgets."""

import sys

import numpy as np
import pytest

import seqlayers as sl
import viz
from tests.viz.calls import packages_called
from tests.viz.models import MODELS, Backwards, Understated, model, noise
from viz.views import KINDS

VIEWS = ['block diagram', 'receptive field', 'step tape', 'layer and step', 'state', 'mask']


@pytest.fixture(scope='module')
def explorer():
    return viz.explore(model('memories'), noise(24, gap=(9,)))


def ticks(explorer):
    """Images at several positions of the slider."""
    images = []
    for position in np.unique(np.linspace(explorer.slider.min, explorer.slider.max, 4).astype(int)):
        explorer.slider.value = int(position)
        images.append(bytes(explorer.image.value))
    return images


@pytest.mark.parametrize('view', VIEWS)
def test_every_tick_gives_another_image(explorer, view):
    explorer.choice.value = view
    images = ticks(explorer)
    assert all(image.startswith(b'\x89PNG') for image in images)
    assert len(set(images)) == len(images)
    assert ticks(explorer) == images  # and the same position the same image


@pytest.mark.parametrize('view', VIEWS)
def test_a_tick_never_calls_jax(explorer, view):
    explorer.choice.value = view
    explorer.slider.value = explorer.slider.min
    with packages_called() as called:
        explorer.slider.value = explorer.slider.max
    assert 'viz' in called
    assert not called & {'jax', 'jaxlib', 'flax', 'seqlayers'}


@pytest.mark.parametrize('view', ['mask', 'step tape'])
def test_the_finding_is_heard(explorer, view):
    explorer.choice.value = view
    for position in (explorer.slider.min, explorer.slider.max):
        explorer.slider.value = position
        finding = explorer.view.page.figure.finding
        assert explorer.status.value.endswith(f'>{finding}</div>')
        assert 'role="status"' in explorer.status.value and 'clip-path' in explorer.status.value  # not seen


def test_it_shows_that_it_works(explorer, monkeypatch):
    said = []

    def make(subject, theme):
        said.append(explorer.status.value)
        raise ValueError('it was asked')

    monkeypatch.setitem(KINDS, 'state', KINDS['state']._replace(make=make))
    explorer.choice.value = 'mask'
    before = bytes(explorer.image.value)
    explorer.block_size.value += 1  # none of these was seen
    with pytest.raises(ValueError, match='it was asked'):
        explorer.choice.value = 'state'
    assert 'working ...' in said[0] and 'clip-path' not in said[0]
    assert bytes(explorer.image.value) == before and repr(explorer).startswith('<Explorer, mask: ')
    assert explorer.status.value.endswith(f'>{explorer.finding}</div>')
    explorer.choice.value = 'mask'


def test_a_view_that_cannot_be_drawn_leaves_the_last_one(explorer, monkeypatch):
    explorer.choice.value = 'mask'
    before = explorer.view, explorer.slider.max, bytes(explorer.image.value)
    make = KINDS['step tape'].make

    def broken(subject, theme):
        view = make(subject, theme)
        monkeypatch.setattr(view, 'show', lambda position: 1 / 0)
        return view

    monkeypatch.setitem(KINDS, 'step tape', KINDS['step tape']._replace(make=broken))
    with pytest.raises(ZeroDivisionError):
        explorer.choice.value = 'step tape'
    assert (explorer.view, explorer.slider.max, bytes(explorer.image.value)) == before


def test_the_bundle_has_a_text_a_page_a_png_and_the_widget():
    explorers = [viz.explore(model('window')) for _ in range(2)]
    (first, _), (second, _) = (e._repr_mimebundle_() for e in explorers)
    widget = 'application/vnd.jupyter.widget-view+json'
    assert set(first) == {'text/plain', 'text/html', 'image/png', widget}
    assert first['text/plain'] == '<Explorer, receptive field: Each output sees 4 inputs>'
    assert {**first, widget: {}} == {**second, widget: {}}


def test_a_declaration_is_enough():
    explorer = viz.explore(sl.Serial([sl.Conv1D(4, 3, strides=2, padding='causal'), sl.LSTM(4)]), view='mask')
    for view in VIEWS:
        explorer.choice.value = view
        assert view in repr(explorer)


def test_masks_of_a_batch_with_side_inputs_of_its_own():
    source = {'source': noise(5, batch=2, gap=(3,))}
    layer = sl.DotProductAttention('source', num_heads=2, units_per_head=3)
    x = noise(8, batch=2, gap=(6,))
    explorer = viz.explore(layer.build(x.channel_spec, rngs=0, constants=source), x, view='mask', constants=source)
    masks = explorer.view.trace.masks[0]
    assert masks[:2].tolist() == np.asarray(x.mask).tolist()
    assert sorted(masks[2:].sum(1).tolist()) == list(range(9))  # prefixes of each length


def test_block_size_and_forgotten_state_run_the_model_again():
    explorer = viz.explore(model('window'), noise(24), view='layer and step')
    assert 'agree on all 21 timesteps' in repr(explorer)
    explorer.forget_state.value = True
    explorer.block_size.value = 6
    assert 'Conv1D is the first to differ' in repr(explorer)
    explorer.block_size.value = 24  # as long as the input: nothing can be forgotten
    assert 'agree on all 21 timesteps' in repr(explorer)


def test_block_sizes_are_rounded_down_to_what_the_model_takes():
    explorer = viz.explore(model('convolutions'), noise(24), view='state')
    explorer.block_size.value = 7
    assert explorer.block_size.value == 6
    assert explorer.view.trace.block_size == 6


def test_the_slider_starts_at_the_first_difference():
    explorer = viz.explore(model('window'), noise(24), view='layer and step', block_size=6)
    explorer.forget_state.value = True
    assert explorer.slider.value == explorer.view.trace.output.first
    assert explorer.slider.description == 'timestep'


def test_layers_that_cannot_step_have_the_other_views():
    explorer = viz.explore(Backwards(), view='mask')
    assert explorer.choice.options == ('block diagram', 'receptive field', 'mask')
    with pytest.raises(ValueError, match='It starts at the end') as error:
        viz.explore(sl.Serial([Backwards()]), view='state')
    assert "Serial has no view 'state'; choose one of ['block diagram', 'receptive field', 'mask']" in str(error.value)


def test_another_output_is_another_field(explorer):
    explorer.choice.value = 'receptive field'
    explored = viz.explore(MODELS['convolutions'], view='receptive field')
    findings = set()
    for position in explored.view.positions:
        explored.slider.value = position
        findings.add(explored.view.trace.at(position).field)
    assert findings == {(-10, 5), (-8, 4)}


def test_a_wrong_field_is_shown():
    assert 'which the calculation excludes' in repr(viz.explore(Understated(), view='receptive field'))


def test_without_ipywidgets_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ipywidgets', None)
    with pytest.raises(ImportError, match=r"pip install 'seqlayers\[viz\]'"):
        viz.explore(model('window'))


def test_of_many_phases_the_slider_visits_the_known_one():
    explorer = viz.explore(sl.Serial([sl.Upsample1D(20), sl.Conv1D(1, 15, padding='causal')]), view='receptive field')
    assert explorer.slider.step == 20
    images = set()
    for position in explorer.view.positions:
        explorer.slider.value = position
        assert explorer.view.trace.at(position).output == position
        images.add(bytes(explorer.image.value))
    assert len(images) == len(explorer.view.positions) > 3


def test_a_declaration_alone_opens_the_lab():
    declaration = sl.Serial([sl.Conv1D(4, 3, padding='causal'), sl.LSTM(4)])
    lab = viz.explore(declaration, input_spec=sl.ChannelSpec((3,)))
    assert repr(lab).startswith('<Lab, ')
    assert lab.declaration == declaration and lab.input_spec == sl.ChannelSpec((3,))
