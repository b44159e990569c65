"""A file of bytes cut into numbered lines, in memory that no line can exhaust."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE_BYTES = 1 << 20
"""Longest line that is read, without its line end."""

BOM = b"\xef\xbb\xbf"

_LIMIT = MAX_LINE_BYTES + 2  # room for CRLF
_BLOCK = 1 << 16


class TooLong(NamedTuple):
    """A line of more than MAX_LINE_BYTES, of which only the size is known."""

    size: int


def lines(file: BinaryIO) -> Iterator[tuple[int, int, bytes | TooLong]]:
    """Yield (number from 1, offset of the first byte, the line without its end) of every line not blank.

    Reads from the file's start; the byte order mark of UTF-8 belongs to no line. The file must not be
    moved by others between two lines.
    """
    file.seek(0)
    offset = len(BOM) if file.read(len(BOM)) == BOM else 0
    file.seek(offset)
    number = 0
    readline = file.readline
    while data := readline(_LIMIT):
        number += 1
        start = offset
        offset += len(data)
        line: bytes | TooLong = data.rstrip(b"\r\n")
        if len(line) > MAX_LINE_BYTES:
            size = len(line)
            while not data.endswith(b"\n") and (data := readline(_BLOCK)):
                offset += len(data)
                size += len(data.rstrip(b"\r\n"))
            line = TooLong(size)
        elif not line or data.isspace():
            continue
        yield number, start, line


class LineReader:
    """Reads lines again by their offset, with a position of its own: readers of one file do not meet.

    Holds one block, so that lines near each other cost one read of the file; not for several threads.
    """

    __slots__ = ("_block", "_fd", "_start")

    def __init__(self, file: BinaryIO) -> None:
        self._fd = file.fileno()
        self._start = 0
        self._block = b""

    def line_at(self, offset: int) -> bytes:
        """Return the line that begins at `offset` without its end; b"" past the end of the file."""
        begin = offset - self._start
        end = self._block.find(b"\n", begin) if 0 <= begin < len(self._block) else -1
        if end < 0:
            self._start, self._block, begin = offset, b"", 0
            while end < 0:
                piece = os.pread(self._fd, _BLOCK, offset + len(self._block))
                self._block += piece
                end = self._block.find(b"\n", len(self._block) - len(piece))
                # A file that changed meanwhile may have no line end near.
                if not piece or len(self._block) > _LIMIT + _BLOCK:
                    end = len(self._block)
        return self._block[begin:end].rstrip(b"\r\n")
