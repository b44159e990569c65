"""A file of lines that grows while it is read: the lines that are new since the last look."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from venice_batch import portable
from venice_batch.output.manifest import opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_COMPARED_BYTES = 256
"""How much before the new lines has to be as it was; a record or mark differs from every other in so much."""
_STEP_BYTES = 64 * 1024


class NewLines:
    """Lines of a file, read anew by each iteration.

    `is_anew`: the file was replaced or rewritten, so these are all of its lines. Lines that vanish before they are read
    are left out.
    """

    def __init__(self, path: Path, start: int, end: int, *, is_anew: bool) -> None:
        self.is_anew = is_anew
        self._path = path
        self._start = start
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        left = self._end - self._start
        with suppress(OSError), opened(self._path) as file:
            file.seek(self._start)
            while left > 0 and (line := file.readline(left)):
                left -= len(line)
                yield line


class FollowedFile:
    """Follows a file that other programs append to, replace, move or remove. It works by looking again.

    A last line without its line feed waits until it is whole. A file that is not there holds nothing new: it may be on
    its way back. Links are not followed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()
        self._file: tuple[int, int] | None = None
        self._end = 0
        self._before = b""

    def look(self) -> NewLines | None:
        """Return the lines since the last look, None if there are none and the file is the same.

        Raises:
            OSError: the file is there but cannot be read, or is not a plain file (`NoPlainFileError`).
        """
        try:
            state = os.lstat(self._path)
            seen = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
            if seen == self._seen:
                return None
            with opened(self._path) as file:
                new = self._compare(file.fileno())
        except FileNotFoundError:
            return None
        self._seen = seen
        return new

    def all_lines(self) -> NewLines:
        """Return all lines up to the last look."""
        return NewLines(self._path, 0, self._end, is_anew=False)

    def _compare(self, file: int) -> NewLines | None:
        state = os.fstat(file)
        which = (state.st_dev, state.st_ino)
        start = self._end
        is_anew = self._file is not None and (which != self._file or not self._is_continued(file, state.st_size))
        if is_anew:
            start = 0
        end = _lines_end(file, start, state.st_size)
        self._file, self._end = which, end
        first = max(0, end - _COMPARED_BYTES)
        self._before = portable.pread(file, end - first, first)
        return NewLines(self._path, start, end, is_anew=is_anew) if is_anew or end > start else None

    def _is_continued(self, file: int, size: int) -> bool:
        length = len(self._before)
        return size >= self._end and portable.pread(file, length, self._end - length) == self._before


def _lines_end(file: int, start: int, size: int) -> int:
    """Return where the last whole line ends, `start` if there is none behind it."""
    position = size
    while position > start:
        step = min(_STEP_BYTES, position - start)
        found = portable.pread(file, step, position - step).rfind(b"\n")
        if found >= 0:
            return position - step + found + 1
        position -= step
    return start
