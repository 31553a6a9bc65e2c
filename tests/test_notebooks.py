"""What nbval does not see in a stored notebook, and the proof that what it should see makes it fail.

nbval compares the stored outputs with those of a new run, but passes a cell that was never executed.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from mutate_notebooks import compare as compare_mutants
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).parent.parent
LESSONS = sorted(ROOT.glob('tutorials/*.ipynb'))
NOTEBOOKS = LESSONS + sorted(ROOT.glob('notebooks/*.ipynb'))

MAX_CELLS = 25
MIN_IGNORED, IGNORED_SHARE = 2, 1 / 8
IGNORING_TAGS = {'nbval-ignore-output', 'nbval-skip'}
IGNORING_COMMENT = re.compile(r'^\s*#\s*(NBVAL_IGNORE_OUTPUT|NBVAL_SKIP|PYTEST_VALIDATE_IGNORE_OUTPUT)', re.M)
LOCAL_PATH = re.compile(r'/(?:home|root|Users|work|tmp)/|[A-Z]:\\\\')


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def is_ignored(cell: nbformat.NotebookNode) -> bool:
    """Whether nbval is told not to compare the outputs of this cell."""
    tags = set(cell.metadata.get('tags', []))
    return bool(tags & IGNORING_TAGS or IGNORING_COMMENT.search(cell.source))


def texts(cell: nbformat.NotebookNode) -> Iterator[str]:
    """The source and the outputs that are text; a picture's base64 may hold any characters by chance."""
    yield cell.source
    for output in cell.get('outputs', []):
        data = output.get('data', {})
        shown = {kind: value for kind, value in data.items() if not kind.startswith('image/')}
        yield json.dumps({**output, 'data': shown})


def faults(notebook: nbformat.NotebookNode, is_lesson: bool = True) -> list[str]:
    """What is wrong with a stored notebook, one sentence a fault."""
    found = []
    code = [cell for cell in notebook.cells if cell.cell_type == 'code']
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append('was not executed from top to bottom in a new kernel')
    if 'widgets' in notebook.metadata:
        found.append('stores the state of widgets, which makes it invalid on code hosts')
    if any(LOCAL_PATH.search(text) for cell in notebook.cells for text in texts(cell)):
        found.append('shows an absolute path of the machine it ran on')
    if any(line.rstrip().endswith(';') for cell in code for line in cell.source.splitlines()):
        found.append('has a line that ends in a semicolon, which hides an output in Jupyter but not in nbval')
    if sum(map(is_ignored, code)) > max(MIN_IGNORED, IGNORED_SHARE * len(code)):
        found.append('has too many cells whose output is not compared')
    if is_lesson and len(notebook.cells) > MAX_CELLS:
        found.append(f'has more than {MAX_CELLS} cells')
    return found


def test_there_are_lessons():
    assert LESSONS


@pytest.mark.parametrize('path', NOTEBOOKS, ids=name)
def test_stored_notebook_has_no_faults(path):
    assert faults(nbformat.read(path, as_version=4), is_lesson=path in LESSONS) == []


def sample() -> nbformat.NotebookNode:
    """A faultless notebook: a printed line, a result, a picture and an expected error, with true outputs."""
    picture = {'image/png': 'iVBORw0KGgo/tmp/', 'text/plain': '<Figure>'}
    result = new_output('execute_result', {'text/plain': '42'}, execution_count=2)
    message = {'ename': 'ValueError', 'evalue': 'no', 'traceback': []}
    figure = "display({'image/png': '', 'text/plain': '<Figure>'}, raw=True)"
    cells = [
        new_markdown_cell('# A sample'),
        new_code_cell('print(6 * 7)', outputs=[new_output('stream', text='42\n')]),
        new_code_cell('6 * 7', outputs=[result]),
        new_code_cell(figure, outputs=[new_output('display_data', picture)]),
        new_code_cell("raise ValueError('no')", outputs=[new_output('error', **message)]),
    ]
    cells[-1].metadata.tags = ['raises-exception']
    for count, cell in enumerate(cells[1:], start=1):
        cell.execution_count = count
    return new_notebook(cells=cells)


def clear_counts(notebook):
    for cell in notebook.cells[1:]:
        cell.execution_count, cell.outputs = None, []


def run_out_of_order(notebook):
    notebook.cells[1].execution_count = 7


def store_widgets(notebook):
    notebook.metadata.widgets = {}


def print_path(notebook):
    notebook.cells[1].outputs[0].text = '/home/somebody/sound.flac\n'


def hide_output(notebook):
    notebook.cells[2].source = '6 * 7;'


def ignore_outputs(notebook):
    for cell in notebook.cells[1:3]:
        cell.metadata.tags = ['nbval-ignore-output']
    notebook.cells[3].source = '# NBVAL_IGNORE_OUTPUT\n' + notebook.cells[3].source


def lengthen(notebook):
    notebook.cells += [new_markdown_cell('More.') for _ in range(MAX_CELLS)]


def test_a_faultless_notebook_passes_the_guard():
    assert faults(sample()) == []


@pytest.mark.parametrize(
    ('tamper', 'fault'),
    [
        (clear_counts, 'executed'),
        (run_out_of_order, 'executed'),
        (store_widgets, 'widgets'),
        (print_path, 'absolute path'),
        (hide_output, 'semicolon'),
        (ignore_outputs, 'not compared'),
        (lengthen, 'cells'),
    ],
)
def test_each_fault_is_found(tamper, fault):
    notebook = sample()
    tamper(notebook)
    [found] = faults(notebook)
    assert fault in found


def compare(notebook: nbformat.NotebookNode, folder: Path) -> tuple[int, str]:
    """Runs pytest as the suite does, on one notebook; returns its exit code and its last line."""
    path = folder / 'sample.ipynb'
    nbformat.write(notebook, path)
    pytest_here = [sys.executable, '-m', 'pytest', '-c', 'pyproject.toml', '-p', 'no:cacheprovider', '-q']
    done = subprocess.run([*pytest_here, str(path)], cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout.strip().splitlines()[-1]


def test_true_outputs_pass(tmp_path):
    code, summary = compare(sample(), tmp_path)
    assert (code, summary.split(' in ')[0]) == (0, '4 passed')


def test_tampered_outputs_fail(tmp_path):
    notebook = sample()
    printed, result, figure, error = (cell.outputs for cell in notebook.cells[1:])
    printed[0].text = '43\n'
    result.clear()
    figure[0].data['text/plain'] = '<Image>'
    error[0].evalue = 'yes'
    code, summary = compare(notebook, tmp_path)
    assert (code, summary.split(' in ')[0]) == (1, '4 failed')


@pytest.mark.parametrize('path', NOTEBOOKS, ids=name)
def test_falsehoods_in_stored_outputs_are_caught(path):
    count, missed = compare_mutants(path)
    assert count and len(missed) <= 0.05 * count, missed
