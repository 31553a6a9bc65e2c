"""Executes notebooks in place. Executing an unchanged notebook again changes no byte of it."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

CELL_TIMEOUT = 120  # seconds, as in the suite
KERNEL = {'display_name': 'Python 3 (ipykernel)', 'language': 'python', 'name': 'python3'}
WIDGET = 'application/vnd.jupyter.widget-view+json'


def execute(path: Path) -> None:
    """Runs the notebook in a new kernel, in its own folder, and writes it back."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        kernel_name=KERNEL['name'],
        timeout=CELL_TIMEOUT,
        resources={'metadata': {'path': str(path.parent)}},
        record_timing=False,
        store_widget_state=False,
    )
    client.execute()
    notebook.metadata = {'kernelspec': KERNEL, 'language_info': {'name': 'python'}}
    for cell in notebook.cells:
        for output in cell.get('outputs', []):
            # A widget needs its live kernel: a reader would see an error in place of the page and the image beside it.
            output.get('data', {}).pop(WIDGET, None)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


if __name__ == '__main__':
    for argument in sys.argv[1:]:
        print(argument, flush=True)
        execute(Path(argument))
