"""Images on their way to disk: one temporary file each, put in place when whole."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from venice_batch.errors import BodyError, FolderError, UnrecognisedError
from venice_batch.model import Flags, ImageFile, Purchase, Sent
from venice_batch.output.atomic_file import NOT_THE_NAME, put
from venice_batch.output.disk import Disk
from venice_batch.output.folder import IMAGES, PART_SUFFIX, UNRECOGNISED, sync_folder, unusable
from venice_batch.output.image_part import BUFFER_BYTES, ImagePart
from venice_batch.output.naming import safe_name, short_name
from venice_batch.output.plain_files import NoPlainFileError, PlainFiles, on_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from venice_batch.api.answers import Answer
    from venice_batch.api.decode import Piece
    from venice_batch.image_format import ImageKind
    from venice_batch.model import Job

Result = TypeVar("Result")

UNKNOWN = "bin"
"""The extension of a body in an unknown format."""


class Wanted(msgspec.Struct, frozen=True):
    """The images that an attempt is to bring: how many, for which job, and the name that they get.

    `keep`: other jobs of the run will read them. `sent`: what a store may note beside them; None: nothing.
    """

    id: str
    request_hash: str
    stem: str
    count: int
    keep: bool = False
    sent: Sent | None = None


class ImageStore(Protocol):
    """Gives whole temporary files their names: in the output folder itself, or in a bucket. Its calls wait.

    An image's `path` is relative to the output folder. The calls raise OSError or FolderError, and have changed nothing
    then.
    """

    def put(self, part: str, image: ImageFile, *, keep: bool, purchase: Purchase | None = None) -> bool:
        """Give the file `part` the name `image.path`; return False if something else has it.

        `keep` asks for a copy in the local folder, because other jobs will read the image there. `purchase` is stored
        with the image where the store can do that.
        """
        ...

    def replace(self, part: str, image: ImageFile, *, keep: bool, purchase: Purchase | None = None) -> bool:
        """Replace the earlier image of this name by `part`; return False if no plain file has the name any more."""
        ...

    def take_back(self, part: str, image: ImageFile) -> None:
        """Undo a `put` or `replace` if possible.

        Nothing has the name then; the image is at `part` again, or kept elsewhere.
        """
        ...

    def set_aside(self, part: str, image: ImageFile) -> None:
        """Keep an image elsewhere if possible, because the `put` of another one of its job has failed."""
        ...


class LocalImages:
    """An `ImageStore` in the folder `root`: temporary files are linked to their names, or renamed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, part: str, image: ImageFile, *, keep: bool, purchase: Purchase | None = None) -> bool:
        target = self._target(image)
        if not image.path.startswith(f"{IMAGES}/"):
            os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            put(part, target)
        except FileExistsError:
            return False
        return True

    def replace(self, part: str, image: ImageFile, *, keep: bool, purchase: Purchase | None = None) -> bool:
        target = self._target(image)
        if not os.path.isfile(target) or os.path.islink(target):
            return False
        os.replace(part, target)
        return True

    def take_back(self, part: str, image: ImageFile) -> None:
        os.replace(self._target(image), part)

    def set_aside(self, part: str, image: ImageFile) -> None:
        """Do nothing: the disk that refused the other image is the only one there is."""

    def _target(self, image: ImageFile) -> str:
        return f"{self._root}/{on_disk(image.path)}"


class ImageFolder:
    """The images of one output folder.

    An image is written to a temporary file in the folder where it will stand, hashed on the way, and given its name by
    the store when whole. A file that stands there already is replaced only if `replaceable` lists it for the job's id:
    an earlier record of that id owns it. Otherwise the new image gets `~1`, `~2`, … after its name. A name that the
    disk refuses gives way to a short one (`short_name`). Bytes of unknown format are kept in the folder `unrecognised`.

    Parameters:
        root: the output folder; folders that `stem` names exist below its `images`.
        prefix: begins the names of temporary files. No two writers of images in one folder may share it.
        durable: files and folders are on the disk (fsync) before `commit` returns.
        replaceable: the paths that a new image of this job id may replace; called in a thread, when a name is taken.
            None for a folder without earlier records.
        stem: an image's name without its extension.
        store: where images get their names; None: in `root`.
        keeps: says of a job's id whether other jobs of the run will read its images.
    """

    def __init__(
        self,
        root: Path,
        *,
        prefix: str,
        disk: Disk | None = None,
        durable: bool = False,
        replaceable: Callable[[str], Collection[str]] | None = None,
        stem: Callable[[Job], str] = lambda job: safe_name(job.id),
        store: ImageStore | None = None,
        keeps: Callable[[str], bool] = lambda job_id: False,
    ) -> None:
        self.root = root
        self.prefix = prefix
        self.disk = disk or Disk()
        self.durable = durable
        self.replaceable = replaceable
        self.stem = stem
        self.store = store or LocalImages(root)
        self.keeps = keeps
        self.numbers = itertools.count(1)

    def owned_by(self, job_id: str) -> Collection[str]:
        """Return the paths that a new image of the job may replace. Waits for the disk."""
        return self.replaceable(job_id) if self.replaceable is not None else ()

    def writer(self, job: Job, sent: Sent | None = None) -> JobImages:
        """Return a writer for the images of one attempt at `job`; see `Wanted` for `sent`."""
        return JobImages(self, self.wanted(job, sent), lambda: self.owned_by(job.id))

    def wanted(self, job: Job, sent: Sent | None = None) -> Wanted:
        """Return which images an attempt at `job` is to bring."""
        return Wanted(job.id, job.request_hash, self.stem(job), job.images, self.keeps(job.id), sent)


class JobImages:
    """The images of one attempt (an `ImageWriter`).

    Ends with `commit`, `discard`, or both; `discard` after `commit` keeps the images.
    """

    def __init__(self, folder: ImageFolder, wanted: Wanted, replaceable: Callable[[], Collection[str]]) -> None:
        """Prepare to take the images that are `wanted`; `replaceable` returns the paths that they may replace."""
        self._folder = folder
        self._wanted = wanted
        self._replaceable = replaceable
        self._answer: Answer | None = None
        self._number = next(folder.numbers)
        self._parts: list[ImagePart] = []
        self._unwritten: list[tuple[ImagePart, bytes | memoryview]] = []
        self._unwritten_bytes = 0
        self._ended = True
        self._touched = False

    async def write(self, piece: Piece) -> None:
        """Take the next bytes of an image; they reach the disk when `BUFFER_BYTES` have gathered.

        Raises:
            FolderError: the folder does not take them.
        """
        if piece.image == len(self._parts):
            self._parts.append(self._new_part())
        self._ended = piece.last
        if piece.data:
            self._unwritten.append((self._parts[-1], piece.data))
            self._unwritten_bytes += len(piece.data)
            if self._unwritten_bytes >= BUFFER_BYTES:
                await self._run(self._write)

    async def commit(self, *, all_came: bool = True, answer: Answer | None = None) -> tuple[ImageFile, ...]:
        """Put all images under their names, or none; return them in the order received.

        `all_came`: the server has said that the body is complete. If not, each image must hold its own end. `answer` is
        the one that they came with.

        Raises:
            BodyError: there is no image, or one is incomplete; nothing was put anywhere.
            UnrecognisedError: one of them has no known format; all are kept, none among the images.
            FolderError: the folder does not take them.
        """
        if not self._parts:
            raise BodyError("the answer holds no image")
        if not self._ended:
            raise BodyError("the answer ends before its image does")
        self._answer = answer
        files = await self._run(lambda: self._place(all_came=all_came))
        self._parts = []
        return files

    async def adopt(self, root: Path, files: Sequence[ImageFile]) -> tuple[ImageFile, ...]:
        """Give whole images of the folder `root` this job's names; return them as they are here.

        They become hard links where the system can link, else copies. Every content is compared with its hash.

        Raises:
            BodyError: one of them is not there as recorded, or is no image; nothing was put anywhere.
            FolderError: this folder does not take them.
        """
        adopted = await self._run(lambda: self._adopt(root, files))
        self._parts = []
        return adopted

    async def discard(self) -> None:
        """Remove everything that was written and not committed."""
        parts, self._parts, self._unwritten = self._parts, [], []
        if parts and self._touched:
            with contextlib.suppress(OSError):  # a disk in trouble has been reported; the next run removes the rest
                await self._folder.disk.run(lambda: _remove(parts))

    def _new_part(self) -> ImagePart:
        folder, slash, _ = self._wanted.stem.rpartition("/")
        name = f"{folder}{slash}.{self._folder.prefix}-{self._number}-{len(self._parts)}{PART_SUFFIX}"
        return ImagePart(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._folder.root}/{IMAGES}/{on_disk(name)}"

    async def _run(self, call: Callable[[], Result]) -> Result:
        self._touched = True
        try:
            return await self._folder.disk.run(call)
        except OSError as error:
            raise unusable(self._folder.root, error) from error

    # What follows runs in a thread.

    def _write(self) -> None:
        unwritten, self._unwritten, self._unwritten_bytes = self._unwritten, [], 0
        for part, data in unwritten:
            part.write(data)

    def _place(self, *, all_came: bool) -> tuple[ImageFile, ...]:
        self._write()
        kinds = [part.kind(all_came=all_came) for part in self._parts]
        for part in self._parts:
            part.close(durable=self._folder.durable)
        many, stem = len(kinds) > 1 or self._wanted.count > 1, self._wanted.stem
        stems = [f"{stem}-{number}" if many else stem for number in range(1, len(kinds) + 1)]
        files: list[ImageFile] = []
        store, put, place = self._folder.store, self._put, IMAGES
        if None in kinds:
            put, place = self._keep, UNRECOGNISED
        try:
            for part, kind, stem in zip(self._parts, kinds, stems, strict=True):
                files.append(put(part, kind, stem, len(files) + 1))
        except (OSError, FolderError):
            for part, kind, stem in list(zip(self._parts, kinds, stems, strict=True))[len(files) + 1 :]:
                store.set_aside(part.path, part.image(f"{place}/{stem}.{kind.extension if kind else UNKNOWN}", kind))
            if place is IMAGES:
                # All of a job's images, or none: those that have their names already lose them again.
                for part, file in zip(self._parts, files, strict=False):
                    store.take_back(part.path, file)
            raise
        if place is UNRECOGNISED:
            raise UnrecognisedError(tuple(file.path for file in files))
        if self._folder.durable:
            sync_folder(os.path.dirname(self._parts[0].path))
        return tuple(files)

    def _adopt(self, root: Path, files: Sequence[ImageFile]) -> tuple[ImageFile, ...]:
        plain = PlainFiles(root)
        for file in files:
            try:
                image = plain.open(file.path)
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, NoPlainFileError) else "is no longer there"
                raise BodyError(f"{file.path} {why}") from error
            part = self._new_part()
            self._parts.append(part)
            with image:
                part.take(image, f"{root}/{on_disk(file.path)}")
            if (part.size_bytes, part.sha256.hexdigest()) != (file.bytes, file.sha256):
                raise BodyError(f"{file.path} has changed since it was made")
            if part.kind(all_came=True) is None:
                raise BodyError(f"{file.path} is no image")
        return self._place(all_came=True)

    def _keep(self, part: ImagePart, kind: ImageKind | None, stem: str, number: int) -> ImageFile:
        """Put an image into the folder beside `images`."""
        extension = kind.extension if kind else UNKNOWN
        copies = (f"~{copy}" if copy else "" for copy in itertools.count())
        files = (part.image(f"{UNRECOGNISED}/{stem}{mark}.{extension}", kind) for mark in copies)
        file = next(file for file in files if self._folder.store.put(part.path, file, keep=False))
        if self._folder.durable:
            sync_folder(os.path.dirname(f"{self._folder.root}/{on_disk(file.path)}"))
        return file

    def _put(self, part: ImagePart, kind: ImageKind | None, stem: str, number: int) -> ImageFile:
        assert kind is not None  # noqa: S101  (else all are kept elsewhere)
        try:
            return self._put_as(part, kind, stem, number)
        except OSError as error:
            if error.errno in NOT_THE_NAME:
                raise
            # The disk may refuse this very name (too long, letters that it does not know). The image is paid for.
            folder, slash, name = stem.rpartition("/")
            try:
                return self._put_as(part, kind, folder + slash + short_name(name), number)
            except OSError:
                raise error from None

    def _put_as(self, part: ImagePart, kind: ImageKind, stem: str, number: int) -> ImageFile:
        store, keep = self._folder.store, self._wanted.keep
        owned: Collection[str] | None = None
        for copy in itertools.count():
            file = part.image(f"{IMAGES}/{stem}{f'~{copy}' if copy else ''}.{kind.extension}", kind)
            purchase = self._purchase(file, number)
            if store.put(part.path, file, keep=keep, purchase=purchase):
                break
            if owned is None:
                owned = self._replaceable()
            if file.path in owned and store.replace(part.path, file, keep=keep, purchase=purchase):
                break
        return file

    def _purchase(self, file: ImageFile, number: int) -> Purchase | None:
        """Return what is known of the purchase of the answer's image `number`; None if nothing is to be noted."""
        answer, wanted = self._answer, self._wanted
        if answer is None or wanted.sent is None:
            return None
        head, count = answer.headers, len(self._parts)
        flags = Flags(blurred=head.blurred, deprecated=head.deprecated, enhanced_prompt=head.enhanced_prompt)
        took_s = round(max(0.0, answer.received_s - answer.sent_s), 6)
        return Purchase(
            wanted.id,
            wanted.request_hash,
            file,
            wanted.sent,
            number,
            count,
            took_s,
            ray=head.ray,
            flags=flags,
            sandbox=head.sandbox,
        )


def _remove(parts: list[ImagePart]) -> None:
    for part in parts:
        part.remove()
