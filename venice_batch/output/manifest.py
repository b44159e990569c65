"""The journal of finished jobs, `manifest.jsonl`."""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from venice_batch import portable
from venice_batch.errors import FolderError
from venice_batch.model import Outcome
from venice_batch.output.atomic_file import put
from venice_batch.output.folder import MANIFEST, PART_SUFFIX, is_at, own_file, sync_folder, unusable
from venice_batch.output.gathering import Gathering
from venice_batch.output.plain_files import open_plain
from venice_batch.output.record import NO_RECORD, RecordView
from venice_batch.text_format import json_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME = MANIFEST

_SHARE = 8
"""Of those who may wait for their records at the same time, one in so many does before they are written."""

_COPIED_BYTES = 1024 * 1024

_TORN = (b"{", b"\0")
"""How a record begins, or what a file system leaves of one that did not reach the disk."""


@dataclass(slots=True)
class _Entry:
    """A record on its way; its own failure is no other's."""

    line: bytes
    error: OSError | None = None


class Manifest:
    """Appends records, several with one trip to a thread when many jobs end at once.

    Each record is one `write` of one whole line. When `append` returns, its record has been written, and with
    `durable` has reached the disk; then it survives the process, or with `durable` the machine.

    When the file is moved, removed or replaced meanwhile, its records are written where it was, or beside what stands
    there now, before any more are added; from then on `moved` tells so, and `told` is called with it by every `append`.
    """

    def __init__(self, path: Path, *, durable: bool = False, writers: int = 1) -> None:
        """Make a manifest to be opened; `writers` is how many records may be given to `append` at the same time."""
        self._path = path
        self._durable = durable
        self._file = -1
        self._at = path
        self._minds_place = False
        self.moved: FolderError | None = None
        self.told: Callable[[FolderError], None] = lambda error: None
        self._gathering: Gathering[_Entry] = Gathering(self._write, max(1, writers // _SHARE))

    def open(self) -> str | None:
        """Open for appending; returns what was repaired, in a sentence, or None.

        A last line without its line feed was torn by a crash: completed if it is a whole record, else cut off. One that
        is no part of a record is somebody else's, and stays.

        Raises:
            FolderError: the file cannot be opened or written, or is no plain file (a link, say, which is not followed).
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
        if self._file < 0 or self._gathering.is_abandoned:
            return  # to close a file may wait for its disk too
        with contextlib.suppress(OSError):
            self._keep_place()
        os.close(self._file)
        self._file = -1

    def abandon(self) -> None:
        """Have nobody wait any longer for a disk that does not answer; records under way may be lost."""
        self._gathering.abandon()

    async def append(self, outcome: Outcome) -> None:
        """Write `outcome`'s record; not interrupted by cancellation once begun.

        Raises:
            FolderError: the record was not written, and no part of it was left.
        """
        entry = _Entry(_line(outcome))
        try:
            await self._gathering.add(entry)
        except OSError as error:
            entry.error = error
        if self.moved is not None:
            self.told(self.moved)
        self._check(entry)

    def append_line(self, line: bytes) -> None:
        """Write a record that is a line already, line feed and all; for callers without an event loop.

        Raises:
            FolderError: it was not written, and no part of it was left.
        """
        entry = _Entry(line)
        self._write([entry])
        self._check(entry)

    def _check(self, entry: _Entry) -> None:
        if entry.error is not None:
            raise unusable(self._path, entry.error) from entry.error

    def _write(self, entries: list[_Entry]) -> None:
        try:
            self._keep_place()
            end = os.fstat(self._file).st_size
        except OSError as error:
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
        """Have the records where the next run looks for them.

        Raises:
            OSError: the file is gone, and cannot be made again.
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
        """Write what the file holds to a new one at `at`; returns its descriptor."""
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
        """Append `line` to a file of `end` bytes, or leave it as it was; returns its new length."""
        try:
            # A full disk takes what fits and says so only when asked for the rest.
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
            msgspec.json.decode(line, type=RecordView)
        except NO_RECORD:
            os.ftruncate(self._file, start)
            return f"{self._path}: cut off a torn last line of {len(line)} bytes"
        os.write(self._file, b"\n")
        return f"{self._path}: completed a last line without its line feed"


def _spoil(entries: list[_Entry], error: OSError) -> None:
    for entry in entries:
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
    """Open a manifest for reading, which may have come from anybody: no link is followed, no pipe waited for.

    Raises:
        OSError: it cannot be opened, or is no plain file (`NoPlainFileError`).
    """
    return os.fdopen(open_plain(path), "rb")


def read_outcomes(path: Path) -> Iterator[Outcome]:
    """Every whole record, in full; lines that are none are passed over.

    Raises:
        FolderError: the file cannot be read.
    """
    return (outcome for _, outcome in numbered_outcomes(path))


def numbered_outcomes(path: Path) -> Iterator[tuple[int, Outcome]]:
    """As `read_outcomes`, with the number of each record's line, from 1."""
    decoder = msgspec.json.Decoder(Outcome)
    try:
        with opened(path) as lines:
            for number, line in enumerate(lines, start=1):
                with contextlib.suppress(*NO_RECORD):
                    yield number, decoder.decode(line)
    except OSError as error:
        raise unusable(path, error) from error
