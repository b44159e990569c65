"""The temporary file of one image, until the image has its name."""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING, BinaryIO, cast

from venice_batch import portable
from venice_batch.errors import BodyError
from venice_batch.image_format import recognise
from venice_batch.model import ImageFile
from venice_batch.output.atomic_file import NOT_THE_NAME
from venice_batch.output.plain_files import open_plain

if TYPE_CHECKING:
    from venice_batch.image_format import ImageKind

BUFFER_BYTES = 512 * 1024
"""Of an image, read or kept in memory at a time. Most images need one trip to a thread so, not one a chunk."""


class ImagePart:
    """A temporary file, hashed while it is written."""

    __slots__ = ("_file", "path", "sha256", "size_bytes")

    def __init__(self, path: str) -> None:
        self.path = path
        self.size_bytes = 0
        self.sha256 = hashlib.sha256()
        self._file: BinaryIO | None = None

    def write(self, data: bytes | memoryview) -> None:
        if self._file is None:
            self._file = cast("BinaryIO", open(self.path, "x+b", buffering=0))  # noqa: SIM115  (closed later)
        self.sha256.update(data)
        self.size_bytes += len(data)
        rest = memoryview(data)
        while rest:  # a full disk takes what fits and says so when asked for the rest
            rest = rest[self._file.write(rest) :]

    def take(self, image: BinaryIO, path: str) -> None:
        """Become a second name of the open file `image`, which is at `path`; a copy where that cannot be."""
        try:
            portable.link(path, self.path)
            self._file = os.fdopen(open_plain(self.path), "rb", buffering=0)
        except OSError as error:
            if error.errno in NOT_THE_NAME:
                raise
        if self._file is not None and not os.path.samestat(os.fstat(self._file.fileno()), os.fstat(image.fileno())):
            self.remove()
        is_copy = self._file is None
        if is_copy:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
        while data := image.read(BUFFER_BYTES):
            if is_copy:
                self.write(data)
            else:
                self.sha256.update(data)
                self.size_bytes += len(data)

    def kind(self, *, all_came: bool) -> ImageKind | None:
        """Return the image's format and size, None if it is unknown. Raises BodyError: no image, or not all of it."""
        if not self.size_bytes:
            raise BodyError("0 bytes that are no image")
        assert self._file is not None  # noqa: S101  (something was written)
        return recognise(self._file, self.size_bytes, all_came=all_came)

    def image(self, path: str, kind: ImageKind | None) -> ImageFile:
        """Return the image as a record names it under `path`; one of unknown format has no size."""
        sha256 = self.sha256.hexdigest()
        if kind is None:
            return ImageFile(path, self.size_bytes, sha256, "", None, None)
        return ImageFile(path, self.size_bytes, sha256, kind.format, kind.width, kind.height)

    def close(self, *, durable: bool) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with file:
                if durable:
                    os.fsync(file.fileno())

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self.close(durable=False)
        with contextlib.suppress(OSError):
            os.unlink(self.path)
