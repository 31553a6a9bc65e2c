"""A lesson in the real JupyterLab, as a reader has it: it runs, and the picture follows the slider."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / '.cache' / 'screenshots'
LESSON = '02_layer_equals_step.ipynb'

# Long enough for a busy machine; each wait ends as soon as its condition holds.
STARTING, RUNNING, REACTING = 60, 240, 30  # seconds

# Windowing leaves out the cells that are not on the screen; news and updates ask the network.
SETTINGS = {
    'notebook-extension/tracker': {'windowingMode': 'none'},
    'apputils-extension/notification': {'fetchNews': 'false', 'checkForUpdates': False},
}
OWN_FOLDERS = (
    'JUPYTER_CONFIG_DIR',
    'JUPYTER_DATA_DIR',
    'JUPYTER_RUNTIME_DIR',
    'JUPYTERLAB_WORKSPACES_DIR',
    'IPYTHONDIR',
)


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f'{what}: not within {seconds} s'
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


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
def server(tmp_path: Path, lesson: nbformat.NotebookNode) -> Iterator[str]:
    """The address of a JupyterLab over that copy, with none of the user's own settings."""
    home = tmp_path / 'jupyter'
    for name, settings in SETTINGS.items():
        file = home / 'settings' / '@jupyterlab' / f'{name}.jupyterlab-settings'
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(settings))
    own = {folder: str(home / folder.lower()) for folder in OWN_FOLDERS}
    own |= {'JUPYTERLAB_SETTINGS_DIR': str(home / 'settings'), 'JUPYTER_TOKEN': 'lesson', 'JAX_PLATFORMS': 'cpu'}
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    url = f'http://127.0.0.1:{port}'
    options = ['--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={port}', '--ServerApp.port_retries=0']
    with (tmp_path / 'lab.log').open('w') as log:
        process = subprocess.Popen(
            [sys.executable, '-m', 'jupyterlab', *options], cwd=tmp_path, env=os.environ | own, stdout=log, stderr=log
        )
    try:
        wait_for(lambda: answers(f'{url}/api') or process.poll() is not None, STARTING, 'JupyterLab')
        assert process.poll() is None, (tmp_path / 'lab.log').read_text()
        yield url
    finally:
        process.terminate()  # and with it its kernels
        process.wait(timeout=30)


@pytest.fixture
def lab(page: Page, server: str) -> Iterator[Page]:
    """The lesson in JupyterLab, with a kernel. Whatever happens, the last screen is kept."""
    page.set_viewport_size({'width': 1400, 'height': 1000})
    try:
        page.goto(f'{server}/lab/tree/tutorials/{LESSON}?reset&token=lesson')
        # The indicator of the notebook says idle before there is a kernel; the status bar does not.
        expect(page.get_by_text('Python 3 (ipykernel) | Idle')).to_be_visible(timeout=STARTING * 1000)
        yield page
    finally:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / 'lesson_in_jupyterlab.png')


def run_all(lab: Page, lesson: nbformat.NotebookNode) -> None:
    """Runs all cells; none may write an error."""
    lab.get_by_role('menuitem', name='Run', exact=True).click()
    lab.get_by_text('Run All Cells', exact=True).click()
    count = sum(cell.cell_type == 'code' for cell in lesson.cells)
    error = lab.locator('[data-mime-type="application/vnd.jupyter.stderr"]')  # tracebacks too
    last = lab.locator('.jp-CodeCell .jp-InputArea-prompt').last
    wait_for(lambda: error.count() or last.inner_text() == f'[{count}]:', RUNNING, 'the last cell')
    assert error.count() == 0, error.first.inner_text()


def pixels(image: Locator) -> str:
    """The bytes of the picture that is shown."""
    read = 'async image => Array.from(new Uint8Array(await (await fetch(image.src)).arrayBuffer())).join()'
    return image.evaluate(read)


def drag(handle: Locator, distance: float) -> None:
    mouse, box = handle.page.mouse, handle.bounding_box()
    x, y = box['x'] + box['width'] / 2, box['y'] + box['height'] / 2
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + distance, y, steps=8)
    mouse.up()


def test_the_picture_of_a_lesson_follows_its_slider(lab: Page, lesson: nbformat.NotebookNode):
    run_all(lab, lesson)
    explorer = lab.locator('.widget-vbox').first
    handle, readout, image = map(explorer.locator, ('.noUi-handle', '.widget-slider .widget-readout', 'img'))
    handle.scroll_into_view_if_needed()
    value, picture = int(readout.inner_text()), pixels(image)

    drag(handle, 120)
    wait_for(lambda: pixels(image) != picture, REACTING, 'another picture after dragging the slider')
    lab.screenshot(path=SCREENSHOTS / 'lesson_after_dragging.png')

    handle.focus()
    for _ in range(int(readout.inner_text()) - value):
        lab.keyboard.press('ArrowLeft')
    expect(readout).to_have_text(str(value))
    wait_for(lambda: pixels(image) == picture, REACTING, 'the first picture after going back by keyboard')
