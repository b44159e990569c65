"""Cut a file into numbered lines, and make the copies that are needed for that, in bounded memory."""

from __future__ import annotations

import re
import sys
import tempfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from venice_batch import portable
from venice_batch.errors import FolderError, JobsFileError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from venice_batch.jobfile.content import Compression


MAX_LINE_BYTES = 1 << 20
"""The longest line that is read, without its line end."""

BOM = b"\xef\xbb\xbf"

_LIMIT = MAX_LINE_BYTES + 3  # room for the longest end
_BLOCK = 1 << 16
# A CRLF that was converted once more has two CRs.
_LINE_END = re.compile(rb"\r{0,2}\n|\r")
_ONE_END = (b"\r\n", b"\r", b"\r\r\n")


class TooLong(NamedTuple):
    """A line of more than MAX_LINE_BYTES; only its size is known."""

    size: int


def lines(file: BinaryIO) -> Iterator[tuple[int, int, bytes | TooLong]]:
    """Yield (number from 1, offset of the first byte, the line without its end) for every line that is not blank.

    Reads from the file's start. A line ends with LF, CRLF or a lone CR, even if one file mixes them. A byte order mark
    at the start of any line is dropped: joined files have several. Nobody else may move the file's position between two
    lines.
    """
    file.seek(0)
    for number, (start, line) in enumerate(_ended(file), start=1):
        if isinstance(line, bytes):
            if line.startswith(BOM):
                start, line = start + len(BOM), line[len(BOM) :]
            if not line or line.isspace():
                continue
        yield number, start, line


def _ended(file: BinaryIO) -> Iterator[tuple[int, bytes | TooLong]]:
    """Yield offset and text of every line from the file's position on, blank lines included, without line ends."""
    offset = file.tell()
    readline = file.readline
    while data := readline(_LIMIT):
        end = data.find(b"\r")
        pieces = [data] if end < 0 or data[end:] in _ONE_END else _split(data)
        is_cut = len(data) == _LIMIT and not data.endswith(b"\n")
        if is_cut and len(pieces) > 1:
            # The last piece has no line end yet, or half of one: read it again from its start.
            again = pieces.pop()
            if again == b"\r" and len(pieces) > 1:
                again = pieces.pop() + again
            file.seek(offset + len(data) - len(again))
            is_cut = False
        for piece in pieces:
            line = piece.rstrip(b"\r\n")
            if is_cut or len(line) > MAX_LINE_BYTES:
                yield offset, TooLong(_size(file, offset, piece))
                offset = file.tell()
                break  # the file is positioned behind this line
            else:
                yield offset, line
                offset += len(piece)


def _split(data: bytes) -> list[bytes]:
    ends = [match.end() for match in _LINE_END.finditer(data)]
    if not ends or ends[-1] < len(data):
        ends.append(len(data))
    return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def _size(file: BinaryIO, start: int, data: bytes) -> int:
    """Return the size of the line at `start`, which begins with `data`; leave the file behind the line's end."""
    size = 0
    while data:
        if found := _LINE_END.search(data):
            size += found.start()
            # Read the end again: the last byte of `data` may be the first half of a CRLF.
            file.seek(start + size)
            found = _LINE_END.match(file.read(3))
            file.seek(start + size + (found.end() if found else 0))
            break
        size += len(data)
        data = file.readline(_BLOCK)
    return size


class LineReader:
    """Read lines again by their offset; readers of one file do not disturb each other.

    Keeps one block, so that lines near each other cost one read of the file. Not thread-safe.
    """

    __slots__ = ("_block", "_fd", "_start")

    def __init__(self, file: BinaryIO) -> None:
        self._fd = file.fileno()
        self._start = 0
        self._block = b""

    def line_at(self, offset: int) -> bytes:
        """Return the line that begins at `offset`, without its end; b"" past the end of the file."""
        begin = offset - self._start
        end = self._end(begin) if 0 <= begin < len(self._block) else -1
        if end < 0:
            self._start, self._block, begin = offset, b"", 0
            while end < 0:
                piece = portable.pread(self._fd, _BLOCK, offset + len(self._block))
                self._block += piece
                end = self._end(len(self._block) - len(piece))
                # A file that has changed may have no line end nearby.
                if not piece or len(self._block) > _LIMIT + _BLOCK:
                    end = len(self._block)
        return self._block[begin:end]

    def _end(self, begin: int) -> int:
        """Return where in the block the line around `begin` ends; -1 if its end is not in the block."""
        end = self._block.find(b"\n", begin)
        lone = self._block.find(b"\r", begin, None if end < 0 else end)
        return lone if lone >= 0 else end


MAX_UNPACKED_LINE = 64 << 20
"""The longest line that is unpacked, in bytes: kilobytes of gzip can hold gigabytes of one line."""

_UNPACKED_BLOCK = 1 << 18
_ENDS = (b"\n", b"\r")
_ENDS_IN_ARRAY = (*_ENDS, b",")


@contextmanager
def temporary() -> Iterator[BinaryIO]:
    """Open an empty file without a name; it is gone when closed, however the process ends.

    Raises:
        FolderError: no folder accepts it.
    """
    try:
        opened = tempfile.TemporaryFile(prefix="venice-batch-")  # noqa: SIM115 - closed below
    except OSError as error:
        raise no_room(error) from error
    with opened as file:
        yield file


def no_room(error: OSError) -> FolderError:
    """Return the error that says why a temporary file failed, and what to do."""
    # Without a folder for temporary files, the current one was the last that was tried.
    folder = Path(tempfile.tempdir or ".")
    # If no folder works, the library's message lists all that it tried.
    why = ", nor can the system's own folders" if isinstance(error, FileNotFoundError) else f": {error.strerror}"
    return FolderError(folder, f"cannot take a temporary file{why}; set TMPDIR to a folder with room")


@contextmanager
def copied(name: str, stream: BinaryIO) -> Iterator[BinaryIO]:
    """Yield a copy of `stream`, which is read to its end and left open."""
    with temporary() as file:
        # On a pipe `read` waits for a whole block, and would not notice a signal in the middle of it.
        _pour(name, getattr(stream, "read1", stream.read), file)
        yield file


@contextmanager
def unpacked(name: str, packed: BinaryIO, how: Compression) -> Iterator[BinaryIO]:
    """Yield the content of `packed`, from its start.

    Raises:
        JobsFileError: the data is damaged, or a line is longer than MAX_UNPACKED_LINE.
    """
    packed.seek(0)
    with temporary() as file:
        if how == "gzip":
            import gzip

            try:
                with gzip.GzipFile(fileobj=packed) as stream:
                    _pour(name, stream.read, file)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise _damaged(name, how, error) from error
        else:
            if sys.version_info >= (3, 14):
                from compression import zstd
            else:
                from backports import zstd

            try:
                with zstd.ZstdFile(packed) as stream:
                    _pour(name, stream.read, file)
            except (zstd.ZstdError, EOFError) as error:
                raise _damaged(name, how, error) from error
        yield file


def _pour(name: str, read: Callable[[int], bytes], file: BinaryIO) -> None:
    tail = 0
    first = b""
    while block := read(_UNPACKED_BLOCK):
        first = first or block.removeprefix(BOM).lstrip()[:1]
        # A JSON array may be one long line; its elements are not.
        end = max(map(block.rfind, _ENDS_IN_ARRAY if first == b"[" else _ENDS))
        tail = tail + len(block) if end < 0 else len(block) - end - 1
        if tail > MAX_UNPACKED_LINE:
            megabytes = MAX_UNPACKED_LINE >> 20
            raise JobsFileError([Problem(name, 0, "", f"has a line of more than {megabytes} MB; not a jobs file")])
        file.write(block)
    file.flush()


def _damaged(name: str, how: str, error: BaseException) -> JobsFileError:
    return JobsFileError([Problem(name, 0, "", f"is damaged: {how} says: {error}")])
