"""The images of a live page: read from the folder without following links, with thumbnails made as they are needed."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from venice_batch.errors import FolderError
from venice_batch.gallery.thumbnails import missing_thumbnails, thumbnail
from venice_batch.image_format import START_BYTES, format_of
from venice_batch.output.plain_files import PlainFiles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import BinaryIO

    from venice_batch.view.live import LiveFolder

UNKNOWN_TYPE = "application/octet-stream"

_PORTION_BYTES = 256 * 1024


@dataclass(slots=True)
class OpenImage:
    """An image that is being read; close it. `type` follows from its bytes, whatever its name and record say."""

    file: BinaryIO
    size_bytes: int
    tag: str
    type: str

    async def portions(self) -> AsyncIterator[bytes]:
        """Yield the bytes that it had when it was opened, or fewer if it has shrunk."""
        left = self.size_bytes
        while left > 0 and (data := await asyncio.to_thread(self.file.read, min(left, _PORTION_BYTES))):
            left -= len(data)
            yield data

    def close(self) -> None:
        self.file.close()


class Images:
    """Reads images of `folder`, and makes thumbnails in threads of its own; close it."""

    def __init__(self, root: Path, folder: LiveFolder) -> None:
        self._root = root
        self._folder = folder
        self._plain = PlainFiles(root)
        self._threads = ThreadPoolExecutor(os.cpu_count(), "thumbnails")
        self._under_way: dict[str, asyncio.Future[bytes | None]] = {}
        self._tried: set[str] = set()

    def close(self) -> None:
        """Drop the thumbnails that have not been begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def open(self, path: str) -> OpenImage | None:
        """Open the image that a record calls `path`; None if it is not a plain file of the folder."""
        return await asyncio.to_thread(self._open, path)

    def _open(self, path: str) -> OpenImage | None:
        try:
            file = self._plain.open(path)
        except (OSError, FolderError):  # or its original cannot be reached, if the folder is a copy
            return None
        try:
            state = os.fstat(file.fileno())
            kind = format_of(file.read(START_BYTES))
            file.seek(0)
        except OSError:
            file.close()
            return None
        return OpenImage(file, state.st_size, f'"{state.st_mtime_ns:x}-{state.st_size:x}"', _type(kind))

    async def thumbnail(self, name: str) -> bytes | None:
        """Return the thumbnail of this name, which may be made first; None if there is none, or its image is broken."""
        image = self._folder.thumbnail_of(name)
        if image is None:
            return None
        making = self._under_way.get(name)
        if making is None:
            making = asyncio.get_running_loop().run_in_executor(self._threads, thumbnail, self._root, image)
            self._under_way[name] = making
            making.add_done_callback(lambda _: self._under_way.pop(name, None))
        return await asyncio.shield(making)  # others may wait for it too

    async def make_missing(self) -> None:
        """Make the thumbnails that are missing, one after the other, so that the page finds them there."""
        names = [name for name in self._folder.thumbnails() if name not in self._tried]
        self._tried.update(names)
        for name in await asyncio.to_thread(missing_thumbnails, self._root, names):
            while self._under_way:  # the page waits for those
                await asyncio.wait(self._under_way.values())
            await self.thumbnail(name)


def _type(kind: str | None) -> str:
    return f"image/{kind}" if kind else UNKNOWN_TYPE
