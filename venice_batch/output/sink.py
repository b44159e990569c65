"""Images to files: whole under their names, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from venice_batch.errors import BodyError
from venice_batch.formats import HEAD_BYTES, TAIL_BYTES, recognise
from venice_batch.model import ImageFile
from venice_batch.names import safe_name
from venice_batch.output.folder import IMAGES, PART_SUFFIX, unusable
from venice_batch.output.placing import put
from venice_batch.output.threads import DiskThreads

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from venice_batch.decode import Piece
    from venice_batch.formats import ImageKind
    from venice_batch.model import Job

BUFFER_BYTES = 512 * 1024
"""What is gathered before a thread is asked to write: most images are written in one go, by one thread."""


class ImageWriter(Protocol):
    """Takes one job's images; ends with `commit` or `discard`, both of which may follow each other."""

    async def write(self, piece: Piece) -> None:
        """Take the next bytes of an image."""
        ...

    async def commit(self) -> tuple[ImageFile, ...]:
        """Put the images under their names and tell what they are, in the order received.

        Raises:
            BodyError: one of them is no image, or not a whole one; nothing was put anywhere.
            FolderError: the folder does not take them.
        """
        ...

    async def discard(self) -> None:
        """Leave no trace of what was written and not committed."""
        ...


class Sink(Protocol):
    """Where images go."""

    def writer(self, job: Job) -> ImageWriter:
        """A writer for one attempt at `job`."""
        ...


class DiskSink:
    """Files below `root`; the event loop never waits for the disk.

    An image is written to a temporary file in the folder where it will stand, hashed on the way, and linked to
    its name when whole. A file that stands there already is replaced only when `replaceable` says that an
    earlier record of the same id owns it; otherwise the new one gets `~1`, `~2`, … after its name. `stem` gives
    the name without extension; folders in it have to be there.
    `durable`: file and folder are on the disk (fsync) before `commit` returns.
    """

    def __init__(
        self,
        root: Path,
        *,
        run_id: str,
        durable: bool = False,
        replaceable: Callable[[str], Collection[str]] = lambda job_id: (),
        stem: Callable[[Job], str] = lambda job: safe_name(job.id),
    ) -> None:
        self.root = root
        self.run_id = run_id
        self.durable = durable
        self.images = f"{root / IMAGES}/"
        self.replaceable = replaceable
        self.stem = stem
        self.threads = DiskThreads()
        self._writers = 0

    def writer(self, job: Job) -> DiskWriter:
        self._writers += 1
        return DiskWriter(self, job, self._writers)


@dataclass(slots=True)
class _Part:
    """One image on its way; all but `waiting` is touched by writer threads only, one at a time."""

    path: str
    waiting: list[bytes] = field(default_factory=list)
    waiting_bytes: int = 0
    file: int = -1
    size: int = 0
    head: bytes = b""
    tail: bytes = b""
    sha256: hashlib._Hash = field(default_factory=hashlib.sha256)
    ended: bool = False

    def take(self, data: bytes) -> None:
        self.waiting.append(data)
        self.waiting_bytes += len(data)

    def flush(self) -> None:
        """Write and hash what waits."""
        # Joined, so that one write and one hash let go of the interpreter's lock, not one a chunk: getting it back
        # from the event loop costs more than the copy.
        data, self.waiting, self.waiting_bytes = b"".join(self.waiting), [], 0
        if self.file < 0:
            self.file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        view = memoryview(data)
        while view:
            view = view[os.write(self.file, view) :]
        self.sha256.update(data)
        self.size += len(data)
        # A small image's head is the image itself, so that nothing is copied; a large one's must not be kept whole.
        self.head = self.head or (data if self.ended else data[:HEAD_BYTES])
        self.tail = (self.tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]

    def close(self) -> None:
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


class DiskWriter:
    """One attempt's images; see `ImageWriter`."""

    def __init__(self, sink: DiskSink, job: Job, number: int) -> None:
        self._sink = sink
        self._job = job
        self._stem = sink.stem(job)
        self._folder = self._stem.rpartition("/")[0]
        self._number = number
        self._parts: list[_Part] = []

    async def write(self, piece: Piece) -> None:
        if piece.image == len(self._parts):
            name = f".{self._sink.run_id}-{self._number}-{piece.image}{PART_SUFFIX}"
            self._parts.append(_Part(f"{self._sink.images}{self._folder}/{name}"))
        part = self._parts[piece.image]
        part.take(piece.data)
        part.ended = piece.last
        if part.waiting_bytes >= BUFFER_BYTES:
            try:
                await self._sink.threads.run(part.flush)
            except OSError as error:
                raise unusable(self._sink.root, error) from error

    async def commit(self) -> tuple[ImageFile, ...]:
        try:
            return await self._sink.threads.run(self._commit)
        except OSError as error:
            raise unusable(self._sink.root, error) from error

    async def discard(self) -> None:
        if self._parts:
            await self._sink.threads.run(self._discard)

    def _commit(self) -> tuple[ImageFile, ...]:
        if not self._parts:
            raise BodyError("the answer holds no image")
        kinds = [self._finish(part) for part in self._parts]
        wanted = self._job.request.get("variants") or 1
        many = len(self._parts) > 1 or wanted > 1
        files: list[ImageFile] = []
        try:
            for number, (part, kind) in enumerate(zip(self._parts, kinds, strict=True), start=1):
                files.append(self._place(part, kind, f"{self._stem}-{number}" if many else self._stem))
        except OSError:
            for file in files:  # all of a job's images, or none
                os.unlink(self._sink.root / file.path)
            raise
        if self._sink.durable:
            _sync_folder(f"{self._sink.images}{self._folder}")
        self._parts = []
        return tuple(files)

    def _finish(self, part: _Part) -> ImageKind:
        part.flush()
        if self._sink.durable:
            os.fsync(part.file)
        part.close()
        kind = recognise(part.head, part.tail, part.size)
        if kind is None or not part.ended:
            raise BodyError(f"{part.size} bytes that are no whole image (they start with {part.head[:12]!r})")
        return kind

    def _place(self, part: _Part, kind: ImageKind, stem: str) -> ImageFile:
        copy = 0
        while True:
            name = f"{stem}{f'~{copy}' if copy else ''}.{kind.extension}"
            target, path = f"{self._sink.images}{name}", f"{IMAGES}/{name}"
            try:
                put(part.path, target)
                break
            except FileExistsError:
                if path in self._sink.replaceable(self._job.id) and not os.path.islink(target):
                    os.replace(part.path, target)
                    break
                copy += 1
        return ImageFile(path, part.size, part.sha256.hexdigest(), kind.format, kind.width, kind.height)

    def _discard(self) -> None:
        parts, self._parts = self._parts, []
        for part in parts:
            # A disk that is in trouble has told so already; what stays here, the next run removes.
            with contextlib.suppress(OSError):
                part.close()
            with contextlib.suppress(OSError):
                os.unlink(part.path)


def _sync_folder(path: str) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
