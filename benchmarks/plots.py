"""Pictures of rows of figures: `benchmarks/cpu.py` draws with them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, StrMethodFormatter

OURS, PUBLISHED, THIRD, LIMIT = '#0072b2', '#d55e00', '#009e73', '#555555'  # also told apart when colours are not seen
WORDS = {
    'blocks': ('timesteps in a step', 'microseconds a timestep'),
    'lengths': ('timesteps of the sequence', 'milliseconds'),
    'growth': ('', 'milliseconds a step'),
}


def ratios(rows: Sequence[Any], title: str, path: Path) -> None:
    """A bar for each row with an aim: ours by the published one, and a line where the aim is."""
    figure = Figure((9, 0.9 + 0.45 * len(rows)), layout='constrained')
    axes = figure.subplots()
    places = range(len(rows))
    axes.barh(places, [row.ratio for row in rows], color=OURS, height=0.6, label='measured')
    for place, row in zip(places, rows, strict=True):
        label = 'aim, at most' if place == 0 else None
        axes.plot([row.aim] * 2, [place - 0.4, place + 0.4], color=PUBLISHED, linewidth=3, label=label)
        has_room = row.ratio > 0.1
        axes.annotate(
            f'{row.ratio:.2f}', (0 if has_room else max(row.ratio, row.aim), place), (6, 0),
            textcoords='offset points', va='center', color='white' if has_room else 'black',
        )  # fmt: skip
    axes.axvline(1, color=LIMIT, linestyle='--')
    axes.set_yticks(places, [row.what for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15 * max(1.0, *(max(row.ratio, row.aim) for row in rows)))
    axes.set_xlabel(
        'time of seqlayers, as a part of that of the published library (of Stream.push: of the compiled step)'
    )
    figure.legend(loc='outside lower center', ncols=2)
    _save(figure, title, path)


def growth(rows: Sequence[Any], title: str, path: Path) -> None:
    """A panel for each thing that is measured: how time grows, and the limit where it is known."""
    names = list(dict.fromkeys(row.what for row in rows))
    figure = Figure((3.6 * len(names), 4.2), layout='constrained')
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        _panel(axes, name, [row for row in rows if row.what == name])
    handles = {label: h for axes in figure.axes for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc='outside lower center', ncols=len(handles))
    _save(figure, title, path)


def _panel(axes: Axes, name: str, rows: list[Any]) -> None:
    table = rows[0].table
    below, beside = WORDS[table]

    def scale(row: Any, seconds: float) -> float:
        return 1e6 * seconds / row.at if table == 'blocks' else 1e3 * seconds

    for request in dict.fromkeys(row.request for row in rows):
        found = [row for row in rows if row.request == request]
        at, times = [row.at for row in found], [[scale(row, t) for t in row.medians] for row in found]
        style: dict[str, Any] = {'linestyle': '--' if request == 'compiled_gradient' else '-', 'marker': 'o'}
        if request == 'push':
            axes.plot(at, [ours for ours, _ in times], color=THIRD, label='Stream.push', **style)
            continue
        of = ', gradient' if request == 'compiled_gradient' else ''
        axes.plot(at, [ours for ours, _ in times], color=OURS, label='seqlayers' + of, **style)
        axes.plot(at, [other for _, other in times], color=PUBLISHED, label='published' + of, **style)
    limited = {row.at: scale(row, row.limit) for row in rows if row.limit}
    if limited:
        axes.plot(list(limited), list(limited.values()), color=LIMIT, linestyle=':', label='limit of the machine')
    logarithmic(axes, sorted({row.at for row in rows}))
    axes.set_title(name)
    axes.set_xlabel(below or name)
    axes.set_ylabel(beside)


def logarithmic(axes: Axes, ticks: Sequence[int]) -> None:
    """Both axes, with doublings on the lower one."""
    axes.set_xscale('log', base=2)
    axes.set_yscale('log')
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(StrMethodFormatter('{x:.0f}'))
    axes.yaxis.set_major_formatter(StrMethodFormatter('{x:g}'))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)


def _save(figure: Figure, title: str, path: Path) -> None:
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, dpi=110)
