"""Pictures as files: pages that move without a kernel, SVG and PNG."""

from pathlib import Path
from typing import Any

from . import html, svg
from .explore import Explorer
from .page import Picture
from .view import View
from .views import view


def to_html(shown: Any, path: str | Path | None = None, *, title: str | None = None) -> str:
    """Writes one page that needs no kernel and no network, and moves through all positions of a picture.

    Of more than 1,000 positions, or if the page would exceed about 2 MB, it has every n-th, and says so.

    Args:
      shown: a trace, a view, an explorer, or the picture that a plot function returned.
      path: where to write the page, if anywhere.
      title: of the page; by default the finding.

    Returns:
      The page.
    """
    page = html.document(picture_of(shown), title)
    if path is not None:
        Path(path).write_text(page, 'utf-8')
    return page


def save(shown: Any, path: str | Path) -> None:
    """Writes a picture to a file: a page with a slider (.html), or what it shows now (.png, .svg).

    Args:
      shown: a trace, a view, an explorer, or the picture that a plot function returned.
      path: the file; its suffix says which kind.

    Raises:
      ValueError: another suffix.
    """
    path, picture = Path(path), picture_of(shown)
    if path.suffix == '.html':
        to_html(picture, path)
    elif path.suffix == '.svg':
        path.write_text(svg.document(picture), 'utf-8')
    elif path.suffix == '.png':
        path.write_bytes(picture.png())
    else:
        raise ValueError(f'viz.save: {path.name} has to end in .html, .png or .svg')


def picture_of(shown: Any) -> Picture:
    """The picture of whatever can be shown."""
    if isinstance(shown, Picture):
        return shown
    return (shown if isinstance(shown, View | Explorer) else view(shown)).picture()
