"""The architecture lab in the real JupyterLab, on a laptop's screen."""

import re
from collections.abc import Callable, Iterator

import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.lab import REACTING, Jupyter, drag, keep_screen, opened, pixels, run_all, wait_for

pytestmark = pytest.mark.browser

SOURCE = 'from viz.lab import open_lab\nlab = open_lab()\nlab'
KERNEL = {'kernelspec': {'name': 'python3', 'display_name': 'Python 3 (ipykernel)'}}
CONVOLUTION, INSIDE = 1, 4  # layers in the tree


@pytest.fixture
def lab(page: Page, jupyter: Jupyter) -> Iterator[Locator]:
    """The lab on the screen."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SOURCE)], metadata=KERNEL)
    nbformat.write(notebook, jupyter.folder / 'lab.ipynb')
    with opened(page, jupyter, 'lab.ipynb', 1280, 800) as screen:
        screen.keyboard.press('Control+B')  # closes the file browser
        run_all(screen, notebook)
        lab = screen.locator('.jp-OutputArea-output').first
        lab.scroll_into_view_if_needed()
        expect(lab.locator('img')).to_be_visible()
        yield lab


def handle(lab: Locator, name: str) -> Locator:
    """The handle of the slider with that description."""
    return lab.locator('.widget-hslider').filter(has=lab.page.get_by_text(name, exact=True)).locator('.noUi-handle')


def menu(lab: Locator, name: str) -> Locator:
    return lab.locator('.widget-dropdown').filter(has=lab.page.get_by_text(name, exact=True)).locator('select')


WATCH = """image => {
    const start = performance.now();
    window.changed = new Promise(resolve => new MutationObserver(() => resolve(performance.now() - start))
        .observe(image, {attributes: true, attributeFilter: ['src']}));
}"""


def until_changed(image: Locator, action: Callable[[], None]) -> float:
    """Milliseconds until the browser has another picture."""
    before = pixels(image)
    image.evaluate(WATCH)
    action()
    elapsed = image.page.evaluate('window.changed')
    wait_for(lambda: pixels(image) != before, REACTING, 'another picture')
    return elapsed


def test_an_architecture_is_changed_and_seen(lab: Locator):
    page, image, alert = lab.page, lab.locator('img'), lab.get_by_role('alert')
    tree, code = lab.locator('.widget-select select'), lab.locator('textarea')
    times = {}
    keep_screen(page, 'lab')

    times['choose a layer, framed in the diagram'] = until_changed(image, lambda: tree.select_option(index=CONVOLUTION))
    kernel_size = handle(lab, 'kernel size')
    times['drag a field, model changed'] = until_changed(image, lambda: drag(kernel_size, 60))
    expect(code).not_to_have_value(re.compile('kernel_size=5, strides'))
    keep_screen(page, 'lab_changed')

    times['pick a view'] = until_changed(image, lambda: menu(lab, 'view').select_option(label='receptive field'))
    times['move through the picture'] = until_changed(image, lambda: handle(lab, 'output').press('ArrowLeft'))
    keep_screen(page, 'lab_receptive_field')

    tree.select_option(index=INSIDE)
    expect(menu(lab, 'padding')).to_have_value('same')  # the fields of that layer
    picture = pixels(image)
    handle(lab, 'filters').press('ArrowLeft')
    expect(alert).to_contain_text('adds channels (7,) of the body to channels (8,) of the shortcut')
    keep_screen(page, 'lab_error')
    handle(lab, 'strides').press('ArrowRight')
    expect(alert).to_contain_text('body and shortcut need one output ratio')
    lab.get_by_role('button', name='undo').click()
    lab.get_by_role('button', name='undo').click()
    expect(alert).to_have_count(0)

    handle(lab, 'output').press('ArrowLeft')
    wait_for(lambda: pixels(image) != picture, REACTING, 'a picture that is alive')
    times['step tape'] = until_changed(image, lambda: menu(lab, 'view').select_option(label='step tape'))
    keep_screen(page, 'lab_step_tape')
    lab.get_by_role('tab', name='proof').click()
    lab.get_by_role('button', name='prove the contract').click()
    expect(lab.get_by_text('keeps the contract')).to_be_visible(timeout=REACTING * 1000)
    keep_screen(page, 'lab_proof')
    print('\n' + '\n'.join(f'{name:40}{ms:6.0f} ms' for name, ms in times.items()))
