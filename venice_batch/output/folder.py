"""One run's hold on its output folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from typing import TYPE_CHECKING

from venice_batch.errors import FolderError, FolderHeldError
from venice_batch.output.files import on_disk

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

IMAGES = "images"
PART_SUFFIX = ".part"

_LOCK = ".lock"
_NO_FILE = "is no plain file, and it is not followed or replaced; remove it or choose another folder with --output"
_NO_LOCK = "is a file that no run has made; move it away or choose another folder with --output"

_OF_IMAGE = re.compile(r"\..+-\d+-\d+\.part|\.probe\.part")
_OF_FILE = re.compile(r"\.(probe|summary\.json|.+\.[0-9a-f]{8})\.part")
"""Temporary files by the names that runs give them; others that end alike are somebody else's."""


@contextlib.contextmanager
def hold(root: Path, folders: Collection[str] = (), *, durable: bool = False) -> Iterator[None]:
    """Make `root` ready and keep every other run out of it until left.

    Makes the folder, its `images` and the `folders` below that, proves that files can be written, takes an advisory
    lock that dies with this process (flock on `.lock`, where the holder's process id stands) and removes what
    a killed run left half-written. `durable`: the folders are on the disk before it goes on.

    Raises:
        FolderHeldError: another run holds it.
        FolderError: not a folder, or not writable.
    """
    try:
        made = [place for place in (root, *root.parents) if not place.exists()]
        (root / IMAGES).mkdir(parents=True, exist_ok=True)
        lock = own_file(root / _LOCK, os.O_RDWR)
    except OSError as error:
        raise unusable(root, error) from error
    try:
        try:
            _lock(lock, root)
            _remove_parts(root, _OF_FILE)  # alone: below it there may be anything, as with `-o .`
            if not (root / IMAGES).is_symlink():  # what a link leads to is no run's own
                _remove_image_parts(root / IMAGES)
            for place in (root, root / IMAGES):
                _prove_writable(place)
            for folder in sorted(folders):
                _make_ready(root / IMAGES / on_disk(folder))
            if durable:
                _sync(root, folders, made)
        except OSError as error:
            raise unusable(root, error) from error
        yield
    finally:
        os.close(lock)


def own_file(path: Path, flags: int) -> int:
    """Open or make a file that runs keep for themselves; returns its descriptor.

    Raises:
        FolderError: a link, a folder, a pipe or a device stands there; it was not followed.
        OSError: it cannot be opened.
    """
    try:
        file = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise FolderError(path, _NO_FILE) from error
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise FolderError(path, _NO_FILE)
    return file


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
    if error.errno == errno.EFBIG:
        return FolderError(path, "the system allows no larger file here; raise `ulimit -f` or choose another folder")
    if error.errno == errno.EISDIR:
        return FolderError(path, "is a folder where a file has to be; remove it or choose another --output")
    if error.errno == errno.ENOENT:
        return FolderError(path, "has vanished during the run")
    return FolderError(path, error.strerror or str(error))


def _lock(lock: int, root: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        raise FolderHeldError(root, f"process {holder}" if holder else "another process") from error
    if not re.fullmatch(rb"\d*\n?", os.pread(lock, 64, 0)):
        raise FolderError(root / _LOCK, _NO_LOCK)
    os.ftruncate(lock, 0)
    os.pwrite(lock, b"%d\n" % os.getpid(), 0)


def _prove_writable(place: Path) -> None:
    probe = place / f".probe{PART_SUFFIX}"
    with open(probe, "xb") as file:
        file.write(b"probe")
    probe.unlink()


def _make_ready(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # Asked, not tried: there may be as many as jobs.
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FolderError(folder, "cannot write here; give another --name or --output")


def _sync(root: Path, folders: Collection[str], made: Collection[Path]) -> None:
    """Have the disk know of every folder that may be new, each of which stands in another's list."""
    below = (root / IMAGES / on_disk(folder) for folder in folders)
    inner = {parent for folder in below for parent in folder.parents if parent.is_relative_to(root)}
    for place in (*inner, root / IMAGES, root, *(new.parent for new in made)):
        sync_folder(place)


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Have the disk know which files the folder holds. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _remove_parts(folder: str | os.PathLike[str], ours: re.Pattern[str]) -> list[str]:
    """Remove the temporary files of a killed run, which no living one can be writing; returns the inner folders.

    Not `os.walk`, which takes thrice as long for a million.
    """
    parts, folders = [], []
    with contextlib.suppress(PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.name.startswith(".") and entry.name.endswith(PART_SUFFIX) and ours.fullmatch(entry.name):
                parts.append(entry.path)
    for part in parts:
        os.unlink(part)
    return folders


def _remove_image_parts(folder: str | os.PathLike[str]) -> None:
    for inner in _remove_parts(folder, _OF_IMAGE):
        _remove_image_parts(inner)
