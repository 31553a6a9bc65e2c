"""Shapes in page coordinates: rounded rectangles, hatches that run on across cells, text as outlines."""

from functools import lru_cache

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from . import style

# A rounded rectangle's vertices, three a corner: which corner of the box, and how many radii from it.
_CORNERS = np.array([(0, 0), *[(1, 0)] * 3, *[(1, 1)] * 3, *[(0, 1)] * 3, *[(0, 0)] * 4])
_RADII = np.array(
    [
        (1, 0),
        (-1, 0),
        (0, 0),
        (0, 1),
        (0, -1),
        (0, 0),
        (-1, 0),
        (1, 0),
        (0, 0),
        (0, -1),
        (0, 1),
        (0, 0),
        (1, 0),
        (1, 0),
    ]
)
_CODES = [Path.MOVETO, *[Path.LINETO, Path.CURVE3, Path.CURVE3] * 4, Path.CLOSEPOLY]


def rounded(x: float, y: float, width: float, height: float, radius: float = 3) -> Path:
    """A rectangle with round corners."""
    radius = min(radius, width / 3, height / 3)
    return Path(np.array((x, y)) + _CORNERS * (width, height) + _RADII * radius, _CODES)


def hatch(box: tuple[float, float, float, float], pattern: str) -> list[np.ndarray]:
    """Line segments that fill a box: '/' single, 'x' crossed, '' none.

    The lines are `x + y = c` (and `x - y = c`) with `c` a multiple of one pitch for the whole *page*, clipped
    to the box: so they run on from one cell into the next.
    """
    if not pattern:
        return []
    x, y, width, height = box
    pitch = {'/': 7, 'x': 5}[pattern]
    c = np.arange(np.ceil((x + y) / pitch) * pitch, x + width + y + height, pitch)
    low, high = np.maximum(x, c - y - height), np.minimum(x + width, c - y)
    rising = np.stack([np.stack([low, c - low], 1), np.stack([high, c - high], 1)], 1)
    if pattern == '/':
        return list(rising)
    c = np.arange(np.ceil((x - y - height) / pitch) * pitch, x + width - y, pitch)
    low, high = np.maximum(x, c + y), np.minimum(x + width, c + y + height)
    return [*rising, *np.stack([np.stack([low, low - c], 1), np.stack([high, high - c], 1)], 1)]


@lru_cache(maxsize=4096)
def glyphs(text: str, size: float, bold: bool = False) -> Path:
    """The outlines of a text, centred on the origin, on the baseline that suits figures. y points down.

    A hundred numbers as outlines are one artist and one millisecond; as hundred texts they are fifty.
    """
    font = FontProperties(family=style.FONT, weight='bold' if bold else 'normal')
    path = TextPath((0, 0), text, size=size, prop=font)
    points = np.asarray(path.vertices)
    middle = (points[:, 0].min() + points[:, 0].max()) / 2
    return Path((points - (middle, 0.36 * size)) * (1, -1), path.codes)


def text_width(text: str, size: float = style.SMALL, bold: bool = False) -> float:
    """The width of a text in pixels."""
    return float(np.ptp(np.asarray(glyphs(text, size, bold).vertices)[:, 0])) if text.strip() else 0.0


def fit(text: str, width: float, size: float, bold: bool = False) -> str:
    """The text, cut if it is wider than `width` pixels."""
    if text_width(text, size, bold) <= width:
        return text
    while text and text_width(text + '…', size, bold) > width:
        text = text[:-1]
    return text + '…'


def bracket(left: float, right: float, y: float, height: float = 5) -> list[tuple[float, float]]:
    """A bracket that opens downwards."""
    return [(left, y + height), (left, y), (right, y), (right, y + height)]
