"""The images that jobs take from other jobs of the same file: which one, and the request that it makes."""

from __future__ import annotations

import os
from itertools import product
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec

from venice_batch.jobfile.chains import with_pictures
from venice_batch.jobfile.identity import request_hash
from venice_batch.model import Parent
from venice_batch.output import marks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from venice_batch.jobfile import JobIndex
    from venice_batch.jobfile.chains import Link
    from venice_batch.model import Job
    from venice_batch.output.manifest import FileView, RecordView
    from venice_batch.output.marks import Mark

    Image = tuple[int, FileView]  # with its number from 1


class ParentImages:
    """The images that the waiting jobs of an index take from the jobs that they wait for.

    A link with `pick` takes the job's image that is marked as picked: of several the one with the highest rating, then
    the first. Marks are read again whenever their file has changed. `records` holds the last record of each job in a
    chain under the place of that job.
    """

    def __init__(self, index: JobIndex, root: Path) -> None:
        self.records: dict[int, RecordView] = {}
        self._index = index
        self._chains = index.chains
        self._root = root
        self._marks: dict[tuple[str, str, int], Mark] = {}
        self._marks_read: tuple[int, int] | None = None

    def note(self, place: int, record: RecordView) -> None:
        """Remember the record of the job at `place`, if it is that job's."""
        if self._chains.ids.get(place) == record.id:
            self.records[place] = record

    def of(self, place: int) -> tuple[int, ...]:
        """Return the places of the jobs that the one at `place` waits for."""
        return self._chains.parents.get(place, ())

    def chosen(self, place: int) -> list[Image] | None:
        """Return the images for a waiting job, one for each link; None if one is missing, or not picked yet.

        The jobs that it waits for are done.
        """
        found = [self._image(link, parent) for link, parent in self._links(place)]
        images = [image for image in found if image is not None]
        return images if len(images) == len(found) else None

    def images(self) -> Iterator[str]:
        """Yield the paths of all images so far that a waiting job may read."""
        for place, record in self.records.items():
            if place in self._chains.children:
                yield from (file.path for file in record.files)

    def unchosen(self, place: int) -> tuple[Link, int] | None:
        """Return the first link without an image, and the place of its job; None if all have one."""
        return next((entry for entry in self._links(place) if self._image(*entry) is None), None)

    def were_used(self, place: int, digest: str) -> bool:
        """Return whether a request with this hash is the waiting job's, made from the images as they are now.

        Where no image is picked at present, any image of the job counts: the pick may have been taken back.
        """
        candidates = []
        for link, parent in self._links(place):
            image = self._image(link, parent)
            candidates.append([image] if image else self._images(parent) if link.pick else [])
        if not all(candidates):
            return False
        job = self._index.job(place)
        return any(request_hash(job.endpoint, self._request(job, images)) == digest for images in product(*candidates))

    def job(self, place: int, images: Sequence[Image]) -> Job:
        """Return the waiting job with `images` in place of its links; it is the same job as one with their paths.

        Raises:
            JobsFileError: the jobs file has changed.
        """
        job = self._index.job(place)
        request = self._request(job, images)
        number, file = images[0]
        parent = Parent(self._chains.links[place][0].job, file.sha256, number)
        digest = request_hash(job.endpoint, request)
        return msgspec.structs.replace(job, request=request, request_hash=digest, parent=parent)

    def _request(self, job: Job, images: Iterable[Image]) -> dict[str, Any]:
        pictures = [{"path": os.path.abspath(self._root / file.path), "sha256": file.sha256} for _, file in images]
        return with_pictures(job.endpoint, job.request, pictures)

    def _links(self, place: int) -> Iterator[tuple[Link, int]]:
        return zip(self._chains.links[place], self.of(place), strict=True)

    def _images(self, place: int) -> list[Image]:
        record = self.records.get(place)
        return list(enumerate(record.files, 1)) if record else []

    def _image(self, link: Link, parent: int) -> Image | None:
        """Return the image that the link takes from the job at `parent`."""
        images = self._images(parent)
        if not link.pick:
            number = link.variant or 1
            return images[number - 1] if number <= len(images) else None
        read = self._read_marks()
        rated = []
        for number, file in images:
            mark = read.get((link.job, file.sha256, number))
            if mark is not None and mark.mark == "picked":
                rated.append((-(mark.rating or 0), number, file))
        if not rated:
            return None
        _, number, file = min(rated, key=itemgetter(0, 1))
        return number, file

    def _read_marks(self) -> dict[tuple[str, str, int], Mark]:
        try:
            status = os.stat(self._root / marks.NAME)
            version = (status.st_size, status.st_mtime_ns)
        except OSError:
            version = None
        if version != self._marks_read:
            self._marks, self._marks_read = marks.read_marks(self._root), version
        return self._marks
