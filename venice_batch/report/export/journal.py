"""The journal of an export: a hidden file in its folder that lists what the export has put there."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from venice_batch import portable
from venice_batch.errors import FolderError
from venice_batch.output.folder import is_at, own_file
from venice_batch.output.manifest import NAME as MANIFEST
from venice_batch.output.manifest import NO_RECORD, numbered_outcomes
from venice_batch.output.plain_files import open_plain
from venice_batch.text_format import json_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

NAME = ".venice-batch-export.jsonl"
PARTS = ".venice-batch-export.part"
"""The folder beside it for files of an export that is not finished."""

SCHEMA = 1


class _Head(msgspec.Struct, frozen=True):
    """The first line: what the export is, and the folder that it was made from."""

    schema: int
    kind: str
    source: str


class Part(NamedTuple):
    """An image that a file of an export shows: its content, its job and its number there, from 1.

    Journals of older versions know the content alone.
    """

    sha256: str
    id: str = ""
    number: int = 0


class Made(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of the export: its path below the target, its content, and the images it was made of.

    `of` is the content of these images, if the file's own is another one; `images` are their jobs and numbers.
    """

    path: str
    sha256: str
    of: tuple[str, ...] = ()
    images: tuple[tuple[str, int], ...] = ()
    rewritten: bool = False

    @property
    def parts(self) -> tuple[Part, ...]:
        """The images that the file shows."""
        digests = self.of or (self.sha256,)
        if len(self.images) != len(digests):
            return tuple(map(Part, digests))
        return tuple(Part(sha256, *image) for sha256, image in zip(digests, self.images, strict=True))


class Journal:
    """The open journal of a target folder, locked against other exports.

    `made` holds the digests that each file of the earlier export may have, by path: more than one if that export was
    cut while it gave files their names. `of` holds the images that a file shows, by its path; `rewritten` has the paths
    of those with more changes than the export's kind makes. The journal holds no path of this computer, so it may be
    published.

    Raises:
        FolderError: the target holds files although no export has made it, or another export: of another kind, of
            another output folder, or one that is under way.
        OSError: the journal cannot be read or written.
    """

    def __init__(self, target: Path, *, kind: str, source: str) -> None:
        self._target = target
        self._head = _Head(SCHEMA, kind, source)
        self._path = target / NAME
        self.made: dict[str, set[str]] = {}
        self.of: dict[str, tuple[Part, ...]] = {}
        self.rewritten: set[str] = set()
        if not os.path.lexists(self._path):
            self._refuse_strangers()
        self._file = own_file(self._path, os.O_RDWR | os.O_APPEND)
        try:
            self._lock()
            self._read()
        except BaseException:
            self.close()
            raise

    def note(self, files: Mapping[str, str]) -> None:
        """Append files, by path with their digests, before they appear, so that a later export knows them."""
        data = b"\n" + self._lines(files.items())  # a full disk may have cut the line before
        while data:
            data = data[os.write(self._file, data) :]

    def renew(self, files: Mapping[str, Iterable[str]]) -> None:
        """Replace the journal by one of these files alone, and close it."""
        part = self._target / PARTS / NAME
        pairs = ((path, sha256) for path, found in files.items() for sha256 in sorted(found))
        part.write_bytes(json_bytes(self._head) + b"\n" + self._lines(pairs))
        self.close()
        os.replace(part, self._path)

    def close(self) -> None:
        """Close the file, which unlocks it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def remove(self) -> None:
        """Close and remove the journal of an export that came to nothing."""
        self.close()
        os.unlink(self._path)

    def _lines(self, files: Iterable[tuple[str, str]]) -> bytes:
        return b"".join(json_bytes(self._line(*file)) + b"\n" for file in files)

    def _line(self, path: str, sha256: str) -> Made:
        parts = self.of.get(path, ())
        of = tuple(part.sha256 for part in parts)
        images = tuple((part.id, part.number) for part in parts if part.id)
        return Made(path, sha256, () if of == (sha256,) else of, images, path in self.rewritten)

    def _refuse_strangers(self) -> None:
        with os.scandir(self._target) as entries:
            name = min((entry.name for entry in entries if not entry.name.startswith(".")), default=None)
        if name is not None:
            what = f"holds {name!r}, which no export has made; choose a new or an empty folder"
            raise FolderError(self._target, what)

    def _lock(self) -> None:
        is_locked = True
        with suppress(OSError):  # no locks here
            is_locked = portable.lock(self._file)
        if not is_locked or not is_at(self._file, self._path):
            raise FolderError(self._target, "another export is writing here; wait for it, then export again")

    def _read(self) -> None:
        with open(self._path, "rb") as lines:
            first = lines.readline()
            if not first.strip():
                os.write(self._file, json_bytes(self._head) + b"\n")
                return
            self._check(first)
            for made in _made(lines):
                self.made.setdefault(made.path, set()).add(made.sha256)
                if made.of or made.images:
                    self.of[made.path] = made.parts
                if made.rewritten:
                    self.rewritten.add(made.path)

    def _check(self, first: bytes) -> None:
        try:
            head = msgspec.json.decode(first, type=_Head)
        except NO_RECORD as error:
            raise FolderError(self._path, "is no journal of an export; move it away") from error
        if head.schema > SCHEMA:
            raise FolderError(self._target, "was exported by a later version of venice-batch; update this one")
        if head.kind != self._head.kind:
            raise FolderError(self._target, f"holds an export of another kind ({head.kind}); choose another folder")
        if head.source != self._head.source:
            raise FolderError(self._target, "holds an export of another output folder; choose another folder")


def source_of(folder: Path) -> str:
    """Return what distinguishes an output folder from others without naming its place: a digest of its first record.

    Raises:
        FolderError: the manifest cannot be read.
    """
    for _, record in numbered_outcomes(folder / MANIFEST):
        name = f"{record.run_id}\0{record.id}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(name, digest_size=8).hexdigest()
    return ""


def is_inside(path: str) -> bool:
    """Return whether `path` names a file below the target, with `/` between folders, that is not the journal."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    if "\0" in path or (portable.IS_WINDOWS and ("\\" in path or ":" in path)):
        return False
    parts = path.split("/")
    return not {"", ".", ".."}.intersection(parts) and parts[0].lower() not in (NAME, PARTS)


def journals_below(folder: Path, levels: int = 3) -> Iterator[Path]:
    """Yield the folders below `folder` that exports have written, down to as many levels; links are not followed."""
    inner: list[Path] = []
    with suppress(OSError), os.scandir(folder) as entries:
        inner += sorted(folder / entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    for place in inner:
        if (place / NAME).is_file():
            yield place
        elif levels > 1:
            yield from journals_below(place, levels - 1)


def made_in(folder: Path) -> Iterator[Made]:
    """Yield the files that the journal in `folder` lists; those of an export that was cut may come several times.

    A journal may come from anybody; what it says of a file means nothing unless there are such images.
    """
    with suppress(OSError), os.fdopen(open_plain(folder / NAME), "rb") as lines:
        lines.readline()
        yield from _made(lines)


class Origins:
    """Finds the images that files of exports were made of, by the journals in the folders above them."""

    _LEVELS = 8
    """Folders above a file that may hold its export's journal."""

    def __init__(self) -> None:
        self._known: dict[Path, dict[str, Made]] = {}

    def of(self, path: Path) -> Made | None:
        """Return what the journal nearest to a file says of it, see `made_in`; None if none names it."""
        for folder in path.parents[: self._LEVELS]:
            if found := self._in(folder).get(path.relative_to(folder).as_posix()):
                return found
        return None

    def _in(self, folder: Path) -> dict[str, Made]:
        if folder not in self._known:
            self._known[folder] = {made.path: made for made in made_in(folder)}
        return self._known[folder]


def _made(lines: Iterable[bytes]) -> Iterator[Made]:
    """Yield the files that a journal names, without those that would be elsewhere."""
    decode = msgspec.json.Decoder(Made).decode
    for line in lines:
        with suppress(*NO_RECORD):
            made = decode(line)
            if is_inside(made.path):
                yield made
