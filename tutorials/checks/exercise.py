"""Exercises that check themselves: answers are compared with slow, plain ones, and wrong ideas named."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from viz.page import Picture


@dataclass(frozen=True)
class Verdict:
    """What a check found. In a notebook it shows its message, and target over yours."""

    passed: bool
    message: str
    picture: Picture | None = None

    def __repr__(self):
        return self.message

    def _ipython_display_(self):
        from IPython.display import display

        print(self.message)
        if self.picture is not None:
            display(self.picture)


class Exercise:
    """A function to write. Called with an attempt, it gives the verdict.

    A subclass defines `cases`, `answer`, `difference` and `picture`. A wrong answer that gives the same
    result as one of its `mistakes` is told the idea behind it.
    """

    def cases(self) -> list[tuple]:
        """Arguments to try, the small ones first: the first that fails is the one to show."""
        raise NotImplementedError

    def answer(self, *case: Any) -> Any:
        """The right result, computed slowly and plainly."""
        raise NotImplementedError

    def difference(self, target: Any, yours: Any) -> str | None:
        """The first place where two results differ, in words; None if they agree."""
        raise NotImplementedError

    def picture(self, case: tuple, target: Any, yours: Any, title: str) -> Picture:
        """Target over yours."""
        raise NotImplementedError

    def mistakes(self) -> Iterable[tuple[str, Callable]]:
        """Common wrong answers, each behind its idea in words, with `{...}` filled in from `facts`.

        Two of them may give the same result on a case. So those that go wrong on a later case come first.
        """
        return ()

    def facts(self, case: tuple, target: Any, yours: Any) -> dict[str, Any]:
        """Numbers of a case for the words of `mistakes`."""
        return {}

    def praise(self, cases: list[tuple]) -> str:
        return f'ok: {len(cases)} cases'

    def idea(self, case: tuple, target: Any, yours: Any) -> str | None:
        """What the author of a wrong result may have thought."""
        with np.errstate(all='ignore'):
            for words, wrong in self.mistakes():
                if self.difference(wrong(*case), yours) is None:
                    return words.format(**self.facts(case, target, yours))
        return None

    def __call__(self, fn: Callable) -> Verdict:
        """Tries `fn` on every case. An error that `fn` raises is passed on, with the number of the case."""
        cases = self.cases()
        for i, case in enumerate(cases):
            try:
                yours = fn(*case)
            except NotImplementedError:
                return Verdict(False, f'not written yet: {fn.__name__}. Write it, then run this cell again')
            except Exception as error:
                error.add_note(f'{fn.__name__} raised this on case {i} of {len(cases)}: {case}')
                raise
            target = self.answer(*case)
            if self.difference(target, yours):
                return self._fault(f'case {i}: ' if len(cases) > 1 else '', case, target, yours)
        target = self.answer(*cases[0])
        by = ' (our solution: yours is not written yet)' if _is_solution(fn) else ''
        picture = self.picture(cases[0], target, fn(*cases[0]), 'Target and yours agree')
        return Verdict(True, self.praise(cases) + by, picture)

    def _fault(self, where: str, case: tuple, target: Any, yours: Any) -> Verdict:
        difference, idea = self.difference(target, yours), self.idea(case, target, yours)
        words = f'{where}{difference}'
        picture = self.picture(case, target, yours, words[0].upper() + words[1:])
        return Verdict(False, f'{words}: {idea}' if idea else words, picture)


def solution(yours: Callable) -> Callable[[Callable], Callable]:
    """Decorates a solution: it takes the place of a stub, and never that of your work."""

    def choose(ours: Callable) -> Callable:
        ours.is_solution = True
        return ours if _is_solution(yours) or _is_stub(yours) else yours

    return choose


def _is_solution(fn: Callable) -> bool:
    return getattr(fn, 'is_solution', False)


def _is_stub(fn: Callable) -> bool:
    code = getattr(inspect.unwrap(fn), '__code__', None)
    return code is not None and 'NotImplementedError' in code.co_names
