"""The lab: change an architecture, and see at once what becomes of it."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import seqlayers as sl

from .. import style
from ..announce import WORKING, heard, status
from . import declaration as tree
from . import words
from .catalogue import CATALOGUE
from .code import from_python, to_python
from .gallery import GALLERY
from .layout import Layout
from .study import Study

STALE = 'The picture is that of the last model that fits together. Go on changing this one, or undo.'


class Version(NamedTuple):
    """What undo comes back to: a model, and the layer that was chosen in it."""

    declaration: Any
    input_spec: sl.ChannelSpec
    chosen: tree.Path = ()


def open_lab(
    declaration: sl.SequenceLayer | None = None,
    input_spec: sl.ChannelSpec | None = None,
    *,
    constants: Mapping | None = None,
    theme: str = 'light',
) -> 'Lab':
    """An architecture to play with: change its layers and their fields, and see latency, receptive field and state.

    Args:
      declaration: where to start, by default some convolutions. It is never changed: `lab.declaration` is what became
        of it.
      input_spec: the input of the model, 8 channels if not given.
      constants: side inputs of the model. For layers that read one called 'source', one is made up.
      theme: 'light' or 'dark'.

    Raises:
      LayerError: the declaration cannot be built for that input.
      ValueError: there is no such theme.
    """
    start, spec = next(iter(GALLERY.values()))()
    try:
        return Lab(declaration or start, input_spec or spec, constants, theme)
    except sl.LayerError as error:
        if input_spec is None:
            error.add_note(f'in the lab, which takes {spec} if not told: give input_spec=sl.ChannelSpec(...)')
        raise


class Lab:
    """The widget that `open_lab` returns. `box` holds it; `widgets`, `fields` and `picture` are its parts."""

    def __init__(self, declaration: Any, input_spec: sl.ChannelSpec, constants: Mapping | None, theme: str):
        self._theme = style.theme_named(theme)
        self._versions, self._at = [Version(declaration.replace(), input_spec)], 0
        self._study = functools.lru_cache(32)(lambda declaration, spec: Study(declaration, spec, constants))
        self._study(*self._now[:2]).abstract  # noqa: B018  raises if the layers do not fit together
        self._is_quiet = self._was_refused = False
        self.widgets = Layout(theme, self._edit_field, self._show_picture)
        self.fields, self.picture, self.box = self.widgets.fields, self.widgets.picture, self.widgets.box
        self._listen()
        self._show_catalogue()
        self._show()

    @property
    def declaration(self) -> Any:
        """The model as it is now."""
        return self._now.declaration

    @property
    def input_spec(self) -> sl.ChannelSpec:
        """The input that it is built for."""
        return self._now.input_spec

    def __repr__(self):
        return f'<Lab, {self.picture.choice.value}: {self.picture.finding}>'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        """The widget, for a live kernel; without one the picture."""
        bundle, metadata = self.picture.picture()._repr_mimebundle_()
        return {**(self.box._repr_mimebundle_() or {}), **bundle, 'text/plain': repr(self)}, metadata

    # --- events -------------------------------------------------------------------------------------------------
    def _listen(self) -> None:
        """Says what each button and menu does."""
        w = self.widgets
        buttons: dict[Any, Callable[[], None]] = {
            w.undo: self._undo,
            w.redo: self._redo,
            w.up: lambda: self._edit_tree(tree.move, -1),
            w.down: lambda: self._edit_tree(tree.move, 1),
            w.duplicate: lambda: self._edit_tree(tree.duplicate),
            w.remove: lambda: self._edit_tree(tree.remove),
            w.behind: lambda: self._edit_tree(tree.insert_behind, self._entry),
            w.inside: lambda: self._edit_tree(tree.insert_inside, self._entry),
            w.around: lambda: self._edit_tree(tree.wrap, self._entry),
            w.apply: self._edit_code,
            w.prove: self._prove,
        }
        for button, action in buttons.items():
            button.on_click(lambda _, action=action: action())
        menus: dict[Any, Callable[[], None]] = {
            w.tree: self._choose,
            w.family: self._show_catalogue,
            w.gallery: self._start,
            w.channels: self._edit_input,
            w.dtype: self._edit_input,
        }
        for menu, action in menus.items():
            menu.observe(lambda _, action=action: None if self._is_quiet else action(), 'value')

    @property
    def _entry(self) -> Any:
        """The layer that is chosen in the catalogue."""
        return CATALOGUE[self.widgets.family.value][self.widgets.layer.value]

    def _choose(self) -> None:
        """Another layer in the tree."""
        self._versions[self._at] = self._now._replace(chosen=self.widgets.tree.value)
        self._show_chosen()

    def _edit_field(self) -> None:
        """The control stays as it is, so that the focus of the keyboard stays there too."""

        def edited() -> Version:
            new, path = tree.replace(self.declaration, self._now.chosen, self.fields.edited())
            return Version(new, self.input_spec, path)

        if self._edit(edited):
            self.fields.accept(self._chosen)
            self._show_model()

    def _edit_tree(self, edit: Callable[..., tree.Edited], *arguments: Any) -> None:
        def edited() -> Version:
            new, path = edit(self.declaration, self._now.chosen, *arguments)
            return Version(new, self.input_spec, path)

        if self._edit(edited):
            self._show()

    def _edit_code(self) -> None:
        def edited() -> Version:
            new = from_python(self.widgets.code.value, self.declaration)
            if not isinstance(new, sl.SequenceLayer):
                raise ValueError(f'the code must be a layer, such as sl.Serial([...]); it is {new!r}')
            return Version(new.replace(), self.input_spec)

        if self._edit(edited):
            self._show()

    def _edit_input(self) -> None:
        def edited() -> Version:
            shape = from_python(self.widgets.channels.value)
            shape = (shape,) if isinstance(shape, int) else tuple(shape)
            return self._now._replace(input_spec=sl.ChannelSpec(shape, self.widgets.dtype.value))

        if self._edit(edited):
            self._show_model()

    def _start(self) -> None:
        """Another model, from the gallery."""
        if self._edit(lambda: Version(*GALLERY[self.widgets.gallery.value]())):
            self._show()

    def _prove(self) -> None:
        w = self.widgets
        w.proof.value = status('working ... the model runs in all the ways that the contract speaks of')
        try:
            w.proof.value = self._study(*self._now[:2]).prove()._repr_html_()
        except Exception as error:  # of the model, whatever it is
            w.proof.value = words.error_box(error, self._theme)

    # --- versions ---------------------------------------------------------------------------------------------
    @property
    def _now(self) -> Version:
        return self._versions[self._at]

    @property
    def _chosen(self) -> Any:
        return tree.layer_at(self.declaration, self._now.chosen)

    def _edit(self, edit: Callable[[], Version]) -> bool:
        """Goes on to another version; if it is refused, shows the error and stays with this one."""
        try:
            new = edit()
            new.declaration.timing  # noqa: B018  of a composite this is where its body is made
        except Exception as error:  # what users write in Python may raise anything
            self.widgets.alert.value = words.error_box(error, self._theme)
            self._was_refused = True
            return False
        self._was_refused = False
        if new[:2] != self._now[:2]:
            self._versions[self._at + 1 :] = [new]
            self._at += 1
        return True

    def _undo(self) -> None:
        """Back to the version before; if the last change was refused, that is this one."""
        self._at -= not self._was_refused and self._at > 0
        self._was_refused = False
        self._show()

    def _redo(self) -> None:
        self._at = min(self._at + 1, len(self._versions) - 1)
        self._show()

    # --- what is shown ----------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        """Widgets that are set by the lab itself are no events."""
        self._is_quiet = True
        try:
            yield
        finally:
            self._is_quiet = False

    def _show_catalogue(self) -> None:
        self.widgets.layer.options = list(CATALOGUE[self.widgets.family.value])

    def _show(self) -> None:
        """Everything anew."""
        self._show_model()
        self._show_chosen()

    def _show_chosen(self) -> None:
        self.fields.show(self._chosen)
        self.picture.point_at(tree.name_of(self.declaration, self._now.chosen))

    def _show_model(self) -> None:
        """First what needs no building, then what does."""
        w = self.widgets
        with self._quietly():
            found = tree.layers(self.declaration)
            w.tree.options = [(words.tree_label(path, layer), path) for path, layer in found]
            w.tree.value = self._now.chosen
            w.channels.value, w.dtype.value = str(self.input_spec.shape), self.input_spec.dtype.name
            w.gallery.value = ''
        w.undo.disabled, w.redo.disabled = self._at == 0, self._at == len(self._versions) - 1
        w.proof.value = ''
        try:
            w.code.value = to_python(self.declaration)
        except ValueError as error:  # a function without a name
            w.code.value = f'# {error}'
        self._show_picture()

    def _show_picture(self) -> None:
        """Numbers and picture. What goes wrong is said; the picture that was there before stays."""
        w, study = self.widgets, self._study(*self._now[:2])
        w.numbers.value = words.table(words.timing_numbers(self.declaration), self.declaration)
        self.picture.status.value = status(WORKING)
        problems = self._problems(self._show_costs, study) + self._problems(self.picture.show, study)
        note = '' if self.picture.study is study else STALE
        w.alert.value = words.error_box(problems[0], self._theme, note) if problems else ''
        self.picture.status.value = heard(self.picture.finding)

    def _show_costs(self, study: Study) -> None:
        known = words.timing_numbers(self.declaration) | words.costs(study)
        self.widgets.numbers.value = words.table(known, self.declaration)

    def _problems(self, show: Callable[[Study], None], study: Study) -> list[Exception]:
        """What goes wrong, which may be anything: a layer may be the user's own."""
        try:
            show(study)
        except Exception as error:
            return [error]
        return []
