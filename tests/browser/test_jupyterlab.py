"""A lesson in the real JupyterLab: it runs, and its pictures move."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / '.cache' / 'screenshots'
MINUTE = 60_000


@pytest.fixture(scope='module')
def lab(tmp_path_factory) -> Iterator[str]:
    """The address of a JupyterLab over a copy of the lessons, so that running them changes nothing here."""
    folder = tmp_path_factory.mktemp('lab')
    for name in ('tutorials', 'data'):
        shutil.copytree(ROOT / name, folder / name)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    options = ['--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={port}', '--ServerApp.port_retries=0']
    open_door = ['--IdentityProvider.token=', '--ServerApp.password=']
    server = subprocess.Popen(
        [sys.executable, '-m', 'jupyterlab', *options, *open_door],
        cwd=folder, env={**os.environ, 'JAX_PLATFORMS': 'cpu'}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f'http://127.0.0.1:{port}'
    try:
        _wait_for(f'{address}/api', server)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_for(url: str, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, 'JupyterLab ended before it answered'
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f'{url} did not answer within a minute')


def open_and_run(page: Page, lab: str, notebook: str) -> None:
    """Opens a notebook and runs all its cells; each of them must have run without an error."""
    page.set_viewport_size({'width': 1400, 'height': 1000})
    page.goto(f'{lab}/lab/tree/{notebook}?reset', timeout=MINUTE)
    # The kernel's own indicator says "idle" before there is a kernel; the status bar does not.
    expect(page.get_by_text('Python 3 (ipykernel) | Idle')).to_be_visible(timeout=MINUTE)
    page.get_by_role('menuitem', name='Run', exact=True).click()
    page.get_by_text('Run All Cells', exact=True).click()
    expect(page.get_by_text('Python 3 (ipykernel) | Busy')).to_be_visible(timeout=MINUTE)
    expect(page.get_by_text('Python 3 (ipykernel) | Idle')).to_be_visible(timeout=4 * MINUTE)
    assert page.locator('.jp-RenderedText[data-mime-type="application/vnd.jupyter.stderr"]').count() == 0


@pytest.mark.browser
def test_the_slider_of_a_lesson_moves_its_picture(page: Page, lab: str):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    open_and_run(page, lab, 'tutorials/02_layer_equals_step.ipynb')
    explorer = page.locator('.jp-OutputArea-output', has=page.locator('.widget-slider')).first
    explorer.scroll_into_view_if_needed(timeout=MINUTE)
    handle, picture = explorer.locator('.noUi-handle').first, explorer.locator('img').first
    before = picture.get_attribute('src')
    page.screenshot(path=SCREENSHOTS / 'lesson_02_before.png')

    box = handle.bounding_box()
    page.mouse.move(box['x'] + box['width'] / 2, box['y'] + box['height'] / 2)
    page.mouse.down()
    page.mouse.move(box['x'] + 120, box['y'] + box['height'] / 2, steps=8)
    page.mouse.up()
    expect(picture).not_to_have_attribute('src', before, timeout=MINUTE)
    page.screenshot(path=SCREENSHOTS / 'lesson_02_after.png')
