"""One run's hold on its output folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import socket
import stat
from typing import TYPE_CHECKING

from venice_batch.errors import FolderError, FolderHeldError
from venice_batch.output.atomic_file import put
from venice_batch.output.plain_files import on_disk

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

IMAGES = "images"
UNRECOGNISED = "unrecognised"
MANIFEST = "manifest.jsonl"
PART_SUFFIX = ".part"

_LOCK = ".lock"
_HELD = ".lock-held"
"""Made by whoever holds the folder where the file system knows no locks."""

_NO_FILE = "is no plain file, and it is not followed or replaced; remove it or choose another folder with --output"
_NO_LOCK = "is a file that no run has made; move it away or choose another folder with --output"

_OF_IMAGE = re.compile(r"\.(.+-\d+-\d+|probed?|merge-[0-9a-f]+)\.part")
_OF_FILE = re.compile(r"\.(probed?|summary\.json|.+\.[0-9a-f]{8})\.part")
"""Temporary files by the names that runs give them; others that end alike are somebody else's."""


class Hold:
    """A run's hold on its folder, while it lasts.

    `notices` tell, a sentence each, how it may be weaker than it should be.
    """

    def __init__(self, root: Path, lock: int, journal: int, notices: Collection[str]) -> None:
        self.notices = tuple(notices)
        # Where a file system gives a file another number each time it is asked, the number tells nothing.
        pairs = ((root / _LOCK, lock), (root / MANIFEST, journal))
        self._files = [(path, file) for path, file in pairs if is_at(file, path)]

    def check(self) -> None:
        """Raise FolderError once the lock or the manifest was moved, removed or replaced: another run may get in."""
        for path, file in self._files:
            if not is_at(file, path):
                raise FolderError(path, "was moved, removed or replaced during the run; leave it, and run again")


@contextlib.contextmanager
def hold(root: Path, folders: Collection[str] = (), *, durable: bool = False) -> Iterator[Hold]:
    """Make `root` ready and keep every other run out of it until left.

    Makes the folder, its `images` and the `folders` below that, proves that files can be written and get their names,
    takes advisory locks that die with this process (flock on `.lock`, where the holder's process id stands, and on the
    manifest, as `.lock` may be removed) and removes what a killed run left half-written. Where the file system knows no
    locks, the file `.lock-held` takes their place, and `notices` say so.
    `durable`: the folders are on the disk before it goes on.

    Raises:
        FolderHeldError: another run holds it.
        FolderError: not a folder, or not writable.
    """
    with contextlib.ExitStack() as until_left:
        try:
            made = [place for place in (root, *root.parents) if not place.exists()]
            (root / IMAGES).mkdir(parents=True, exist_ok=True)
            lock = own_file(root / _LOCK, os.O_RDWR)
            until_left.callback(os.close, lock)
            notices = _lock(lock, root, until_left)
        except OSError as error:
            raise unusable(root, error) from error
        try:
            journal = own_file(root / MANIFEST, os.O_RDWR)
            until_left.callback(os.close, journal)
            if not notices:
                _lock_too(journal, root)
        except OSError as error:
            raise unusable(root / MANIFEST, error) from error
        try:
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
        yield Hold(root, lock, journal, notices)


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


def is_at(file: int, path: str | os.PathLike[str]) -> bool:
    """Whether the open `file` is the one at `path`; taken to be where the system does not tell."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path, follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def free_bytes(root: Path) -> int | None:
    """How much can still be written below `root`; None where the file system does not tell."""
    try:
        found = os.statvfs(root)
    except OSError:
        return None
    # Without a size of the whole, as of many that are no disk, the zero that is free means nothing.
    return found.f_bavail * (found.f_frsize or found.f_bsize) if found.f_blocks else None


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
    if error.errno == errno.ENAMETOOLONG:
        return FolderError(path, "the file system takes no such long names; give a shorter --name or --output")
    return FolderError(path, error.strerror or str(error))


def _lock(lock: int, root: Path, until_left: contextlib.ExitStack) -> list[str]:
    """Lock the folder, or else mark it as held; returns what is to be said of that."""
    notices = []
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        raise FolderHeldError(root, f"process {holder}" if holder else "another process") from error
    except OSError as error:
        _mark_held(root / _HELD, root)
        until_left.callback(_unmark, root / _HELD)
        notices.append(
            f"{root}: this file system has no locks ({error.strerror}); {_HELD} keeps other runs out, but for those of "
            "another computer that does not see it at once"
        )
    if not re.fullmatch(rb"\d*\n?", os.pread(lock, 64, 0)):
        raise FolderError(root / _LOCK, _NO_LOCK)
    os.ftruncate(lock, 0)
    os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    return notices


def _lock_too(journal: int, root: Path) -> None:
    try:
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FolderHeldError(root, f"another process, which has {MANIFEST} locked") from error
    except OSError:
        return
    # On some network shares a lock keeps out whoever reads by another descriptor, this very process too.
    other = os.open(root / MANIFEST, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.pread(other, 1, 0)
    except OSError:
        fcntl.flock(journal, fcntl.LOCK_UN)
    finally:
        os.close(other)


_marked: set[str] = set()
"""Folders that this process has marked as held."""


def _mark_held(mark: Path, root: Path) -> None:
    """Make the file that says who holds the folder.

    One of a process of this computer that is no more is replaced; of another computer's nobody here can tell.

    Raises:
        FolderHeldError: there is one.
    """
    here = socket.gethostname()
    for _ in range(2):
        try:
            file = os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            made_by = _read_mark(mark)
            if made_by is None:
                continue
            holder, _, host = made_by.partition(" ")
            if host != here or _is_alive(holder, mark):
                who = f"process {holder} on {host}" if holder.isdigit() and host else "another process"
                raise FolderHeldError(root, f"{who}; if it has ended, remove {_HELD}") from None
            mark.unlink(missing_ok=True)
        else:
            os.write(file, f"{os.getpid()} {here}\n".encode())
            os.close(file)
            _marked.add(str(mark))
            return
    raise FolderHeldError(root, "another process")


def _read_mark(mark: Path) -> str | None:
    """The process's number and its computer; None where there is no mark any more."""
    try:
        file = os.open(mark, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return os.read(file, 256).decode("utf-8", "replace").strip()
    finally:
        os.close(file)


def _unmark(mark: Path) -> None:
    _marked.discard(str(mark))
    with contextlib.suppress(OSError):
        mark.unlink()


def _is_alive(number: str, mark: Path) -> bool:
    """Whether a process of this computer may be the holder."""
    if not re.fullmatch(r"[1-9]\d{0,9}", number):
        return False
    if int(number) == os.getpid():  # of an earlier one that had the same number, as the first of a container has
        return str(mark) in _marked
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _prove_writable(place: Path) -> None:
    probe, probed = place / f".probe{PART_SUFFIX}", place / f".probed{PART_SUFFIX}"
    try:
        with open(probe, "xb") as file:
            file.write(b"probe")
        put(str(probe), str(probed))
    finally:
        for path in (probe, probed):
            with contextlib.suppress(OSError):
                path.unlink()


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
