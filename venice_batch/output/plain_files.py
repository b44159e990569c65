"""The files that records name: check that they are there, and read them even if a stranger wrote the records."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
from typing import TYPE_CHECKING

from venice_batch import portable
from venice_batch.output.originals import original_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from io import BufferedReader
    from pathlib import Path

    from venice_batch.output.manifest import FileView


_IS_UTF8 = sys.getfilesystemencoding() == "utf-8"


class NoPlainFileError(OSError):
    """A record names something that is not a plain file below its folder, so it was not opened; `strerror` says why."""


class PlainFiles:
    """Read the plain files below a folder that may have come from anybody.

    Follows no link below `root`, takes no path that leads out of it, and never waits for a pipe or a device. In a copy
    of another folder (`output.originals`) the files of the original are there too: they are fetched when they are read.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)
        self._original = original_of(root)

    def size(self, path: str) -> int:
        """Return the size in bytes of the file that a record calls `path`.

        Raises:
            NoPlainFileError: it is not a plain file, or the path leads out of the folder.
            OSError: there is no such file.
        """
        parts = _parts(path)
        try:
            state = os.lstat("/".join((self._root, *parts)))
        except FileNotFoundError:
            size = self._original.size(path) if self._original is not None else None
            if size is None:
                raise
            return size
        for end in range(1, len(parts)):
            if stat.S_ISLNK(os.lstat("/".join((self._root, *parts[:end]))).st_mode):
                raise _refused(path, "is behind a link, which is not followed")
        if stat.S_ISLNK(state.st_mode):
            raise _refused(path, "is a link, which is not followed")
        if not stat.S_ISREG(state.st_mode):
            raise _refused(path, "is not a plain file")
        return state.st_size

    def open(self, path: str) -> BufferedReader:
        """Open the file for reading, without following a link that replaces a part of the path meanwhile.

        On Windows only the last part is safe from that.

        Raises:
            NoPlainFileError, OSError: as `size`.
        """
        self.size(path)
        if self._original is not None:
            self._original.fetch(path)
        *folders, name = _parts(path)
        if not portable.CAN_OPEN_FOLDERS:
            return os.fdopen(open_plain("/".join((self._root, *folders, name))), "rb")
        folder = portable.open_folder(self._root, follow=True)
        try:
            for inner in folders:
                outer, folder = folder, portable.open_folder(inner, dir_fd=folder)
                os.close(outer)
            return os.fdopen(open_plain(name, dir_fd=folder), "rb")
        finally:
            os.close(folder)


class Refusals:
    """Count the refused files of records; `str()` is the notice for the user, which shows the first."""

    def __init__(self) -> None:
        self.count = 0
        self._first = ""

    def add(self, job_id: str, error: NoPlainFileError) -> None:
        """Count one file of the job's record."""
        self.count += 1
        self._first = self._first or f"{job_id}: {error.filename!r} {error.strerror}"

    def __str__(self) -> str:
        more = f", and {self.count - 1} more like it" if self.count > 1 else ""
        return f"left out everything but plain files of the folder: {self._first}{more}" if self.count else ""


def open_plain(path: str | Path, *, dir_fd: int | None = None) -> int:
    """Open a plain file for reading and return its descriptor; follow no link, wait for no pipe.

    Raises:
        NoPlainFileError: it is not a plain file.
        OSError: it cannot be opened.
    """
    try:
        file = portable.open_file(path, os.O_RDONLY, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _refused(os.fspath(path), "is a link or not a plain file, and is not followed") from error
        raise
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode):
        os.close(file)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        raise _refused(os.fspath(path), "is not a plain file")
    return file


def on_disk(path: str) -> str:
    """Return a record's `path` as the system takes it: names are UTF-8 on disk under every locale.

    So every letter can be in a name, and runs under different locales find the same files.
    """
    return path if _IS_UTF8 else os.fsdecode(path.encode())


def have_sizes(prefix: str, files: Sequence[FileView]) -> bool:
    """Return whether there is at least one file, and every one exists with its recorded size.

    `prefix` is put before each path. A link to a plain file counts as that file, so that images kept elsewhere are not
    bought again; nothing that is found is shown or copied.
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
    """Check as `have_sizes` does, and compare each file's hash; never wait for a pipe or a device."""
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
    return portable.open_file(path, flags, follow=True)


def _parts(path: str) -> list[str]:
    """Return the names on the way from the folder to the file, as the system takes them."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise _refused(path, "is not valid text") from error
    if _leads_elsewhere(path):
        raise _refused(path, "is not a path of an image")
    return on_disk(path).split("/")


def _leads_elsewhere(path: str) -> bool:
    if portable.IS_WINDOWS and ("\\" in path or ":" in path):
        return True  # no run writes such a path there: a backslash parts folders, a colon names a drive or a stream
    return path.startswith("/") or "\0" in path or (".." in path and ".." in path.split("/")) or path in ("", ".")


def _refused(path: str, why: str) -> NoPlainFileError:
    return NoPlainFileError(errno.EINVAL, why, path)
