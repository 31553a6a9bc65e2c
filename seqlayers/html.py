"""HTML for notebooks: escaped, without scripts, in the colours of the page around it, the same every time."""

import html
from collections.abc import Iterable, Sequence

MUTED = 'opacity:0.65'
ALARM = 'font-weight:bold;color:#C44E00'


def text(words: str, style: str = '') -> str:
    """Words as they are, whatever characters they hold."""
    escaped = html.escape(words)
    return f'<span style="{style}">{escaped}</span>' if style else escaped


def cell(words: str, style: str = '', align: str = 'left') -> str:
    """A cell of a table."""
    return f'<td style="text-align:{align};{style}">{html.escape(words)}</td>'


def table(rows: Iterable[Sequence[str]], header: Sequence[str] = (), words: int = 1) -> str:
    """A table of cells. The first `words` headings are on the left, those of numbers behind them on the right."""
    titles = [
        f'<th style="text-align:{"left" if i < words else "right"};{MUTED}">{html.escape(title)}</th>'
        for i, title in enumerate(header)
    ]
    lines = [titles] * bool(titles) + [list(row) for row in rows]
    return '<table>' + ''.join(f'<tr>{"".join(line)}</tr>' for line in lines) + '</table>'


def captioned(caption: str, *inside: str) -> str:
    """Pieces of HTML under a line of HTML."""
    return f'<div>{caption}{"".join(inside)}</div>'


def folding(line: str, inside: str, is_open: bool) -> str:
    """A line of HTML that shows and hides the HTML under it."""
    opened = ' open' if is_open else ''
    return f'<details{opened}><summary>{line}</summary><div style="margin-left:1.3em">{inside}</div></details>'
