"""What of a stretch of a manifest is needed to mark jobs, whichever jobs these are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from venice_batch.output.record import records
from venice_batch.output.state import state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from venice_batch.output.record import FileView

_MOST_NUMBERS = 10


class Corrupt(msgspec.Struct):
    """Lines without a record: how many, and the numbers of the first ten."""

    count: int = 0
    numbers: list[int] = msgspec.field(default_factory=list)

    def add(self, number: int) -> None:
        """Count the line of this number."""
        self.extend(Corrupt(1, [number]))

    def extend(self, later: Corrupt, before: int = 0) -> None:
        """Count the `later` lines too, numbered from the line after `before`."""
        self.count += later.count
        self.numbers += [before + number for number in later.numbers[: _MOST_NUMBERS - len(self.numbers)]]


class Extract(msgspec.Struct, array_like=True):
    """How many lines there are, which of them are corrupt, and every record's id, request hash and state."""

    lines: int
    corrupt: Corrupt
    records: list[tuple[str, str, int]]


def extract(
    count: int, lines: Iterable[bytes], whole: Callable[[Sequence[FileView]], bool], *, sandbox: bool
) -> Extract:
    """Make the extract of the `count` lines of a stretch, numbered from 1; the rest is as for `state_of`."""
    corrupt = Corrupt()
    found = []
    for number, record in records(lines):
        if record is None:
            corrupt.add(number)
        else:
            found.append((record.id, record.request_hash, state_of(record, whole, sandbox=sandbox)))
    return Extract(count, corrupt, found)
