"""The budget file: what every request of every run may cost or has cost, as lines that all of them append."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from venice_batch import portable
from venice_batch.errors import FolderError
from venice_batch.text_format import json_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

LOCK_S = 60.0
"""How long to wait for the lock. A run holds it for less than a millisecond, unless it was stopped meanwhile."""

_LOCK_EVERY_S = 0.001
_READ_BYTES = 1024 * 1024
_DAY_S = 86_400
_KEPT_DAYS = 32
"""Entries older than this belong to no window of the present."""

MicroUsd = Annotated[int, msgspec.Meta(ge=0)]


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One line of a budget file.

    A `reserved` line is written before a request is sent: `micro_usd`, in millionths of a USD, is the most that it can
    cost. The `settled` line with the same `run_id` and `request` follows when the answer is known: `micro_usd` is what
    it has cost, 0 if the money is given back. `at` is in UTC. The other fields are on `reserved` lines only: `output`,
    `model` and `job` name what it is for, `process` is the computer and the process that sent it, and at `ends` it must
    have ended. `sandbox` marks money that a sandbox pretends to charge.
    """

    at: str
    entry: Literal["reserved", "settled"]
    run_id: str
    request: int
    micro_usd: MicroUsd
    model: str = ""
    job: str = ""
    output: str = ""
    process: str = ""
    ends: str = ""
    sandbox: bool = False


def moment(unix_s: float) -> str:
    """Return a moment as entries have it."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_s(moment: str) -> float:
    """Return an entry's moment in Unix time. Raises ValueError."""
    found = datetime.fromisoformat(moment)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


@dataclass(slots=True)
class Books:
    """What the entries read so far add up to.

    `days` are the amounts that are reserved or spent, by sandbox or not and by day (since 1970, UTC); a request counts
    on the day of its reservation. `open` are the reservations that are not settled.
    """

    days: Counter[tuple[bool, int]] = field(default_factory=Counter)
    open: dict[tuple[str, int], Entry] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Take the next entry into account. A settlement whose reservation is not known changes nothing."""
        key = (entry.run_id, entry.request)
        if entry.entry == "reserved":
            self.days[entry.sandbox, day_of(unix_s(entry.at))] += entry.micro_usd
            self.open[key] = entry
        elif (reserved := self.open.pop(key, None)) is not None:
            self.days[reserved.sandbox, day_of(unix_s(reserved.at))] += entry.micro_usd - reserved.micro_usd

    def committed(self, first_day: int, *, sandbox: bool) -> int:
        """Return the amount that is reserved or spent since the beginning of a day."""
        return sum(amount for (of, day), amount in self.days.items() if of == sandbox and day >= first_day)


def day_of(unix_s: float) -> int:
    """Return the number of a day in UTC, counted from 1970."""
    return int(unix_s // _DAY_S)


_live: set[str] = set()
"""The runs of this process that have a budget file open."""


def this_process() -> str:
    """Return the name of this process as entries have it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def may_be_settled(entry: Entry, now_unix_s: float) -> bool:
    """Return whether an open reservation may still be settled: its run may be alive, and its time is not over."""
    if now_unix_s > unix_s(entry.ends or entry.at):
        return False
    host, _, number = entry.process.rpartition(":")
    if host != socket.gethostname() or not number.isdigit():
        return True
    if int(number) == os.getpid():
        return entry.run_id in _live
    return portable.may_be_running(int(number))


class Ledger:
    """An open budget file; no two processes read and append at the same time.

    Its calls may wait for the disk and for other processes, so event loops run them in threads, one at a time.
    """

    def __init__(
        self,
        path: Path,
        *,
        run_id: str,
        durable: bool = False,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare a budget file for one run; `open` it before use.

        Parameters:
            durable: sync each entry to the disk.
            wall: return the Unix time.
            sleep: wait for the lock for some seconds.
        """
        self.path = path
        self._run_id = run_id
        self._durable = durable
        self._wall = wall
        self._sleep = sleep
        self._file = -1
        self._reader: _Reader

    def open(self) -> bool:
        """Open the file, or make an empty one; read all that concerns the present. Return whether it is new.

        Raises:
            FolderError: it cannot be read and written, its file system has no locks, or it is no budget file.
        """
        is_new = not self.path.exists()
        try:
            self._file = _opened(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        except OSError as error:
            raise _unusable(self.path, error) from error
        self._reader = _Reader(self._file, self.path, self._wall())
        _live.add(self._run_id)
        try:
            self.update(lambda books: ())
        except FolderError:
            self.close()
            raise
        return is_new

    def close(self) -> None:
        """Close the file. Reservations that are open stay so, and count as spent."""
        _live.discard(self._run_id)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def update(self, decide: Callable[[Books], Sequence[Entry]]) -> None:
        """Read what others have appended, and append what `decide` returns; nobody else does so meanwhile.

        Raises:
            FolderError: it could not be read or written, and nothing was appended; or it was moved or replaced.
        """
        try:
            with self._locked():
                self._check_place()
                if torn := self._reader.catch_up():
                    self._repair(torn)
                if entries := decide(self._reader.books):
                    self._append(b"".join(json_bytes(entry) + b"\n" for entry in entries))
                    self._reader.catch_up()
        except OSError as error:
            raise _unusable(self.path, error) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # Not `wait`: a process that was stopped while it had the lock would hold this one up for ever.
        tries = round(LOCK_S / _LOCK_EVERY_S)
        while not portable.lock(self._file):
            tries -= 1
            if not tries:
                raise FolderError(self.path, f"another process has kept it locked for {LOCK_S:g} s")
            self._sleep(_LOCK_EVERY_S)
        try:
            yield
        finally:
            portable.unlock(self._file)

    def _check_place(self) -> None:
        try:
            is_here = os.path.samestat(os.fstat(self._file), os.stat(self.path))
        except FileNotFoundError:
            is_here = False
        if not is_here:
            raise FolderError(self.path, "was moved, removed or replaced during the run; put it back, then run again")

    def _repair(self, torn: bytes) -> None:
        """Complete or cut off a last line that a crash has torn; a foreign file stays as it is."""
        if _is_entry(torn):
            self._append(b"\n")
            self._reader.catch_up()
        elif torn[: len(_BEGINNING)] == _BEGINNING[: len(torn)] or (torn[:1] == b"\0" and self._reader.position):
            # Lines are written before requests are sent, so this one's was not; or its settlement is lost.
            os.ftruncate(self._file, self._reader.position)
        else:
            self._reader.take(torn)

    def _append(self, lines: bytes) -> None:
        """Append whole lines, or leave the file as it is. Raises OSError."""
        end = os.fstat(self._file).st_size
        try:
            written = 0
            while written < len(lines):  # a full disk takes what fits, and fails only when asked for the rest
                written += os.write(self._file, lines[written:])
            if self._durable:
                os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, end)
            raise


def read_books(path: Path, *, now_unix_s: float) -> Books:
    """Return what a budget file adds up to, without changing or locking it; empty books if there is no file.

    Raises:
        FolderError: it cannot be read, or it is no budget file.
    """
    try:
        file = _opened(path, os.O_RDONLY)
    except FileNotFoundError:
        return Books()
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        reader = _Reader(file, path, now_unix_s)
        reader.catch_up()  # a last line without its line feed is still being written
    except OSError as error:
        raise _unusable(path, error) from error
    finally:
        os.close(file)
    return reader.books


class _Reader:
    """Adds up the entries of an open file that may concern the present, as they are appended."""

    def __init__(self, file: int, path: Path, now_unix_s: float) -> None:
        self.books = Books()
        self.position = 0
        self._file = file
        self._path = path
        self._oldest_unix_s = now_unix_s - _KEPT_DAYS * _DAY_S

    def catch_up(self) -> bytes:
        """Read the entries after `position`; return a last line without its line feed.

        Raises:
            FolderError: a line is no entry, or the file has become shorter.
            OSError: it cannot be read.
        """
        size = os.fstat(self._file).st_size
        if size < self.position:
            raise FolderError(self._path, "has become shorter during the run; put back what is gone, then run again")
        if not self.position:
            self.position = _first_of(self._file, size, self._oldest_unix_s)
        rest = b""
        while (at := self.position + len(rest)) < size and (data := portable.pread(self._file, _READ_BYTES, at)):
            whole, feed, rest = (rest + data).rpartition(b"\n")
            for line in (whole + feed).splitlines(keepends=True):
                self.take(line)
        return rest

    def take(self, line: bytes) -> None:
        """Add up one line. Raises FolderError if it is no entry."""
        if line.strip():
            try:
                self.books.add(_decode(line))
            except _NO_ENTRY as error:
                before = portable.pread(self._file, self.position, 0).count(b"\n")
                what = f"line {before + 1} is no entry of a budget file ({error})"
                raise FolderError(self._path, f"{what}; correct it, or name another file") from None
        self.position += len(line)


def _first_of(file: int, size: int, oldest_unix_s: float) -> int:
    """Return where a line begins before which all entries are older. Entries are in the order of time."""
    low, high = 0, size
    while high - low > _READ_BYTES:
        middle = (low + high) // 2
        data = portable.pread(file, _READ_BYTES // 2, middle)
        before = data.find(b"\n")
        line, feed, _ = data[before + 1 :].partition(b"\n")
        if before < 0 or not feed or not _is_entry(line):
            return low
        if unix_s(_decode(line).at) < oldest_unix_s:
            low = middle + before + 1
        else:
            high = middle
    return low


_entry = msgspec.json.Decoder(Entry).decode
_NO_ENTRY = (msgspec.DecodeError, ValueError, RecursionError)
_BEGINNING = b'{"at":"'
"""How every line begins. A file system may also leave NULs of one that did not reach the disk."""


def _decode(line: bytes) -> Entry:
    """Return the entry in a line. Raises one of `_NO_ENTRY`."""
    entry = _entry(line)
    for when in filter(None, (entry.at, entry.ends)):
        unix_s(when)
    return entry


def _is_entry(line: bytes) -> bool:
    try:
        _decode(line)
    except _NO_ENTRY:
        return False
    return True


def _opened(path: Path, flags: int) -> int:
    """Open a plain file, also through a link; do not wait for the other end of a pipe. Raises OSError."""
    file = portable.open_file(path, flags, follow=True)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "is not a plain file")
    return file


def _unusable(path: Path, error: OSError) -> FolderError:
    if error.errno == errno.ENOENT:
        return FolderError(path, "its folder does not exist; is --budget-file right?")
    if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
        return FolderError(path, f"its file system has no locks ({error.strerror}); keep the budget file on another")
    return FolderError(path, f"the budget file cannot be used: {error.strerror or error}")
