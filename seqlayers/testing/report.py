"""The result of a contract check, to read and to assert on."""

import dataclasses

from seqlayers import html


class ContractError(AssertionError):
    """A layer breaks the contract. The message names the clause, the first layer and the first timestep."""


@dataclasses.dataclass(frozen=True)
class Clause:
    """One promise of the contract.

    Attributes:
      name: the promise.
      passed: True, False, or None where it does not apply.
      detail: what was compared; or the failure: layer, timestep, values; or why it does not apply.
      layer: path of the first layer that differs ('' is the model itself), if that is known.
      timestep: the first output timestep that differs, if there is one.
    """

    name: str
    passed: bool | None
    detail: str
    layer: str | None = None
    timestep: int | None = None


@dataclasses.dataclass(frozen=True)
class ContractReport:
    """The clauses of the contract for one model. Prints as a table; in a notebook it is one."""

    model: str
    clauses: tuple[Clause, ...]

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> tuple[Clause, ...]:
        return tuple(c for c in self.clauses if c.passed is False)

    def raise_if_failed(self) -> None:
        """Raises a ContractError with every failed clause."""
        if self.failures:
            lines = [f'{self.model} breaks the contract:']
            lines += [f'- {clause.name}: {clause.detail}' for clause in self.failures]
            raise ContractError('\n'.join(lines))

    def __getitem__(self, name: str) -> Clause:
        """The clause of that name."""
        found = [c for c in self.clauses if c.name == name]
        if not found:
            raise KeyError(f'no clause {name!r}; there are: {", ".join(c.name for c in self.clauses)}')
        return found[0]

    def __repr__(self) -> str:
        width = max(len(c.name) for c in self.clauses)
        failed = len(self.failures)
        verdict = f'breaks {failed} of {len(self.clauses)} clauses' if failed else 'keeps the contract'
        rows = [f'  {_WORDS[c.passed]:4}  {c.name:{width}}  {c.detail}' for c in self.clauses]
        return '\n'.join([f'{self.model} {verdict}', *rows])

    def _repr_html_(self) -> str:
        def row(clause: Clause) -> list[str]:
            style = {True: '', False: html.ALARM, None: html.MUTED}[clause.passed]
            return [html.cell(words, style) for words in (_MARKS[clause.passed], clause.name, clause.detail)]

        verdict = f'breaks {len(self.failures)} clauses of' if self.failures else 'keeps'
        caption = f'{html.text(self.model, "font-weight:bold")} {verdict} the contract'
        return html.captioned(caption, html.table(map(row, self.clauses)))


_WORDS = {True: 'ok', False: 'FAIL', None: 'n/a'}
_MARKS = {True: '✓ ok', False: '✗ FAIL', None: '– n/a'}
