"""The files that records name: whether they are there, and how to read them where a stranger wrote the records."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from venice_batch.output.manifest import FileView


_IS_UTF8 = sys.getfilesystemencoding() == "utf-8"


class NoPlainFileError(OSError):
    """What a record names is no plain file below its folder, and was not opened; `strerror` says what it is."""


class PlainFiles:
    """The plain files below a folder that may have come from anybody.

    No link is followed below `root`, no path leads out of it, and a pipe or a device is never waited for.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)

    def size(self, path: str) -> int:
        """The size in bytes of the file that a record calls `path`.

        Raises:
            NoPlainFileError: something else stands there, or the path leads elsewhere.
            OSError: there is nothing.
        """
        parts = _parts(path)
        state = os.lstat("/".join((self._root, *parts)))
        for end in range(1, len(parts)):
            if stat.S_ISLNK(os.lstat("/".join((self._root, *parts[:end]))).st_mode):
                raise _refused(path, "is behind a link, which is not followed")
        if stat.S_ISLNK(state.st_mode):
            raise _refused(path, "is a link, which is not followed")
        if not stat.S_ISREG(state.st_mode):
            raise _refused(path, "is no plain file")
        return state.st_size

    def open(self, path: str) -> BinaryIO:
        """Open the file for reading; what is opened is what was looked at, whoever changes the folder meanwhile.

        Raises:
            NoPlainFileError, OSError: as `size`.
        """
        self.size(path)
        *folders, name = _parts(path)
        folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for inner in folders:
                outer, folder = (
                    folder,
                    os.open(inner, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder),
                )
                os.close(outer)
            return os.fdopen(open_plain(name, dir_fd=folder), "rb")
        finally:
            os.close(folder)


class Refusals:
    """Counts the files of records that were refused; only the first is kept to be told."""

    def __init__(self) -> None:
        self.count = 0
        self._first = ""

    def add(self, job_id: str, error: NoPlainFileError) -> None:
        """Count one file of the job's record."""
        self.count += 1
        self._first = self._first or f"{job_id}: {error.filename!r} {error.strerror}"

    def __str__(self) -> str:
        more = f", and {self.count - 1} more like it" if self.count > 1 else ""
        return f"left out what is no plain file of the folder: {self._first}{more}" if self.count else ""


def open_plain(path: str | Path, *, dir_fd: int | None = None) -> int:
    """Open a plain file for reading, without following a link or waiting for a pipe; returns its descriptor.

    Raises:
        NoPlainFileError: something else stands there.
        OSError: it cannot be opened.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _refused(os.fspath(path), "is a link or no plain file, and is not followed") from error
        raise
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode):
        os.close(file)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        raise _refused(os.fspath(path), "is no plain file")
    return file


def on_disk(path: str) -> str:
    """`path` of a record as the system is given it: names are UTF-8 on the disk, whatever the locale.

    So every letter can be part of a name, and a folder means the same to runs under different locales.
    """
    return path if _IS_UTF8 else os.fsdecode(path.encode())


def have_sizes(prefix: str, files: Sequence[FileView]) -> bool:
    """Whether there is a file, and each is there with its size; paths are put behind `prefix`.

    A link counts as the plain file that it leads to: whoever keeps images elsewhere does not buy them again. Nothing of
    what is found is shown or copied.
    """
    try:
        for file in files:
            if _leads_elsewhere(file.path):
                return False
            state = os.stat(prefix + on_disk(file.path))
            if state.st_size != file.bytes or not stat.S_ISREG(state.st_mode):
                return False
    except (OSError, ValueError):
        return False
    return bool(files)


def have_hashes(prefix: str, files: Sequence[FileView]) -> bool:
    """As `have_sizes`, and each has its hash too; never waits for what is no plain file."""
    if not have_sizes(prefix, files):
        return False
    try:
        for file in files:
            with open(prefix + on_disk(file.path), "rb", opener=_without_waiting) as image:
                is_plain = stat.S_ISREG(os.fstat(image.fileno()).st_mode)
                if not is_plain or hashlib.file_digest(image, "sha256").hexdigest() != file.sha256:
                    return False
    except OSError:
        return False
    return True


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _parts(path: str) -> list[str]:
    """The names that lead from the folder to the file, as the system is given them."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise _refused(path, "is no text") from error
    if _leads_elsewhere(path):
        raise _refused(path, "is no place for an image")
    return on_disk(path).split("/")


def _leads_elsewhere(path: str) -> bool:
    return path.startswith("/") or "\0" in path or (".." in path and ".." in path.split("/")) or path in ("", ".")


def _refused(path: str, why: str) -> NoPlainFileError:
    return NoPlainFileError(errno.EINVAL, why, path)
