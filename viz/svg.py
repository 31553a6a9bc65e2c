"""Matplotlib artists as SVG elements: short, in pixels of the page, with texts that stay texts.

Every rectangle and every text is an element of its own: pictures of one view differ in few of them.
"""

import base64
import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from html import escape
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

from . import png, style
from .shapes import rounded

# The widths of texts were measured in DejaVu Sans; Verdana was drawn to nearly the same.
ROOT = f'role="img" stroke-linejoin="round" font-family="{style.FONT},Verdana,sans-serif"'
POINT = 100 / 72  # px of the page
LETTERS = {1: 'M', 2: 'L', 3: 'Q', 4: 'C', Path.CLOSEPOLY: 'Z', Path.STOP: ''}  # by the codes of paths
ANCHORS = {'left': 'start', 'center': 'middle', 'right': 'end'}
ROUNDED = np.asarray(rounded([(0, 0, 9, 9)]).codes)  # of one rectangle

Color = Any  # red, green, blue, or as in HTML


class Label(NamedTuple):
    """A text centred on `x`, with its baseline at `y`, in pixels of the page."""

    x: float
    y: float
    text: str
    size: float
    color: str
    bold: bool = False
    halo: str = ''  # the colour around the letters, to read them on a hatch


class SvgRenderer(RendererBase):
    """Collects what is drawn as SVG elements.

    Args:
      figure: what is drawn on; an inch is 100 px.
      color: how a colour is written.
    """

    def __init__(self, figure: Figure, color: Callable[[Color], str]):
        super().__init__()
        self._color = color
        self._dots = figure.dpi / 100  # of matplotlib, in a pixel
        self.width, self.height = (100 * float(inches) for inches in figure.get_size_inches())
        self._to_page = Affine2D().scale(1 / self._dots, -1 / self._dots).translate(0, self.height)
        self._elements: list[str] = []

    def elements(self, draw: Callable[[RendererBase], Any]) -> tuple[str, ...]:
        """What `draw` draws."""
        self._elements = []
        draw(self)
        return tuple(self._elements)

    def write(self, labels: Iterable[Label]) -> None:
        """Adds texts."""
        for x, y, text, size, color, bold, halo in labels:
            paint = f'fill="{self._color(color)}"'
            if halo:
                paint += f' stroke="{self._color(halo)}" stroke-width="3" paint-order="stroke"'
            self._add_text(x, y, text, size, bold, 'middle', paint)

    # --- what matplotlib calls ----------------------------------------------------------------------------
    def flipy(self):
        return False

    def get_canvas_width_height(self):
        return self.width * self._dots, self.height * self._dots

    def points_to_pixels(self, points: Any):
        return points * POINT * self._dots

    def draw_path(self, gc, path: Any, transform, rgbFace=None):
        paint = self._paint(gc, rgbFace)
        if paint and len(path.vertices):
            to_page = Affine2D(self._to_page.get_matrix() @ transform.get_matrix())
            elements = [f'<{shape} {paint}/>' for shape in _shapes(path, to_page)]
            self._elements += self._clipped(gc, elements)

    def draw_markers(self, gc, marker_path, marker_trans, path: Any, trans, rgbFace=None):
        if marker_path is not Path.unit_circle():
            return super().draw_markers(gc, marker_path, marker_trans, path, trans, rgbFace)
        radius = _number(abs(marker_trans.get_matrix()[0, 0]) / self._dots)
        centres = self._to_page.transform(trans.transform(path.vertices)).round(1).tolist()
        paint = f'r="{radius}" {self._paint(gc, rgbFace)}'
        self._elements += [f'<circle cx="{x:g}" cy="{y:g}" {paint}/>' for x, y in centres if y == y]  # not NaN

    def draw_text(self, gc, x, y, s, prop, angle, ismath=False, mtext=None):
        if ismath:  # as outlines
            return super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)
        anchor, paint = 'start', f'fill="{self._color(gc.get_rgb())}"'
        if mtext is not None and not angle:  # from its anchor, whatever the width of the reader's font
            anchor = ANCHORS[mtext.get_horizontalalignment()]
            x = mtext.get_transform().transform(mtext.get_unitless_position())[0]
        x, y = self._to_page.transform((x, y))
        if angle:
            paint += f' transform="rotate({-angle:g},{_number(x)},{_number(y)})"'
        self._add_text(x, y, s, prop.get_size_in_points() * POINT, prop.get_weight() in ('bold', 700), anchor, paint)

    def draw_image(self, gc, x, y, im: Any, transform=None):
        width, height = im.shape[1] / self._dots, im.shape[0] / self._dots
        x, y = self._to_page.transform((x, y))
        data = base64.b64encode(png.encode(im[::-1], png.SMALL)).decode()
        self._elements.append(f'<image {_box(x, y - height, width, height)} href="data:image/png;base64,{data}"/>')

    # --- pieces ---------------------------------------------------------------------------------------------
    def _add_text(self, x: float, y: float, text: str, size: float, bold: bool, anchor: str, paint: str) -> None:
        place = f'x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}"'
        weight = ' font-weight="bold"' if bold else ''
        self._elements.append(f'<text {place} font-size="{_number(size)}"{weight} {paint}>{escape(text)}</text>')

    def _paint(self, gc: Any, face: Any) -> str:
        """Fill and stroke as attributes; empty if nothing would be seen."""
        fill = self._ink('fill', face, gc)
        stroke = self._ink(' stroke', gc.get_rgb(), gc) if gc.get_linewidth() else ''
        if not stroke:
            return fill
        stroke += f' stroke-width="{gc.get_linewidth() * POINT:.2g}"'
        dashes = gc.get_dashes()[1]
        if dashes is not None:
            stroke += f' stroke-dasharray="{" ".join(f"{dash * POINT:.2g}" for dash in dashes)}"'
        if gc.get_capstyle() == 'round':
            stroke += ' stroke-linecap="round"'
        return (fill or 'fill="none"') + stroke

    def _ink(self, name: str, color: Any, gc: Any) -> str:
        if color is None:
            return ''
        opacity = gc.get_alpha() if gc.get_forced_alpha() else color[3] if len(color) > 3 else 1
        faint = f' {name.strip()}-opacity="{opacity:.2g}"' if opacity < 1 else ''
        return f'{name}="{self._color(color)}"{faint}' if opacity else ''

    def _clipped(self, gc: Any, elements: list[str]) -> list[str]:
        """Elements that end where their axes do."""
        axes = gc.get_clip_rectangle()
        if axes is None or axes.width * axes.height > 0.999 * np.prod(self.get_canvas_width_height()):
            return elements
        axes = axes.transformed(self._to_page)
        window = f'<rect {_box(*axes.min, *(axes.max - axes.min))}/>'
        name = f'clip-{digest(window)}'
        cut = f'<clipPath id="{name}">{window}</clipPath><g clip-path="url(#{name})">'
        return [cut + ''.join(elements) + '</g>']


def opening(renderer: SvgRenderer) -> str:
    """The first tag of the elements."""
    width, height = _number(renderer.width), _number(renderer.height)
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {ROOT}>'


def document(picture: Any) -> str:
    """A picture as a file, in its own colours."""
    renderer = SvgRenderer(picture, to_hex)
    artists = [picture, *picture.page.live]
    elements = [element for artist in artists for element in renderer.elements(artist.draw)]
    return f'{opening(renderer)}<title>{escape(picture.finding)}</title>{"".join(elements)}</svg>\n'


def digest(text: str) -> str:
    """A name for what it is made from."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _shapes(path: Any, to_page: Affine2D) -> list[str]:
    """Rectangles, if the path is one of `shapes.rounded`; otherwise the path."""
    count = len(path.vertices) // len(ROUNDED)
    if path.codes is None or not np.array_equal(path.codes, np.tile(ROUNDED, count)):
        return [f'path d="{_commands(path, to_page)}"']
    corners = to_page.transform(path.vertices).reshape(count, len(ROUNDED), 2)
    low, high = corners.min(1), corners.max(1)
    radius = corners[:, 0, :1] - low[:, :1]
    boxes = np.concatenate([low, high - low, radius], 1).round(1).tolist()
    return ['rect x="{:g}" y="{:g}" width="{:g}" height="{:g}" rx="{:g}"'.format(*box) for box in boxes]


def _commands(path: Path, to_page: Affine2D) -> str:
    path = path.cleaned(to_page, remove_nans=True, simplify=path.should_simplify, curves=True)
    codes = np.asarray(path.codes)
    points = np.asarray(path.vertices)[(codes != Path.CLOSEPOLY) & (codes != Path.STOP)]
    return _template(codes.tobytes()) % tuple((points.round(1) + 0.0).ravel())


@lru_cache(maxsize=1024)
def _template(codes: bytes) -> str:
    """The commands for these codes, with places for coordinates. A letter counts until the next."""
    written, before = '', 0
    for code in codes:
        letter = ' ' if code == before != Path.MOVETO else LETTERS[code]
        written += letter + ('' if code in (Path.CLOSEPOLY, Path.STOP) else '%g %g')
        before = code
    return written


def _box(x: float, y: float, width: float, height: float) -> str:
    return f'x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}"'


def _number(value: float) -> str:
    """To a tenth of a pixel."""
    return f'{round(float(value), 1) + 0.0:g}'
