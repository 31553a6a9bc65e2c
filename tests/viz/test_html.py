"""Stand-alone pages: what is stored in them, that it is safe, and that it is small."""

import base64
import io
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from nbval.plugin import get_sanitize_patterns
from PIL import Image

import seqlayers as sl
from tests.viz.models import model, noise
from viz import html, style, traces
from viz.explore import explore
from viz.export import save, to_html
from viz.page import Page
from viz.views import VIEWS, view

SVG = '{http://www.w3.org/2000/svg}'
EVIL = '<script>alert(1)</script>'
SANITIZE = Path(__file__).parents[1] / 'nbval_sanitize.cfg'


class Tags(HTMLParser):
    """The start tags of a page with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.found, self.open = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ('meta', 'img', 'input'):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()

    def named(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


def stored(page):
    """The data that a page hands to its script."""
    [packed] = re.findall(r'parentElement, "([\w+/=]+)"', page)
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def shown(data, frame):
    """What the script puts into each group of a frame."""
    return [[data['elements'][e] for e in np.cumsum(data['drawn'][d], dtype=int)] for d in data['shown'][frame]]


def words(elements):
    return [''.join(ElementTree.fromstring(e).itertext()) for e in elements if e.startswith('<text')]


@pytest.fixture(scope='module')
def prefixes():
    """A view of the masks of all prefixes of 12 timesteps."""
    return view(traces.trace_mask(model('window'), np.arange(12) < np.arange(13)[:, None]))


@pytest.fixture(scope='module')
def page(prefixes):
    return to_html(prefixes)


def test_a_page_has_one_image_with_words_and_asks_for_nothing(page, prefixes):
    tags = Tags(page)
    assert tags.open == []
    [image] = tags.named('img')
    assert image['alt'] == prefixes.picture().finding
    picture = base64.b64decode(image['src'].removeprefix('data:image/png;base64,'))
    assert Image.open(io.BytesIO(picture)).size == (1800, round(200 * prefixes.page.figure.get_figheight()))
    assert not re.search(r'https?:', page)
    inside = Tags(stored(page)['html'].replace('http://www.w3.org/2000/svg', ''))
    assert inside.open == []
    assert not any('src' in attrs or 'href' in attrs for _, attrs in inside.found)
    assert not re.search(r'https?:|@import|url\(', stored(page)['html'].replace('http://www.w3.org/2000/svg', ''))


def test_every_position_is_stored_as_the_trace_has_it(page, prefixes):
    data = stored(page)
    assert data['positions'] == list(prefixes.positions)
    for frame, position in enumerate(data['positions']):
        written = [word for elements in shown(data, frame) for word in words(elements)]
        counts = [f'{mask[position].sum()} of {mask.shape[1]} valid' for mask in prefixes.trace.masks]
        assert [word for word in written if word.endswith(' valid')] == counts
        assert data['texts'][data['findings'][frame]].startswith(counts[0].removesuffix(' valid'))
        hatched = [e for elements in shown(data, frame) for e in elements if e.startswith('<path')]
        invalid = sum((~mask[position]).sum() for mask in prefixes.trace.masks)
        assert len(hatched) == invalid


def test_what_stays_the_same_is_stored_once(page):
    data = stored(page)
    assert len(set(data['elements'])) == len(data['elements'])
    assert len({tuple(d) for d in data['drawn']}) == len(data['drawn'])
    assert sum(len(data['drawn'][d]) for frame in data['shown'] for d in frame) > 4 * len(data['elements'])


def test_the_controls_say_what_they_move(page, prefixes):
    [slider] = Tags(stored(page)['html']).named('input')
    assert slider == {'type': 'range', 'max': '12', 'value': str(prefixes.start), 'aria-label': 'sequence'}


def test_names_are_text_whatever_they_say():
    layer = sl.Serial([sl.Delay(1, name=EVIL), sl.Delay(1, name='"&\'')])
    page = to_html(traces.trace_state(layer, noise(4)), title=EVIL)
    assert EVIL not in page
    assert '<title>&lt;script&gt;alert(1)&lt;/script&gt;</title>' in page
    inside = stored(page)['html']
    assert '<script' not in inside
    svg = ElementTree.fromstring(inside[inside.index('<svg') : inside.index('</svg>') + 6])
    names = {''.join(text.itertext()) for text in svg.iter(f'{SVG}text')}
    assert {EVIL, '"&\''} <= names


def test_a_page_is_the_same_every_time_and_its_id_tells_pages_apart():
    masks = np.ones((2, 4), bool), np.zeros((2, 4), bool)
    first, again, other = (
        to_html(traces.trace_mask(model('window'), m)) for m in (masks[0], masks[0], masks[1])
    )  # fmt: skip
    assert first == again
    names = [Tags(page).named('div')[0]['id'] for page in (first, other)]
    assert names[0] != names[1]
    assert all(re.fullmatch('viz-[0-9a-f]{12}', name) for name in names)


def test_making_a_page_moves_nothing(prefixes):
    picture = prefixes.picture(5)
    before = picture.png(), picture.finding
    assert f'value="{5}"' in stored(to_html(picture))['html']
    assert (picture.png(), picture.finding) == before


def test_of_many_positions_every_nth_is_stored_and_the_page_says_so(prefixes):
    picture = prefixes.picture(7)
    room = html.Limits(positions=7, size=10**6, dots=1)
    full = html.embed(picture, room)
    tight = room._replace(size=len(re.search(r'parentElement, "([^"]+)"', full)[1]) - 1)
    for page, step in ((full, 2), (html.embed(picture, tight), 4)):
        data = stored(page)
        assert data['positions'] == list(range(7 % step, 13, step))
        assert f'<span>in steps of {step}</span>' in data['html']
        assert f'value="{data["positions"].index(7)}"' in data['html']


def test_a_long_run_stays_small():
    trace = traces.compare_layer_and_step(model('memories'), noise(400, gap=(7,)), 50, forget_state=True)
    picture = view(trace).picture()
    pages = [html.embed(picture, html.Limits(n, 10**9, 1)) for n in (1, 26)]
    assert len(pages[1]) < 300_000
    assert (len(pages[1]) - len(pages[0])) / 25 < 2000  # bytes a position


def test_colours_follow_the_theme_by_their_use():
    for theme in (style.LIGHT, style.DARK):
        write = html.themed(theme)
        assert [write(getattr(theme, name)) for name in ('paper', 'ink', 'tint', 'alarm')] == [
            'var(--paper)', 'var(--ink)', 'var(--tint)', 'var(--alarm)'
        ]  # fmt: skip
        mixed = style.signed_colors(theme, np.array([-0.5, 0.0, 0.25]))
        assert [write(color) for color in mixed] == [
            'color-mix(in srgb,var(--ink2) 50%,var(--paper))', 'var(--paper)',
            'color-mix(in srgb,var(--accent) 25%,var(--paper))',
        ]  # fmt: skip
        assert write((0.0, 1.0, 0.0, 1.0)) == '#00ff00'


def test_a_page_has_the_colours_of_both_themes(prefixes, page):
    night = view(prefixes.trace, 'dark').picture()
    assert stored(to_html(night))['html'] == stored(page)['html']
    for name in html.TOKENS:
        assert f'--{name}:light-dark({getattr(style.LIGHT, name)},{getattr(style.DARK, name)})' in stored(page)['html']


def test_what_is_plotted_is_kept_where_it_is():
    """A line that leaves its axes is cut, a gap stays a gap, an image is upright, turned text is turned."""
    page = Page(400, 200)
    page.find(page.text(20, 20, ''), 'Anything')
    ax = page.figure.add_axes((0.25, 0.25, 0.5, 0.5), ylim=(0, 1), xlim=(0, 4))
    ax.plot([0, 1, 2, 3, 4], [0, 5, np.nan, 0.5, 0.5])
    ax.text(1, 0.5, 'turned', rotation=90)
    ax.imshow(np.array([[0.0, 0.0], [1.0, 1.0]]), extent=(0, 4, 0, 1), aspect='auto', cmap='gray')
    svg = stored(to_html(page.figure))['html']
    root = ElementTree.fromstring(svg[svg.index('<svg') : svg.index('</svg>') + 6])
    [window] = {tuple(r.attrib.values()) for c in root.iter(f'{SVG}clipPath') for r in c}
    assert window == ('100', '50', '200', '100')
    assert any(path.get('d') == 'M100 150L150 -350M250 100L300 100' for path in root.iter(f'{SVG}path'))
    [image] = root.iter(f'{SVG}image')
    assert [image.get(k) for k in ('x', 'y', 'width', 'height')] == ['100', '50', '200', '100']
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(image.get('href').split(',')[1]))).convert('L'))
    assert (pixels[0, 0], pixels[-1, 0]) == (0, 255)
    [turned] = (text for text in root.iter(f'{SVG}text') if text.text == 'turned')
    assert turned.get('transform').startswith('rotate(-90,')


def test_files_of_every_kind(prefixes, tmp_path):
    for suffix in ('html', 'svg', 'png'):
        save(prefixes, tmp_path / f'mask.{suffix}')
    assert (tmp_path / 'mask.html').read_text('utf-8') == to_html(prefixes)
    svg = ElementTree.parse(tmp_path / 'mask.svg').getroot()
    assert 'var(' not in (tmp_path / 'mask.svg').read_text('utf-8')
    assert prefixes.picture().finding in [''.join(text.itertext()) for text in svg.iter(f'{SVG}text')]
    assert (tmp_path / 'mask.png').read_bytes() == prefixes.picture().png()


def test_every_trace_has_a_view():
    assert set(VIEWS) == {getattr(traces, name) for name in traces.__all__ if name.endswith('Trace')}


def test_what_cannot_be_shown_is_refused(prefixes, tmp_path):
    with pytest.raises(ValueError, match=r'viz.save: mask.pdf has to end in .html, .png or .svg'):
        save(prefixes, tmp_path / 'mask.pdf')
    with pytest.raises(TypeError, match='int is no trace, view or picture; the traces are AttentionTrace'):
        to_html(3)


def test_a_picture_with_positions_is_a_page_wherever_it_is_shown(prefixes):
    bundle, metadata = prefixes.picture()._repr_mimebundle_()
    assert set(bundle) == {'text/plain', 'text/html', 'image/png'}
    assert bundle['text/html'].startswith('<div class="viz-picture" id="viz-')
    assert metadata == {'image/png': {'width': 900, 'alt': prefixes.picture().finding}}
    single = view(traces.trace_mask(model('window'), np.ones((1, 4), bool))).picture()
    assert set(single._repr_mimebundle_()[0]) == {'text/plain', 'image/png'}


def test_an_explorer_is_the_page_of_what_it_shows():
    explorer = explore(model('window'), view='mask')
    explorer.slider.value = 3
    image = explorer.image.value
    bundle, _ = explorer._repr_mimebundle_()
    assert bundle['text/plain'] == repr(explorer)
    data = stored(bundle['text/html'])
    assert data['positions'] == list(explorer.view.positions)
    assert 'value="3"' in data['html']
    assert stored(to_html(explorer))['elements'] == data['elements']
    for position in (4, 3):
        explorer.slider.value = position
    assert explorer.image.value == image


def test_notebooks_compare_all_html_but_these_pages(prefixes):
    def sanitized(text):
        for regex, replacement in get_sanitize_patterns(SANITIZE.read_text()):
            text = re.sub(regex, replacement, text)
        return text

    first, second = (html.embed(prefixes.picture(position)) for position in (1, 2))
    assert first != second
    assert sanitized(first) == sanitized(second) == '<picture>'
    assert sanitized(f'<b>1</b>{first}<i>2</i>{second}') == '<b>1</b><picture><i>2</i><picture>'
    assert sanitized('<div class="other">1</div>') == '<div class="other">1</div>'
