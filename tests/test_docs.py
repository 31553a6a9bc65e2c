"""The generated page of all layers is current, and the formulas in docstrings agree with the timing."""

import ast
import importlib.util
import inspect
import math
import re
from pathlib import Path

import pytest

import seqlayers as sl

DOCS = Path(__file__).parent.parent / 'docs'


def load(script):
    spec = importlib.util.spec_from_file_location(f'docs_{script.stem}', script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docs = load(DOCS / 'layers.py')
TABLES = {layer: docs.docstring_table(layer) for layer in docs.public_layers()}
WITH_TABLE = [layer for layer, table in TABLES.items() if table]


def test_the_page_is_current():
    assert docs.page() == (DOCS / 'layers.md').read_text(), 'run `make docs`'


def test_every_layer_is_on_the_page():
    layers = {
        n for n in sl.__all__ if isinstance(getattr(sl, n), type) and issubclass(getattr(sl, n), sl.SequenceLayer)
    }
    listed = re.findall(r'^\| \*\*`(\w+)`', docs.page(), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == layers - {base.__name__ for base in docs.BASES}


def test_layers_in_the_order_of_families():
    page = docs.page()
    assert page.index('`Serial`') < page.index('`Dense`') < page.index('`Conv1D`') < page.index('`Identity`')
    assert 'A convolution over time, with a bias and an activation. With ek = ' in page
    assert re.search(r'`Delay`.*\n.*True \| 1 \| 1 \| length, 0 \| \(-length, -length\)', page)
    assert re.search(r'`Frame`.*In time as `Conv1D`', page)
    assert re.search(r'`ReverseSequence`.* no: it rearranges time', page)


# --- docstrings ---------------------------------------------------------------------------------------------------


def evaluate(cell, names):
    """The number or the pair that a formula gives; None for words, and for names that only the text explains."""
    try:
        return eval(cell, {'__builtins__': {}, 'max': max, 'min': min, 'ceil': math.ceil, 'inf': math.inf}, names)
    except (SyntaxError, NameError, TypeError):
        return None


def names_of(sample):
    """The fields of a declaration, and what the docstring defines: `With s = strides and ...:`."""
    names = sample.field_values()
    for name, formula in re.findall(r'(\w+) = (.*?)(?=,? and \w+ =|, \w+ =|\.$)', docs.definitions(type(sample))):
        names[name] = evaluate(formula, names)
    return names


def row_of(sample, table):
    """The row of the table that holds for a declaration: the first column names a field, and its values."""
    field = next(iter(table[0])).strip('`')
    if len(table) == 1:
        return table[0]
    if field not in sample.field_values():
        return {}
    for row in table:
        try:
            values = ast.literal_eval(f'({next(iter(row.values()))},)')
        except (SyntaxError, ValueError):
            continue
        if getattr(sample, field) in values:
            return row
    return {}


def facts(sample, column):
    """What timing says about a column of a table."""
    if not sample.supports_step and column not in ('output ratio', 'receptive field'):
        return []
    match column:
        case 'block size':
            return [sample.block_size]
        case 'output ratio':
            return [float(sample.output_ratio)]
        case 'input latency':
            return [sample.input_latency]
        case 'output latency':
            return [sample.output_latency]
        case 'latencies' | 'input, output latency':
            return [sample.input_latency, sample.output_latency]
        case 'receptive field':
            return [sample.receptive_field]
    return []


def compared(layer):
    """Every cell of the layer's table that can be calculated, for every sample: `(sample, column, said, is)`."""
    for sample in docs.samples(layer):
        names = names_of(sample)
        for column, cell in row_of(sample, TABLES[layer]).items():
            if cell == 'cannot step':
                yield sample, column, False, sample.supports_step
            elif (said := evaluate(cell, names)) is not None:
                yield from ((sample, column, said, fact) for fact in facts(sample, column))


@pytest.mark.parametrize('layer', WITH_TABLE, ids=lambda layer: layer.__name__)
def test_formulas_of_the_docstring(layer):
    wrong = [
        f'{sample!r}: {column} is {fact}, not {said}' for sample, column, said, fact in compared(layer) if said != fact
    ]
    assert not wrong


def test_formulas_that_are_calculated():
    """The test above is not empty: formulas with definitions, variants, ratios and infinite fields are calculated."""
    seen = {layer: {column for _, column, _, _ in compared(layer)} for layer in WITH_TABLE}
    everything = {'block size', 'output ratio', 'receptive field'}
    assert seen[sl.Conv1D] == seen[sl.Delay] == everything | {'input latency', 'output latency'}
    assert seen[sl.Dense] == seen[sl.LSTM] == seen[sl.StackFrames] == everything | {'latencies'}
    assert 'block size' in seen[sl.GroupNormalization] and 'input latency' in seen[sl.Conv1DTranspose]
    said = {said for _, column, said, _ in compared(sl.Conv1D) if column == 'receptive field'}
    assert len(said) >= 5
    assert sum(len(list(compared(layer))) for layer in WITH_TABLE) > 500


def test_summaries_are_sentences():
    for layer in TABLES:
        assert re.fullmatch(r'\S.*\.', docs.summary(layer)), f'{layer.__name__}: {docs.summary(layer)!r}'
        assert inspect.getdoc(layer)
