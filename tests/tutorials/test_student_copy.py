"""The lessons without solutions: their checks say so. With solutions, every check passes."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
LESSONS = sorted(ROOT.glob('tutorials/[0-9]*.ipynb'))


@pytest.fixture(scope='module')
def student(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('course') / 'student'
    subprocess.run([sys.executable, ROOT / 'scripts/student_copy.py', folder], check=True, capture_output=True)
    return folder


def run(source: str, names: dict) -> Any:
    """Runs a cell. Returns the value of the expression that it ends in."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, 'cell', 'exec'), names)
    return last and eval(compile(ast.Expression(last.value), 'cell', 'eval'), names)


def verdicts(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list:
    """Runs the imports and the exercises of a lesson, nothing else."""
    monkeypatch.chdir(folder)
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == 'code']
    names: dict = {}
    run(cells[0].source, names)
    found = []
    for cell in cells[1:]:
        tags = set(cell.metadata.get('tags', []))
        if tags & {'exercise', 'solution'}:
            run(cell.source, names)
        elif 'check' in tags:
            found.append(run(cell.source, names))
    return found


@pytest.mark.parametrize('path', LESSONS, ids=lambda path: path.stem)
def test_the_checks_fail_without_solutions_and_pass_with_them(path, student, monkeypatch):
    empty = verdicts(student / path.name, ROOT / 'tutorials', monkeypatch)
    solved = verdicts(path, ROOT / 'tutorials', monkeypatch)
    assert len(empty) == len(solved) >= 1
    assert not any(verdict.passed for verdict in empty)
    assert all('not written yet' in verdict.message for verdict in empty)
    assert all(verdict.passed for verdict in solved), [verdict.message for verdict in solved]


@pytest.mark.parametrize('path', LESSONS, ids=lambda path: path.stem)
def test_a_student_copy_has_neither_solutions_nor_outputs(path, student):
    notebook = nbformat.read(student / path.name, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert not any('solution' in cell.metadata.get('tags', []) for cell in code)
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert sum('NotImplementedError' in cell.source for cell in code) >= 2


def test_a_copy_is_not_written_over_work(student):
    again = subprocess.run([sys.executable, ROOT / 'scripts/student_copy.py', student], capture_output=True, text=True)
    assert again.returncode and 'may hold your work' in again.stderr
