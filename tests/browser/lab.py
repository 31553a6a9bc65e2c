"""JupyterLab for tests: a server of its own, a page with a notebook in it, and hands to use it with."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.request import Request, urlopen

import nbformat
from playwright.sync_api import Locator, Page, expect

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / '.cache' / 'screenshots'

# Long enough for a busy machine; each wait ends as soon as its condition holds.
STARTING, RUNNING, REACTING = 120, 600, 30  # seconds

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


TOKEN = 'lesson'


class Jupyter(NamedTuple):
    """A running JupyterLab: its address, and the folder that it shows."""

    url: str
    folder: Path

    def request(self, path: str, method: str = 'GET') -> bytes:
        """The answer of the server's programming interface."""
        headers = {'Authorization': f'token {TOKEN}'}
        with urlopen(Request(f'{self.url}/api/{path}', headers=headers, method=method), timeout=REACTING) as answer:
            return answer.read()


def copy_notebooks(folder: Path, with_outputs: bool) -> None:
    """The notebooks with what they import and read. Without outputs, what is on the screen later the kernel made."""
    caches = shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints')
    for name in ('tutorials', 'notebooks'):
        shutil.copytree(ROOT / name, folder / name, ignore=caches)
    (folder / 'data').symlink_to(ROOT / 'data')
    for path in folder.glob('*/*.ipynb') if not with_outputs else ():
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == 'code':
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, path)


@contextlib.contextmanager
def jupyterlab(folder: Path) -> Iterator[Jupyter]:
    """A JupyterLab over a folder, with none of the user's own settings."""
    home = folder / 'jupyter'
    for name, settings in SETTINGS.items():
        file = home / 'settings' / '@jupyterlab' / f'{name}.jupyterlab-settings'
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(settings))
    own = {name: str(home / name.lower()) for name in OWN_FOLDERS}
    own |= {'JUPYTERLAB_SETTINGS_DIR': str(home / 'settings'), 'JUPYTER_TOKEN': TOKEN, 'JAX_PLATFORMS': 'cpu'}
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    url = f'http://127.0.0.1:{port}'
    options = ['--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={port}', '--ServerApp.port_retries=0']
    with (folder / 'lab.log').open('w') as log:
        process = subprocess.Popen(
            [sys.executable, '-m', 'jupyterlab', *options], cwd=folder, env=os.environ | own, stdout=log, stderr=log
        )
    try:
        wait_for(lambda: answers(f'{url}/api') or process.poll() is not None, STARTING, 'JupyterLab')
        assert process.poll() is None, (folder / 'lab.log').read_text()
        yield Jupyter(url, folder)
    finally:
        process.terminate()  # and with it its kernels
        process.wait(timeout=30)


@contextlib.contextmanager
def opened(page: Page, jupyter: Jupyter, notebook: str, width: int = 1400, height: int = 1000) -> Iterator[Page]:
    """A notebook of the folder; its kernel starts, and ends with it. Whatever happens, the last screen is kept."""
    page.set_viewport_size({'width': width, 'height': height})
    try:
        page.goto(f'{jupyter.url}/lab/tree/{notebook}?reset&token={TOKEN}')
        expect(page.locator('.jp-Notebook .jp-Cell').first).to_be_visible(timeout=STARTING * 1000)
        yield page
    finally:
        keep_screen(page, f'{Path(notebook).stem}_in_jupyterlab')
        wait_for(lambda: kernels_ended(jupyter), STARTING, 'the end of the kernels')


def kernels_ended(jupyter: Jupyter) -> bool:
    """Ends all kernels; whether none was left. While one starts or ends, the server's answer may be an error."""
    try:
        running = json.loads(jupyter.request('kernels'))
    except (OSError, HTTPException):
        return False
    for kernel in running:
        with contextlib.suppress(OSError, HTTPException):
            jupyter.request(f'kernels/{kernel["id"]}', 'DELETE')
    return not running


def keep_screen(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f'{name}.png')


def run_all(page: Page, notebook: nbformat.NotebookNode) -> None:
    """Runs all cells once there is a kernel; none may write an error."""
    # The indicator of the notebook says idle before there is a kernel; the status bar does not.
    expect(page.get_by_text('Python 3 (ipykernel) | Idle')).to_be_visible(timeout=STARTING * 1000)
    page.get_by_role('menuitem', name='Run', exact=True).click()
    page.get_by_text('Run All Cells', exact=True).click()
    count = sum(cell.cell_type == 'code' for cell in notebook.cells)
    error = page.locator('[data-mime-type="application/vnd.jupyter.stderr"]')  # tracebacks too
    last = page.locator('.jp-CodeCell .jp-InputArea-prompt').last
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
