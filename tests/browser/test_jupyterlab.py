"""A lesson in the real JupyterLab, as a reader has it: it runs, and the picture follows the slider."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Page, expect

from tests.browser.lab import REACTING, ROOT, drag, jupyterlab, keep_screen, opened, pixels, run_all, wait_for

pytestmark = pytest.mark.browser

LESSON = '02_layer_equals_step.ipynb'


@pytest.fixture
def lesson(tmp_path: Path) -> nbformat.NotebookNode:
    """The lesson in a copy of its folder, without outputs: whatever is on the screen later, this kernel made."""
    caches = shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints')
    shutil.copytree(ROOT / 'tutorials', tmp_path / 'tutorials', ignore=caches)
    (tmp_path / 'data').symlink_to(ROOT / 'data')
    notebook = nbformat.read(tmp_path / 'tutorials' / LESSON, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == 'code':
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, tmp_path / 'tutorials' / LESSON)
    return notebook


@pytest.fixture
def lab(page: Page, tmp_path: Path, lesson: nbformat.NotebookNode) -> Iterator[Page]:
    """The lesson in JupyterLab, with a kernel."""
    with jupyterlab(tmp_path) as server, opened(page, server, f'tutorials/{LESSON}', 1400, 1000) as lab:
        yield lab


def test_the_picture_of_a_lesson_follows_its_slider(lab: Page, lesson: nbformat.NotebookNode):
    run_all(lab, lesson)
    explorer = lab.locator('.widget-vbox').first
    handle, readout, image = map(explorer.locator, ('.noUi-handle', '.widget-slider .widget-readout', 'img'))
    handle.scroll_into_view_if_needed()
    value, picture = int(readout.inner_text()), pixels(image)

    drag(handle, 120)
    wait_for(lambda: pixels(image) != picture, REACTING, 'another picture after dragging the slider')
    keep_screen(lab, 'lesson_after_dragging')

    handle.focus()
    for _ in range(int(readout.inner_text()) - value):
        lab.keyboard.press('ArrowLeft')
    expect(readout).to_have_text(str(value))
    wait_for(lambda: pixels(image) == picture, REACTING, 'the first picture after going back by keyboard')
