"""What kind of image some bytes are."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import imagesize

if TYPE_CHECKING:
    from typing import BinaryIO

EXTENSIONS = {"png": "png", "jpeg": "jpg", "webp": "webp", "gif": "gif", "avif": "avif", "heic": "heic"}
HEAD_BYTES = 128 * 1024
"""Enough to find the size: before it a JPEG may have EXIF and XMP of 64 KiB each (ITU-T T.81, B.1.1.4)."""
TAIL_BYTES = 32
_SHORT_BYTES = 512
_MAGIC_BYTES = 12

# ISO/IEC 14496-12 and 23008-12: a file begins with its brands, and a box `ispe` of 20 bytes holds a size. The picture's
# own is the largest: tiles and thumbnails have boxes, too.
_BRANDS_END = 64
_AVIF_BRANDS = (b"avif", b"avis")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_EXTENT = re.compile(rb"\x00\x00\x00\x14ispe\x00\x00\x00\x00(.{4})(.{4})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ImageKind:
    """Format and size in pixels, as the bytes themselves tell."""

    format: str
    width: int
    height: int

    @property
    def extension(self) -> str:
        """The file name's ending, without the dot."""
        return EXTENSIONS[self.format]


def recognise(head: bytes, tail: bytes, size_bytes: int) -> ImageKind | None:
    """The kind of the image that starts with `head` and ends with `tail`; None for no image, or half of one.

    `head` holds at least the first `HEAD_BYTES` (or all), `tail` the last `TAIL_BYTES`. That the image is whole is told
    by each format's own end mark or length (PNG's IEND, JPEG's EOI, RIFF's length), not by decoding it.
    """
    name = _format(head)
    if name is None or not _is_whole(name, head, tail, size_bytes):
        return None
    # Nearly every image has its size at the very beginning: the long head is copied only for the others.
    width, height = _pixels(BytesIO(head[:_SHORT_BYTES]))
    if width <= 0 or height <= 0:
        width, height = _pixels(BytesIO(head[:HEAD_BYTES]))
    if width <= 0 or height <= 0:
        return None
    return ImageKind(name, width, height)


def kind_of(file: BinaryIO) -> ImageKind | None:
    """The kind of the image in `file`, read from its start; None for no image. Whether it is whole is not looked at.

    Cameras write much in front of a picture's size, and some write after its end.
    """
    magic = file.read(_MAGIC_BYTES)
    if magic[4:8] == b"ftyp":
        return _boxed(magic + file.read(HEAD_BYTES))
    name = _format(magic)
    if name is None:
        return None
    file.seek(0)
    width, height = _pixels(file)
    return ImageKind(name, width, height) if width > 0 and height > 0 else None


def _boxed(head: bytes) -> ImageKind | None:
    """The kind of an AVIF or HEIC picture that starts with `head`."""
    end = min(int.from_bytes(head[:4]), _BRANDS_END)
    brands = [head[start : start + 4] for start in (8, *range(16, end, 4))]
    if any(brand in _AVIF_BRANDS for brand in brands):
        name = "avif"
    elif any(brand in _HEIC_BRANDS for brand in brands):
        name = "heic"
    else:
        return None
    sizes = [(int.from_bytes(across), int.from_bytes(down)) for across, down in _EXTENT.findall(head)]
    width, height = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    return ImageKind(name, width, height) if width and height else None


def _pixels(file: BinaryIO) -> tuple[int, int]:
    try:
        width, height = imagesize.get(file)
    except (ValueError, TypeError, struct.error):  # imagesize before 2.0, at headers that are cut
        return -1, -1
    return int(width), int(height)


def _format(head: bytes) -> str | None:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    return None


def _is_whole(name: str, head: bytes, tail: bytes, size_bytes: int) -> bool:
    if name == "png":
        return b"IEND\xaeB`\x82" in tail
    if name == "jpeg":
        return b"\xff\xd9" in tail
    if name == "webp":
        # RIFF chunks are padded to even lengths, and some writers do not count the padding.
        return abs(int.from_bytes(head[4:8], "little") + 8 - size_bytes) <= 1
    return tail.endswith(b";")
