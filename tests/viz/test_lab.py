"""The lab without a browser: widgets are set, buttons are clicked, and what they show is read."""

import sys

import jax
import pytest
from ipywidgets import Text

import seqlayers as sl
from tests.viz.calls import packages_called
from viz.lab import open_lab
from viz.lab.catalogue import CATALOGUE
from viz.lab.code import from_python, to_python
from viz.lab.gallery import GALLERY
from viz.lab.panel import FieldPanel
from viz.views import KINDS

FIRST = (('layers', 0),)
SMALL = sl.Serial([sl.Conv1D(4, 3, padding='causal'), sl.Residual([sl.Relu(), sl.Dense(4)])])
SPEC = sl.ChannelSpec((4,))
IN_RESIDUAL = (('layers', 1), ('layers', 1))


@pytest.fixture
def lab():
    return open_lab(SMALL, SPEC)


def shown(lab):
    """What has to stay when a change is refused."""
    return bytes(lab.picture.image.value), lab.picture.finding, lab.picture.choice.value


def labels(lab):
    return [label.strip('\N{NO-BREAK SPACE}') for label, _ in lab.widgets.tree.options]


# --- fields -----------------------------------------------------------------------------------------------------
def other(control):
    """Another value that a control can take."""
    if hasattr(control, 'options'):
        return next(value for _, value in control.options if value is not control.value and value != control.value)
    if isinstance(control.value, bool):
        return not control.value
    if isinstance(control.value, int):
        return control.value + 1 if control.value < control.max else control.value - 1
    return control.value / 2 + 0.25


def test_every_control_edits_its_field_and_code_gives_the_same_declaration_back():
    edits = refused = 0
    for entries in CATALOGUE.values():
        for entry in entries.values():
            layer = entry.layers[-1] if type(entry) is sl.Serial else entry
            panel = FieldPanel(lambda: None)
            panel.show(layer)
            assert panel.edited() == layer
            for name, control in panel.controls.items():
                if isinstance(control, Text):
                    continue
                before, control.value = control.value, other(control)
                try:
                    new = panel.edited()
                except ValueError:  # the library's word on that value
                    refused += 1
                else:
                    assert new == layer.replace(**{name: control.value}) != layer
                    assert from_python(to_python(new), new) == new
                    edits += 1
                control.value = before
    assert edits > 250 > 30 > refused


def test_fields_are_edited_in_python_too(lab):
    lab.widgets.tree.value = FIRST
    controls = lab.fields.controls
    controls['name'].value = repr('front')
    controls['kernel_init'].value = 'sl.initializers.Normal(0.5)'
    controls['activation'].value = jax.nn.silu
    front = sl.Conv1D(
        4, 3, padding='causal', activation=jax.nn.silu, kernel_init=sl.initializers.Normal(0.5), name='front'
    )
    assert lab.declaration == sl.Serial([front, SMALL.layers[1]])
    assert from_python(lab.widgets.code.value) == lab.declaration
    assert lab.fields.controls is controls  # the controls stay, and with them the focus of the keyboard
    assert labels(lab)[1] == 'Conv1D “front”  k 3, causal'


def test_a_slider_at_its_end_gets_more_room(lab):
    lab.widgets.tree.value = FIRST
    kernel_size = lab.fields.controls['kernel_size']
    kernel_size.value = kernel_size.max
    assert lab.declaration.layers[0].kernel_size == 8
    assert kernel_size.max == 16


# --- what is refused ---------------------------------------------------------------------------------------------
def test_a_value_that_the_library_refuses_changes_nothing_but_says_why(lab):
    before = shown(lab)
    lab.widgets.tree.value = FIRST
    lab.fields.controls['groups'].value = 3
    assert 'groups' in lab.widgets.alert.value or 'divide' in lab.widgets.alert.value
    lab.fields.controls['groups'].value = 1
    assert lab.widgets.alert.value == ''
    lab.fields.controls['name'].value = 'front'  # no quotes
    assert 'role="alert"' in lab.widgets.alert.value
    assert 'NameError' in lab.widgets.alert.value
    assert shown(lab)[1:] == before[1:]
    assert lab.declaration == SMALL
    lab.widgets.undo.click()  # of what was refused
    assert (lab.declaration, lab.widgets.alert.value) == (SMALL, '')
    assert lab.fields.controls['name'].value == 'None'


def test_layers_that_do_not_fit_together_keep_the_last_picture_and_can_be_mended(lab):
    lab.picture.choice.value = 'receptive field'
    lab.widgets.tree.value = IN_RESIDUAL
    lab.picture.choice.value = 'mask'
    before = shown(lab)
    features = lab.fields.controls['features']
    features.value = 5
    assert 'adds channels (5,) of the body to channels (4,) of the shortcut' in lab.widgets.alert.value
    assert 'The picture is that of the last model that fits together' in lab.widgets.alert.value
    assert shown(lab) == before
    assert lab.declaration.layers[1].layers[1].features == 5
    lab.picture.slider.value = lab.picture.slider.max  # the picture is alive
    assert shown(lab)[0] != before[0]
    features.value = 4
    assert lab.widgets.alert.value == ''
    assert lab.declaration == SMALL


def test_a_value_of_a_wrong_type_is_mended_in_python(lab):
    lab.widgets.code.value = "sl.Dense('many')"
    lab.widgets.apply.click()
    assert 'role="alert"' in lab.widgets.alert.value
    lab.fields.controls['features'].value = '3'
    assert (lab.declaration, lab.widgets.alert.value) == (sl.Dense(3), '')


def test_the_diagram_shows_where_layers_do_not_fit_together(lab):
    before = shown(lab)
    lab.widgets.tree.value = IN_RESIDUAL
    lab.fields.controls['features'].value = 5
    assert 'adds channels (5,)' in lab.widgets.alert.value
    assert 'last model' not in lab.widgets.alert.value
    assert shown(lab)[0] != before[0]


def test_what_users_type_is_escaped(lab):
    lab.widgets.code.value = "sl.Conv1D(4, 3, padding='<script>')"
    lab.widgets.apply.click()
    assert '<script>' not in lab.widgets.alert.value
    assert '&lt;script&gt;' in lab.widgets.alert.value
    lab.widgets.code.value = '3'
    lab.widgets.apply.click()
    assert 'the code must be a layer' in lab.widgets.alert.value
    assert lab.declaration == SMALL


# --- the tree ----------------------------------------------------------------------------------------------------
def test_layers_are_added_moved_and_removed_and_all_is_undone(lab):
    w = lab.widgets
    w.tree.value = FIRST
    w.family.value, w.layer.value = 'Normalization', 'RMSNormalization'
    steps = [w.behind, w.down, w.duplicate, w.up, w.remove]
    seen = [lab.declaration]
    for button in steps:
        button.click()
        assert w.alert.value == ''
        seen.append(lab.declaration)
    conv, residual = SMALL.layers
    norm = CATALOGUE['Normalization']['RMSNormalization']
    expected = [[conv, norm, residual], [conv, residual, norm], [conv, residual, norm, norm], None, None]
    for declaration, layers in zip(seen[1:], expected, strict=True):
        assert layers is None or declaration == sl.Serial(layers)
    assert seen[4] == seen[3]  # two equal layers changed places: no new version
    assert labels(lab) == ['Serial', 'Conv1D  k 3, causal', 'Residual', 'Relu', 'Dense', 'RMSNormalization']
    while not w.undo.disabled:
        w.undo.click()
    assert lab.declaration == SMALL
    while not w.redo.disabled:
        w.redo.click()
    assert lab.declaration == seen[-1]


def test_a_layer_is_put_inside_and_around(lab):
    w = lab.widgets
    w.tree.value = (('layers', 1),)
    w.family.value, w.layer.value = 'Normalization', 'L2Normalize'
    w.inside.click()
    assert lab.declaration.layers[1] == sl.Residual([sl.Relu(), sl.Dense(4), sl.L2Normalize()])
    assert w.tree.value == (('layers', 1), ('layers', 2))
    w.tree.value = (('layers', 1),)
    w.family.value, w.layer.value = 'Combinators', 'Repeat'
    w.around.click()
    assert lab.declaration.layers[1] == sl.Repeat(
        SMALL.layers[1].replace(layers=[*SMALL.layers[1].layers, sl.L2Normalize()]), 2
    )
    assert w.alert.value == ''


def test_a_change_after_undo_forgets_what_came_after(lab):
    w = lab.widgets
    w.tree.value = FIRST
    w.duplicate.click()
    w.undo.click()
    assert not w.redo.disabled
    lab.fields.controls['kernel_size'].value = 2
    assert w.redo.disabled
    assert lab.declaration.layers[0].kernel_size == 2


def test_the_chosen_layer_is_framed_in_the_diagram(lab):
    lab.widgets.tree.value = IN_RESIDUAL
    line = lab.picture.view.lines[lab.picture.slider.value]
    assert [node.path for node in line.nodes] == ['layers_1/layers_1']


# --- models, input, code, proof -----------------------------------------------------------------------------------
def test_models_of_the_gallery_are_shown_and_the_menu_is_ready_for_the_next(lab):
    assert [value for _, value in lab.widgets.gallery.options] == ['', *GALLERY]
    for name in ('keyword spotter', 'encoder and decoder'):  # the second reads a side input
        start = GALLERY[name]
        lab.widgets.gallery.value = name
        assert lab.widgets.alert.value == '', name
        assert (lab.declaration, lab.input_spec) == start()
        assert lab.widgets.gallery.value == ''
        assert '✓ streams' in lab.widgets.numbers.value
        assert from_python(lab.widgets.code.value) == lab.declaration


def test_numbers_of_the_model_and_its_input(lab):
    lab.widgets.channels.value = '2'
    assert lab.input_spec == sl.ChannelSpec((2,))
    built = lab.declaration.build(lab.input_spec, rngs=0)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(built))
    state = jax.tree.leaves(built.get_initial_state(1, training=False))
    numbers = lab.widgets.numbers.value
    for value in (f'{parameters}', f'{sum(leaf.nbytes for leaf in state)} bytes', '−2 to 0', '1 step', '0 steps'):
        assert f'<b>{value}</b>' in numbers, value
    lab.widgets.channels.value = 'two'
    assert 'NameError' in lab.widgets.alert.value
    assert lab.input_spec == sl.ChannelSpec((2,))


def test_a_model_that_cannot_stream_says_why_and_loses_the_views_of_steps(lab):
    lab.picture.choice.value = 'state'
    lab.widgets.code.value = 'sl.Serial([sl.Dense(2), sl.ReverseSequence()])'
    lab.widgets.apply.click()
    assert lab.widgets.alert.value == ''
    assert '✗ cannot stream' in lab.widgets.numbers.value
    assert 'ReverseSequence' in lab.widgets.numbers.value
    assert lab.picture.choice.options == ('block diagram', 'receptive field', 'mask')
    lab.widgets.undo.click()
    assert 'state' in lab.picture.choice.options


def test_attention_is_offered_where_there_is_any(lab):
    assert 'attention' not in lab.picture.choice.options
    lab.widgets.code.value = 'sl.DotProductSelfAttention(1, 2, max_past_horizon=3)'
    lab.widgets.apply.click()
    lab.picture.choice.value = 'attention'
    assert lab.widgets.alert.value == ''
    assert lab.picture.slider.description == 'query'


def test_the_proof_is_shown_until_the_model_changes(lab):
    lab.widgets.code.value = 'sl.Dense(2)'
    lab.widgets.apply.click()
    lab.widgets.prove.click()
    assert 'keeps the contract' in lab.widgets.proof.value
    lab.widgets.undo.click()
    assert lab.widgets.proof.value == ''


def test_numbers_come_before_a_picture_that_takes_time(lab, monkeypatch):
    seen = []

    def make(subject, theme):
        seen.append((lab.widgets.numbers.value, lab.picture.status.value))
        return KINDS['mask'].make(subject, theme)

    monkeypatch.setitem(KINDS, 'state', KINDS['state']._replace(make=make))
    lab.picture.choice.value = 'state'
    lab.widgets.tree.value = FIRST
    lab.fields.controls['kernel_size'].value = 5
    numbers, said = seen[-1]
    assert '<b>−4 to 0</b>' in numbers and 'parameters' in numbers  # of the new model
    assert 'working ...' in said and 'the picture is still the one before' in said
    assert lab.picture.status.value.endswith(f'>{lab.picture.finding}</div>')


def test_a_tick_computes_nothing(lab):
    lab.picture.choice.value = 'receptive field'
    with packages_called() as called:
        lab.picture.slider.value = lab.picture.slider.min
    assert 'viz' in called
    assert not called & {'jaxlib', 'flax', 'seqlayers'}


def test_the_bundle_has_a_text_a_png_and_the_widget():
    bundles = [open_lab(SMALL, SPEC)._repr_mimebundle_()[0] for _ in range(2)]
    assert set(bundles[0]) >= {'text/plain', 'image/png', 'application/vnd.jupyter.widget-view+json'}
    assert bundles[0]['text/plain'].startswith('<Lab, block diagram: ')
    assert [(b['text/plain'], b['image/png']) for b in bundles[:1]] == [
        (b['text/plain'], b['image/png']) for b in bundles[1:]
    ]


def test_where_to_start():
    default = open_lab()
    assert (default.declaration, default.input_spec) == next(iter(GALLERY.values()))()
    built = SMALL.build(SPEC, rngs=0)
    assert open_lab(built, SPEC).declaration == SMALL
    with pytest.raises(sl.LayerError, match=r'adds channels \(4,\) of the body to channels \(3,\)'):
        open_lab(sl.Residual([sl.Dense(4)]), sl.ChannelSpec((3,)))
    with pytest.raises(sl.LayerError, match=r'channels \(8,\)') as error:
        open_lab(sl.Residual([sl.Dense(4)]))
    assert 'give input_spec=' in error.value.__notes__[-1]
    with pytest.raises(ValueError, match="there is no theme 'blue'"):
        open_lab(SMALL, theme='blue')


def test_without_ipywidgets_it_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith('viz.lab')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'ipywidgets', None)
    with pytest.raises(ImportError, match=r"pip install 'seqlayers\[viz\]'"):
        __import__('viz.lab')
