"""The visual language: colours of both themes, type sizes, and the marks that mean the same in every view.

Greys carry structure, one accent carries the focus, and one alarm is kept for "layer and step differ". No
mark is told by its colour alone: a fed cell has a border, an invalid one is crossed, a void one dashed.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.colors import to_rgb


@dataclass(frozen=True)
class Theme:
    """Colours by their use. Contrast and colour-blind distance were checked for both themes."""

    paper: str  # the page
    panel: str  # bands and lanes
    ink: str  # names
    ink2: str  # labels, ticks
    ink3: str  # what is repeated or absent
    line: str  # hairlines
    edge: str  # borders
    hatch: str  # hatches, neutral bars
    cell: str  # a valid timestep at rest
    accent: str  # the focus
    on: str  # text on the accent
    tint: str  # what feeds the focus
    mid: str  # the border of it
    cone: str  # the dependencies between two rows
    alarm: str  # the first difference
    alarm_tint: str  # those after it


LIGHT = Theme(
    paper='#FFFFFF', panel='#F5F6F8', ink='#1F2328', ink2='#4F5862', ink3='#6E7781', line='#D3D8DE',
    edge='#BCC4CC', hatch='#8C96A1', cell='#E8EBEE', accent='#0072B2', on='#FFFFFF', tint='#BFDDF2',
    mid='#6FAFDB', cone='#DCEBF4', alarm='#C44E00', alarm_tint='#FBE3D3',
)  # fmt: skip
DARK = Theme(
    paper='#15181D', panel='#1C2026', ink='#E8ECF0', ink2='#A9B3BE', ink3='#858F9B', line='#353C45',
    edge='#4C5661', hatch='#7A8592', cell='#323942', accent='#56B4E9', on='#0B1218', tint='#1B4A69',
    mid='#3385B8', cone='#1D2C38', alarm='#FF9552', alarm_tint='#4A2C18',
)  # fmt: skip
THEMES = {'light': LIGHT, 'dark': DARK}

FONT = 'DejaVu Sans'  # ships with matplotlib, so that all machines agree
TITLE, HEAD, LABEL, TICK, SMALL = 16, 13, 12, 11, 10.5  # px; nothing is smaller

WIDTH, MARGIN = 900, 20  # px of the page and of its border
LEFT, RIGHT = 180, 880  # where rows begin, behind their names, and end
HAIRLINE, EDGE, DATA, POINTER = 0.8, 1.1, 1.3, 1.6  # px of lines


class Mark(NamedTuple):
    """How a cell is drawn; colours are names of `Theme` fields."""

    fill: str
    edge: str | None = None
    text: str = 'ink'
    hatch: str = ''  # '/' single lines, 'x' crossed lines
    dashed: bool = False
    bold: bool = False


MARKS = {
    'valid': Mark('cell'),
    'fed': Mark('tint', edge='mid'),
    'now': Mark('accent', text='on', bold=True),
    'void': Mark('paper', edge='hatch', hatch='/', dashed=True),
    'invalid': Mark('cell', edge='hatch', hatch='x'),
    'lost': Mark('tint', edge='accent', hatch='x'),  # invalid, and made so by this layer
    'future': Mark('paper', edge='line', text='ink3'),
    'lane': Mark('panel'),
    'wrong lane': Mark('alarm_tint'),
    'wrong invalid': Mark('alarm_tint', edge='hatch', hatch='x'),
    'bar': Mark('hatch', text='paper'),
    'differs': Mark('alarm_tint', edge='alarm', text='alarm'),
    'first': Mark('alarm', text='paper', bold=True),
    'tick': Mark('paper', text='ink2'),
    'focus tick': Mark('paper', text='accent', bold=True),
    'alarm tick': Mark('paper', text='alarm', bold=True),
}


def theme_named(name: str) -> Theme:
    """The theme of that name.

    Raises:
      ValueError: there is none.
    """
    if name not in THEMES:
        raise ValueError(f'viz: there is no theme {name!r}; choose one of {sorted(THEMES)}')
    return THEMES[name]


def signed_colors(theme: Theme, shares: np.ndarray) -> np.ndarray:
    """Colours `[n, 3]` of numbers from -1 (ink) over 0 (paper) to 1 (accent)."""
    negative, zero, positive = (np.array(to_rgb(c)) for c in (theme.ink2, theme.paper, theme.accent))
    ends = np.where(shares[:, None] < 0, negative, positive)
    return zero + np.abs(shares[:, None]) * (ends - zero)
