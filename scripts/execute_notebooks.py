"""Executes notebooks in place, and prints how long each took: `python scripts/execute_notebooks.py NOTEBOOK...`

Executing an unchanged notebook again changes no byte of it. `--times FILE` stores the table of run times.

With `FULL=1` in the environment some notebooks train for longer, and store what they reach in a JSON file beside them.
Then a cell may take any time, each is reported when it ends, and the notebook itself stays as it is: what was executed
is in `.cache/full`.
"""

import argparse
import os
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
FULL = 'FULL' in os.environ  # as notebooks ask too
CELL_TIMEOUT = 120  # seconds, as in the suite
KERNEL = {'display_name': 'Python 3 (ipykernel)', 'language': 'python', 'name': 'python3'}
WIDGET = 'application/vnd.jupyter.widget-view+json'


def run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Runs a notebook in a new kernel, in a folder."""
    begin = time.perf_counter()

    def report(cell: nbformat.NotebookNode, cell_index: int, **_) -> None:
        print(f'  cell {cell_index + 1} of {len(notebook.cells)}: {time.perf_counter() - begin:.0f} s', flush=True)

    client = NotebookClient(
        notebook,
        kernel_name=KERNEL['name'],
        timeout=None if FULL else CELL_TIMEOUT,
        resources={'metadata': {'path': str(folder)}},
        record_timing=False,
        store_widget_state=False,
        on_cell_executed=report if FULL else None,
    )
    client.execute()
    notebook.metadata = {'kernelspec': KERNEL, 'language_info': {'name': 'python'}}
    for cell in notebook.cells:
        for output in cell.get('outputs', []):
            # A widget needs its live kernel: a reader would see an error in place of the page and the image beside it.
            output.get('data', {}).pop(WIDGET, None)


def execute(path: Path) -> float:
    """Runs a notebook in its own folder and writes it, in full runs elsewhere; returns seconds."""
    begin = time.perf_counter()
    notebook = nbformat.read(path, as_version=4)
    run(notebook, path.parent)
    target = ROOT / '.cache' / 'full' / path.name if FULL else path
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.validate(notebook)
    nbformat.write(notebook, target)
    return time.perf_counter() - begin


def table(seconds: dict[str, float]) -> str:
    """Run times in Markdown."""
    rows = [f'| {path} | {elapsed:.0f} |' for path, elapsed in seconds.items()]
    head = [f'| notebook, on {os.cpu_count()} cores | seconds |', '|---|---:|']
    return '\n'.join([*head, *rows, f'| all | {sum(seconds.values()):.0f} |\n'])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('notebooks', nargs='+', metavar='NOTEBOOK')
    parser.add_argument('--times', type=Path, metavar='FILE', help='store the table of run times here')
    options = parser.parse_args()
    seconds = {}
    for notebook in options.notebooks:
        print(notebook, flush=True)
        seconds[notebook] = execute(Path(notebook))
    print(f'\n{table(seconds)}')
    if options.times:
        options.times.write_text(f'# How long the notebooks run\n\n{table(seconds)}')


if __name__ == '__main__':
    main()
