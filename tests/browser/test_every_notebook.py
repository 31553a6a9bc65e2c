"""Every notebook in the real JupyterLab: as it is stored, and run from top to bottom.

nbval runs every notebook too, and widgets are all that a browser adds: so two are run here, one with explorers and one
with the lab. `make browser` runs all.
"""

import os
import re
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Page, expect

from tests.browser.lab import REACTING, ROOT, Jupyter, copy_notebooks, opened, run_all, wait_for

pytestmark = pytest.mark.browser

NOTEBOOKS = [*sorted(ROOT.glob('tutorials/*.ipynb')), *sorted(ROOT.glob('notebooks/*.ipynb'))]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def count_widgets(path: Path) -> int:
    """How many widgets the notebook shows."""
    code = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == 'code']
    return len(re.findall(r'\b(?:viz\.explore|checks\.\w+Explorer)\(', '\n'.join(code)))


WITH_WIDGETS = [ROOT / 'notebooks' / f'{stem}.ipynb' for stem in ('gallery', 'architecture_lab')]
RUN = NOTEBOOKS if os.environ.get('BROWSER_RUNS') == 'all' else WITH_WIDGETS


@pytest.fixture(scope='module')
def folders(jupyter: Jupyter) -> Jupyter:
    """JupyterLab over copies of the notebooks, as they are `stored` and `cleared` of their outputs."""
    copy_notebooks(jupyter.folder / 'stored', with_outputs=True)
    copy_notebooks(jupyter.folder / 'cleared', with_outputs=False)
    return jupyter


@pytest.mark.parametrize('path', NOTEBOOKS, ids=name)
def test_the_stored_notebook_is_shown(path: Path, folders: Jupyter, page: Page):
    complaints = []
    page.on('pageerror', lambda error: complaints.append(str(error)))
    notebook = nbformat.read(path, as_version=4)
    outputs = [output.get('data', {}) for cell in notebook.cells for output in cell.get('outputs', [])]
    with opened(page, folders, f'stored/{name(path)}'):
        expect(page.locator('.jp-Notebook .jp-Cell')).to_have_count(len(notebook.cells))
        pages = page.locator('.jp-OutputArea-output[data-mime-type="text/html"]')
        expect(pages).to_have_count(sum('text/html' in data for data in outputs))
        images = page.locator('.jp-OutputArea-output img')  # a page that has a picture shows that as well
        expect(images).to_have_count(sum('image/png' in data for data in outputs))
        are_drawn = 'images => images.every(image => image.complete && image.naturalWidth > 0)'
        wait_for(lambda: images.evaluate_all(are_drawn), REACTING, 'all pictures')
    assert complaints == []


@pytest.mark.parametrize('path', RUN, ids=name)
def test_the_notebook_runs(path: Path, folders: Jupyter, page: Page):
    with opened(page, folders, f'cleared/{name(path)}'):
        run_all(page, nbformat.read(path, as_version=4))
        widgets = page.locator('.jp-OutputArea-output > .jupyter-widgets')
        expect(widgets).to_have_count(count_widgets(path))
        for widget in widgets.all():
            widget.scroll_into_view_if_needed()
            expect(widget.locator('img')).to_be_visible()
