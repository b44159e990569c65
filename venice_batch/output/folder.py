"""The output folder: its lock, its own files, and what the system says about it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import socket
import stat
from typing import TYPE_CHECKING

from venice_batch import portable
from venice_batch.errors import FolderError, FolderHeldError
from venice_batch.output.atomic_file import put
from venice_batch.output.plain_files import on_disk

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

IMAGES = "images"
UNRECOGNISED = "unrecognised"
REJECTED = "rejected"
MANIFEST = "manifest.jsonl"
PART_SUFFIX = ".part"
RUN_FILE = ".run.json"

_LOCK = ".lock"
_HELD = ".lock-held"
"""Takes the place of the lock on file systems that have none; made by the process that holds the folder."""

FOLDERS = (IMAGES, REJECTED, UNRECOGNISED)
LOCKS = (_LOCK, _HELD)

_NO_FILE = "is not a plain file, and it is not followed or replaced; remove it or choose another folder with --output"
_NO_LOCK = "is a file that no run has made; move it away or choose another folder with --output"

_OF_IMAGE = re.compile(r"\.(.+-\d+-\d+|probed?|merge-[0-9a-f]+)\.part")
_OF_FILE = re.compile(r"\.(probed?|summary\.json|.+\.[0-9a-f]{8})\.part")
"""The names that runs give to temporary files; other files that end in `.part` belong to somebody else."""


class Hold:
    """A run's hold on its folder while it lasts.

    `notices` are sentences for the user about how the hold is weaker than it should be.
    """

    def __init__(self, root: Path, lock: int, journal: int, notices: Collection[str]) -> None:
        self.notices = tuple(notices)
        # Some file systems number a file anew each time they are asked. There the number proves nothing.
        pairs = ((root / _LOCK, lock), (root / MANIFEST, journal))
        self._files = [(path, file) for path, file in pairs if is_at(file, path)]

    def check(self) -> None:
        """Check that lock and manifest are still in place; without them another run could get in.

        Raises:
            FolderError: one was moved, removed or replaced.
        """
        for path, file in self._files:
            if not is_at(file, path):
                raise FolderError(path, "was moved, removed or replaced during the run; leave it, and run again")


@contextlib.contextmanager
def hold(root: Path, folders: Collection[str] = (), *, durable: bool = False) -> Iterator[Hold]:
    """Make `root` ready and keep every other run out of it while the block lasts.

    Makes the folder, its `images` and the `folders` below that, and tries out that files can be written and named.
    Locks `.lock`, which holds this process's number, and the manifest, because `.lock` can be removed. Both locks end
    with the process. On a file system without locks the file `.lock-held` replaces them, and `notices` say so.
    Removes the temporary files of killed runs, and their `.run.json`. With `durable` the folders are on the disk before
    the block begins.

    Raises:
        FolderHeldError: another run holds the folder.
        FolderError: `root` is not a folder, or cannot be written.
    """
    with contextlib.ExitStack() as until_left:
        try:
            made = [place for place in (root, *root.parents) if not place.exists()]
            (root / IMAGES).mkdir(parents=True, exist_ok=True)
            lock = own_file(root / _LOCK, os.O_RDWR)
            until_left.callback(os.close, lock)
            notices = _lock(lock, root, until_left)
            until_left.callback(_clear, lock)
        except OSError as error:
            raise unusable(root, error) from error
        try:
            journal = own_file(root / MANIFEST, os.O_RDWR)
            until_left.callback(os.close, journal)
            if not notices:
                _lock_manifest(journal, root)
        except OSError as error:
            raise unusable(root / MANIFEST, error) from error
        try:
            _remove_parts(root, _OF_FILE)  # not below: with `-o .` there may be anything
            with contextlib.suppress(OSError):
                (root / RUN_FILE).unlink()
            if not (root / IMAGES).is_symlink():  # the files behind a link need not be a run's
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


class HoldWatch:
    """Says whether a run, or another command that writes, holds a folder, without getting in its way."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._free: tuple[int, ...] = ()

    def is_held(self) -> bool:
        """Return whether the folder is held now; False if the system does not say."""
        with contextlib.suppress(OSError):
            made_by = _read_mark(self._root / _HELD)
            if made_by is not None:
                holder, _, host = made_by.partition(" ")
                return host != socket.gethostname() or _may_be_alive(holder, self._root / _HELD)
        with contextlib.suppress(OSError):
            file = portable.open_file(self._root / _LOCK, os.O_RDWR if portable.IS_WINDOWS else os.O_RDONLY)
            try:
                return self._is_locked(file)
            finally:
                os.close(file)
        return False

    def _is_locked(self, file: int) -> bool:
        """Ask for the lock only until it was free once: asking takes it for a moment, and a run may just begin.

        Every run writes the file when it has the lock.
        """
        state = os.fstat(file)
        seen = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
        if not state.st_size or seen == self._free:
            return False
        if portable.is_locked(file):
            return True
        self._free = seen
        return False


def own_file(path: Path, flags: int) -> int:
    """Open a file that belongs to runs alone, or make it; return its descriptor.

    Raises:
        FolderError: `path` is a link, a folder, a pipe or a device; it was not followed.
        OSError: the file cannot be opened.
    """
    try:
        file = portable.open_file(path, flags | os.O_CREAT)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO) or path.is_dir():
            raise FolderError(path, _NO_FILE) from error
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise FolderError(path, _NO_FILE)
    return file


def is_at(file: int, path: str | os.PathLike[str]) -> bool:
    """Return whether the open `file` is the one at `path`; True where the system does not say."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path, follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def free_bytes(root: Path) -> int | None:
    """Return how many bytes can still be written below `root`; None where the file system does not say."""
    try:
        if not hasattr(os, "statvfs"):  # Windows
            return shutil.disk_usage(root).free
        found = os.statvfs(root)
    except OSError:
        return None
    # Many file systems that are not disks report a size of 0. Their free 0 means nothing.
    return found.f_bavail * (found.f_frsize or found.f_bsize) if found.f_blocks else None


def unusable(path: Path, error: OSError) -> FolderError:
    """Return the FolderError that explains `error` at `path` to the user."""
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
        return FolderError(path, "the name is too long for the file system; give a shorter --name or --output")
    return FolderError(path, error.strerror or str(error))


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Wait until the disk knows which files the folder holds; do nothing where folders cannot be synced (Windows).

    Raises:
        OSError: the disk refused.
    """
    if not portable.CAN_OPEN_FOLDERS:
        return
    file = portable.open_folder(path, follow=True)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _lock(lock: int, root: Path, until_left: contextlib.ExitStack) -> list[str]:
    """Lock the folder, or else mark it as held; return the notices about that."""
    notices = []
    try:
        is_locked = portable.lock(lock)
    except OSError as error:
        is_locked = True
        _mark_held(root / _HELD, root)
        until_left.callback(_unmark, root / _HELD)
        notices.append(
            f"{root}: this file system has no locks ({error.strerror}); {_HELD} keeps other runs out, except for runs "
            "on other computers that do not see the file at once"
        )
    if not is_locked:
        holder = portable.pread(lock, 32, 0).decode("ascii", "replace").strip()
        raise FolderHeldError(root, f"process {holder}" if holder else "another process")
    if not re.fullmatch(rb"\d*\n?", portable.pread(lock, 64, 0)):
        raise FolderError(root / _LOCK, _NO_LOCK)
    os.ftruncate(lock, 0)
    os.write(lock, b"%d\n" % os.getpid())
    return notices


def _clear(lock: int) -> None:
    """Take the process's number out of the lock, so that `HoldWatch` need not ask for it."""
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)


def _lock_manifest(journal: int, root: Path) -> None:
    if portable.IS_WINDOWS:
        return  # `.lock` cannot be removed while it is open
    try:
        is_locked = portable.lock(journal)
    except OSError:
        return
    if not is_locked:
        raise FolderHeldError(root, f"another process, which has {MANIFEST} locked")
    # On some network shares a lock keeps out every other descriptor, even this process's own.
    other = portable.open_file(root / MANIFEST, os.O_RDONLY)
    try:
        portable.pread(other, 1, 0)
    except OSError:
        portable.unlock(journal)
    finally:
        os.close(other)


_marked: set[str] = set()
"""The marks that this process has made."""


def _mark_held(mark: Path, root: Path) -> None:
    """Make the file that names the holder of the folder.

    The mark of a process of this computer that has ended is replaced. A mark of another computer stays: nothing here
    shows whether its process still runs.

    Raises:
        FolderHeldError: there is a mark.
    """
    here = socket.gethostname()
    for _ in range(2):
        try:
            file = portable.open_file(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            made_by = _read_mark(mark)
            if made_by is None:
                continue
            holder, _, host = made_by.partition(" ")
            if host != here or _may_be_alive(holder, mark):
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
    """Return the holder's number and computer; None if the mark has gone."""
    try:
        file = portable.open_file(mark, os.O_RDONLY)
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


def _may_be_alive(number: str, mark: Path) -> bool:
    """Return whether the process of this computer that made the mark may still run."""
    if not re.fullmatch(r"[1-9]\d{0,9}", number):
        return False
    if int(number) == os.getpid():  # or of an earlier process with this number, as the first of every container has 1
        return str(mark) in _marked
    return portable.may_be_running(int(number))


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
    # Asked rather than tried out: there may be as many folders as jobs.
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FolderError(folder, "cannot write here; give another --name or --output")


def _sync(root: Path, folders: Collection[str], made: Collection[Path]) -> None:
    """Sync every folder that lists one that may be new."""
    below = (root / IMAGES / on_disk(folder) for folder in folders)
    inner = {parent for folder in below for parent in folder.parents if parent.is_relative_to(root)}
    for place in (*inner, root / IMAGES, root, *(new.parent for new in made)):
        sync_folder(place)


def _remove_parts(folder: str | os.PathLike[str], ours: re.Pattern[str]) -> list[str]:
    """Remove the temporary files of killed runs and return the inner folders; no living run can be writing them.

    `os.walk` would take three times as long for a million files.
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
