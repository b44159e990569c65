"""Several output folders joined into one."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from venice_batch import portable
from venice_batch.errors import FolderError, UsageError
from venice_batch.model import Status
from venice_batch.output import folder, manifest
from venice_batch.output.annotations import Annotation, AnnotationsFile, dated_annotations
from venice_batch.output.atomic_file import NOT_THE_NAME, put
from venice_batch.output.manifest import NO_RECORD, FileView, RecordView
from venice_batch.output.marks import MarksFile, last_marks
from venice_batch.output.naming import short_name
from venice_batch.output.originals import bring, original_of
from venice_batch.output.plain_files import NoPlainFileError, PlainFiles, have_hashes, on_disk
from venice_batch.output.prune import DELETED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from venice_batch.output.annotations import Value


class Merged(msgspec.Struct, frozen=True):
    """The result of a merge.

    `jobs` counts the ids that the folders have a usable record of, `added` those whose record was new in the
    destination, `images` the images brought there, `unrecognised` the kept answers of unknown formats brought there.
    `left_out` has a line for each of the latest records that could not be used. `marks` counts the images whose marks
    were brought or changed, `annotations` the values that were.
    """

    jobs: int
    added: int
    images: int
    left_out: tuple[str, ...]
    unrecognised: int = 0
    marks: int = 0
    annotations: int = 0


class _Times(msgspec.Struct, frozen=True):
    enqueued_at: str = ""
    total_s: float = 0.0


class _View(RecordView, frozen=True):
    """The part of a record that a merge needs."""

    timing: _Times = _Times()
    unrecognised: tuple[str, ...] = ()

    def ended_unix_s(self) -> float:
        """Return when the job ended; 0 if the record does not say."""
        began = _unix_s(self.timing.enqueued_at)
        return began + self.timing.total_s if began else 0.0


def _unix_s(moment: str) -> float:
    with suppress(ValueError, OverflowError):
        return datetime.fromisoformat(moment).timestamp()
    return 0.0


class _Found(NamedTuple):
    """An id's latest record in one of the folders: its line, and when its job ended."""

    ended_unix_s: float
    folder: int
    line: int


def merge(sources: Sequence[Path], destination: Path) -> Merged:
    """Bring the latest record of every id in `sources`, with its images, into `destination`.

    If several folders, `destination` included, have a record of an id, the one whose job ended last counts. Kept
    answers of unknown formats come along from every record, because they were paid for. Of an image's marks the latest
    counts, and of its annotations the latest value of each name. Files are linked where the file system can, else
    copied. No file is overwritten except an earlier image of the same id. A merge can be repeated, or continued after
    it was cut short: files that are there already are not brought again, and an image stands under its name before its
    record is written.

    Raises:
        UsageError: `destination` is one of `sources`.
        FolderHeldError: a run, or another merge, is using `destination`.
        FolderError: a source is no output folder, or `destination` cannot be written.
    """
    for source in sources:
        if not (source / manifest.NAME).is_file():
            raise FolderError(source, f"holds no {manifest.NAME}; is it a run's output folder?")
        if destination.exists() and source.samefile(destination):
            raise UsageError(f"{source} is the folder to merge into; name only the others")
    with folder.hold(destination):
        journal = manifest.Manifest(destination / manifest.NAME)
        journal.open()
        try:
            return _Merge(sources, destination, journal).run()
        except OSError as error:
            raise folder.unusable(destination, error) from error
        finally:
            journal.close()


class _Merge:
    """One merge, while the destination is locked."""

    def __init__(self, sources: Sequence[Path], destination: Path, journal: manifest.Manifest) -> None:
        self.folders = [destination, *sources]
        self.journal = journal
        self.owned: dict[str, tuple[str, ...]] = {}
        self.images = 0
        self.unrecognised = 0
        self.left_out: list[str] = []

    def run(self) -> Merged:
        latest: dict[str, _Found] = {}
        for number in range(len(self.folders)):
            for job_id, found in self._survey(number).items():
                # At equal times the record is the same, brought here before: the destination comes first.
                if job_id not in latest or latest[job_id].ended_unix_s < found.ended_unix_s:
                    latest[job_id] = found
        added = 0
        for number in range(1, len(self.folders)):
            wanted = {found.line for found in latest.values() if found.folder == number}
            self._bring_here(self.folders[number], wanted)
            for line, data, record in _records(self.folders[number]):
                kept = self._keep(self.folders[number], record) if record.unrecognised else ()
                if line in wanted:
                    self._bring(self.folders[number], data, record, kept)
                    added += 1
        marks, annotations = self._bring_marks(), self._bring_annotations()
        return Merged(len(latest), added, self.images, tuple(self.left_out), self.unrecognised, marks, annotations)

    def _bring_here(self, source: Path, wanted: Collection[int]) -> None:
        """Bring all files of the wanted records to this disk, if the folder is a copy."""
        if original_of(source) is not None:
            records = (record for line, _, record in _records(source) if line in wanted or record.unrecognised)
            bring(source, (path for one in records for path in (*(file.path for file in one.files), *one.unrecognised)))

    def _bring_marks(self) -> int:
        """Bring the latest mark of each image, if the destination has an older one or none; return their number."""
        held, *others = map(last_marks, self.folders)
        latest = dict(held)
        for found in others:
            for key, mark in found.items():
                if key not in latest or _unix_s(latest[key].at) < _unix_s(mark.at):
                    latest[key] = mark
        brought = [mark for key, mark in latest.items() if held.get(key) != mark]
        if brought:
            with MarksFile(self.folders[0]) as file:
                file.append(brought)
        return len(brought)

    def _bring_annotations(self) -> int:
        """Bring the latest value of each name of an image, as `_bring_marks` does; return the number of values."""
        held, *others = map(dated_annotations, self.folders)
        brought: dict[tuple[str, str, int], dict[str, tuple[str, Value | None]]] = {}
        for found in others:
            for key, values in found.items():
                latest = {**held.get(key, {}), **brought.get(key, {})}
                for name, (at, value) in values.items():
                    if name not in latest or _unix_s(latest[name][0]) < _unix_s(at):
                        brought.setdefault(key, {})[name] = at, value
        lines: dict[tuple[tuple[str, str, int], str], Annotation] = {}
        for key, values in brought.items():
            job_id, sha256, image = key
            for name, (at, value) in values.items():
                lines.setdefault((key, at), Annotation(sha256, job_id, image, {}, at)).values[name] = value
        with AnnotationsFile(self.folders[0]) as file:
            file.append(lines.values())
        return sum(map(len, brought.values()))

    def _survey(self, number: int) -> dict[str, _Found]:
        """Return the latest record of each id in one folder, if its images are whole."""
        root = self.folders[number]
        found: dict[str, _Found] = {}
        unusable: dict[str, str] = {}
        for line, _, record in _records(root):
            what = _fault(root, record)
            if number == 0 and record.files:
                self.owned[record.id] = tuple(file.path for file in record.files)
            if what:
                found.pop(record.id, None)
                unusable[record.id] = f"{root}: {record.id}: {what}"
            else:
                unusable.pop(record.id, None)
                found[record.id] = _Found(record.ended_unix_s(), number, line)
        if number:  # what the destination has lost is brought again
            self.left_out += unusable.values()
        return found

    def _bring(self, source: Path, data: bytes, record: _View, kept: tuple[str, ...]) -> None:
        """Bring the record and its images; `kept` are the paths of its kept answers in the destination."""
        owned = self.owned.get(record.id, ())
        places = [
            (file.path, False) if _is_gone(source, file) else self._place(source, file, owned) for file in record.files
        ]
        self.images += sum(is_new for _, is_new in places)
        paths = [path for path, _ in places]
        if paths != [file.path for file in record.files] or kept != record.unrecognised:
            whole = msgspec.json.decode(data)
            for file, path in zip(whole.get("files", ()), paths, strict=True):
                file["path"] = path
            if record.unrecognised:
                whole["unrecognised"] = kept
            data = msgspec.json.encode(whole)
        self.journal.append_line(data.rstrip(b"\r\n") + b"\n")

    def _keep(self, source: Path, record: _View) -> tuple[str, ...]:
        """Bring the kept answers that are still in `source`; return their paths in the destination."""
        if _fault(source, record):
            return ()
        kept = []
        for path in record.unrecognised:
            try:
                with PlainFiles(source).open(path) as answer:
                    digest = hashlib.file_digest(answer, "sha256").hexdigest()
                    size = answer.tell()
            except FileNotFoundError:
                continue  # somebody has taken it out
            here, is_new = self._place(source, FileView(path, size, digest))
            kept.append(here)
            self.unrecognised += is_new
        return tuple(kept)

    def _place(self, source: Path, file: FileView, owned: Collection[str] = ()) -> tuple[str, bool]:
        """Give a file its name in the destination, the one in `source` if that is free; return path, and if it is new.

        `owned` are the paths of files that it may replace.
        """
        root = self.folders[0]
        path = PurePosixPath(file.path)
        inner = root / on_disk(str(path.parent))
        inner.mkdir(parents=True, exist_ok=True)
        # Below `images`, where the next run or merge removes what a killed one has left.
        parts = inner if path.parts[0] == folder.IMAGES else root / folder.IMAGES
        part = parts / f".merge-{secrets.token_hex(8)}{folder.PART_SUFFIX}"
        try:
            _copy(source, file.path, part)
            return self._put(part, path, file, owned)
        except OSError as error:
            if error.errno in NOT_THE_NAME:
                raise
            try:  # as for a run's images: the disk may refuse this very name
                return self._put(part, path.with_name(short_name(path.stem) + path.suffix), file, owned)
            except OSError:
                raise error from None
        finally:
            part.unlink(missing_ok=True)

    def _put(self, part: Path, path: PurePosixPath, file: FileView, owned: Collection[str]) -> tuple[str, bool]:
        root = self.folders[0]
        copy = 0
        while True:
            here = path if not copy else path.with_name(f"{path.stem}~{copy}{path.suffix}")
            target = root / on_disk(str(here))
            bring(root, [str(here)])
            try:
                put(str(part), str(target))
                break
            except FileExistsError:
                if have_hashes(f"{root}/", [msgspec.structs.replace(file, path=str(here))]):
                    return str(here), False
                if str(here) in owned and not target.is_symlink():
                    os.replace(part, target)
                    break
                copy += 1
        return str(here), True


def _records(root: Path) -> Iterator[tuple[int, bytes, _View]]:
    """Yield each line of the folder's manifest that is a record, with its number."""
    decoder = msgspec.json.Decoder(_View)
    with manifest.opened(root / manifest.NAME) as lines:
        for number, line in enumerate(lines, start=1):
            with suppress(*NO_RECORD):
                yield number, line, decoder.decode(line)


def _fault(root: Path, record: _View) -> str:
    """Return why the record cannot be brought to another folder; "" if it can."""
    plain = PlainFiles(root)
    for file in record.files:
        try:
            is_whole = plain.size(file.path) == file.bytes
        except NoPlainFileError as error:
            return f"{file.path!r} {error.strerror}"
        except OSError:
            is_whole = False
        if PurePosixPath(file.path).parts[0] not in (folder.IMAGES, folder.REJECTED if file.pruned else ""):
            return f"{file.path!r} is not a path of an image"
        if not is_whole and not _is_gone(root, file):
            return f"{file.path} is missing, or has not the size that is recorded"
    for path in record.unrecognised:
        if PurePosixPath(path).parts[:1] != (folder.UNRECOGNISED,) or ".." in path.split("/"):
            return f"{path!r} is not a path of a kept answer"
        try:
            plain.size(path)
        except NoPlainFileError as error:
            return f"{path!r} {error.strerror}"
        except OSError:
            pass  # somebody has taken it out; the record is as true as before
    return "" if record.files or record.status != Status.SUCCEEDED else "has no image"


def _is_gone(root: Path, file: FileView) -> bool:
    """Return whether a pruned image is no longer in its folder, where it need not be."""
    if not file.pruned:
        return False
    try:
        PlainFiles(root).size(file.path)
    except OSError:
        return True
    return file.pruned == DELETED


def _copy(source: Path, path: str, part: Path) -> None:
    try:
        portable.link(source / on_disk(path), part)
    except OSError as error:
        if error.errno in NOT_THE_NAME:
            raise
        with PlainFiles(source).open(path) as image, part.open("wb") as copy:
            shutil.copyfileobj(image, copy)
