"""The images of a folder, found by what other programs call them: id, path, content, file name."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from venice_batch.errors import FolderError
from venice_batch.output import manifest
from venice_batch.output.originals import shown
from venice_batch.output.plain_files import PlainFiles, open_plain
from venice_batch.report.export.journal import Origins

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBERED = re.compile(r"(.+)#([1-9]\d{0,3})", re.DOTALL)


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
        self._stems: defaultdict[str, list[Image]] = defaultdict(list)
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
        return self._by_content(full) or self.by_stem(text)

    def by_name(self, text: str) -> list[Image]:
        """Return the image whose file is called like `text`, unless that is the id of a job."""
        return [] if text in self._jobs else self.by_stem(text)

    def by_stem(self, name: str) -> list[Image]:
        """Return the image whose file has this name, whatever the suffix; [] if several do.

        Of several the one counts whose folders have the same names too, counted from the end.
        """
        if not self._stems:
            for image in self:
                self._stems[_stem(image.path.rpartition("/")[2])].append(image)
        parts = name.split("/")
        found = self._stems.get(_stem(parts[-1])) or self._stems.get(parts[-1]) or []
        for depth in range(2, len(parts) + 1):
            if len(found) > 1:
                found = [image for image in found if image.path.split("/")[-depth:][:1] == parts[-depth:][:1]]
        return found if len(found) == 1 else []

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
        if (linked := self._numbers.get((state.st_dev, state.st_ino))) is not None:
            return [linked]
        if of := self._origins.of(Path(path)):
            return [image for sha256 in of for image in self.by_hash(sha256)]
        if state.st_size not in self._sizes:
            return []
        try:
            with os.fdopen(open_plain(os.path.realpath(path)), "rb") as file:
                return self.by_hash(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError:
            return []

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


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name
