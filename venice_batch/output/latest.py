"""What a manifest says now: the last record of each id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from venice_batch.output.manifest import numbered_outcomes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from venice_batch.model import Outcome


class LatestRecords:
    """The last whole record of each id, in the order in which these were written.

    Iterating reads the file again, as often as is wanted, so that memory grows by a number an id only. Records appended
    after the construction are left out, whoever writes them.
    """

    def __init__(self, path: Path) -> None:
        """Read `path` once. Raises FolderError where it cannot be read, as does every iteration."""
        self._path = path
        self._lines = frozenset({outcome.id: number for number, outcome in numbered_outcomes(path)}.values())

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Outcome]:
        return (outcome for _, outcome in self.numbered())

    def numbered(self) -> Iterator[tuple[int, Outcome]]:
        """As iterating, with the number of each record's line, from 1."""
        for number, outcome in numbered_outcomes(self._path):
            if number in self._lines:
                yield number, outcome
