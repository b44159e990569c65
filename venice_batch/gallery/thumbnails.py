"""Small copies of images, made once and kept beside them."""

from __future__ import annotations

import contextlib
import io
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from venice_batch.errors import FolderError
from venice_batch.output.atomic_file import whole_file
from venice_batch.output.folder import unusable
from venice_batch.output.plain_files import PlainFiles
from venice_batch.output.prune import DELETED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from venice_batch.model import ImageFile

FOLDER = "thumbnails"
"""The thumbnails' folder in an output folder."""

BOX = (512, 256)
"""Largest width and height in pixels: rows of the page are about 200 high, so a little soft on dense screens."""
SMALL_BYTES = 24_000
"""An image no larger than this gets no thumbnail, which would save little."""
MOST_PIXELS = 64_000_000
"""Largest image that gets a thumbnail, so that a thread takes at most about 250 MB."""

_LARGEST_BYTES = 1 << 20
"""Largest file that is taken for a thumbnail."""

_QUALITY = 80
_OURS = re.compile(r"[0-9a-f]{32}\.webp|\.[0-9a-f]{32}\.webp\.[0-9a-f]{8}\.part")
"""Names of thumbnails, and of the parts that a killed run leaves of them. Other files are left alone."""


def thumbnail_name(file: ImageFile) -> str | None:
    """Return the name of an image's thumbnail within its folder; None if the image gets none.

    The name comes from the image's hash, so that a thumbnail that exists is the right one.
    """
    if file.pruned == DELETED:
        return None
    # Scaling an image of unknown size could take all memory.
    if file.bytes <= SMALL_BYTES or not 0 < (file.width or 0) * (file.height or 0) <= MOST_PIXELS:
        return None
    return f"{file.sha256[:32]}.webp" if re.fullmatch("[0-9a-f]{64}", file.sha256) else None


def make_thumbnails(
    root: Path, files: Iterable[ImageFile], *, on_progress: Callable[[int, int], None] = lambda made, of: None
) -> frozenset[str]:
    """Make the thumbnails of `files` that are missing in `root`, remove those of other images.

    Returns the names of the thumbnails that exist now. Each appears whole or not at all. An image that cannot be read
    gets none. `on_progress` is called in this thread with the number made so far and the number to make.

    Raises:
        FolderError: the thumbnails cannot be written, or their folder is a link.
    """
    folder = root / FOLDER
    wanted = {name: file.path for file in files if (name := thumbnail_name(file)) is not None}
    try:
        folder.mkdir(exist_ok=True)
        if folder.is_symlink():
            raise FolderError(folder, "is a link, which is not followed; remove it, then make the gallery again")
        with os.scandir(folder) as entries:
            there = {entry.name for entry in entries if entry.is_file(follow_symlinks=False)}
        for name in there - wanted.keys():
            if _OURS.fullmatch(name):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(folder / name)
        missing = [name for name in wanted if name not in there]
        broken = set()
        # Pillow releases the interpreter's lock while it decodes, scales and encodes.
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            plain = PlainFiles(root)
            made = threads.map(lambda name: _make(plain, wanted[name], folder / name), missing)
            try:
                for number, (name, is_made) in enumerate(zip(missing, made, strict=True), start=1):
                    if not is_made:
                        broken.add(name)
                    on_progress(number, len(missing))
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait for all of the others
                raise
    except OSError as error:
        raise unusable(folder, error) from error
    return frozenset(wanted.keys() - broken)


def thumbnail(root: Path, file: ImageFile) -> bytes | None:
    """Return the thumbnail of an image in `root`; make it, and keep it there, if it is missing.

    Where it cannot be kept, it is made each time. None if the image gets none or cannot be read.
    """
    name = thumbnail_name(file)
    if name is None:
        return None
    plain, folder = PlainFiles(root), root / FOLDER
    try:
        with contextlib.suppress(OSError):
            with plain.open(f"{FOLDER}/{name}") as kept:
                data = kept.read(_LARGEST_BYTES + 1)
            return data if len(data) <= _LARGEST_BYTES else None
        made = _small(plain, file.path)
    except FolderError:  # the folder is a copy, and its original cannot be reached
        return None
    if made is not None:
        with contextlib.suppress(OSError, FolderError):
            folder.mkdir(exist_ok=True)
            if not folder.is_symlink():
                _write(folder / name, made)
    return made


def missing_thumbnails(root: Path, names: Iterable[str]) -> list[str]:
    """Return those of `names` that are not in the folder of thumbnails."""
    try:
        with os.scandir(root / FOLDER) as entries:
            there = {entry.name for entry in entries}
    except OSError:
        there = set()
    return [name for name in names if name not in there]


def _make(plain: PlainFiles, image: str, thumbnail: Path) -> bool:
    data = _small(plain, image)
    if data is not None:
        _write(thumbnail, data)
    return data is not None


def _write(path: Path, data: bytes) -> None:
    with whole_file(path, follow=False, tidy=False) as file:  # `make_thumbnails` tidies the folder
        file.write(data)


def _small(plain: PlainFiles, path: str) -> bytes | None:
    from PIL import Image

    try:
        with plain.open(path) as opened, Image.open(opened, formats=("PNG", "JPEG", "WEBP", "GIF")) as image:
            if image.width * image.height > MOST_PIXELS:
                return None  # the record gave another size
            image.draft("RGB", BOX)
            image.thumbnail(BOX)
            # WebP has no palettes, no CMYK and no 16 bits a channel.
            small = image if image.mode in ("RGB", "RGBA") else image.convert("RGBA" if _has_alpha(image) else "RGB")
            data = io.BytesIO()
            small.save(data, "WEBP", quality=_QUALITY, method=2)
            return data.getvalue()
    except FolderError:
        raise
    except Exception:  # noqa: BLE001 - a decoder may raise anything on a damaged image; the page shows the image itself
        return None


def _has_alpha(image: object) -> bool:
    return bool(getattr(image, "has_transparency_data", False))
