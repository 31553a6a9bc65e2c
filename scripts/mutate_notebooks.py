"""Falsifies stored outputs of notebooks, and counts how many of the falsehoods the suite's comparison catches.

`python scripts/mutate_notebooks.py` prints a table. Nothing is computed again: each cell of a notebook is replaced by
one that shows what the stored notebook holds, once for each falsehood in its stored output, and nbval compares.
"""

import copy
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import nbformat
from nbformat.v4 import new_code_cell, new_notebook, new_output

ROOT = Path(__file__).parent.parent
NOTEBOOKS = [*sorted(ROOT.glob('tutorials/*.ipynb')), *sorted(ROOT.glob('notebooks/*.ipynb'))]
NOT_COMPARED = {'nbval-ignore-output', 'nbval-skip'}
Outputs = list[nbformat.NotebookNode]


def replay(outputs: Outputs) -> str:
    """Code that shows these outputs."""
    lines = ['import sys', 'from IPython.display import display']
    for output in outputs:
        if output.output_type == 'stream':
            lines.append(f'_ = sys.{output.name}.write({output.text!r})')
        elif output.output_type == 'error':
            lines.append(f'raise type({output.ename!r}, (Exception,), {{}})({output.evalue!r})')
        else:
            lines.append(f'display({dict(output.data)!r}, raw=True)')
    return '\n'.join(lines)


def texts(outputs: Outputs) -> list[tuple[nbformat.NotebookNode, str]]:
    """The texts in outputs, as a place and a key."""
    found = []
    for output in outputs:
        if output.output_type == 'stream':
            found.append((output, 'text'))
        elif output.output_type == 'error':
            found.append((output, 'evalue'))
        elif 'text/plain' in output.data:
            found.append((output.data, 'text/plain'))
    return found


def unchanged(outputs: Outputs) -> bool:
    return True


# --- falsehoods: each changes outputs in place, and says whether it found something to change ------------------------
def another_digit(outputs: Outputs) -> bool:
    for place, key in reversed(texts(outputs)):
        if digits := list(re.finditer(r'\d', place[key])):
            at = digits[len(digits) // 2].start()
            place[key] = f'{place[key][:at]}{(int(place[key][at]) + 1) % 10}{place[key][at + 1 :]}'
            return True
    return False


def another_word(outputs: Outputs) -> bool:
    for place, key in texts(outputs):
        if words := re.findall(r'[A-Za-z]{3,}', place[key]):
            word = words[len(words) // 2]
            place[key] = place[key].replace(word, word[::-1] if word != word[::-1] else 'other', 1)
            return True
    return False


def a_line_less(outputs: Outputs) -> bool:
    for place, key in texts(outputs):
        lines = place[key].splitlines(keepends=True)
        if len(lines) > 1:
            del lines[len(lines) // 2]
            place[key] = ''.join(lines)
            return True
    return False


def an_output_less(outputs: Outputs) -> bool:
    del outputs[-1]
    return True


def an_output_more(outputs: Outputs) -> bool:
    outputs.append(new_output('stream', text='Everything is fine.\n'))
    return True


FALSEHOODS: tuple[Callable[[Outputs], bool], ...] = (
    another_digit,
    another_word,
    a_line_less,
    an_output_less,
    an_output_more,
)


def mutants(notebook: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    """For each cell whose output is compared: one that shows it, as it is stored and with each falsehood."""
    for cell in notebook.cells:
        if cell.cell_type != 'code' or not cell.outputs or NOT_COMPARED & set(cell.metadata.get('tags', [])):
            continue
        tags = ['raises-exception'] if any(o.output_type == 'error' for o in cell.outputs) else []
        for falsify in (unchanged, *FALSEHOODS):
            outputs = copy.deepcopy(cell.outputs)
            if falsify(outputs):
                shown = new_code_cell(replay(cell.outputs), outputs=outputs, execution_count=1)
                shown.metadata = {'tags': tags, 'change': falsify.__name__, 'origin': cell.id}
                yield shown


def compare(path: Path) -> tuple[int, list[str]]:
    """How many falsehoods there are in a notebook, and those that the comparison does not catch, in words.

    Raises:
      RuntimeError: a true output does not pass, so that the comparison says nothing.
    """
    cells = list(mutants(nbformat.read(path, as_version=4)))
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(new_notebook(cells=cells), f'{folder}/mutants.ipynb')
        report = f'{folder}/report.xml'
        command = [sys.executable, '-m', 'pytest', '-c', 'pyproject.toml', '-p', 'no:cacheprovider', '-q']
        subprocess.run([*command, f'--junit-xml={report}', f'{folder}/mutants.ipynb'], cwd=ROOT, capture_output=True)
        passed = [case.find('failure') is None for case in ElementTree.parse(report).iter('testcase')]
    missed = []
    for cell, is_passed in zip(cells, passed, strict=True):
        change, where = cell.metadata.change, f'{path.name}, cell {cell.metadata.origin}'
        if change == unchanged.__name__ and not is_passed:
            raise RuntimeError(f'{where}: its true output does not pass when it is shown again')
        if change != unchanged.__name__ and is_passed:
            missed.append(f'{where}: {change}')
    return sum(cell.metadata.change != unchanged.__name__ for cell in cells), missed


def main() -> None:
    every, all_missed = 0, 0
    for path in map(Path, sys.argv[1:] or NOTEBOOKS):
        count, missed = compare(path)
        print(f'{path.name:45} {count - len(missed):4} of {count:4} caught', *missed, sep='\n    ', flush=True)
        every, all_missed = every + count, all_missed + len(missed)
    print(f'{"all":45} {every - all_missed:4} of {every:4} caught: {1 - all_missed / every:.1%}')


if __name__ == '__main__':
    main()
