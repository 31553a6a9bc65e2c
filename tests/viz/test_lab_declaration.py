"""Declarations as trees that are edited, their fields, and their code."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest

import seqlayers as sl
from docs.layers import family, public_layers
from tests.registry import all_cases
from viz.lab import declaration as tree
from viz.lab.catalogue import CATALOGUE, WIDTH
from viz.lab.code import from_python, to_python
from viz.lab.fields import fields_of
from viz.lab.gallery import GALLERY
from viz.lab.study import Study

A, B, C, D = (sl.Delay(n) for n in range(1, 5))
MODEL = sl.Serial([A, sl.Residual([B, C], shortcut_layers=[D]), sl.Repeat(sl.Tanh(), 2)])
IN_RESIDUAL = (('layers', 1), ('layers', 0))
IN_REPEAT = (('layers', 2), ('child_layer', None))
ENTRIES = [(name, entry) for entries in CATALOGUE.values() for name, entry in entries.items()]


@dataclasses.dataclass(frozen=True)
class Twice:
    """A hyper-parameter of the user's own."""

    rate: float = 0.5

    def __call__(self, x):
        return 2 * self.rate * x


class Own(sl.Stateless):
    """A layer of the user's own."""

    fn: object = Twice()

    def layer(self, x, *, training, constants=None):
        return x.apply_values(self.fn)


# --- the tree ---------------------------------------------------------------------------------------------------
def test_every_layer_has_a_path_and_the_name_that_the_library_gives_it():
    for start in GALLERY.values():
        declaration, _ = start()
        found = list(tree.layers(declaration))
        walked = list(sl.layer.walk(declaration))
        assert [tree.name_of(declaration, path) for path, _ in found] == [name for name, _ in walked]
        assert [layer for _, layer in found] == [layer for _, layer in walked]
        assert all(tree.layer_at(declaration, path) is layer for path, layer in found)


def test_edits_give_new_declarations_and_the_layer_to_look_at():
    new = sl.Relu()
    edits = {
        'behind': (tree.insert_behind(MODEL, IN_RESIDUAL, new), new),
        'inside': (tree.insert_inside(MODEL, (('layers', 1),), new), new),
        'replaced': (tree.replace(MODEL, IN_REPEAT, new), new),
        'down': (tree.move(MODEL, IN_RESIDUAL, 1), B),
        'out at the top': (tree.move(MODEL, IN_RESIDUAL, -1), B),
        'out at the end': (tree.move(MODEL, (('layers', 1), ('layers', 1)), 1), C),
        'removed': (tree.remove(MODEL, IN_RESIDUAL), C),
        'twice': (tree.duplicate(MODEL, IN_RESIDUAL), B),
        'around': (tree.wrap(MODEL, (('layers', 0),), sl.Residual([new])), sl.Residual([A])),
        'behind the only one': (tree.insert_behind(MODEL, IN_REPEAT, new), new),
    }
    residual, repeat = MODEL.layers[1:]
    shortcut = {'shortcut_layers': [D]}
    expected = {
        'behind': [A, sl.Residual([B, new, C], **shortcut), repeat],
        'inside': [A, sl.Residual([B, C, new], **shortcut), repeat],
        'replaced': [A, residual, sl.Repeat(new, 2)],
        'down': [A, sl.Residual([C, B], **shortcut), repeat],
        'out at the top': [A, B, sl.Residual([C], **shortcut), repeat],
        'out at the end': [A, sl.Residual([B], **shortcut), C, repeat],
        'removed': [A, sl.Residual([C], **shortcut), repeat],
        'twice': [A, sl.Residual([B, B, C], **shortcut), repeat],
        'around': [sl.Residual([A]), residual, repeat],
        'behind the only one': [A, residual, sl.Repeat(sl.Serial([sl.Tanh(), new]), 2)],
    }
    for name, ((declaration, path), layer) in edits.items():
        assert declaration == sl.Serial(expected[name]), name
        assert tree.layer_at(declaration, path) == layer, name


def test_neighbours_that_only_fit_together_are_moved_at_once():
    around = sl.Residual([sl.Downsample1D(2), sl.Upsample1D(2), sl.Relu()])  # half of it is no Residual
    moved, _ = tree.move(around, (('layers', 1),), 1)
    assert moved == sl.Residual([sl.Downsample1D(2), sl.Relu(), sl.Upsample1D(2)])


def test_a_copy_has_no_name_as_names_of_siblings_differ():
    named = sl.Serial([sl.Dense(2, name='first')])
    assert tree.duplicate(named, (('layers', 0),))[0] == sl.Serial([sl.Dense(2, name='first'), sl.Dense(2)])


def test_an_optional_layer_is_removed_and_a_necessary_one_is_not():
    attention = sl.DotProductSelfAttention(1, 2, 3, query_network=sl.Tanh())
    removed, path = tree.remove(attention, (('query_network', None),))
    assert (removed, path) == (attention.replace(query_network=None), ())
    with pytest.raises(ValueError, match='Repeat needs a layer as its child_layer'):
        tree.remove(MODEL, IN_REPEAT)
    with pytest.raises(ValueError, match='the model needs a layer'):
        tree.remove(MODEL, ())


def test_places_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match='Delay cannot move further up'):
        tree.move(MODEL, (('layers', 0),), -1)
    with pytest.raises(ValueError, match='Tanh cannot move further down'):
        tree.move(MODEL, IN_REPEAT, 1)
    with pytest.raises(ValueError, match='Delay holds no list of layers: choose Serial'):
        tree.insert_inside(MODEL, (('layers', 0),), sl.Relu())
    with pytest.raises(ValueError, match='Relu holds no layers: choose a combinator'):
        tree.wrap(MODEL, (('layers', 0),), sl.Relu())


# --- catalogue and gallery ----------------------------------------------------------------------------------------
def test_the_catalogue_has_every_layer_in_its_family():
    assert {title: set(entries) for title, entries in CATALOGUE.items()} == {
        title: {layer.__name__ for layer in public_layers() if family(layer) == title} for title in CATALOGUE
    }
    assert {family(layer) for layer in public_layers()} == set(CATALOGUE)


def test_every_entry_of_the_catalogue_shows_its_layer_and_builds_behind_another():
    for name, entry in ENTRIES:
        assert name in {type(layer).__name__ for _, layer in tree.layers(entry)}
        declaration, _ = tree.insert_behind(sl.Dense(WIDTH), (), entry)
        built = Study(declaration, sl.ChannelSpec((WIDTH,))).abstract
        assert built.output_spec is not None, name


def test_every_model_of_the_gallery_streams_and_is_small():
    for name, start in GALLERY.items():
        study = Study(*start())
        assert study.declaration.supports_step, name
        assert 0 < study.summary.parameters < 5000, name
        assert 0 < study.summary.state_bytes < 10_000, name


# --- code ---------------------------------------------------------------------------------------------------------
def test_code_evaluates_to_an_equal_declaration():
    library = [sl.models.transformer(9), sl.models.conformer(), sl.models.wavenet(), sl.models.mamba(9)]
    declarations = [
        *(case.layer for case in all_cases()),
        *(entry for _, entry in ENTRIES),
        *(start()[0] for start in GALLERY.values()),
        *library,
        sl.models.encoder_decoder(9),
    ]
    assert len(declarations) > 500
    for declaration in declarations:
        assert from_python(to_python(declaration), declaration) == declaration


def test_long_code_is_laid_out_over_lines():
    layers = [sl.Conv1D(8, 5, dilation_rate=2, padding='causal', activation=jax.nn.gelu, name='front'), sl.LSTM(8)]
    model = sl.Serial([sl.Residual([sl.RMSNormalization(), *layers], name='long'), sl.Repeat(sl.Tanh(), 2)])
    assert to_python(model) == (
        'sl.Serial([\n'
        '    sl.Residual([\n'
        '        sl.RMSNormalization(),\n'
        '        sl.Conv1D(\n'
        '            8,\n'
        '            kernel_size=5,\n'
        '            dilation_rate=2,\n'
        "            padding='causal',\n"
        '            activation=jax.nn.gelu,\n'
        "            name='front',\n"
        '        ),\n'
        '        sl.LSTM(8),\n'
        "    ], name='long'),\n"
        '    sl.Repeat(sl.Tanh(), num_repeats=2),\n'
        '])'
    )


def test_numbers_arrays_and_names_of_ones_own_are_written():
    model = sl.Serial([sl.Add(jnp.arange(2)), sl.Scale(math.inf), Own(), sl.Lambda(jnp.square), sl.Cast('bfloat16')])
    assert to_python(model).replace('\n', '').replace('    ', '') == (
        "sl.Serial([sl.Add(np.array([0, 1], 'int32')),sl.Scale(float('inf')),Own(),sl.Lambda(jnp.square),"
        "sl.Cast('bfloat16'),])"
    )
    assert from_python(to_python(model), model) == model
    with pytest.raises(ValueError, match='has no name to write down'):
        to_python(sl.Lambda(lambda x: x))


# --- fields -------------------------------------------------------------------------------------------------------
def test_each_field_has_the_control_that_suits_it():
    fields = {field.name: field for field in fields_of(sl.Conv1D(8, 3, padding='causal', activation=jnp.square))}
    assert (fields['filters'].control, fields['filters'].low, fields['filters'].high) == ('slider', 1, 16)
    assert fields['use_bias'].control == 'check'
    assert [value for _, value in fields['padding'].options] == list(sl.padding.PADDING_MODES)
    assert dict(fields['activation'].options)['square'] is jnp.square
    assert dict(fields['activation'].options)['none'] is None
    assert [name for name, _ in fields['compute_dtype'].options] == ['as the input', 'float32', 'bfloat16', 'float16']
    assert fields['kernel_init'].control == 'python'
    assert {name for name, field in fields.items() if field.is_detail} >= {'name', 'kernel_init', 'param_dtype'}
    attention = {f.name: f for f in fields_of(sl.DotProductSelfAttention(2, 4, 8, query_network=sl.Tanh()))}
    assert attention['max_past_horizon'].low == -1
    assert attention['num_kv_heads'].control == 'python'
    assert attention['key_network'].control == 'python'  # none yet: one can be written
    assert 'query_network' not in attention  # stands in the tree
    assert {f.name: f.control for f in fields_of(sl.Dropout(0.1))}['rate'] == 'slider'
    explicit = {f.name: f for f in fields_of(sl.Conv1D(8, 3, padding=(1, 1)))}['padding']
    assert explicit.options[-1] == ('(1, 1)', (1, 1))
    combination = {f.name: f for f in fields_of(sl.Parallel([sl.Tanh()]))}['combination']
    assert [name for name, _ in combination.options] == ['stack', 'concat', 'add', 'mean', 'product']
