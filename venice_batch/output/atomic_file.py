"""Files that appear whole or not at all: `whole_file` replaces one, `put` gives a finished one a free name."""

from __future__ import annotations

import errno
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

from venice_batch import portable
from venice_batch.errors import FolderError

if TYPE_CHECKING:
    from collections.abc import Iterator


NOT_THE_NAME = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors that another name, or another way to give it, would meet too."""

_reserving = threading.Lock()
"""Held while a name is reserved but not yet replaced, when it looks like one that a killed run has left."""


def put(part: str, target: str) -> None:
    """Give the file `part` the name `target`, unless something other than an empty plain file has that name.

    An empty file is a name that a killed run had reserved; no run records one. Where hard links are refused, for
    whatever reason, the name is reserved first and then replaced.

    Raises:
        FileExistsError: the name is taken, perhaps by a dangling symlink.
        OSError: neither way works; `part` is unchanged, and nothing has the name.
    """
    try:
        # A rename would overwrite.
        portable.link(part, target)
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
        os.close(portable.open_file(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
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
"""How much of a file's name its temporary file repeats."""


def is_address(path: str) -> bool:
    """Return whether `path` is written as an address (`s3://…`), which would make a local folder named `s3:`."""
    return bool(_ADDRESS.match(path))


@contextmanager
def whole_file(path: Path, *, follow: bool = True, tidy: bool = True) -> Iterator[BinaryIO]:
    """Open `path` for writing; the text appears there once the block has ended without an exception.

    After an exception the earlier file is unchanged. `.gz` and `.zst` files are compressed. An earlier file's mode is
    kept.

    Args:
        path: the file to write.
        follow: write to the file behind a link, and copy the result into a pipe or a device. Otherwise both are
            replaced, as is right in a folder that may come from anybody.
        tidy: remove the temporary files that killed processes have left for this path, which takes as long as
            listing the folder.

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
    """Open a temporary file that is copied to `stream` once the block has ended without an exception."""
    with tempfile.TemporaryFile(prefix="venice-batch-") as file:
        yield file
        file.seek(0)
        shutil.copyfileobj(file, stream, 1 << 18)
        stream.flush()


def _part_prefix(target: Path) -> str:
    return f".{os.fsencode(target.name)[:_NAME_BYTES].decode('utf-8', 'ignore')}."


def _open_part(target: Path) -> tuple[Path, BinaryIO]:
    """Make the temporary file, locked while it is open: one without a lock is left over."""
    while True:
        part = target.with_name(f"{_part_prefix(target)}{secrets.token_hex(4)}.part")
        file = part.open("xb")
        try:
            portable.lock(file.fileno(), wait=True)
            if os.fstat(file.fileno()).st_nlink:
                return part, file
        except OSError:
            return part, file  # no locks here, so nobody takes it for a left-over
        file.close()  # another process took it for a left-over before it was locked


def _remove_left_overs(target: Path) -> None:
    ours = re.compile(re.escape(_part_prefix(target)) + r"[0-9a-f]{8}\.part")
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if ours.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                _remove_if_left(entry.path)


def _remove_if_left(path: str) -> None:
    with suppress(OSError):
        if portable.IS_WINDOWS:
            os.unlink(path)  # refused while a process has the file open
            return
        file = portable.open_file(path, os.O_RDWR)
        try:
            if portable.lock(file):
                os.unlink(path)
        finally:
            os.close(file)


def _is_special(path: Path) -> bool:
    """Return whether `path` is a pipe, a device or the like: replacing it would break it."""
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

        # No name and no time in the header: the same jobs make the same bytes.
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
