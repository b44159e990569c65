"""Which images an export takes: those that are whole, without flags, and not rejected by a person."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from venice_batch.model import Outcome
from venice_batch.output import manifest
from venice_batch.output.folder import unusable
from venice_batch.output.manifest import NO_RECORD
from venice_batch.output.marks import read_marks
from venice_batch.output.plain_files import NoPlainFileError, PlainFiles, on_disk
from venice_batch.output.prune import DELETED
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from pathlib import Path

    from venice_batch.model import ImageFile


class Reason(StrEnum):
    """Why an image is left out."""

    FLAGGED = "blurred or a content violation"
    REJECTED = "rejected by a mark"
    DELETED = "pruned"
    MISSING = "missing"
    CHANGED = "changed since it was made"
    NO_FILE = "no plain file of the folder"


BY_CHOICE = (Reason.FLAGGED, Reason.REJECTED)
"""The reasons that do not count with `--flagged`."""


class Choice:
    """Decides which images of a folder an export takes, and reads them; counts what it leaves out.

    The records may come from anybody: only plain files below the folder are read.

    Args:
        folder: the output folder that the records belong to.
        flagged: take images too that are blurred, a content violation or rejected by a mark, if they are there.

    Raises:
        FolderError: the folder's marks cannot be read.
    """

    def __init__(self, folder: Path, *, flagged: bool = False) -> None:
        self._folder = folder
        self._plain = PlainFiles(folder)
        self._flagged = flagged
        self._rejected = (
            set() if flagged else {key for key, mark in read_marks(folder).items() if mark.mark == "rejected"}
        )
        self.left_out: Counter[Reason] = Counter()
        self._first: dict[Reason, str] = {}

    def takes(self, record: Outcome, number: int) -> bool:
        """Return whether the record's image `number`, from 1, is taken; if not, count why.

        Its size is compared with the record's, its content is not; `read` and `open` do that.
        """
        reason = self.reason(record, number)
        if reason is not None:
            self.leave_out(record, number, reason)
        return reason is None

    def reason(self, record: Outcome, number: int) -> Reason | None:
        """Return why the image is left out, or None if it is taken; count nothing."""
        image = record.files[number - 1]
        if image.pruned == DELETED:
            return Reason.DELETED
        if not self._flagged:
            if record.flags.blurred or record.flags.content_violation:
                return Reason.FLAGGED
            if image.pruned or (record.id, image.sha256, number) in self._rejected:
                return Reason.REJECTED
        try:
            size = self._plain.size(image.path)
        except NoPlainFileError:
            return Reason.NO_FILE
        except (OSError, ValueError):
            return Reason.DELETED if image.pruned else Reason.MISSING
        return None if size == image.bytes else Reason.CHANGED

    def leave_out(self, record: Outcome, number: int, reason: Reason) -> None:
        """Count an image that is left out for this reason."""
        self.left_out[reason] += 1
        self._first.setdefault(reason, record.id if len(record.files) == 1 else f"image {number} of {record.id}")

    def read(self, record: Outcome, number: int) -> bytes | None:
        """Return the content of an image; None if it is left out, which is counted."""
        if not self.takes(record, number):
            return None
        image = record.files[number - 1]
        try:
            with self.open(image) as file:
                data = file.read(image.bytes + 1)
        except OSError:
            self.leave_out(record, number, Reason.MISSING)
            return None
        if not is_content_of(image, data):
            self.leave_out(record, number, Reason.CHANGED)
            return None
        return data

    def open(self, image: ImageFile) -> BufferedReader:
        """Open an image for reading. Raises OSError where it is not there or no plain file of the folder."""
        return self._plain.open(image.path)

    def path(self, image: ImageFile) -> str:
        """Return where the image is on disk. Check with `takes` first: the path in a record may lead anywhere."""
        return os.path.join(self._folder, on_disk(image.path))

    def counts(self) -> list[str]:
        """Return how many images were left out for each reason, without names."""
        return [f"{counted(self.left_out[reason], 'image')}: {reason}" for reason in Reason if self.left_out[reason]]

    def lines(self) -> list[str]:
        """Return a line for each reason why images were left out, with their count and the first one's name."""
        return [_line(reason, self.left_out[reason], self._first[reason]) for reason in Reason if self.left_out[reason]]


def is_content_of(image: ImageFile, data: bytes) -> bool:
    """Return whether `data` is the image's content as recorded."""
    return len(data) == image.bytes and hashlib.sha256(data).hexdigest() == image.sha256


def _line(reason: Reason, count: int, first: str) -> str:
    more = f", and {count - 1} more" if count > 1 else ""
    remedy = "; --flagged takes them too" if reason in BY_CHOICE else ""
    return f"left out {counted(count, 'image')}, {reason}: {first}{more}{remedy}"


class InJobOrder:
    """The last whole record of each id in the order of the jobs file, however the jobs ended.

    Each iteration reads the file again, so that memory grows only by a few numbers an id. Records without an index, of
    earlier versions, come last, in the order in which they were written.
    """

    def __init__(self, path: Path) -> None:
        """Read the manifest at `path` once. Raises FolderError where it cannot be read, as does every iteration."""
        self._path = path
        self._places = sorted(self._latest().values())

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Outcome]:
        decode = msgspec.json.Decoder(Outcome).decode
        try:
            with manifest.opened(self._path) as lines:
                for *_, start, size in self._places:
                    lines.seek(start)
                    yield decode(lines.read(size))
        except OSError as error:
            raise unusable(self._path, error) from error

    def _latest(self) -> dict[str, tuple[bool, int, int, int]]:
        """Return each id's place: whether it has no index, its index, and where its line starts, with its size."""
        decode = msgspec.json.Decoder(Outcome).decode
        found: dict[str, tuple[bool, int, int, int]] = {}
        start = 0
        try:
            with manifest.opened(self._path) as lines:
                for line in lines:
                    try:
                        record = decode(line)
                    except NO_RECORD:
                        pass
                    else:
                        index = record.index
                        found[record.id] = (index is None, index or 0, start, len(line))
                    start += len(line)
        except OSError as error:
            raise unusable(self._path, error) from error
        return found
