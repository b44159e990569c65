"""How a finished file gets its name without taking another's."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from venice_batch.errors import FolderError

if TYPE_CHECKING:
    from collections.abc import Iterator


NOT_THE_NAME = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Refusals that another name, or another way to give it, would meet too."""

_reserving = threading.Lock()
"""Held while a name is reserved and not yet replaced: another thread's reservation looks like a left-over."""


def put(part: str, target: str) -> None:
    """Give `part` the name `target`; what stands there already stays, unless it is an empty plain file.

    An empty file is a name that a killed run had reserved: no run records one. Where hard links are refused, for
    whatever reason, the name is reserved first and then replaced.

    Raises:
        FileExistsError: something stands there, be it a dangling symlink.
        OSError: neither way works; `part` is as it was, and nothing has the name.
    """
    try:
        # Not a rename, which would overwrite.
        os.link(part, target, follow_symlinks=False)
    except FileExistsError:
        with _reserving:
            if not _is_reserved(target):
                raise
            os.replace(part, target)
    except OSError as error:
        if error.errno in NOT_THE_NAME:
            raise
        with _reserving:
            _reserve_and_replace(part, target)
    else:
        os.unlink(part)


def _reserve_and_replace(part: str, target: str) -> None:
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    except FileExistsError:
        if not _is_reserved(target):
            raise
    try:
        os.replace(part, target)
    except OSError:
        os.unlink(target)
        raise


def _is_reserved(target: str) -> bool:
    found = os.lstat(target)
    return stat.S_ISREG(found.st_mode) and not found.st_size


_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_NAME_BYTES = 80
"""Of a file's name, what its temporary file has in its own."""


def is_address(path: str) -> bool:
    """Tell whether `path` is written as an address (`s3://…`), of which a folder named `s3:` would be made here."""
    return bool(_ADDRESS.match(path))


@contextmanager
def whole_file(path: Path, *, follow: bool = True, tidy: bool = True) -> Iterator[BinaryIO]:
    """Open `path` for writing; what is written appears there when the block ends without an exception.

    Until then, and for good if it ends with one, whatever was there stays as it was. `.gz` and `.zst` are packed as
    their ending says. A link is followed, the mode of an earlier file kept; what is no plain file (a pipe, a
    device) is written to at the end. Without `follow` both are replaced, as in a folder that may come from anybody.
    What a killed process has left of an earlier attempt at this file is removed, unless `tidy` is false: to look for it
    takes as long as the folder is.

    Raises:
        FolderError: the file cannot be written.
    """
    with _translated(path):
        if follow and _is_special(path):
            with path.open("wb") as device, whole_stream(device) as file:
                yield file
            return
        target = Path(os.path.realpath(path)) if follow else path
        if target.is_dir() and (follow or not target.is_symlink()):
            raise FolderError(path, "is a folder; give the name of a file")
        if tidy:
            _remove_left_overs(target)
        part, opened = _open_part(target)
        try:
            with ExitStack() as stack:
                plain = stack.enter_context(opened)
                if target.is_file() and (follow or not target.is_symlink()):
                    shutil.copymode(target, part)
                yield stack.enter_context(_packed(plain, target.suffix))
            os.replace(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


@contextmanager
def whole_stream(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Open a temporary file that is copied to `stream` when the block ends without an exception."""
    with tempfile.TemporaryFile(prefix="venice-batch-") as file:
        yield file
        file.seek(0)
        shutil.copyfileobj(file, stream, 1 << 18)
        stream.flush()


def _part_prefix(target: Path) -> str:
    return f".{os.fsencode(target.name)[:_NAME_BYTES].decode('utf-8', 'ignore')}."


def _open_part(target: Path) -> tuple[Path, BinaryIO]:
    """Make the temporary file, locked for as long as it is open: that tells it from a left-over."""
    while True:
        part = target.with_name(f"{_part_prefix(target)}{secrets.token_hex(4)}.part")
        file = part.open("xb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:
                return part, file
        except OSError:
            return part, file  # no locks here: nobody takes it for a left-over, then
        file.close()  # somebody did, before it was locked


def _remove_left_overs(target: Path) -> None:
    ours = re.compile(re.escape(_part_prefix(target)) + r"[0-9a-f]{8}\.part")
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if ours.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                _remove_if_left(entry.path)


def _remove_if_left(path: str) -> None:
    with suppress(OSError):
        file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        finally:
            os.close(file)


def _is_special(path: Path) -> bool:
    """Tell whether `path` is there, yet neither a plain file nor a folder: to replace it would break it."""
    with suppress(OSError):
        mode = path.stat().st_mode
        return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    return False


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FolderError(path, f"cannot be written: {error.strerror or error}") from error


@contextmanager
def _packed(file: BinaryIO, suffix: str) -> Iterator[BinaryIO]:
    if suffix == ".gz":
        import gzip

        # Without name and time in its header the same jobs make the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
            yield packed  # type: ignore[misc]  # has all of BinaryIO that writing needs
    elif suffix == ".zst":
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd

        with zstd.ZstdFile(file, "wb") as packed_zst:
            yield packed_zst  # type: ignore[misc]
    else:
        yield file
