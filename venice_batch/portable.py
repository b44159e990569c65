"""Calls that not every operating system offers, each with a fallback.

Elsewhere in the package POSIX-only modules stand in a `try`, and POSIX-only attributes of `os` or `signal` behind
`hasattr`.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


IS_WINDOWS = os.name == "nt"
"""Windows does not remove or rename an open file, and has no owners and permission bits that Python could read."""

TERMINATION_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)
"""The signals that ask a process to end: SIGHUP when a terminal closes, SIGBREAK for that and Ctrl-Break on Windows."""

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FOLDER = getattr(os, "O_DIRECTORY", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
_BINARY = getattr(os, "O_BINARY", 0)

_LOCKED_BYTE = 0x7FFF_FFFE
"""The byte that stands for a whole file where only ranges can be locked: far behind what `.lock` holds."""

_positions = threading.Lock()
"""Held while a file is read at a position that is not its own."""


def open_file(path: str | os.PathLike[str], flags: int, *, follow: bool = False, dir_fd: int | None = None) -> int:
    """Open a file as bytes and return its descriptor, which no child process inherits.

    Never waits for the other end of a pipe. A new file gets mode 0644 less the umask. Without O_NOFOLLOW a link is
    looked for first, so one that is put there in between is followed.

    Raises:
        OSError: it cannot be opened; errno ELOOP for a link, unless `follow`.
    """
    if not follow:
        if not _NO_FOLLOW and os.path.islink(path):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))
        flags |= _NO_FOLLOW
    return os.open(path, flags | _NO_WAIT | _BINARY, 0o644, dir_fd=dir_fd)


def open_folder(path: str | os.PathLike[str], *, follow: bool = False, dir_fd: int | None = None) -> int:
    """Open a folder and return its descriptor, to open files in it or to sync it; see `CAN_OPEN_FOLDERS`.

    Raises:
        OSError: it is no folder, or a link and not `follow`.
    """
    return os.open(path, os.O_RDONLY | _FOLDER | (0 if follow else _NO_FOLLOW), dir_fd=dir_fd)


CAN_OPEN_FOLDERS = bool(_FOLDER) and os.open in os.supports_dir_fd
"""Whether `open_folder` works, and files can be opened relative to what it returns."""


def pread(file: int, size: int, position: int) -> bytes:
    """Read up to `size` bytes at `position` and leave the file's own position as it was."""
    if hasattr(os, "pread"):
        return os.pread(file, size, position)
    with _positions:
        before = os.lseek(file, 0, os.SEEK_CUR)
        try:
            os.lseek(file, position, os.SEEK_SET)
            return os.read(file, size)
        finally:
            os.lseek(file, before, os.SEEK_SET)


def link(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Give a file a second name: `source` itself if that is a link, where the system can do so.

    Raises:
        OSError: the file system has no hard links, or `target` exists.
    """
    if not hasattr(os, "link"):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), os.fspath(target))
    if os.link in os.supports_follow_symlinks:
        os.link(source, target, follow_symlinks=False)
    else:
        os.link(source, target)


def lock(file: int, *, wait: bool = False) -> bool:
    """Lock an open file against other processes; return False if another one has it.

    The lock ends with the process, or when the descriptor is closed. `wait` until it is free, where the system can.
    On Windows the lock keeps other processes from one byte that is far behind the end; elsewhere it is advisory.

    Raises:
        OSError: the file system knows no locks.
    """
    # Not through the package filelock, which opens lock files itself. Up to 3.20 it empties them before it locks, so
    # the holder's number would be lost, and so would a stranger's file, or the manifest, which is locked as well. On
    # Windows it locks the first byte, so nobody could read that number, and removes the file at the end.
    try:
        import fcntl
    except ImportError:
        return _lock_byte(file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_byte(file: int) -> bool:
    try:
        import msvcrt
    except ImportError:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    windows: Any = msvcrt  # its functions are known to type checkers on Windows only
    os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
    try:
        windows.locking(file, windows.LK_NBLCK, 1)
    except PermissionError:
        return False
    finally:
        os.lseek(file, 0, os.SEEK_SET)
    return True


def is_locked(file: int) -> bool:
    """Return whether another process, or another descriptor, has the open file locked by `lock`.

    A file that is not locked is locked for the moment of the question.

    Raises:
        OSError: the file system knows no locks.
    """
    try:
        import fcntl
    except ImportError:
        return _is_byte_locked(file)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def _is_byte_locked(file: int) -> bool:
    if not _lock_byte(file):
        return True
    import msvcrt

    windows: Any = msvcrt
    os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
    windows.locking(file, windows.LK_UNLCK, 1)
    return False


def unlock(file: int) -> None:
    """Give back a lock of `lock` before the file is closed."""
    try:
        import fcntl
    except ImportError:
        _unlock_byte(file)
        return
    fcntl.flock(file, fcntl.LOCK_UN)


def _unlock_byte(file: int) -> None:
    import msvcrt

    windows: Any = msvcrt
    os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
    try:
        windows.locking(file, windows.LK_UNLCK, 1)
    finally:
        os.lseek(file, 0, os.SEEK_SET)


def may_be_running(number: int) -> bool:
    """Return whether a process of this computer has this number; True where the system cannot be asked (Windows).

    On Linux a process that has ended does not count, even if its parent never asks how: in containers, process 1 often
    does not.
    """
    if IS_WINDOWS:
        return True  # os.kill would end the process
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    try:
        with open(f"/proc/{number}/stat", "rb") as file:
            state = file.read().rpartition(b")")[2].split()[:1]  # behind the program's name, which may hold anything
    except OSError:
        return True
    return state not in ([b"Z"], [b"X"])


@contextmanager
def signal_receiver(*numbers: signal.Signals) -> Iterator[AsyncIterator[signal.Signals]]:
    """Receive signals as `anyio.open_signal_receiver` does, also from an event loop that takes none (Windows)."""
    import anyio

    with ExitStack() as until_left:
        try:
            signals = until_left.enter_context(anyio.open_signal_receiver(*numbers))
        except NotImplementedError:
            signals = until_left.enter_context(_handled_signals(numbers))
        yield signals


@contextmanager
def _handled_signals(numbers: tuple[signal.Signals, ...]) -> Iterator[AsyncIterator[signal.Signals]]:
    import asyncio

    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[signal.Signals] = asyncio.Queue()

    def handle(number: int, frame: object) -> None:
        loop.call_soon_threadsafe(arrived.put_nowait, signal.Signals(number))

    async def each() -> AsyncIterator[signal.Signals]:
        while True:
            yield await arrived.get()

    former = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield each()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
