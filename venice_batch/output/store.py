"""Carries out orders on image files, waiting for the disk."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from venice_batch import portable
from venice_batch.errors import BodyError
from venice_batch.image_format import recognise
from venice_batch.model import ImageFile
from venice_batch.output.atomic_file import NOT_THE_NAME, put
from venice_batch.output.folder import IMAGES, UNRECOGNISED, sync_folder
from venice_batch.output.memory import BUFFER_BYTES
from venice_batch.output.naming import short_name
from venice_batch.output.orders import Done, Drop, NoImage, Place, Taken, Trouble, Unrecognised, Write
from venice_batch.output.plain_files import on_disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from venice_batch.image_format import ImageKind
    from venice_batch.output.orders import Ending, Order

SLICE_BYTES = 64 * 1024
"""Written at a time: what was hashed is still in the processor's cache, and the system need not find large pages."""


@dataclass(slots=True)
class _Part:
    """A temporary file, hashed while it is written."""

    path: str
    file: int = -1
    size: int = 0
    sha256: hashlib._Hash = field(default_factory=hashlib.sha256)

    def write(self, data: memoryview, at: int) -> None:
        if self.file < 0:
            self._open(at)
        for start in range(0, len(data), SLICE_BYTES):
            rest = data[start : start + SLICE_BYTES]
            self._count(rest)
            while rest:
                rest = rest[os.write(self.file, rest) :]

    def take_over(self, size: int | None = None) -> None:
        """Go on with what another process has begun and not ended: its first `size` bytes, or all of them.

        Raises:
            OSError: it is not there, or shorter.
        """
        self.file = portable.open_file(self.path, os.O_RDWR)
        found = os.fstat(self.file).st_size
        size = found if size is None else size
        if found < size:
            raise OSError(errno.EIO, "what was written of an image is gone")
        os.ftruncate(self.file, size)
        while self.size < size:
            self._count(memoryview(os.read(self.file, BUFFER_BYTES)))

    def _open(self, at: int) -> None:
        if at:
            self.take_over(at)
            return
        try:
            self.file = portable.open_file(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            self.take_over(0)

    def _count(self, data: memoryview) -> None:
        self.sha256.update(data)
        self.size += len(data)

    def end(self, *, durable: bool) -> None:
        if self.file >= 0:
            if durable:
                os.fsync(self.file)
            file, self.file = self.file, -1
            os.close(file)

    def kind(self, *, all_came: bool) -> ImageKind | None:
        """What image it is, None if none known here. Raises BodyError: none, or not all of it."""
        if not self.size:
            raise BodyError("0 bytes that are no image")
        # What was written is read again, a few pieces of it: they may be anywhere, and the system still holds them.
        with open(self.path, "rb", buffering=0, opener=_without_following) as file:
            return recognise(cast("BinaryIO", file), self.size, all_came=all_came)


class ImageStore:
    """Files below the folder `images`; the contents of buffer n are what `buffer(n)` gives.

    An image is written to a temporary file in the folder where it will stand, and linked to its name when whole. What
    is none known here gets a name in the folder `unrecognised` beside it.
    What stands there already stays there, unless an order says that it may be replaced: otherwise the new one gets
    `~1`, `~2`, … after its name. A name that the disk refuses gives way to a short one (`short_name`).
    Several threads may carry out orders at the same time, those of one image one at a time. What another process has
    left undone, this one can go on with: the orders tell how far it was. Nothing is raised: an order's ending tells.
    """

    def __init__(self, images: str, buffer: Callable[[int], memoryview]) -> None:
        self._prefix = f"{images}/"
        self._buffer = buffer
        self._parts: dict[str, _Part] = {}

    def carry_out(self, order: Order) -> Ending:
        """Do what `order` asks, or as if it had not been asked."""
        try:
            match order:
                case Write():
                    self._write(order)
                case Place():
                    return self._place(order)
                case Drop():
                    self._drop(order)
        except BodyError as error:
            return NoImage(str(error))
        except _TakenError:
            return Taken()
        except OSError as error:
            return Trouble(error.errno or errno.EIO, error.strerror or str(error))
        return Done()

    def _write(self, order: Write) -> None:
        self._part(order.part).write(self._buffer(order.buffer)[: order.size], order.at)

    def _part(self, name: str) -> _Part:
        part = self._parts.get(name)
        if part is None:
            part = self._parts[name] = _Part(self._prefix + on_disk(name))
        return part

    def _place(self, order: Place) -> Done | Unrecognised:
        if order.write is not None:
            self._write(order.write)
        parts = [self._part(name) for name in order.parts]
        for part in parts:
            if not part.size:
                with contextlib.suppress(FileNotFoundError):  # then it is of no bytes, and so no image
                    part.take_over()
        kinds = [part.kind(all_came=order.all_came) for part in parts]
        for part in parts:
            part.end(durable=order.durable)
        if None in kinds:
            return Unrecognised(self._keep(order, parts, kinds))
        files: list[ImageFile] = []
        try:
            for part, kind, stem in zip(parts, kinds, order.stems, strict=True):
                assert kind is not None  # noqa: S101  (else they are kept elsewhere)
                files.append(self._put(part, kind, stem, order.owned))
        except (OSError, _TakenError):
            # All of a job's images, or none: what has its name already becomes a part again.
            for part, file in zip(parts, files, strict=False):
                os.replace(self._prefix + on_disk(file.path[len(IMAGES) + 1 :]), part.path)
            raise
        if order.durable:
            sync_folder(os.path.dirname(parts[0].path))
        for name in order.parts:
            del self._parts[name]
        return Done(tuple(files))

    def _keep(self, order: Place, parts: list[_Part], kinds: list[ImageKind | None]) -> tuple[str, ...]:
        """Give all parts names in the folder beside the images' one; what this has done already stays done."""
        kept = []
        for part, kind, stem in zip(parts, kinds, order.stems, strict=True):
            name = f"{UNRECOGNISED}/{stem}"
            target = os.path.join(os.path.dirname(self._prefix.rstrip("/")), name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            ending = kind.extension if kind else "bin"
            marks = (f"~{copy}" if copy else "" for copy in itertools.count())
            mark = next(mark for mark in marks if _has_put(part.path, f"{target}{mark}.{ending}"))
            kept.append(f"{name}{mark}.{ending}")
            if order.durable:
                sync_folder(os.path.dirname(target))
        for part_name in order.parts:
            del self._parts[part_name]
        return tuple(kept)

    def _put(self, part: _Part, kind: ImageKind, stem: str, owned: tuple[str, ...] | None) -> ImageFile:
        try:
            return self._put_as(part, kind, stem, owned)
        except OSError as error:
            if error.errno in NOT_THE_NAME:
                raise
            # The disk may take no such name (too long, of letters that it does not know): it is paid for all the same.
            folder, slash, name = stem.rpartition("/")
            try:
                return self._put_as(part, kind, folder + slash + short_name(name), owned)
            except OSError:
                raise error from None

    def _put_as(self, part: _Part, kind: ImageKind, stem: str, owned: tuple[str, ...] | None) -> ImageFile:
        copy = 0
        while True:
            name = f"{stem}{f'~{copy}' if copy else ''}.{kind.extension}"
            target, path = self._prefix + on_disk(name), f"{IMAGES}/{name}"
            if _has_put(part.path, target):
                break
            if owned is None:
                raise _TakenError
            if path in owned and os.path.isfile(target) and not os.path.islink(target):
                os.replace(part.path, target)
                break
            copy += 1
        return ImageFile(path, part.size, part.sha256.hexdigest(), kind.format, kind.width, kind.height)

    def _drop(self, order: Drop) -> None:
        for name in order.parts:
            part = self._part(name)
            del self._parts[name]
            # A disk that is in trouble has told so already; what stays here, the next run removes.
            with contextlib.suppress(OSError):
                part.end(durable=False)
            with contextlib.suppress(OSError):
                os.unlink(part.path)


class _TakenError(Exception):
    """A name is taken, by whom has yet to be looked up."""


def _has_put(part: str, target: str) -> bool:
    """Give `part` the name `target`, or tell that something else has it."""
    try:
        put(part, target)
    except FileExistsError:
        if not os.path.samestat(os.lstat(part), os.lstat(target)):
            return False
        os.unlink(part)  # whoever gave it the second name did not live to remove the first
    return True


def _without_following(path: str, flags: int) -> int:
    return portable.open_file(path, flags)
