"""A stand-alone page in a real browser, from disk and without a network."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

import seqlayers as sl
from tests.viz.models import model, noise
from viz import style, traces
from viz.export import to_html
from viz.views import view

pytestmark = pytest.mark.browser

SCREENSHOTS = Path(__file__).parents[2] / '.cache' / 'screenshots'
NAME = '<script>alert(1)</script>'
BLOCKS = 24


@pytest.fixture(scope='module')
def states():
    """A view with cells, numbers, hatches, colours of values, frames, and a layer with a dangerous name."""
    layer = sl.Serial([model('memories'), sl.Delay(2, name=NAME)])
    return view(traces.trace_state(layer, noise(BLOCKS, gap=(7, 8))))


@pytest.fixture(scope='module')
def url(states, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp('page') / 'state.html'
    to_html(states.picture(8), path)
    return path.as_uri()


@pytest.fixture
def opened(page: Page, url: str):
    """The page. Whatever a test does with it, it asks for nothing and complains about nothing."""
    asked, complaints = [], []
    page.on('request', lambda request: asked.append(request.url))
    page.on('console', lambda message: complaints.append(message.text))
    page.on('pageerror', lambda error: complaints.append(str(error)))
    page.on('dialog', lambda dialog: complaints.append(dialog.message) or dialog.dismiss())
    page.emulate_media(color_scheme='light')
    page.goto(url)
    expect(page.get_by_role('slider')).to_be_visible()
    yield page
    assert [address for address in asked if not address.startswith('data:')] == [url]
    assert complaints == []


def rgb(color: str) -> str:
    """As browsers write it."""
    return f'rgb({", ".join(str(int(color[i : i + 2], 16)) for i in (1, 3, 5))})'


def colours(page: Page) -> tuple[str, str, str]:
    """Of the paper, of the title, and of the page around."""
    fill = 'element => getComputedStyle(element).fill'
    around = page.evaluate('getComputedStyle(document.documentElement).backgroundColor')
    title = page.locator('svg text', has_text='moves its entries')
    return page.locator('svg path').first.evaluate(fill), title.evaluate(fill), around


def of(theme: style.Theme) -> tuple[str, str, str]:
    return rgb(theme.paper), rgb(theme.ink), rgb(theme.paper)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert('RGB'), float)


def coarse(png: bytes) -> np.ndarray:
    """The mean colours of squares of 20 dots: browsers smooth letters in another way."""
    image = pixels(png)
    height, width = (size // 20 for size in image.shape[:2])
    return image[: height * 20, : width * 20].reshape(height, 20, width, 20, 3).mean((1, 3))


def test_the_page_shows_what_matplotlib_draws(browser: Browser, url: str, states):
    context = browser.new_context(device_scale_factor=2, color_scheme='light', viewport={'width': 1000, 'height': 1000})
    page = context.new_page()
    page.goto(url)
    for position in (8, BLOCKS - 1):
        page.get_by_role('slider').fill(str(position))
        shown, drawn = coarse(page.locator('svg').screenshot()), coarse(states.picture(position).png())
        assert shown.shape == drawn.shape
        assert np.abs(shown - drawn).mean() < 1  # of 255
    assert np.abs(coarse(states.picture(8).png()) - drawn).mean() > 3
    context.close()


def test_the_keys_move_the_picture(opened: Page):
    slider, output = opened.get_by_role('slider'), opened.locator('output')
    opened.locator('svg').click()  # the keys work from there
    arrows = {'ArrowRight': 9, 'ArrowLeft': 8, 'ArrowUp': 9, 'ArrowDown': 8}
    jumps = {'End': BLOCKS - 1, 'Home': 0, 'PageUp': 2, 'PageDown': 0}
    for key, position in (arrows | jumps).items():
        opened.keyboard.press(key)
        expect(output).to_have_text(str(position))
        expect(opened.locator('svg')).to_contain_text(f'Follow input {position}:')
    finding = 'Conv1D moves its entries, Ring only a pointer'
    expect(slider).to_have_attribute('aria-valuetext', f'block 0: {finding}')
    expect(slider).to_have_attribute('aria-label', 'block')
    expect(opened.get_by_role('img')).to_have_attribute('aria-label', finding)


def test_the_mouse_moves_the_picture(opened: Page):
    before = opened.locator('svg').inner_html()
    box = opened.get_by_role('slider').bounding_box()
    opened.mouse.move(box['x'] + box['width'] * 0.4, box['y'] + box['height'] / 2)
    opened.mouse.down()
    opened.mouse.move(box['x'] + box['width'] - 3, box['y'] + box['height'] / 2, steps=6)
    opened.mouse.up()
    expect(opened.locator('output')).to_have_text(str(BLOCKS - 1))
    assert opened.locator('svg').inner_html() != before


def test_the_theme_follows_the_reader_and_the_button(opened: Page):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    assert colours(opened) == of(style.LIGHT)
    opened.screenshot(path=SCREENSHOTS / 'page_light.png')
    opened.emulate_media(color_scheme='dark')
    assert colours(opened) == of(style.DARK)
    opened.screenshot(path=SCREENSHOTS / 'page_dark.png')
    opened.get_by_role('button', name='Light theme').click()
    assert colours(opened) == of(style.LIGHT)
    opened.get_by_role('button', name='Dark theme').click()
    assert colours(opened) == of(style.DARK)


def test_it_is_printed_on_white_and_without_controls(opened: Page):
    opened.get_by_role('button', name='Dark theme').click()
    opened.emulate_media(media='print')
    assert colours(opened) == of(style.LIGHT)
    for control in ('input', 'output', 'button'):
        expect(opened.locator(control)).to_be_hidden()
    expect(opened.locator('svg')).to_be_visible()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    opened.screenshot(path=SCREENSHOTS / 'page_printed.png')


def test_a_name_is_text_that_can_be_selected(opened: Page):
    name = opened.locator('svg text', has_text=re.compile(f'^{re.escape(NAME)}$'))
    expect(name).to_be_visible()
    name.dblclick(position={'x': 20, 'y': 8})
    assert opened.evaluate('getSelection().toString()').strip(' <>') == 'script'


def test_without_scripts_the_image_is_shown(browser: Browser, url: str):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(url)
    image = page.get_by_alt_text('Conv1D moves its entries, Ring only a pointer')
    expect(image).to_be_visible()
    assert len(np.unique(pixels(image.screenshot()).reshape(-1, 3), axis=0)) > 20
    expect(page.locator('svg')).to_have_count(0)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / 'page_without_scripts.png')
    context.close()
