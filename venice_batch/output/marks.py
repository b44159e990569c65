"""What a person said of the images in a folder: picked, rejected, a rating. Kept in `marks.jsonl`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from venice_batch import portable
from venice_batch.output.folder import own_file, unusable
from venice_batch.output.manifest import NO_RECORD, opened
from venice_batch.text_format import json_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Self

NAME = "marks.jsonl"


class Mark(msgspec.Struct, frozen=True):
    """A mark of one image; the last one of an image counts, as a whole.

    `image` is the image's number within its job, from 1. Without `mark` and `rating` the image is unmarked again.
    """

    sha256: str
    id: str
    image: Annotated[int, msgspec.Meta(ge=1)]
    mark: Literal["picked", "rejected"] | None
    rating: Annotated[int, msgspec.Meta(ge=1, le=5)] | None
    at: str

    @property
    def key(self) -> tuple[str, str, int]:
        """The image that the mark belongs to: a job that made another image has no mark."""
        return self.id, self.sha256, self.image


class MarksFile:
    """Appends marks to a folder's `marks.jsonl`, which is made when the first one comes; a context manager.

    Marks of several programs may be appended at the same time: each call is one write of whole lines. When `append`
    returns, they survive the death of the process.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / NAME
        self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def append(self, marks: Iterable[Mark]) -> None:
        """Write `marks` in their order.

        Raises:
            FolderError: they were not all written, or the file is not a plain file (links are not followed).
        """
        data = b"".join(json_bytes(mark) + b"\n" for mark in marks)
        try:
            if self._file < 0:
                self._file = own_file(self._path, os.O_RDWR | os.O_APPEND)
            size = os.fstat(self._file).st_size
            if size and portable.pread(self._file, 1, size - 1) != b"\n":
                data = b"\n" + data  # a full disk cut the line before
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            raise unusable(self._path, error) from error


def read_marks(root: Path) -> dict[tuple[str, str, int], Mark]:
    """Return the last mark of each image by its `Mark.key`, without unmarked images.

    Raises:
        FolderError: as `last_marks`.
    """
    return {key: mark for key, mark in last_marks(root).items() if mark.mark is not None or mark.rating is not None}


def last_marks(root: Path) -> dict[tuple[str, str, int], Mark]:
    """Return the last line about each image by its `Mark.key`, also where it unmarks the image.

    Lines that are no mark are skipped.

    Raises:
        FolderError: the file is there and cannot be read.
    """
    path = root / NAME
    decode = msgspec.json.Decoder(Mark).decode
    found: dict[tuple[str, str, int], Mark] = {}
    try:
        with opened(path) as lines:
            for line in lines:
                try:
                    mark = decode(line)
                except NO_RECORD:
                    continue
                found[mark.key] = mark
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise unusable(path, error) from error
    return found
