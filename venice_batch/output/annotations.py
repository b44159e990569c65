"""What scorers say of the images in a folder: named numbers, booleans and texts. Kept in `annotations.jsonl`."""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import msgspec

from venice_batch import portable
from venice_batch.errors import FolderError
from venice_batch.output.folder import unusable
from venice_batch.output.manifest import NO_RECORD, opened
from venice_batch.output.marks import AppendedLines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from venice_batch.model import Outcome
    from venice_batch.output.manifest import RecordView

NAME = "annotations.jsonl"

Value = bool | int | float | str
"""One value of an image. Numbers are finite."""

_PORTION = 1_000
"""Lines that are written at once."""

_SHARED_TEXT = 40
"""Texts up to this length are labels: equal ones are kept once."""


class Annotation(msgspec.Struct, frozen=True):
    """Values of one image. The last line about a name counts; null takes the value away.

    `image` is the image's number within its job, from 1. `at` is when the values came, in UTC.
    """

    sha256: str
    id: str
    image: Annotated[int, msgspec.Meta(ge=1)]
    values: dict[str, bool | int | float | str | None]
    at: str


class Annotations:
    """The values of a folder's images, without those that were taken away.

    Memory: about 350 bytes an image with five numbers, so 35 MB for 100,000 images.
    """

    def __init__(self) -> None:
        self._values: dict[bytes, tuple[tuple[str, ...], tuple[Value, ...]]] = {}
        self._shapes: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._texts: dict[str, str] = {}
        self._names: dict[str, None] = {}

    def __len__(self) -> int:
        """Return how many images have values."""
        return len(self._values)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all values that were ever given, in the order in which they came."""
        return tuple(self._names)

    def of(self, record: Outcome | RecordView, image: int) -> dict[str, Value]:
        """Return the values of a record's image by name; `image` counts from 1.

        Values belong to the image's content: a job that has made another image since has none.
        """
        if not self._values or not 0 < image <= len(record.files):
            return {}
        return self.of_image(record.id, record.files[image - 1].sha256, image)

    def of_image(self, job_id: str, sha256: str, image: int) -> dict[str, Value]:
        """Return the values of a job's image with this content."""
        found = self._values.get(_key(job_id, sha256, image))
        return dict(zip(*found, strict=True)) if found else {}

    def add(self, annotation: Annotation) -> None:
        """Take the next line into account."""
        key = _key(annotation.id, annotation.sha256, annotation.image)
        before = self._values.get(key)
        values = dict(zip(*before, strict=True)) if before else {}
        for name, value in annotation.values.items():
            if value is None:
                values.pop(name, None)
                continue
            self._names.setdefault(name)
            is_label = isinstance(value, str) and len(value) <= _SHARED_TEXT
            values[name] = self._texts.setdefault(value, value) if is_label else value  # type: ignore[arg-type]
        if values:
            shape = tuple(values)
            self._values[key] = self._shapes.setdefault(shape, shape), tuple(values.values())
        else:
            self._values.pop(key, None)


class AnnotationsFile(AppendedLines[Annotation]):
    """Appends annotations to a folder's `annotations.jsonl`, which is made when the first one comes; a context manager.

    Programs that append at the same time wait for each other. When `append` returns, the lines survive the death of the
    process; one that a crash has torn harms no other.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root / NAME)

    def append(self, lines: Iterable[Annotation]) -> None:
        """Write `lines` in their order, a portion at a time.

        Raises:
            FolderError: they were not all written, or the file is not a plain file (links are not followed).
        """
        if self.original is not None:  # each call writes its file anew
            super().append(lines)
            return
        each = iter(lines)
        while portion := list(islice(each, _PORTION)):
            is_locked = self._lock()
            try:
                super().append(portion)
            finally:
                if is_locked:
                    portable.unlock(self.opened())

    def _lock(self) -> bool:
        """Lock the file; return False on a file system without locks, where each write is whole lines all the same."""
        try:
            file = self.opened()
        except OSError as error:
            raise unusable(self.path, error) from error
        try:
            if portable.lock(file, wait=True):
                return True
        except OSError:
            return False
        raise FolderError(self.path, "another program is writing to it; run this again when it has ended")


def _key(job_id: str, sha256: str, image: int) -> bytes:
    text = f"{image} {sha256} {job_id}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).digest()


def read_annotations(root: Path) -> Annotations:
    """Return the values of the images in the folder `root`; none if it has no such file.

    Lines that are no annotation are skipped.

    Raises:
        FolderError: the file is there and cannot be read.
    """
    found = Annotations()
    for annotation in _lines(root / NAME):
        found.add(annotation)
    return found


def _lines(path: Path) -> Iterator[Annotation]:
    try:
        with opened(path) as lines:
            yield from filter(None, map(decoded, lines))
    except FileNotFoundError:
        return
    except OSError as error:
        raise unusable(path, error) from error


def dated_annotations(root: Path) -> dict[tuple[str, str, int], dict[str, tuple[str, Value | None]]]:
    """Return for each image, by id, hash and number, when each name's value came last, and the value.

    Values that were taken away are None. It takes more memory than `read_annotations`.

    Raises:
        FolderError: as `read_annotations`.
    """
    found: dict[tuple[str, str, int], dict[str, tuple[str, Value | None]]] = {}
    for one in _lines(root / NAME):
        values = found.setdefault((one.id, one.sha256, one.image), {})
        values.update({name: (one.at, value) for name, value in one.values.items()})
    return found


def last_values(root: Path) -> dict[tuple[str, str, int], dict[str, Value]]:
    """Return the values of every image that has some, by id, hash and number.

    Raises:
        FolderError: as `read_annotations`.
    """
    found: dict[tuple[str, str, int], dict[str, Value]] = {}
    for one in _lines(root / NAME):
        key = (one.id, one.sha256, one.image)
        found[key] = with_changes(found.get(key, {}), one.values)
    return {key: values for key, values in found.items() if values}


def with_changes(values: dict[str, Value], changes: dict[str, Value | None]) -> dict[str, Value]:
    """Return the values of an image after a line with `changes`."""
    return {name: value for name, value in {**values, **changes}.items() if value is not None}


_decode = msgspec.json.Decoder(Annotation).decode


def decoded(line: bytes) -> Annotation | None:
    """Return the annotation in a line, None if it is none."""
    try:
        return _decode(line)
    except NO_RECORD:
        return None
