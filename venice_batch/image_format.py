"""Recognise images by their bytes: format, size in pixels, and whether the end is there."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from venice_batch.errors import BodyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO


EXTENSIONS = {
    "png": "png",
    "jpeg": "jpg",
    "webp": "webp",
    "gif": "gif",
    "avif": "avif",
    "heic": "heic",
    "jxl": "jxl",
    "bmp": "bmp",
    "tiff": "tif",
}
HEAD_BYTES = 128 * 1024
"""How much of an AVIF or HEIC image is searched for its size; most have their description in front."""
START_BYTES = 512
"""Enough to tell a format from text; nearly every image has its size in these bytes too."""
_TAIL_BYTES = 32
_BLOCK_BYTES = 256 * 1024
_MOST_STEPS = 200_000
"""An image with more parts than this was made to waste time."""

# ISO/IEC 14496-12 and 23008-12: a file begins with its brands, and a box `ispe` of 20 bytes holds a size. The
# largest one is the picture's: tiles and thumbnails have such boxes too.
_BRANDS_END = 64
_AVIF_BRANDS = (b"avif", b"avis")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_EXTENT = re.compile(rb"\x00\x00\x00\x14ispe\x00\x00\x00\x00(.{4})(.{4})", re.DOTALL)
_BOXES = frozenset(
    (b"ftyp", b"meta", b"mdat", b"moov", b"mini", b"free", b"skip", b"wide", b"uuid", b"etyp", b"grpl", b"moof",
     b"mfra", b"sidx", b"jumb", b"JXL ", b"jxlc", b"jxlp", b"jxll", b"jxli", b"jbrd", b"brob", b"Exif", b"xml ")
)  # fmt: skip
_JXL_BOXES = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_WHITE = b"\t\n\f\r\x1b"


@dataclass(frozen=True, slots=True)
class ImageKind:
    """An image's format and size in pixels according to its bytes; None for a size that cannot be read."""

    format: str
    width: int | None
    height: int | None

    @property
    def extension(self) -> str:
        """Return the file name's ending, without the dot."""
        return EXTENSIONS[self.format]


def recognise(file: BinaryIO, size_bytes: int, *, all_came: bool = True) -> ImageKind | None:
    """Return the kind of the image that `file` holds or begins with; None for bytes of an unknown kind.

    Finds the end by the format's structure, without decoding the image. Accepts bytes behind the end and a size that
    cannot be read.

    Args:
        file: the bytes, from position 0.
        size_bytes: how many there are.
        all_came: HTTP confirmed that everything sent has arrived. If not, an image whose end cannot be found is None.

    Raises:
        BodyError: the image is cut short, the bytes are text, or they are unknown and may be cut short.
    """
    start = _read(file, 0, START_BYTES)
    name = format_of(start)
    if name is None:
        if is_text(start) or not all_came:
            raise BodyError(f"{size_bytes} bytes that are no image")
        return None
    ends = _ENDS[name](file, size_bytes)
    if ends is False:
        raise BodyError(f"{size_bytes} bytes of an image ({name}) that goes on; the rest is missing")
    if ends is None and not all_came:
        return None
    width, height = _size(name, file, start)
    return ImageKind(name, width, height)


def kind_of(file: BinaryIO) -> ImageKind | None:
    """Return the kind of the image that `file` begins with, whole or not; None if it is not an image with a size.

    Reads as far as needed: cameras write a lot in front of a picture's size, and some write after its end.
    """
    start = _read(file, 0, START_BYTES)
    name = format_of(start)
    if name is None:
        return None
    width, height = _size(name, file, start)
    return ImageKind(name, width, height) if width and height else None


def format_of(start: bytes) -> str | None:
    """Return the format of the image that begins with `start` (its first `START_BYTES` or all of it), or None."""
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if start.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp"
    if start[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if start[4:8] == b"ftyp":
        return _of_brands(start)
    if start.startswith((b"\xff\x0a", _JXL_BOXES)):
        return "jxl"
    if start[:2] == b"BM" and start[6:10] == bytes(4) and int.from_bytes(start[14:18], "little") in _BMP_HEADERS:
        return "bmp"
    if start[:4] in (b"II*\0", b"MM\0*"):
        return "tiff"
    return None


def is_text(start: bytes, *, encoded: bool = True) -> bool:
    """Return whether a body that begins with `start` is text, such as a web page or a message; SVG does not count.

    `encoded`: only UTF-8 counts. Otherwise every encoding without control characters does.
    """
    if any(char < 32 and char not in _WHITE for char in start) or b"<svg" in start:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return not encoded
    return True


def _of_brands(start: bytes) -> str | None:
    end = min(int.from_bytes(start[:4]), _BRANDS_END)
    brands = [start[at : at + 4] for at in (8, *range(16, end, 4))]
    if any(brand in _AVIF_BRANDS for brand in brands):
        return "avif"
    return "heic" if any(brand in _HEIC_BRANDS for brand in brands) else None


def _size(name: str, file: BinaryIO, start: bytes) -> tuple[int | None, int | None]:
    if name in ("avif", "heic"):
        found = _EXTENT.findall(_read(file, 0, HEAD_BYTES))
        sizes = [(int.from_bytes(across), int.from_bytes(down)) for across, down in found]
        width, height = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    else:
        width, height = _pixels(BytesIO(start))
        if width <= 0 or height <= 0:
            file.seek(0)
            width, height = _pixels(file)
    return (width, height) if width > 0 and height > 0 else (None, None)


def _pixels(file: BinaryIO) -> tuple[int, int]:
    import imagesize  # late: it imports a network client, which most commands do not need

    try:
        width, height = imagesize.get(file)
        return int(width), int(height)
    except OSError:
        raise
    except Exception:  # noqa: BLE001  (it raises anything on odd bytes; the image is kept all the same)
        return -1, -1


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


# Each of these returns whether the image at the start of `file` ends within the first `size` bytes: False if it goes
# on, None if that cannot be found out. Once the pixels have begun, an end mark in the last bytes belongs to the image
# itself; before that it may belong to a thumbnail.


def _png_ends(file: BinaryIO, size: int) -> bool | None:
    at, pixels = 8, False
    for _ in range(_MOST_STEPS):
        head = _read(file, at, 8) if at + 12 <= size else b""
        if not head:
            return False
        at += 12 + int.from_bytes(head[:4])
        if head[4:] == b"IEND":
            return at <= size
        if head[4:] == b"IDAT" and not pixels:
            pixels = True
            if at <= size and b"IEND\xaeB`\x82" in _read(file, max(at, size - _TAIL_BYTES), _TAIL_BYTES):
                return True
    return None


def _jpeg_ends(file: BinaryIO, size: int) -> bool | None:
    at = 2
    for _ in range(_MOST_STEPS):
        head = _read(file, at, 4) if at + 4 <= size else b""
        if not head or head[:2] == b"\xff\xd9":
            return False
        if head[0] != 0xFF:
            return None
        if head[1] == 0xFF:  # padding
            at += 1
            continue
        at += 2 if head[1] == 1 or 0xD0 <= head[1] <= 0xD7 else 2 + int.from_bytes(head[2:])
        if head[1] == 0xDA:
            break
    return _has(file, b"\xff\xd9", max(at, size - _TAIL_BYTES), size) or _has(file, b"\xff\xd9", at, size)


def _has(file: BinaryIO, mark: bytes, at: int, size: int) -> bool:
    # Blocks overlap, so that a mark across two of them is found.
    return any(mark in _read(file, start, _BLOCK_BYTES + len(mark) - 1) for start in range(at, size, _BLOCK_BYTES))


def _webp_ends(file: BinaryIO, size: int) -> bool | None:
    end = int.from_bytes(_read(file, 4, 4), "little") + 8
    if end > size:
        return False
    at, pixels = 12, False
    for _ in range(_MOST_STEPS):
        head = _read(file, at, 8) if at + 8 <= min(end, size) else b""
        if not head:
            return pixels
        length = int.from_bytes(head[4:], "little")
        if at + 8 + length > size:
            return False  # some writers leave out the padding of the last chunk, but never more than that
        pixels = pixels or head[:4] in (b"VP8 ", b"VP8L", b"ANMF")
        at += 8 + length + length % 2
    return None


def _gif_ends(file: BinaryIO, size: int) -> bool | None:
    packed = _read(file, 10, 1)
    at, frames = 13 + _table_bytes(packed), 0
    steps = iter(range(_MOST_STEPS))
    for _ in steps:
        head = _read(file, at, 10)
        if head[:1] == b";":
            return True
        if head[:1] == b"!":
            at += 2
        elif head[:1] == b",":
            at += 11 + _table_bytes(head[9:])
            frames += 1
        else:
            # The end mark of the file may be missing if the last picture has its own.
            return None if frames and at >= size else False
        for _ in steps:
            length = _read(file, at, 1)
            if not length:
                return False
            at += 1 + length[0]
            if not length[0]:
                break
    return None


def _table_bytes(packed: bytes) -> int:
    """Return the length of the colour table that a GIF's `packed` byte announces."""
    return 3 << ((packed[0] & 7) + 1) if packed and packed[0] & 0x80 else 0


def _boxes_end(file: BinaryIO, size: int) -> bool | None:
    at, seen, inside = 0, set[bytes](), False
    for _ in range(_MOST_STEPS):
        done = b"mini" in seen or b"jxlc" in seen or b"last jxlp" in seen
        if done or (b"mdat" in seen and (b"meta" in seen or b"moov" in seen)):
            return True
        head = _read(file, at, 20)
        kind, length = head[4:8], int.from_bytes(head[:4])
        if at + 8 > size:
            return None if inside and at == size else False
        if length == 1:
            length = int.from_bytes(head[8:16])
        if kind not in _BOXES or length < 8:  # no more boxes, or one without a length, which goes on to the end
            return None
        if at + length > size:
            return False
        if kind == b"jxlp" and head[8] & 0x80:
            kind = b"last jxlp"
        if kind == b"meta" and b"idat" in _read(file, at, min(length, HEAD_BYTES)):
            inside = True  # a small picture, or only the composition of others
        seen.add(kind)
        at += length
    return None


def _bmp_ends(file: BinaryIO, size: int) -> bool | None:
    announced = int.from_bytes(_read(file, 2, 4), "little")
    return announced <= size if announced else None


def _unknown(file: BinaryIO, size: int) -> bool | None:
    return None


def _jxl_ends(file: BinaryIO, size: int) -> bool | None:
    return _boxes_end(file, size) if _read(file, 0, 2) == _JXL_BOXES[:2] else None


_ENDS: dict[str, Callable[[BinaryIO, int], bool | None]] = {
    "png": _png_ends,
    "jpeg": _jpeg_ends,
    "webp": _webp_ends,
    "gif": _gif_ends,
    "avif": _boxes_end,
    "heic": _boxes_end,
    "jxl": _jxl_ends,
    "bmp": _bmp_ends,
    "tiff": _unknown,
}
