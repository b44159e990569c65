"""Images as PNG, without a change of a pixel: one by one, or several as a grid."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

from venice_batch.errors import VeniceBatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

MOST_PIXELS = 100_000_000
"""Pixels of an image or a grid; larger ones are not decoded."""

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP", "TIFF")
_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
"""Pillow's modes that PNG has too."""

_COMPRESSION = 3
"""zlib's level: at least twice as fast as the usual 6, and the files are about as large."""


class UndecodableError(VeniceBatchError):
    """An image cannot be decoded, or is too large."""


class UnlikeError(UndecodableError):
    """The images of a grid differ in size."""


class Grid(NamedTuple):
    """A grid as PNG, with the size of its cells."""

    png: bytes
    width: int
    height: int


def as_png(data: bytes) -> bytes:
    """Return an image as PNG with the same pixels, colour profile and EXIF data.

    An image of colours that PNG does not have, as in print, becomes RGB.

    Raises:
        UndecodableError: it is no image that can be decoded.
    """
    image = _decoded(data)
    kept = {name: value for name in ("icc_profile", "exif") if (value := image.info.get(name))}
    if image.mode not in _MODES:
        image = image.convert("RGB")
        for of_other_colours in (kept, image.info):
            of_other_colours.pop("icc_profile", None)
    return _encoded(image, **kept)


def grid(images: Sequence[bytes], columns: int = 2) -> Grid:
    """Return images as one PNG, row by row; a cell without an image is black, and transparency is dropped.

    Raises:
        UndecodableError: one cannot be decoded.
        UnlikeError: their sizes differ.
    """
    cells = [_decoded(data).convert("RGB") for data in images]
    width, height = cells[0].size
    if any(cell.size != (width, height) for cell in cells):
        raise UnlikeError("the images of the grid differ in size")
    from PIL import Image

    columns = min(columns, len(cells))
    whole = Image.new("RGB", (width * columns, height * -(-len(cells) // columns)))
    for number, cell in enumerate(cells):
        whole.paste(cell, (number % columns * width, number // columns * height))
    return Grid(_encoded(whole), width, height)


def _decoded(data: bytes) -> Image:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise UndecodableError(f"the image has more than {MOST_PIXELS:,} pixels")
            image.load()
            return image
    except UndecodableError:
        raise
    except Exception as error:  # a decoder may raise anything on a damaged image
        raise UndecodableError("the image cannot be decoded") from error


def _encoded(image: Image, **kept: bytes) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=_COMPRESSION, **kept)
    return out.getvalue()
