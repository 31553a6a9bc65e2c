"""Shapes in page coordinates: rounded rectangles, hatches that run on across cells, text as outlines."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from . import style

Box = tuple[float, float, float, float]  # x, y, width, height

# The vertices of a rounded rectangle, three a corner: which corner of the box, and how many radii from it.
_CORNERS = np.array([(0, 0), *[(1, 0)] * 3, *[(1, 1)] * 3, *[(0, 1)] * 3, *[(0, 0)] * 4])
_RADII = np.array([
    (1, 0), (-1, 0), (0, 0), (0, 1), (0, -1), (0, 0), (-1, 0), (1, 0), (0, 0), (0, -1), (0, 1), (0, 0), (1, 0), (1, 0),
])  # fmt: skip
_CODES = [Path.MOVETO, *[Path.LINETO, Path.CURVE3, Path.CURVE3] * 4, Path.CLOSEPOLY]


def rounded(boxes: Sequence[Box], radius: float = 3) -> Path:
    """Rectangles with round corners, as one path."""
    x, y, width, height = np.array(boxes, float).reshape(-1, 4).T[..., None]
    radii = np.minimum(radius, np.minimum(width, height) / 3)
    across = x + _CORNERS[:, 0] * width + _RADII[:, 0] * radii
    down = y + _CORNERS[:, 1] * height + _RADII[:, 1] * radii
    return Path(np.stack([across, down], -1).reshape(-1, 2), np.tile(_CODES, len(boxes)))


@lru_cache(maxsize=4096)
def hatch(box: Box, pattern: str) -> np.ndarray:
    """Line segments `[n, 2, 2]` that fill a box: '/' single, 'x' crossed.

    The lines are `x + y = c` (and `x - y = c`) with `c` a multiple of one pitch for the whole *page*, clipped
    to the box: so they run on from one cell into the next.
    """
    x, y, width, height = box
    pitch = {'/': 7, 'x': 5}[pattern]
    c = np.arange(np.ceil((x + y) / pitch) * pitch, x + width + y + height, pitch)
    low, high = np.maximum(x, c - y - height), np.minimum(x + width, c - y)
    rising = np.stack([np.stack([low, c - low], 1), np.stack([high, c - high], 1)], 1)
    if pattern == '/':
        return rising
    c = np.arange(np.ceil((x - y - height) / pitch) * pitch, x + width - y, pitch)
    low, high = np.maximum(x, c + y), np.minimum(x + width, c + y + height)
    return np.concatenate([rising, np.stack([np.stack([low, low - c], 1), np.stack([high, high - c], 1)], 1)])


def joined(segments: np.ndarray) -> Path:
    """Line segments `[n, 2, 2]` as one path."""
    return Path(segments.reshape(-1, 2), np.tile([Path.MOVETO, Path.LINETO], len(segments)))


def labels(placed: Sequence[tuple[float, float, str]], size: float, bold: bool = False) -> Path:
    """Texts centred on points, as one path."""
    if not placed:
        return Path(np.zeros((0, 2)))
    paths = [glyphs(text, size, bold) for _, _, text in placed]
    points = [np.asarray(path.vertices) for path in paths]
    centres = np.repeat([place[:2] for place in placed], [len(each) for each in points], 0)
    return Path(np.concatenate(points) + centres, np.concatenate([np.asarray(path.codes) for path in paths]))


@lru_cache(maxsize=4096)
def glyphs(text: str, size: float, bold: bool = False) -> Path:
    """The outlines of a text, centred on the origin, on the baseline that suits figures. y points down.

    A hundred numbers as outlines are one artist and one millisecond; as hundred texts they are fifty.
    """
    path = outline(text, size, bold)
    points = np.asarray(path.vertices)
    middle = (points[:, 0].min() + points[:, 0].max()) / 2
    return Path(points - (middle, -0.36 * size), path.codes)


@lru_cache(maxsize=1024)
def outline(text: str, size: float, bold: bool = False) -> Path:
    """The outlines of a text that begins at the origin, on its baseline. y points down."""
    font = FontProperties(family=style.FONT, weight='bold' if bold else 'normal')
    path = TextPath((0, 0), text.replace('$', r'\$'), size=size, prop=font)  # no formulas
    return Path(np.asarray(path.vertices) * (1, -1), path.codes)


@lru_cache(maxsize=4096)
def text_width(text: str, size: float = style.SMALL, bold: bool = False) -> float:
    """The width of a text in pixels."""
    return float(np.ptp(np.asarray(glyphs(text, size, bold).vertices)[:, 0])) if text.strip() else 0.0


def fit(text: str, width: float, size: float, bold: bool = False) -> str:
    """The text, cut if it is wider than `width` pixels."""
    if text_width(text, size, bold) <= width:
        return text
    letters = bisect_right(range(len(text)), width, key=lambda n: text_width(text[: n + 1] + '…', size, bold))
    return text[:letters] + '…'


def fit_name(name: str, width: float, size: float, bold: bool = False) -> str:
    """The name of a layer; the end of a long one says more: '…SelfAttention'."""
    parts = re.findall('[A-Z][^A-Z]+', name)
    if text_width(name, size, bold) <= width or ''.join(parts) != name:
        return fit(name, width, size, bold)
    ends = ('…' + ''.join(parts[i:]) for i in range(1, len(parts)))
    return next((end for end in ends if text_width(end, size, bold) <= width), fit(name, width, size, bold))


def bracket(left: float, right: float, y: float, height: float = 5) -> list[tuple[float, float]]:
    """A bracket that opens downwards."""
    return [(left, y + height), (left, y), (right, y), (right, y + height)]
