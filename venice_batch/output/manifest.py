"""The journal of finished jobs, `manifest.jsonl`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import anyio
import msgspec

from venice_batch import portable
from venice_batch.errors import FolderError
from venice_batch.model import Outcome
from venice_batch.output.atomic_file import put
from venice_batch.output.disk import Disk
from venice_batch.output.folder import MANIFEST, PART_SUFFIX, is_at, own_file, sync_folder, unusable
from venice_batch.output.plain_files import open_plain
from venice_batch.text_format import counted, json_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

NAME = MANIFEST

NO_RECORD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for a line that is no record; the last for brackets without end."""

_COPIED_BYTES = 1024 * 1024
_READ_BYTES = 256 * 1024
_MOST_NUMBERS = 10
"""Line numbers without a record that a notice lists."""

_TORN = (b"{", b"\0")
"""How a record begins, or what a file system leaves of one that did not reach the disk."""


class FileView(msgspec.Struct, frozen=True, gc=False):
    """The part of a record's file that a resume needs."""

    path: str
    bytes: int
    sha256: str = ""
    pruned: str | None = None


class RecordView(msgspec.Struct, frozen=True, gc=False):
    """The part of a record that a resume needs; the decoder skips all other fields."""

    id: str
    request_hash: str
    status: str
    files: tuple[FileView, ...] = ()
    sandbox: bool = False


decode_view = msgspec.json.Decoder(RecordView).decode


@dataclass(slots=True)
class _Entry:
    """A record on its way to disk."""

    line: bytes
    written: bool = False
    error: OSError | FolderError | None = None


class Manifest:
    """Appends records; those that gather while one write is under way share the next one.

    Each record is one `write` of one whole line. When `append` returns, the record has been written, and with `durable`
    has reached the disk. It then survives the death of the process, or with `durable` of the machine.

    If the file is moved, removed or replaced during the run, its records are written to a new file at its path (or
    beside the file that stands there now) before any more are added. `moved` then says so, and every `append` calls
    `on_moved` with it.
    """

    def __init__(
        self,
        path: Path,
        *,
        durable: bool = False,
        disk: Disk | None = None,
        sink: Callable[[bytes], None] | None = None,
    ) -> None:
        """Prepare a manifest; `open` it before use. `disk` runs the writes of `append`.

        With a `sink` the file at `path` is a copy. Lines are written to the sink first, all that have gathered in one
        call; it raises FolderError or OSError if it has not taken them.
        """
        self._path = path
        self._durable = durable
        self._disk = disk or Disk()
        self._sink = sink
        self._writing = asyncio.Lock()
        self._waiting: list[_Entry] = []
        self._file = -1
        self._at = path
        self._minds_place = False
        self.moved: FolderError | None = None
        self.on_moved: Callable[[FolderError], None] = lambda error: None

    def open(self) -> str | None:
        """Open for appending; return a sentence about what was repaired, or None.

        A last line without its line feed was torn by a crash. It is completed if it is a whole record, else cut off. A
        last line that is no part of a record was written by somebody else, and stays.

        Raises:
            FolderError: the file cannot be opened or written, or is not a plain file (links are not followed).
        """
        try:
            self._file = own_file(self._path, os.O_RDWR | os.O_APPEND)
            if self._durable:
                sync_folder(self._path.parent)
            self._minds_place = is_at(self._file, self._path)
            return self._repair()
        except OSError as error:
            self.close()
            raise unusable(self._path, error) from error

    def close(self) -> None:
        """Close the file; records given to `append` have been written by then."""
        if self._file < 0 or self._disk.is_abandoned:
            return  # closing a file may wait for its disk too
        with contextlib.suppress(OSError):
            self._keep_place()
        os.close(self._file)
        self._file = -1

    async def append(self, outcome: Outcome) -> None:
        """Write the record of `outcome`. Cancellation does not interrupt it: it is delivered afterwards.

        Raises:
            FolderError: the record was not written, and no part of it was left.
        """
        entry = _Entry(_line(outcome))
        self._waiting.append(entry)
        with anyio.CancelScope(shield=True):
            async with self._writing:
                if not entry.written:
                    entries, self._waiting = self._waiting, []
                    try:
                        await self._disk.run(lambda: self._write(entries))
                    except OSError as error:
                        _spoil(entries, error)
        if self.moved is not None:
            self.on_moved(self.moved)
        self._check(entry)

    def append_line(self, line: bytes) -> None:
        """Write a record that is already a line with its line feed; for callers without an event loop.

        Raises:
            FolderError: it was not written, and no part of it was left.
        """
        entry = _Entry(line)
        self._write([entry])
        self._check(entry)

    def _check(self, entry: _Entry) -> None:
        if isinstance(entry.error, FolderError):
            raise entry.error
        if entry.error is not None:
            raise unusable(self._path, entry.error) from entry.error

    def _write(self, entries: list[_Entry]) -> None:
        for entry in entries:
            entry.written = True
        try:
            if self._sink is not None:
                self._sink(b"".join(entry.line for entry in entries))
            self._keep_place()
            end = os.fstat(self._file).st_size
        except (OSError, FolderError) as error:
            _spoil(entries, error)
            return
        for entry in entries:
            try:
                end = self._write_line(entry.line, end)
            except OSError as error:
                entry.error = error
        if self._durable:
            try:
                os.fsync(self._file)
            except OSError as error:
                _spoil(entries, error)

    def _keep_place(self) -> None:
        """Make sure that the records are where the next run looks for them.

        Raises:
            OSError: the file is gone, and cannot be written anew.
        """
        if not self._minds_place or is_at(self._file, self._at):
            return
        is_free = not os.path.lexists(self._path)
        at = self._path if is_free else self._path.with_name(f"{self._path.stem}-{secrets.token_hex(4)}.jsonl")
        try:
            file = self._copy_to(at)
        except OSError:
            if not os.fstat(self._file).st_nlink:
                raise
            self._minds_place = False
            self.moved = FolderError(self._path, "was moved during the run; all records are where it is now")
            return
        os.close(self._file)
        self._file, self._at = file, at
        if is_free:
            self.moved = FolderError(self._path, "was moved or removed during the run; it was written anew, whole")
        else:
            what = f"was replaced during the run, whose records are in {at.name}; append that to it before the next run"
            self.moved = FolderError(self._path, what)

    def _copy_to(self, at: Path) -> int:
        """Copy the file's content to a new file at `at`; return its descriptor."""
        part = at.with_name(f".{at.name}.{secrets.token_hex(4)}{PART_SUFFIX}")
        copy = portable.open_file(part, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL)
        try:
            position = 0
            while data := portable.pread(self._file, _COPIED_BYTES, position):
                position += len(data)
                while data:
                    data = data[os.write(copy, data) :]
            if self._durable:
                os.fsync(copy)
            put(str(part), str(at))
            if self._durable:
                sync_folder(at.parent)
        except OSError:
            os.close(copy)
            part.unlink(missing_ok=True)
            raise
        return copy

    def _write_line(self, line: bytes, end: int) -> int:
        """Append `line` to a file of `end` bytes, or leave it unchanged; return its new length."""
        try:
            # A full disk writes what fits, and fails only when asked for the rest.
            written = os.write(self._file, line)
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError:
            os.ftruncate(self._file, end)
            raise
        return end + len(line)

    def _repair(self) -> str | None:
        size = os.fstat(self._file).st_size
        if not size or portable.pread(self._file, 1, size - 1) == b"\n":
            return None
        start = _line_start(self._file, size)
        line = portable.pread(self._file, size - start, start)
        if not line.startswith(_TORN):
            os.write(self._file, b"\n")
            return f"{self._path}: its last line of {len(line)} bytes is no part of a record; ended it with a line feed"
        try:
            decode_view(line)
        except NO_RECORD:
            os.ftruncate(self._file, start)
            return f"{self._path}: cut off a torn last line of {len(line)} bytes"
        os.write(self._file, b"\n")
        return f"{self._path}: completed a last line without its line feed"


def _spoil(entries: list[_Entry], error: OSError | FolderError) -> None:
    for entry in entries:
        entry.written = True
        entry.error = entry.error or error


def _line(outcome: Outcome) -> bytes:
    return json_bytes(outcome) + b"\n"


def _line_start(file: int, end: int) -> int:
    position = end
    while position > 0:
        step = min(64 * 1024, position)
        found = portable.pread(file, step, position - step).rfind(b"\n")
        if found >= 0:
            return position - step + found + 1
        position -= step
    return 0


def opened(path: Path) -> BinaryIO:
    """Open a manifest for reading. It may come from anybody: links are not followed, and pipes are not waited for.

    Raises:
        OSError: it cannot be opened, or is not a plain file (`NoPlainFileError`).
    """
    return os.fdopen(open_plain(path), "rb", buffering=_READ_BYTES)


def without_records(path: Path | str, lines: int) -> FolderError:
    """Return the error for a manifest with lines but without a single record."""
    has = "its only line is no record" if lines == 1 else f"none of its {lines:,} lines is a record"
    return FolderError(path, f"{has}; if it was overwritten, put the manifest back, else move it away to begin anew")


class PassedOver:
    """Counts the lines of a manifest that hold no record, in `count`."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[int] = []

    def note(self, number: int) -> None:
        """Count the line `number`."""
        self.count += 1
        if len(self._first) < _MOST_NUMBERS:
            self._first.append(number)

    def notice(self, path: Path | str) -> str:
        """Return a sentence about the manifest at `path`; "" if every line was a record."""
        if not self.count:
            return ""
        lines = ", ".join(map(str, self._first)) + ("…" if self.count > len(self._first) else "")
        return f"{path}: passed over {counted(self.count, 'line')} without a record (line {lines})"


def views(lines: Iterable[bytes], first: int = 1) -> Iterator[tuple[int, RecordView | None]]:
    """Yield each line's number, counted from `first`, with its record, or None if it is no record. Skip blank lines."""
    for number, line in enumerate(lines, first):
        try:
            yield number, decode_view(line)
        except NO_RECORD:
            if line.strip():
                yield number, None


def read_views(path: Path) -> Iterator[tuple[int, RecordView | None]]:
    """Yield what `views` yields for the manifest at `path`; nothing if there is no file.

    Raises:
        FolderError: the file cannot be read.
    """
    if not path.exists():
        return
    try:
        with opened(path) as lines:
            yield from views(lines)
    except OSError as error:
        raise unusable(path, error) from error


def numbered_outcomes(path: Path) -> Iterator[tuple[int, Outcome]]:
    """Yield every whole record with the number of its line, from 1. Skip lines that are no record.

    Raises:
        FolderError: the file cannot be read.
    """
    decoder = msgspec.json.Decoder(Outcome)
    try:
        with opened(path) as lines:
            for number, line in enumerate(lines, start=1):
                with contextlib.suppress(*NO_RECORD):
                    yield number, decoder.decode(line)
    except OSError as error:
        raise unusable(path, error) from error
