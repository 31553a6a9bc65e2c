"""A view: a trace drawn on a page, with one position in it that can be moved."""

from typing import Any, ClassVar

from .page import Page, Picture


class View:
    """Base of all views. A subclass draws what stays in its constructor, what follows the focus in `show`.

    Attributes:
      word: what a position is ('output', 'timestep', ...).
      positions: those that `show` takes.
      start: the one to begin with.
    """

    word: ClassVar[str]

    def __init__(self, page: Page, positions: range, start: int):
        self.page, self.positions, self.start = page, positions, start

    def show(self, position: int) -> None:
        """Moves the focus. Updates artists in place and computes nothing but their places."""
        raise NotImplementedError

    def picture(self, position: int | None = None) -> Picture:
        """The picture of this view at a position, with a slider wherever pages can have one.

        Raises:
          ValueError: there is no such position.
        """
        picture: Picture = self.page.figure
        picture.view, picture.position = self, self._checked(position)
        self.show(picture.position)
        return picture

    def result(self, position: int | None = None) -> Any:
        """What a plot function returns: the picture, or the axes that were given."""
        if self.page.owns_figure:
            return self.picture(position)
        self.show(self._checked(position))
        return self.page.ax

    def _checked(self, position: int | None) -> int:
        if position is None:
            return self.start
        if position not in self.positions:
            first, last, step = self.positions[0], self.positions[-1], self.positions.step
            every = f' in steps of {step}' if step > 1 else ''
            raise ValueError(f'viz: there is no {self.word} {position}; choose one from {first} to {last}{every}')
        return position


def expect(trace: Any, kind: type, function: str) -> None:
    """Refuses what is no trace of the kind that a function draws.

    Raises:
      TypeError: it is another trace, or none.
    """
    if not isinstance(trace, kind):
        raise TypeError(
            f'{function} draws a {kind.__name__}, got {type(trace).__name__}; '
            'viz.view(trace).picture() draws a trace of any kind'
        )
