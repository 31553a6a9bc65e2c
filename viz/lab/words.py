"""What the lab says in HTML. All that comes from a model is escaped."""

import html
import math
from typing import Any

from .. import style
from ..plots.words import plural, thousands
from ..traces.edges import describe
from .declaration import Path
from .study import Study

INDENT = '\N{NO-BREAK SPACE}' * 4


def tree_label(path: Path, layer: Any) -> str:
    """A layer in the tree: indented, with its type, name and what matters of its fields."""
    field, place = path[-1] if path else ('layers', None)
    slot = '' if field in ('layers', 'child_layer') else f'{place if isinstance(place, str) else field}: '
    name, detail = describe(layer)
    name = type(layer).__name__ + (f' “{name}”' if layer.name else '')
    return INDENT * len(path) + slot + (f'{name}  {detail}' if detail else name)


def timing_numbers(layer: Any) -> dict[str, str]:
    """What is known before building."""
    steps = layer.supports_step
    return {
        'block size': _steps(layer.block_size) if steps else '–',
        'output ratio': str(layer.output_ratio),
        'input latency': _steps(layer.input_latency) if steps else '–',
        'output latency': _steps(layer.output_latency) if steps else '–',
        'receptive field': _field(layer.receptive_field),
    }


def costs(study: Study) -> dict[str, str]:
    """What is known once the layers fit together; '?' is the state of a model that may keep everything."""
    summary = study.summary
    state = '?' if summary.state_bytes is None else f'{thousands(summary.state_bytes)} bytes'
    return {
        'output channels': str(summary.layer.output_spec.shape).replace(',)', ')'),
        'parameters': thousands(summary.parameters or 0),
        'state': state if study.declaration.supports_step else '–',
    }


def table(numbers: dict[str, str], layer: Any) -> str:
    """The numbers, and whether the model streams."""
    rows = ''.join(
        f'<tr><td style="padding-right:12px;opacity:.75">{name}</td>'
        f'<td style="text-align:right;font-variant-numeric:tabular-nums"><b>{html.escape(value)}</b></td></tr>'
        for name, value in numbers.items()
    )
    streams = '<b>✓ streams</b>' if layer.supports_step else f'<b>✗ cannot stream</b><br>{_lines(layer)}'
    return f'<div style="line-height:1.5"><table style="width:100%">{rows}</table>{streams}</div>'


def error_box(error: Exception, theme: style.Theme, note: str = '') -> str:
    """An error where it happened, announced by screen readers."""
    places = [note for note in getattr(error, '__notes__', ()) if note.startswith('in ')]  # others are of JAX
    said = '\n'.join([str(error) or type(error).__name__, *places])
    name = '' if isinstance(error, ValueError) else f'{type(error).__name__}: '
    return (
        f'<div role="alert" style="border:2px solid {theme.alarm};border-radius:4px;padding:6px 10px;'
        f'line-height:1.4;white-space:pre-wrap;overflow-wrap:anywhere"><b>✗ {html.escape(name)}</b>'
        f'{html.escape(said)}{f"<br><i>{html.escape(note)}</i>" if note else ""}</div>'
    )


def _lines(layer: Any) -> str:
    return html.escape(layer.explain_streamability()).replace('\n', '<br>')


def _steps(number: int) -> str:
    return plural(number, 'step', 'steps')


def _field(field: tuple[float, float] | None) -> str:
    if field is None:
        return 'nothing'
    first, last = (('−' if end < 0 else '') + ('∞' if math.isinf(end) else thousands(abs(int(end)))) for end in field)
    return f'{first} to {last}'
