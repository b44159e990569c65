"""A manifest in stretches of whole lines, each to be read by itself."""

from __future__ import annotations

import contextlib
import os
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from venice_batch import portable
from venice_batch.output.folder import unusable
from venice_batch.output.plain_files import open_plain
from venice_batch.output.record import records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from venice_batch.output.record import RecordView

SIZE_BYTES = 256 * 1024
"""A few hundred records, two milliseconds' work; longer ones are slower, as they do not fit a processor's cache."""

_STEP_BYTES = 4096


class Stretches:
    """The stretches of an open file, by number: a line belongs to the one in which its first byte lies.

    Together they hold every line once and in order. Memory is a stretch and the line that sticks out of it.
    """

    def __init__(self, path: Path, file: int, size_bytes: int = SIZE_BYTES) -> None:
        """Cut what the descriptor `file` reads, `path` in messages; what is appended later may be seen or not.

        Raises:
            FolderError: the file cannot be read.
        """
        self.path = path
        self.file = file
        self.size_bytes = size_bytes
        try:
            self._count = -(-os.fstat(file).st_size // size_bytes)
        except OSError as error:
            raise unusable(path, error) from error

    def __len__(self) -> int:
        return self._count

    def lines(self, number: int) -> tuple[int, Iterator[bytes]]:
        """How many lines stretch `number` (from 0) has, and the lines, each but the file's last with its line feed.

        Raises:
            FolderError: it cannot be read.
        """
        # A line begins behind a line feed, the stretch's first perhaps behind the last byte of the stretch before.
        begin = number * self.size_bytes - 1
        try:
            data = self._read(self.size_bytes, begin) if number else b"\n" + self._read(self.size_bytes - 1, 0)
            if b"\n" not in data:
                return 0, iter(())  # all of it is the inside of one long line
            data += self._line_end(begin + len(data))
        except OSError as error:
            raise unusable(self.path, error) from error
        lines = BytesIO(data)
        lines.readline()
        return data.count(b"\n") - data.endswith(b"\n"), lines

    def _read(self, size: int, position: int) -> bytes:
        data = portable.pread(self.file, size, position)
        while len(data) < size and (more := portable.pread(self.file, size - len(data), position + len(data))):
            data += more
        return data

    def _line_end(self, position: int) -> bytes:
        """What follows from `position` up to a line feed, or to the end of the file."""
        parts = []
        while part := portable.pread(self.file, _STEP_BYTES, position):
            end = part.find(b"\n") + 1
            if end:
                parts.append(part[:end])
                break
            parts.append(part)
            position += len(part)
        return b"".join(parts)


@contextlib.contextmanager
def opened(path: Path, size_bytes: int = SIZE_BYTES) -> Iterator[Stretches]:
    """The stretches of the manifest at `path`. Raises FolderError where it cannot be opened."""
    try:
        file = os.fdopen(open_plain(path), "rb", buffering=0)
    except OSError as error:
        raise unusable(path, error) from error
    with file:
        yield Stretches(path, file.fileno(), size_bytes)


def read(path: Path) -> Iterator[tuple[int, RecordView | None]]:
    """Every line's number with its record, or None where the line is no record; nothing if there is no file.

    Memory does not grow with the file. Raises FolderError where the file cannot be read.
    """
    if not path.exists():
        return
    first = 1
    with opened(path) as stretches:
        for number in range(len(stretches)):
            count, lines = stretches.lines(number)
            yield from records(lines, first)
            first += count
