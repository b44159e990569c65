"""One run's hold on its output folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from typing import TYPE_CHECKING

from venice_batch.errors import FolderError, FolderHeldError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

IMAGES = "images"
PART_SUFFIX = ".part"

_OF_IMAGE = re.compile(r"\..+-\d+-\d+\.part|\.probe\.part")
_OF_FILE = re.compile(r"\..+\.[0-9a-f]{8}\.part")
"""Temporary files by the names that runs give them; others that end alike are somebody else's."""


@contextlib.contextmanager
def hold(root: Path, folders: Collection[str] = ()) -> Iterator[None]:
    """Make `root` ready and keep every other run out of it until left.

    Makes the folder, its `images` and the `folders` below that, proves that files can be written, takes an advisory
    lock that dies with this process (flock on `.lock`, where the holder's process id stands) and removes what
    a killed run left half-written.

    Raises:
        FolderHeldError: another run holds it.
        FolderError: not a folder, or not writable.
    """
    try:
        (root / IMAGES).mkdir(parents=True, exist_ok=True)
        # Its contents are replaced, so a link in its place is not followed.
        lock = os.open(root / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise unusable(root, error) from error
    try:
        try:
            _lock(lock, root)
            _remove_parts(root, _OF_FILE)  # alone: below it there may be anything, as with `-o .`
            _remove_image_parts(root / IMAGES)
            _prove_writable(root / IMAGES)
            for folder in sorted(folders):
                (root / IMAGES / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unusable(root, error) from error
        yield
    finally:
        os.close(lock)


def free_bytes(root: Path) -> int:
    """How much can still be written below `root`. Raises OSError where that cannot be told."""
    found = os.statvfs(root)
    return found.f_bavail * found.f_frsize


def unusable(path: Path, error: OSError) -> FolderError:
    """The FolderError that tells the user of `error` at `path`."""
    if error.errno == errno.ENOSPC:
        return FolderError(path, "the disk is full; free some space, then run the same command again")
    if error.errno == errno.EDQUOT:
        return FolderError(path, "the disk quota is used up; free some space, then run the same command again")
    if error.errno == errno.EMFILE:
        return FolderError(path, "too many open files; raise `ulimit -n` or lower --concurrency")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return FolderError(path, "cannot write here; choose another folder with --output")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return FolderError(path, "is not a folder; choose another with --output")
    if error.errno == errno.ELOOP:
        return FolderError(path, "holds a link in the place of `.lock`; remove it or choose another folder")
    if error.errno == errno.ENOENT:
        return FolderError(path, "has vanished during the run")
    return FolderError(path, error.strerror or str(error))


def _lock(lock: int, root: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        raise FolderHeldError(root, f"process {holder}" if holder else "another process") from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, b"%d\n" % os.getpid(), 0)


def _prove_writable(images: Path) -> None:
    probe = images / f".probe{PART_SUFFIX}"
    probe.write_bytes(b"probe")
    probe.unlink()


def _remove_parts(folder: str | os.PathLike[str], ours: re.Pattern[str]) -> list[str]:
    """Remove the temporary files of a killed run, which no living one can be writing; returns the inner folders.

    Not `os.walk`, which takes thrice as long for a million.
    """
    parts, folders = [], []
    with contextlib.suppress(PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(PART_SUFFIX) and ours.fullmatch(entry.name):
                parts.append(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
    for part in parts:
        os.unlink(part)
    return folders


def _remove_image_parts(folder: str | os.PathLike[str]) -> None:
    for inner in _remove_parts(folder, _OF_IMAGE):
        _remove_image_parts(inner)
