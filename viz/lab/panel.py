"""The fields of one layer as widgets."""

from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

import seqlayers as sl

from .code import from_python, to_python
from .fields import Field, fields_of, highest

STYLE = {'description_width': '150px'}
FULL = widgets.Layout(width='98%')


class FieldPanel:
    """Controls for the fields of a layer; `changed` is called when the user moved one.

    `box` is the widget, `controls` are its parts by the name of the field.
    """

    def __init__(self, changed: Callable[[], None]):
        self._changed = changed
        self._title = widgets.HTML()
        self._rows, self._details = widgets.VBox(), widgets.VBox()
        self._accordion = widgets.Accordion([self._details], titles=('dtypes, initializers, name, ...',))
        self.box = widgets.VBox([self._title, self._rows, self._accordion])
        self.controls: dict[str, Any] = {}

    def show(self, layer: sl.SequenceLayer) -> None:
        """Controls for another layer, or for this one as it is now."""
        fields = fields_of(layer)
        old = list(self.controls.values())
        self.controls = {field.name: _control(field) for field in fields}
        for control in self.controls.values():
            control.observe(lambda _: self._changed(), 'value')
        self._title.value = f'<b>{type(layer).__name__}</b>'
        self._rows.children = [self.controls[f.name] for f in fields if not f.is_detail]
        self._details.children = [self.controls[f.name] for f in fields if f.is_detail]
        self._accordion.selected_index = None
        for control in old:
            control.close()
        self._take(layer)

    def accept(self, layer: sl.SequenceLayer) -> None:
        """The layer became what the controls say; sliders at their end get more room."""
        for control in self.controls.values():
            if isinstance(control, widgets.IntSlider):
                control.max = max(control.max, highest(control.value))
        self._take(layer)

    def edited(self) -> sl.SequenceLayer:
        """The layer with the values of the controls.

        Raises:
          Exception: the library refuses them, or an expression raises.
        """
        changes = {name: control.value for name, control in self.controls.items()}
        changes = {name: value for name, value in changes.items() if value != self._shown[name]}
        python = [name for name in changes if isinstance(self.controls[name], widgets.Text)]
        return self.layer.replace(**changes | {name: from_python(changes[name], self.layer) for name in python})

    def _take(self, layer: sl.SequenceLayer) -> None:
        self.layer = layer
        self._shown = {name: control.value for name, control in self.controls.items()}


def _control(field: Field) -> Any:
    about = {'description': field.name.replace('_', ' '), 'style': STYLE, 'layout': FULL, 'tooltip': field.name}
    match field.control:
        case 'check':
            return widgets.Checkbox(field.value, **about)
        case 'choice':
            return widgets.Dropdown(options=field.options, value=_chosen(field), **about)
        case 'number':
            return widgets.FloatText(field.value, continuous_update=False, **about)
        case 'slider' if isinstance(field.high, int) and isinstance(field.value, int):
            return widgets.IntSlider(field.value, int(field.low), int(field.high), continuous_update=False, **about)
        case 'slider':
            return widgets.FloatSlider(
                field.value, min=field.low, max=field.high, step=0.01, continuous_update=False, **about
            )
    return widgets.Text(_expression(field.value), continuous_update=False, **about)


def _chosen(field: Field) -> Any:
    return next(v for _, v in field.options if v is field.value or v == field.value)


def _expression(value: Any) -> str:
    try:
        return to_python(value)
    except ValueError:  # a function without a name: it stays unless it is replaced
        return repr(value)
