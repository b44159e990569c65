"""The problems of a file: the first ones kept, all of them counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from venice_batch.errors import JobsFileError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_PROBLEMS = 1000
"""How many problems are kept; all of them are counted."""


class Findings:
    """Collects problems in any order; keeps the `keep` that come first in the file."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._kept: list[Problem] = []
        self.total = 0

    def add(self, line: int, field: str, what: str, source: str) -> None:
        """Add one problem."""
        self.extend([Problem(source, line, field, what)])

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add several problems."""
        for problem in problems:
            self.total += 1
            self._kept.append(problem)
        # Now and then, not each time: a file of a million mistakes is not sorted a million times.
        if len(self._kept) > 2 * self._keep + 100:
            self._cut()

    def raise_any(self) -> None:
        """Raise JobsFileError if there is any problem."""
        if self.total:
            self._cut()
            raise JobsFileError(self._kept, self.total)

    def _cut(self) -> None:
        # Stable: the problems of one line stay in their order.
        self._kept.sort(key=lambda problem: problem.line)
        del self._kept[self._keep :]
