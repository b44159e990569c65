"""Unnamed temporary copies of what cannot be read in place."""

from __future__ import annotations

import sys
import tempfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from venice_batch.errors import FolderError, JobsFileError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from venice_batch.jobfile.content import Compression

MAX_UNPACKED_LINE = 64 << 20
"""Longest line that is unpacked, in bytes: kilobytes of gzip can hold gigabytes of one line."""

_BLOCK = 1 << 18


@contextmanager
def temporary() -> Iterator[BinaryIO]:
    """Open an empty file without a name; it is gone when closed, however the process ends.

    Raises:
        FolderError: there is no folder that takes it.
    """
    try:
        opened = tempfile.TemporaryFile(prefix="venice-batch-")  # noqa: SIM115 - closed below
    except OSError as error:
        raise no_room(error) from error
    with opened as file:
        yield file


def no_room(error: OSError) -> FolderError:
    """Return the error that says why there is no temporary file, and what to do."""
    # Without a folder for temporary files, the current one was the last that was tried.
    folder = Path(tempfile.tempdir or ".")
    # Where none will do, the library lists all that it tried.
    why = ", nor can the system's own folders" if isinstance(error, FileNotFoundError) else f": {error.strerror}"
    return FolderError(folder, f"cannot take a temporary file{why}; set TMPDIR to a folder with room")


@contextmanager
def copied(name: str, stream: BinaryIO) -> Iterator[BinaryIO]:
    """Copy all of `stream`, which is read to its end and left open."""
    with temporary() as file:
        # `read` would wait for a whole block from a pipe, deaf to a signal that comes between two parts of it.
        _pour(name, getattr(stream, "read1", stream.read), file)
        yield file


@contextmanager
def unpacked(name: str, packed: BinaryIO, how: Compression) -> Iterator[BinaryIO]:
    """Unpack `packed` from its start.

    Raises:
        JobsFileError: the data is damaged, or has a line of more than MAX_UNPACKED_LINE.
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
    while block := read(_BLOCK):
        end = max(block.rfind(b"\n"), block.rfind(b"\r"))
        tail = tail + len(block) if end < 0 else len(block) - end - 1
        if tail > MAX_UNPACKED_LINE:
            megabytes = MAX_UNPACKED_LINE >> 20
            raise JobsFileError([Problem(name, 0, "", f"has a line of more than {megabytes} MB; not a jobs file")])
        file.write(block)
    file.flush()


def _damaged(name: str, how: str, error: BaseException) -> JobsFileError:
    return JobsFileError([Problem(name, 0, "", f"is damaged: {how} says: {error}")])
