"""A page in CSS pixels on a matplotlib axes, and the marks that every view is drawn with.

What stays is drawn once; what follows the focus is *live*: a move of the focus redraws the live artists on a
copy of the rest, which is several times cheaper than drawing the figure again.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Affine2D

from . import html, png, style
from .shapes import fit, fit_name, hatch, joined, labels, outline, rounded, text_width
from .svg import Label, SvgRenderer

LIVE = 10  # live artists are drawn above the others, in the order in which they were made
LIVE_DOTS = 1.5  # a pixel, of what is shown while it moves: half as many as of two, and as sharp on most screens


class Cell(NamedTuple):
    """A rectangle on the page and the name of its mark."""

    x: float
    y: float
    width: float
    height: float
    mark: str
    label: str = ''


class Picture(Figure):
    """A figure that shows itself in a notebook, without pyplot.

    Attributes:
      page: what it is drawn with.
      finding: its title in words.
      view, position: the view that it shows at a position, if it is of a view.
    """

    page: 'Page'
    finding: str = ''
    view: Any = None
    position: int = 0

    def __repr__(self):
        return f'<Picture: {self.finding}>'

    __str__ = __repr__

    def png(self, dots: int = 2) -> bytes:
        """The picture as PNG, with so many dots a pixel."""
        canvas: Any = self.canvas
        before, self.dpi = self.dpi, 100 * dots
        canvas.draw()
        for artist in self.page.live:
            artist.draw(canvas.get_renderer())
        pixels = np.array(canvas.buffer_rgba())[..., :3]
        self.dpi = before
        return png.encode(pixels, png.SMALL)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        bundle: dict[str, Any] = {'text/plain': repr(self), 'image/png': self.png()}
        if self.view is not None and len(self.view.positions) > 1:
            bundle['text/html'] = html.embed(self)
        return bundle, {'image/png': {'width': round(self.get_figwidth() * 100), 'alt': self.finding}}


class Page:
    """Draws in CSS pixels, y downwards: on a figure of its own, or scaled into the given axes."""

    def __init__(self, width: float, height: float, theme: str = 'light', ax: Axes | None = None):
        self.theme = style.theme_named(theme)
        self.width, self.height = width, height
        self.owns_figure = ax is None
        if ax is None:
            figure = Picture(figsize=(width / 100, height / 100), dpi=100 * LIVE_DOTS, facecolor=self.theme.paper)
            FigureCanvasAgg(figure)
            figure.page = self
            ax = figure.add_axes((0, 0, 1, 1))
        self.ax = ax
        self.figure: Any = ax.get_figure()
        aspect = 'auto' if self.owns_figure else 'equal'  # a figure of its own has the right one, whatever the dots
        ax.set(xlim=(0, width), ylim=(height, 0), aspect=aspect, anchor='NW')
        ax.axis('off')
        ax.apply_aspect()
        inches = ax.get_position().width * self.figure.get_figwidth()
        self.point = inches * 72 / width  # points in one page pixel
        self._live: list[Artist] = []
        self._background: Any = None

    # --- pieces ----------------------------------------------------------------------------------------
    def add(self, artist: Any, live: bool = False) -> Any:
        artist.set_zorder(LIVE + len(self._live) if live else artist.get_zorder())
        artist.set_animated(live)
        if live:
            self._live.append(artist)
        if isinstance(artist, LineCollection | PathCollection | PolyCollection):
            self.ax.add_collection(artist, autolim=False)
        return artist

    def text(
        self, x: float, y: float, words: str, size: float = style.LABEL, color: str = 'ink',
        bold: bool = False, align: str = 'left', live: bool = False,
    ) -> Text:  # fmt: skip
        """Text with its middle line at `y`; by its baseline, as its box varies with the letters."""
        text = Outlined(
            x, y + 0.36 * size, words, size, fontsize=size * self.point, color=getattr(self.theme, color), ha=align,
            va='baseline', family=style.FONT, weight='bold' if bold else 'normal', parse_math=False, clip_on=False,
            transform=self.ax.transData,
        )  # fmt: skip
        return self.add(self.ax.add_artist(text), live)

    def heading(self, title: str, subtitle: str, live: bool = False) -> tuple[Text, Text]:
        """The finding, and how to read the picture."""
        texts = (
            self.text(style.MARGIN, 26, title, style.TITLE, bold=True, live=live),
            self.text(style.MARGIN, 49, subtitle, style.LABEL, 'ink2', live=live),
        )
        self.find(texts[0], title)
        return texts

    def find(self, text: Text, title: str) -> None:
        """Another finding."""
        text.set_text(fit(title, self.width - 2 * style.MARGIN, style.TITLE, True))
        if self.owns_figure:
            self.figure.finding = title

    def row_name(self, y: float, name: str, detail: str = '', depth: int = 0, color: str = 'ink') -> None:
        """The name of a row in the gutter, a detail under it; both cut to its width."""
        x = style.MARGIN + 12 * depth
        room = style.LEFT - x - 10
        self.text(
            x,
            y - 8 if detail else y,
            fit_name(name, room, style.LABEL, not depth),
            style.LABEL,
            color,
            not depth,
        )
        if detail:
            self.text(x, y + 9, fit(detail, room, style.SMALL), style.SMALL, 'ink2')

    def lines(
        self, segments: Iterable = (), color: str = 'line', width: float = style.HAIRLINE,
        dash: str = 'solid', live: bool = False,
    ) -> LineCollection:  # fmt: skip
        dashes = {'solid': 'solid', 'dotted': (0, (1.2, 2.2)), 'dashed': (0, (4, 2.5))}[dash]
        return self.add(
            LineCollection(
                list(segments), colors=getattr(self.theme, color), linewidths=width * self.point,
                linestyles=[dashes], zorder=1, capstyle='round' if dash == 'solid' else 'butt',
                joinstyle='round',
            ),
            live,
        )  # fmt: skip

    def curve(self, color: str, width: float = style.DATA, dots: float = 0) -> Line2D:
        """A live curve; give it points with `set_data`."""
        line = Line2D(
            [], [], color=getattr(self.theme, color), linewidth=width * self.point,
            marker='o' if dots else '', markersize=dots * self.point, markeredgewidth=0,
        )  # fmt: skip
        self.ax.add_line(line)
        return self.add(line, live=True)

    def areas(self, polygons: Iterable = (), color: str = 'cone', live: bool = False) -> PolyCollection:
        fill = getattr(self.theme, color)
        return self.add(PolyCollection(list(polygons), facecolors=fill, edgecolors='none', zorder=0), live)

    def frame(self, color: str = 'accent', width: float = style.EDGE + 0.1, live: bool = True) -> PathCollection:
        """Rounded frames without fill; give it rectangles with `set_paths([rounded([box])])`."""
        edge = getattr(self.theme, color)
        return self.add(
            PathCollection([], facecolors='none', edgecolors=edge, linewidths=width * self.point, zorder=3),
            live,
        )

    # --- output -------------------------------------------------------------------------------------------
    @property
    def live(self) -> Sequence[Artist]:
        """The artists that follow the focus, in the order in which they are drawn."""
        return self._live

    def png(self) -> bytes:
        """The page as PNG: the live artists over a background that is drawn once."""
        canvas = self.figure.canvas
        if self._background is None:
            canvas.draw()
            self._background = canvas.copy_from_bbox(self.figure.bbox)
        canvas.restore_region(self._background)
        for artist in self._live:
            self.ax.draw_artist(artist)
        return png.encode(np.asarray(canvas.buffer_rgba()))


class Outlined(Text):
    """A text that becomes pixels as one outline: letter by letter, as texts do, takes ten times as long."""

    def __init__(self, x: float, y: float, words: str, pixels: float, **how: Any):
        super().__init__(x, y, words, **how)
        self._pixels = pixels

    def draw(self, renderer: Any) -> None:
        if not isinstance(renderer, RendererAgg):
            return super().draw(renderer)
        words, (x, y) = self.get_text(), self.get_unitless_position()
        if not words.strip() or not self.get_visible():
            return None
        path = outline(words, self._pixels, self.get_fontweight() == 'bold')
        right = np.asarray(path.vertices)[:, 0].max()
        x -= right * {'left': 0, 'center': 0.5, 'right': 1}[self.get_horizontalalignment()]
        gc, color = renderer.new_gc(), to_rgba(self.get_color(), self.get_alpha())
        gc.set_linewidth(0)
        renderer.draw_path(gc, path, Affine2D().translate(x, y) + self.get_transform(), color)
        gc.restore()


class Glyphs(PathCollection):
    """Texts as outlines, which are fast to draw; where texts can be written, `labels` says which."""

    labels: Callable[[], Iterable[Label]] = tuple

    def draw(self, renderer: Any) -> None:
        if isinstance(renderer, SvgRenderer):
            renderer.write(self.labels())
        else:
            super().draw(renderer)


class Cells:
    """Any number of cells as five artists with few paths, so that setting and drawing them is cheap."""

    def __init__(self, page: Page, live: bool = True, size: float = style.SMALL):
        self._page, self._size = page, size
        pt = page.point
        line = {'linewidths': style.HAIRLINE * pt, 'edgecolors': page.theme.hatch, 'facecolors': 'none'}
        self._boxes = page.add(PathCollection([], linewidths=0, zorder=2), live)
        self._hatches = page.add(PathCollection([], zorder=2.1, **line), live)
        self._borders = page.add(PathCollection([], facecolors='none', linewidths=style.EDGE * pt, zorder=2.2), live)
        self._halos = page.add(Glyphs([], linewidths=3 * pt, joinstyle='round', zorder=2.3), live)
        self._labels = page.add(Glyphs([], linewidths=0, zorder=2.4), live)

    def set(self, cells: Sequence[Cell]) -> None:
        groups: dict[str, list[Cell]] = {}
        for cell in cells:
            groups.setdefault(cell.mark, []).append(cell)
        theme, marks = self._page.theme, [style.MARKS[name] for name in groups]
        boxes = [rounded([cell[:4] for cell in group]) for group in groups.values()]
        self._boxes.set(paths=boxes, facecolors=[getattr(theme, mark.fill) for mark in marks])
        edged = [(box, mark, getattr(theme, mark.edge)) for box, mark in zip(boxes, marks, strict=True) if mark.edge]
        self._borders.set(
            paths=[box for box, _, _ in edged],
            edgecolors=[edge for _, _, edge in edged],
            linestyles=[(0, (3, 2)) if mark.dashed else 'solid' for _, mark, _ in edged],
        )
        texts = [self._text(group, mark) for group, mark in zip(groups.values(), marks, strict=True)]
        self._labels.set(paths=texts, facecolors=[getattr(theme, mark.text) for mark in marks])
        # Strokes that overlap are slow as one path.
        hatched = [(c, m) for c, m in zip(cells, (style.MARKS[c.mark] for c in cells), strict=True) if m.hatch]
        self._hatches.set_paths([joined(hatch(cell[:4], mark.hatch)) for cell, mark in hatched])
        named = [(cell, mark) for cell, mark in hatched if cell.label]
        halos, paths = [getattr(theme, m.fill) for _, m in named], [self._text([c], m) for c, m in named]
        self._halos.set(paths=paths, facecolors=halos, edgecolors=halos)
        self._labels.labels = lambda: [self._label(cell, style.MARKS[cell.mark]) for cell in cells if cell.label]

    def _label(self, cell: Cell, mark: style.Mark) -> Label:
        """What `_text` draws, in words."""
        theme, x, y = self._page.theme, cell.x + cell.width / 2, cell.y + cell.height / 2 + 0.36 * self._size
        halo = getattr(theme, mark.fill) if mark.hatch else ''
        return Label(x, y, cell.label, self._size, getattr(theme, mark.text), mark.bold, halo)

    def _text(self, cells: list[Cell], mark: style.Mark) -> Path:
        placed = [(c.x + c.width / 2, c.y + c.height / 2, c.label) for c in cells if c.label]
        return labels(placed, self._size, mark.bold)


class TimeAxis(NamedTuple):
    """Where time is on the page: `pitch` pixels a timestep of the input, `start` at the left end."""

    left: float
    pitch: float
    start: float

    def x(self, time: Any) -> Any:
        return self.left + (time - self.start) * self.pitch

    def row(
        self, y: float, height: float, ratio: Any, first: int, marks: Sequence[str],
        labels: Sequence[str] | None = None,
    ) -> list[Cell]:  # fmt: skip
        """One cell for each timestep `first, first + 1, ...` of an edge, `1 / ratio` input timesteps wide.

        The numbers are dropped if not all fit. Cells too narrow to tell apart are merged to bars.
        """
        width = self.pitch / float(ratio)
        ends = list(range(1, len(marks) + 1))
        if width < 5:
            ends = [i for i in ends if i == len(marks) or marks[i] != marks[i - 1]]
        gap = 2 if width >= 9 else 1 if width >= 5 else 0
        if not labels or max(map(text_width, set(labels)), default=0) + 3 > width - gap:
            labels = [''] * len(marks)
        cells, begin = [], 0
        for end in ends:
            x, w = self.left - self.start * self.pitch + (first + begin) * width, (end - begin) * width
            cells.append(Cell(x + gap / 2, y, w - gap, height, marks[begin], labels[begin]))
            begin = end
        return cells


def round_step(pitch: float, largest: int) -> int:
    """Every how many timesteps a number up to `largest` has room: 1, 2, 4, 5, 10, ..."""
    steps = (n * 10**k for k in range(9) for n in (1, 2, 4, 5))
    return next(step for step in steps if step * pitch > text_width(str(largest), style.TICK) + 6)


def ruler(page: Page, axis: TimeAxis, time: int, y: float) -> None:
    """Numbers over the input timesteps, as many as there is room for."""
    for t in range(0, time, round_step(axis.pitch, time)):
        page.text(axis.x(t + 0.5), y, str(t), style.TICK, 'ink2', align='center')
