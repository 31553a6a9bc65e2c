"""A lesson in the real JupyterLab, as a reader has it: it runs, and the picture follows the slider."""

from collections.abc import Iterator

import nbformat
import pytest
from playwright.sync_api import Page, expect

from tests.browser.lab import (
    REACTING,
    ROOT,
    Jupyter,
    copy_notebooks,
    drag,
    keep_screen,
    opened,
    pixels,
    run_all,
    wait_for,
)

pytestmark = pytest.mark.browser

LESSON = '02_layer_equals_step.ipynb'


@pytest.fixture
def lab(page: Page, jupyter: Jupyter) -> Iterator[Page]:
    """The lesson in JupyterLab, with a kernel."""
    copy_notebooks(jupyter.folder / 'lessons', with_outputs=False)
    with opened(page, jupyter, f'lessons/tutorials/{LESSON}') as lab:
        yield lab


def test_the_picture_of_a_lesson_follows_its_slider(lab: Page):
    run_all(lab, nbformat.read(ROOT / 'tutorials' / LESSON, as_version=4))
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
