"""The images of a folder, found by what other programs call them: id, path, content, file name."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from venice_batch.errors import FolderError
from venice_batch.output import manifest
from venice_batch.output.originals import shown
from venice_batch.output.plain_files import PlainFiles, open_plain
from venice_batch.report.export.journal import Origins, journals_below, made_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from venice_batch.report.export.journal import Made

_NUMBERED = re.compile(r"(.+)#([1-9]\d{0,3})", re.DOTALL)
_FEW = 8
"""Names that are compared one by one."""


class Image(NamedTuple):
    """One image of a folder; `number` counts from 1 within its job."""

    id: str
    number: int
    sha256: str
    path: str
    bytes: int


class KnownImages:
    """The images of the latest record of each job in a folder, found by what scorers call them.

    Raises:
        FolderError: there is no manifest, or it cannot be read.
    """

    def __init__(self, root: Path) -> None:
        path = root / manifest.NAME
        if not path.is_file():
            raise FolderError(root, f"holds no {manifest.NAME}; is it a run's output folder?")
        self._root = root
        self._roots = {os.path.join(place, "") for place in (os.path.abspath(root), os.path.realpath(root))}
        self._jobs: dict[str, tuple[Image, ...]] = {}
        for _, record in manifest.read_views(path):
            if record is not None:
                self._jobs[record.id] = tuple(
                    Image(record.id, number, file.sha256, file.path, file.bytes)
                    for number, file in enumerate(record.files, 1)
                )
        self._hashes: defaultdict[str, list[Image]] = defaultdict(list)
        self._paths: dict[str, Image] = {}
        for image in self:
            self._hashes[image.sha256].append(image)
            self._paths[image.path] = image
        self._numbers: dict[tuple[int, int], Image] = {}
        self._sizes: frozenset[int] = frozenset()
        self._origins = Origins()

    def __iter__(self) -> Iterator[Image]:
        return (image for images in self._jobs.values() for image in images)

    def has_job(self, job_id: str) -> bool:
        """Return whether there is a record with this id."""
        return job_id in self._jobs

    def by_id(self, job_id: str, number: int | None = None) -> list[Image]:
        """Return the images of a job, or the one of that number; `fox#2` is the second one of `fox`."""
        found = self._jobs.get(job_id)
        if found is None and (parts := _NUMBERED.fullmatch(job_id)):
            found, number = self._jobs.get(parts[1], ()), int(parts[2])
        return [image for image in found or () if number in (None, image.number)]

    def by_hash(self, sha256: str) -> list[Image]:
        """Return all images with this content."""
        return self._hashes.get(sha256.lower(), [])

    def by_path(self, path: str) -> list[Image]:
        """Return the image at a path: as in its record, below the folder, or of a copy or link elsewhere.

        A path that leads to a file on this machine counts by that file's content, any other by its name.
        """
        text = path.replace("\\", "/").removeprefix("./")
        full = os.path.abspath(path)
        inner = (full.removeprefix(root).replace(os.sep, "/") for root in self._roots if full.startswith(root))
        for known in (path, text, text.removeprefix(f"{shown(self._root)}/"), *inner):
            if known in self._paths:
                return [self._paths[known]]
        return self._by_content(full) or list(self._names.find(path).images)

    def why_not(self, path: str) -> str:
        """Return why a path that `by_path` does not find names no image; "" if nothing has such a name."""
        return self._names.find(path).why

    def by_name(self, text: str) -> list[Image]:
        """Return the image whose file is called like `text`, unless that is the id of a job."""
        return [] if text in self._jobs else list(self._own_names.find(text).images)

    @cached_property
    def _own_names(self) -> _Names:
        """The names of the images' files."""
        return _Names(_Name(image.path, 1, (image,)) for image in self)

    @cached_property
    def _names(self) -> _Names:
        """The names of the images' files, and of those that exports into the folder have made of them."""
        exported = (
            _Name(
                f"{place.relative_to(self._root).as_posix()}/{made.path}",
                # HPSv2's styles are trees of their own; what stands above them may be called otherwise elsewhere.
                min(len(place.relative_to(self._root).parts), 2) + made.path.count("/"),
                self._shown_by(made),
            )
            for place in journals_below(self._root)
            for made in made_in(place)
            if all(part.id or len(self.by_hash(part.sha256)) < 2 for part in made.parts)  # else it may be any of them
        )
        return _Names((*(_Name(image.path, 1, (image,)) for image in self), *exported))

    def _by_content(self, path: str) -> list[Image]:
        """Return the images with the content of a plain file; only a file of an image's size is read."""
        try:
            state = os.stat(path)
        except (OSError, ValueError):
            return []
        if not stat.S_ISREG(state.st_mode):
            return []
        if not self._sizes:
            self._sizes = frozenset(image.bytes for image in self)
            self._number()
        made = self._origins.of(Path(path))
        expected = self._shown_by(made) if made else ()
        if made and made.of:
            return list(expected)
        if (linked := self._numbers.get((state.st_dev, state.st_ino))) is not None:
            names_jobs = made is not None and all(part.id for part in made.parts)  # else several images may be equal
            return [image for image in expected if names_jobs and image.sha256 == linked.sha256] or [linked]
        if state.st_size not in self._sizes:
            return []
        try:
            with os.fdopen(open_plain(os.path.realpath(path)), "rb") as file:
                found = self.by_hash(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError:
            return []
        return list(set(expected).intersection(found)) or found

    def _shown_by(self, made: Made) -> tuple[Image, ...]:
        """Return the images that a file of an export shows: of several with equal content those of the right jobs."""
        found: dict[Image, None] = {}
        for part in made.parts:
            images = self.by_id(part.id, part.number) if self.has_job(part.id) else self.by_hash(part.sha256)
            found.update(dict.fromkeys(image for image in images if image.sha256 == part.sha256))
        return tuple(found)

    def _number(self) -> None:
        """Note which files are the images, so that hard links to them are known without being read."""
        files = PlainFiles(self._root)
        for image in self:
            try:
                if files.size(image.path) == image.bytes:
                    state = os.lstat(self._root / image.path)
                    self._numbers[state.st_dev, state.st_ino] = image
            except OSError:
                continue


class _Name(NamedTuple):
    """A file below the folder and the images that it shows; () if the folder has them no more.

    The last `own` parts of its path tell it from other files. Those before may be called otherwise elsewhere.
    """

    path: str
    own: int
    images: tuple[Image, ...]


class _Found(NamedTuple):
    images: tuple[Image, ...]
    why: str = ""


class _Names:
    """Finds files by the ends of their paths: the longest tail that the path given has in common with a file counts.

    It must be the tail of one file, or of several with the same images. Suffixes may differ. A path with another folder
    where the file's own parts are does not name it: `00001/samples/0002.png` is not `00000/samples/0002.png`, even if
    no other file is called so.
    """

    def __init__(self, names: Iterable[_Name]) -> None:
        self._stems: defaultdict[str, list[_Name]] = defaultdict(list)
        for name in names:
            self._stems[_stem(_last(name))].append(name)
        self._longer: dict[str, dict[str, list[_Name]]] = {}
        self._chosen: dict[tuple[str, str], tuple[_Name, ...]] = {}

    def find(self, path: str) -> _Found:
        """Return the images that the path names, or why it names none."""
        parts = _parts(path)
        if not parts:
            return _Found(())
        last = parts[-1]
        tail = _stem(last)
        found = self._stems.get(tail, [])
        if last in self._stems and not any(_last(name) == last for name in found):
            tail, found = last, self._stems[last]  # no suffix: a name that has a dot itself
        depth = 1
        while depth < len(parts) and (longer := self._with(tail, found, depth, parts[-depth - 1])):
            tail = f"{parts[-depth - 1]}/{tail}"
            found, depth = longer, depth + 1
        chosen = self._choose(tail, last, found)
        if len(chosen) > 1:
            some = " and ".join(name.path for name in chosen)
            return _Found((), f"ambiguous: several files end so, such as {some}")
        if chosen and depth < min(chosen[0].own, len(parts)):
            return _Found((), f"{chosen[0].path} is in other folders")
        return _Found(chosen[0].images) if chosen else _Found(())

    def _with(self, tail: str, found: list[_Name], depth: int, part: str) -> list[_Name]:
        """Return those of the names with this tail, of `depth` parts, that have `part` before it."""
        if len(found) <= _FEW:
            return [name for name in found if name.path.split("/")[-depth - 1 : -depth] == [part]]
        if tail not in self._longer:
            longer: defaultdict[str, list[_Name]] = defaultdict(list)
            self._longer[tail] = longer
            for name in found:
                for before in name.path.split("/")[-depth - 1 : -depth]:
                    longer[before].append(name)
        return self._longer[tail].get(part, [])

    def _choose(self, tail: str, last: str, found: list[_Name]) -> tuple[_Name, ...]:
        """Return the name that counts of those with this tail, or two that show different images."""
        key = tail, last
        if key not in self._chosen:
            alike = [name for name in found if _last(name) == last] or found
            first = min(alike, key=lambda name: name.own, default=None)
            other = next((name for name in alike if first and name.images != first.images), None)
            self._chosen[key] = tuple(name for name in (first, other) if name is not None)
        return self._chosen[key]


def _last(name: _Name) -> str:
    return name.path.rpartition("/")[2]


def _parts(path: str) -> list[str]:
    """Return the parts of a path in any system's notation, without `.`, and without `..` where that is known."""
    parts: list[str] = []
    for part in path.replace("\\", "/").split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return parts


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name
