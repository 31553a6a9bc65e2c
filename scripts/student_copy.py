"""Writes the lessons without solutions and outputs: `python scripts/student_copy.py FOLDER`.

The folder stands beside `data` (as `tutorials` does), so that paths in the lessons hold.
"""

import shutil
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
LESSONS = ROOT / 'tutorials'


def student_copy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The lesson as one gets it to work on: the stubs stand, what they should become is gone."""
    cells = [cell for cell in notebook.cells if 'solution' not in cell.metadata.get('tags', [])]
    for cell in cells:
        if cell.cell_type == 'code':
            cell.outputs, cell.execution_count = [], None
    return nbformat.from_dict({**notebook, 'cells': cells})


def write(folder: Path) -> None:
    """All lessons, and what they import.

    Raises:
      FileExistsError: the folder exists; it may hold somebody's work.
    """
    folder.mkdir()
    shutil.copytree(LESSONS / 'checks', folder / 'checks', ignore=shutil.ignore_patterns('__pycache__'))
    for path in sorted(LESSONS.glob('*.ipynb')):
        nbformat.write(student_copy(nbformat.read(path, as_version=4)), folder / path.name)


if __name__ == '__main__':
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / 'student')
    try:
        write(target)
    except FileExistsError:
        sys.exit(f'{target} exists, and may hold your work: move it away, or name another folder')
    print(f'The lessons without solutions are in {target}')
