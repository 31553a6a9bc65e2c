"""Pictures as HTML that needs no kernel and no network: every position is drawn beforehand, a script shows one.

A viewer that removes scripts, or runs none, keeps the image.
"""

import base64
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import to_hex, to_rgb

from .style import DARK, LIGHT, Theme
from .svg import Color, SvgRenderer, digest, opening

SCRIPT, STYLE = (Path(__file__).with_name(f'player.{kind}').read_text('utf-8') for kind in ('js', 'css'))
TOKENS = tuple(LIGHT.__dataclass_fields__)
MIXED = ('accent', 'ink2', 'alarm')  # with paper, for values


class Limits(NamedTuple):
    """Of what is stored: positions, characters of all positions together, dots a pixel of the image."""

    positions: int
    size: int
    dots: int


NOTEBOOK = Limits(positions=50, size=120_000, dots=1)
FILE = Limits(positions=1000, size=1_700_000, dots=2)


class Frame(NamedTuple):
    """What each live artist draws at a position."""

    position: int
    finding: str
    drawn: tuple[tuple[str, ...], ...]


def embed(picture: Any, limits: Limits = NOTEBOOK) -> str:
    """A `<div>` with the picture; a slider moves it through its positions, or every n-th if they are too many."""
    packed = _within(limits, picture)
    image = base64.b64encode(picture.png(limits.dots)).decode()
    size = f'width="{100 * picture.get_figwidth():g}" style="max-width:100%"'
    return (
        f'<div class="viz-picture" id="viz-{digest(packed)}">'
        f'<img alt="{escape(picture.finding)}" {size} src="data:image/png;base64,{image}">'
        f'<script>({SCRIPT.strip()})(document.currentScript.parentElement, "{packed}")</script></div>'
    )


def document(picture: Any, title: str | None = None) -> str:
    """A page of its own."""
    return PAGE.format(
        title=escape(title or picture.finding), light=LIGHT.paper, dark=DARK.paper, body=embed(picture, FILE)
    )


# The policy forbids every request, whatever is written in a label.
PAGE = """<!DOCTYPE html>
<html lang="en" class="viz-page">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; background: light-dark({light}, {dark}); }}
body {{ margin: 16px auto; max-width: 900px; }}
@media print {{ :root {{ color-scheme: light !important; }} body {{ margin: 0; }} }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


# --- what is stored ------------------------------------------------------------------------------------
def _within(limits: Limits, picture: Any) -> str:
    """The data for the script, of as many positions as the limits allow; the one that is shown is among them."""
    positions = picture.view.positions if picture.view else range(1)
    here = positions.index(picture.position)
    renderer = SvgRenderer(picture, themed(picture.page.theme))
    still = renderer.elements(picture.draw)
    every, drawn = -(-len(positions) // limits.positions), {}
    while True:
        indices = range(here % every, len(positions), every)
        drawn = drawn or {i: _frame(picture, renderer, positions[i]) for i in _counted(indices)}
        packed = _packed(picture, renderer, still, [drawn[i] for i in indices], indices.index(here))
        if len(packed) <= limits.size or len(indices) == 1:
            break
        every *= 2
    _frame(picture, renderer, picture.position)  # as it was
    return packed


def _counted(indices: Sequence[int]) -> Iterator[int]:
    """The same, with a word in a terminal now and then: a thousand positions take some seconds."""
    for done, index in enumerate(indices):
        if done and done % 100 == 0 and sys.stderr.isatty():
            print(f'viz: {done} of {len(indices)} positions are drawn', file=sys.stderr)
        yield index


def _frame(picture: Any, renderer: SvgRenderer, position: int) -> Frame:
    if picture.view:
        picture.view.show(position)
    return Frame(position, picture.finding, tuple(renderer.elements(artist.draw) for artist in picture.page.live))


def _packed(picture: Any, renderer: SvgRenderer, still: Sequence[str], frames: Sequence[Frame], start: int) -> str:
    """The data for the script. Elements, and what an artist draws, are written once and then counted."""
    elements, drawn, findings = _Table(), _Table(), _Table()
    shown = [[drawn[tuple(elements[e] for e in artist)] for artist in frame.drawn] for frame in frames]
    data = {
        'html': _body(picture, renderer, still, frames, start),
        'word': picture.view.word if picture.view else '',
        'positions': [frame.position for frame in frames],
        'findings': [findings[frame.finding] for frame in frames],
        'shown': shown,
        'texts': list(findings),
        # As differences: what is new is numbered in a row.
        'drawn': [np.diff(numbers, prepend=0).tolist() for numbers in drawn],
        'elements': list(elements),
    }
    written = json.dumps(data, ensure_ascii=False, separators=(',', ':'))
    return base64.b64encode(zlib.compress(written.encode(), 9)).decode()


class _Table(dict):
    """Numbers its keys from 0 on, in the order in which they are asked for."""

    def __missing__(self, key: Any) -> int:
        self[key] = len(self)
        return self[key]


def _body(picture: Any, renderer: SvgRenderer, still: Sequence[str], frames: Sequence[Frame], start: int) -> str:
    """Style, controls, and the picture with a group for each live artist."""
    controls = '<button type="button"></button>'
    if len(frames) > 1:
        word, every = escape(picture.view.word), frames[1].position - frames[0].position
        note = f'in steps of {every}' if every > picture.view.positions.step else ''
        controls = (
            f'<label><span>{word}</span><input type="range" max="{len(frames) - 1}" value="{start}" '
            f'aria-label="{word}"></label><output></output><span>{note}</span>{controls}'
        )
    groups = '<g></g>' * len(frames[0].drawn)
    return (
        f'<style>{_variables()}{STYLE}</style><div class="controls">{controls}</div>'
        f'<div class="scroll">{opening(renderer)}<g>{"".join(still)}</g>{groups}</svg></div>'
    )


def _variables() -> str:
    """The colours of both themes."""
    pairs = (f'--{name}:light-dark({getattr(LIGHT, name)},{getattr(DARK, name)})' for name in TOKENS)
    return f':host{{{";".join(pairs)}}}'


# --- colours -------------------------------------------------------------------------------------------
def themed(theme: Theme) -> Callable[[Color], str]:
    """How colours of a theme are written for both: by their use, or as the mixture of two that they are."""
    names = {to_hex(getattr(theme, name)): name for name in reversed(TOKENS)}
    paper, *ends = (np.array(to_rgb(getattr(theme, name))) for name in ('paper', *MIXED))

    @cache
    def write(color: Color) -> str:
        if to_hex(color) in names:
            return f'var(--{names[to_hex(color)]})'
        rgb = np.array(to_rgb(color))
        for name, end in zip(MIXED, ends, strict=True):
            share = float((rgb - paper) @ (end - paper) / ((end - paper) @ (end - paper)))
            if 0 <= share <= 1 and np.abs(paper + share * (end - paper) - rgb).max() < 0.004:
                return f'color-mix(in srgb,var(--{name}) {round(100 * share)}%,var(--paper))'
        return to_hex(color)

    return lambda color: write(color if isinstance(color, str) else tuple(color[:3]))
