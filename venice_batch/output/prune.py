"""Rejected images out of the way: moved to `rejected/` or deleted, with records that say so."""

from __future__ import annotations

import os
import secrets
import shutil
from collections import defaultdict
from contextlib import nullcontext, suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec

from venice_batch import portable
from venice_batch.errors import FolderError
from venice_batch.output import folder, manifest
from venice_batch.output.atomic_file import NOT_THE_NAME, put
from venice_batch.output.folder import REJECTED, unusable
from venice_batch.output.manifest import NO_RECORD, FileView, RecordView
from venice_batch.output.marks import read_marks
from venice_batch.output.originals import bring
from venice_batch.output.plain_files import NoPlainFileError, PlainFiles, have_hashes, on_disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    _Key = tuple[str, str, int]

MOVED, DELETED = "moved", "deleted"
"""Values of `pruned` in a record's files: the image is in `rejected/`, or nowhere. It counts as made either way."""


class Pruned(msgspec.Struct, frozen=True):
    """The result: the number and size of the rejected images that were moved or `deleted`.

    `left_out` has a line for each rejected image that stayed.
    """

    images: int
    bytes: int
    deleted: bool
    left_out: tuple[str, ...] = ()


def prune(root: Path, *, delete: bool = False, dry_run: bool = False) -> Pruned:
    """Move the images of `root` that are marked as rejected to `rejected/`, or `delete` them, there too.

    Their records say so: no later run makes them again. It can be stopped at any moment and repeated. A moved image has
    both names until its record is written, a deleted one goes after its record is written. With `dry_run` nothing
    changes.

    Raises:
        FolderHeldError: a run is using the folder.
        FolderError: it is no output folder, or it cannot be read or written.
    """
    if not (root / manifest.NAME).is_file():
        raise FolderError(root, f"holds no {manifest.NAME}; is it a run's output folder?")
    with nullcontext() if dry_run else folder.hold(root):
        rejected = {key for key, mark in read_marks(root).items() if mark.mark == "rejected"}
        if not rejected:
            return Pruned(0, 0, delete)
        journal = manifest.Manifest(root / manifest.NAME)
        if not dry_run:
            journal.open()
        try:
            return _Prune(root, rejected, None if dry_run else journal, delete=delete).run()
        except OSError as error:
            raise unusable(root, error) from error
        finally:
            journal.close()


class _Prune:
    """One pass over a folder; without a `journal` it only counts."""

    def __init__(self, root: Path, rejected: set[_Key], journal: manifest.Manifest | None, *, delete: bool) -> None:
        self._root = root
        self._plain = PlainFiles(root)
        self._rejected = rejected
        self._journal = journal
        self._delete = delete
        self._latest: dict[str, int] = {}
        self._origins: defaultdict[_Key, set[str]] = defaultdict(set)
        self._shared: set[str] = set()
        self._images = self._bytes = 0
        self._left_out: list[str] = []

    def run(self) -> Pruned:
        self._survey()
        for number, line, record in _records(self._root):
            if self._latest.get(record.id) == number:
                self._prune(line, record)
        return Pruned(self._images, self._bytes, self._delete, tuple(self._left_out))

    def _survey(self) -> None:
        """Note each id's last line, where rejected images have been, and which of these places others use too."""
        for number, _, record in _records(self._root):
            self._latest[record.id] = number
            for key, file in _keyed(record):
                if key in self._rejected:
                    # A move that was stopped may have made the other name without recording it.
                    self._origins[key] |= {file.path, str(_aside(file.path))}
        places = set().union(*self._origins.values())
        for number, _, record in _records(self._root):
            if self._latest[record.id] == number:
                kept = (file.path for key, file in _keyed(record) if key not in self._rejected and not file.pruned)
                self._shared |= places.intersection(kept)

    def _prune(self, line: bytes, record: RecordView) -> None:
        """Prune the rejected images of one job: new names, then the record, then the old names."""
        changes: dict[int, dict[str, str]] = {}
        old: list[FileView] = []
        for key, file in _keyed(record):
            if key not in self._rejected:
                continue
            is_done = file.pruned == DELETED or (file.pruned and not self._delete)
            if not is_done and (why := self._fault(file)):
                self._left_out.append(f"image {key[2]} of {record.id}: {why}")
                continue
            old += [msgspec.structs.replace(file, path=path) for path in sorted(self._origins[key])]
            if is_done:
                continue
            change = {"pruned": DELETED}
            if self._plain_size(file.path) is not None:
                self._bytes += file.bytes
                if not self._delete:
                    change = {"pruned": MOVED, "path": self._set_aside(file)}
            changes[key[2] - 1] = change
            self._images += 1
        if self._journal is None:
            return
        if changes:
            whole: dict[str, Any] = msgspec.json.decode(line)
            for place, change in changes.items():
                whole["files"][place] |= change
            self._journal.append_line(msgspec.json.encode(whole) + b"\n")
        now = {change["path"] for change in changes.values() if "path" in change}
        now |= {file.path for file in record.files if file.pruned == MOVED and not self._delete}
        for file in old:
            if file.path not in now and file.path not in self._shared:
                self._remove(file)

    def _fault(self, file: FileView) -> str:
        """Return why an image has to stay; "" if it may go. One that is missing may: nothing is left of it to keep."""
        parts = PurePosixPath(file.path).parts
        if parts[:1] not in ((folder.IMAGES,), (REJECTED,)):
            return f"{file.path!r} is not a path of an image"
        try:
            size = self._plain.size(file.path)
        except NoPlainFileError as error:
            return f"{file.path!r} {error.strerror}"
        except OSError:
            return ""
        return "" if size == file.bytes else f"{file.path!r} has changed since it was made"

    def _plain_size(self, path: str) -> int | None:
        with suppress(OSError):
            return self._plain.size(path)
        return None

    def _set_aside(self, file: FileView) -> str:
        """Give an image another name in `rejected/` besides its own; return it."""
        below = _aside(file.path)
        if self._journal is None:
            return str(below)
        self._make_ready(below.parent)
        here, copy = below, 0
        while True:
            try:
                self._link(file.path, str(here))
            except FileExistsError:
                if have_hashes(f"{self._root}/", [msgspec.structs.replace(file, path=str(here))]):
                    return str(here)  # a prune that was stopped has done this
                copy += 1
                here = below.with_name(f"{below.stem}~{copy}{below.suffix}")
            else:
                return str(here)

    def _make_ready(self, inner: PurePosixPath) -> None:
        for end in range(1, len(inner.parts) + 1):
            place = self._root.joinpath(*(on_disk(part) for part in inner.parts[:end]))
            if place.is_symlink():
                raise FolderError(place, "is a link, which is not followed; remove it, then prune again")
            place.mkdir(exist_ok=True)

    def _link(self, path: str, target: str) -> None:
        bring(self._root, [path, target])
        source, there = self._root / on_disk(path), self._root / on_disk(target)
        try:
            portable.link(source, there)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno in NOT_THE_NAME:
                raise
            # Below `images`, where the next run removes what a killed one has left.
            part = self._root / folder.IMAGES / f".merge-{secrets.token_hex(8)}{folder.PART_SUFFIX}"
            try:
                with self._plain.open(path) as image, part.open("wb") as copy:
                    shutil.copyfileobj(image, copy)
                put(str(part), str(there))
            finally:
                part.unlink(missing_ok=True)

    def _remove(self, file: FileView) -> None:
        """Remove an image, unless its place holds something else by now."""
        is_there = not self._fault(file) and self._plain_size(file.path) is not None
        bring(self._root, [file.path] if is_there else [])
        if is_there and have_hashes(f"{self._root}/", [file]):
            os.unlink(self._root / on_disk(file.path))


def _records(root: Path) -> Iterator[tuple[int, bytes, RecordView]]:
    decode = msgspec.json.Decoder(RecordView).decode
    with manifest.opened(root / manifest.NAME) as lines:
        for number, line in enumerate(lines, start=1):
            with suppress(*NO_RECORD):
                yield number, line, decode(line)


def _aside(path: str) -> PurePosixPath:
    """Return the usual place in `rejected/` of an image."""
    return PurePosixPath(REJECTED, *PurePosixPath(path).parts[1:])


def _keyed(record: RecordView) -> Iterator[tuple[_Key, FileView]]:
    """Yield a record's files, each with the key of its marks."""
    for number, file in enumerate(record.files, start=1):
        yield (record.id, file.sha256, number), file
