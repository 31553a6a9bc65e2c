"""Links lead somewhere, and words are spelt right, in pages and in the texts of notebooks."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('tutorials/*.md'), *ROOT.glob('benchmarks/*.md')]
NOTEBOOKS = [*ROOT.glob('tutorials/*.ipynb'), *ROOT.glob('notebooks/*.ipynb')]
LINK = re.compile(r'\]\(([^)\s]+)\)|(?:href|src)="([^"]+)"')


def text(path: Path) -> str:
    if path.suffix == '.md':
        return path.read_text()
    cells = nbformat.read(path, as_version=4).cells
    return '\n\n'.join(cell.source for cell in cells)


def headings(path: Path) -> set[str]:
    """The anchors of a page, as code hosts make them."""
    lines = re.findall(r'^#+ (.*)$', text(path), re.M)
    return {re.sub(r'[^\w\- ]', '', line).lower().replace(' ', '-') for line in lines}


def broken(path: Path) -> Iterator[str]:
    prose = re.sub(r'```.*?```', '', text(path), flags=re.S)
    for target in (first or second for first, second in LINK.findall(prose)):
        file, _, anchor = target.partition('#')
        if re.match(r'[a-z]+:', target):  # another site, or data in the link itself
            continue
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or (anchor and there.suffix == '.md' and anchor not in headings(there)):
            yield target


@pytest.mark.parametrize('path', [*PAGES, *NOTEBOOKS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    assert list(broken(path)) == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('# One two\n[here](#one-two) [there](page.md#three) [gone](gone.md) <img src="no.png">\n')
    assert list(broken(page)) == ['page.md#three', 'gone.md', 'no.png']


def misspelt(folder: Path) -> str:
    command = [sys.executable, '-m', 'codespell_lib', '--quiet-level=2', str(folder)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout


def test_words_are_spelt_right(tmp_path):
    for path in [*PAGES, *NOTEBOOKS]:
        (tmp_path / path.relative_to(ROOT).as_posix().replace('/', '_')).with_suffix('.md').write_text(text(path))
    assert misspelt(tmp_path) == ''


def test_a_misspelt_word_is_found(tmp_path):
    (tmp_path / 'page.md').write_text('We recieve a chunk.\n')
    assert 'receive' in misspelt(tmp_path)
