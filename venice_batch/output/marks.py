"""What a person said of the images in a folder: picked, rejected, a rating. Kept in `marks.jsonl`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Generic, Literal, TypeVar

import msgspec

from venice_batch import portable
from venice_batch.output.folder import own_file, unusable
from venice_batch.output.manifest import NO_RECORD, opened
from venice_batch.output.originals import original_of
from venice_batch.text_format import json_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Self

    from venice_batch.output.originals import Original

NAME = "marks.jsonl"

Line = TypeVar("Line", bound=msgspec.Struct)


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


class AppendedLines(Generic[Line]):
    """Appends values as lines of JSON to a file, which is made when the first one comes; a context manager.

    Lines of several programs may be appended at the same time: each call is one write of whole lines. When `append`
    returns, they survive the death of the process. In a copy of another folder they are appended to the `original`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.original: Original | None = original_of(path.parent)
        self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def opened(self) -> int:
        """Open or make the file; return its descriptor.

        Raises:
            FolderError: it is not a plain file (links are not followed).
            OSError: it cannot be opened.
        """
        if self._file < 0:
            self._file = own_file(self.path, os.O_RDWR | os.O_APPEND)
        return self._file

    def append(self, lines: Iterable[Line]) -> None:
        """Write `lines` in their order.

        Raises:
            FolderError: they were not all written, or the file is not a plain file.
        """
        data = b"".join(json_bytes(line) + b"\n" for line in lines)
        if self.original is not None:
            if data:
                self.original.append(self.path.name, data)
            return
        try:
            file = self.opened()
            size = os.fstat(file).st_size
            if size and portable.pread(file, 1, size - 1) != b"\n":
                data = b"\n" + data  # a full disk cut the line before
            while data:
                data = data[os.write(file, data) :]
        except OSError as error:
            raise unusable(self.path, error) from error


class MarksFile(AppendedLines[Mark]):
    """Appends marks to a folder's `marks.jsonl`; see `AppendedLines`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root / NAME)


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
