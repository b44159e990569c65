"""Open input images, and draw edited ones as files."""

from __future__ import annotations

import colorsys
import io
import struct
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Literal

from PIL import Image, ImageDraw, ImageOps

from venice_batch.sandbox.art import effects, picture
from venice_batch.sandbox.catalogue import STYLES
from venice_batch.sandbox.request import EditRequest, Operation

MOST_PIXELS = 33_177_600
"""Largest image that is opened (source: API description, /image/edit)."""
MASK_SIDE_PX = 192
"""Longest side of the copy in which the background is filled: filling pixel by pixel is slow."""
TOLERANCE = 48
"""Largest difference of colour, summed over the channels, between neighbours of the same background."""
_AVIF = tuple({"AVIF"} & set(Image.registered_extensions().values()))
"""AVIF, if this Pillow reads it."""
_BROKEN = "Invalid image: it cannot be decoded"
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
    # Raised only where warnings are errors.
    Image.DecompressionBombWarning,
)


def open_image(data: bytes, *, whole: bool, avif: bool) -> Image.Image | str:
    """Return the image, fully decoded if `whole`, else its header only; return a message if it cannot be opened."""
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", *(_AVIF if avif else ())))
        if image.width * image.height > MOST_PIXELS:
            return f"Image dimensions must not exceed {MOST_PIXELS} pixels"
        if whole:
            image.load()
    except _UNREADABLE:
        return _BROKEN
    return image


def draw(request: EditRequest, style: Literal["art", "plain"], *, blurred: bool) -> bytes:
    """Return the image file, in exactly the size and format of the request, with the same bytes each time."""
    if style == "plain":
        mode = "RGBA" if request.operation == "background-remove" else "RGB"
        flat = Image.new(mode, (request.width, request.height))
        return picture.encoded(picture.cut_out(flat) if request.transparent else flat, request.format)
    image = _DRAW[request.operation](request)
    if blurred:
        image = picture.blurred(image)
    return picture.encoded(picture.cut_out(image) if request.transparent else image, request.format)


def _upscale(request: EditRequest) -> Image.Image:
    return _opaque(request.images[0]).resize((request.width, request.height), Image.Resampling.BICUBIC)


def _edit(request: EditRequest) -> Image.Image:
    """Return the input in a style and a tint taken from the prompt's hash, with the prompt as its caption."""
    prompt = request.enhanced_prompt or request.prompt
    digest = blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    image = ImageOps.fit(_opaque(request.images[0]), (request.width, request.height))
    for index, layer in enumerate(request.images[1:]):
        side = min(image.size) // 4
        inset = ImageOps.contain(_opaque(layer), (side, side))
        image.paste(inset, (index * side % image.width, index * side // image.width * side))
    changed = _styled(image, STYLES[digest[0] % len(STYLES)])
    red, green, blue = colorsys.hsv_to_rgb(digest[1] / 256, 0.6, 0.9)
    colour = (round(red * 255), round(green * 255), round(blue * 255))
    result = Image.blend(changed, Image.new("RGB", changed.size, colour), 0.25)
    picture.write_caption(result, prompt, "edit")
    return result


def _styled(image: Image.Image, style: str) -> Image.Image:
    shrink = min(1.0, picture.STYLED_SIDE_PX / max(image.size))
    small = image.resize((max(1, round(image.width * shrink)), max(1, round(image.height * shrink))))
    return effects.apply(small, style).resize(image.size, Image.Resampling.BICUBIC)


def _cutout(request: EditRequest) -> Image.Image:
    """Return the input with a transparent background: the areas of similar colour that touch its corners."""
    image = _opaque(request.images[0])
    small = image.resize((min(image.width, MASK_SIDE_PX), min(image.height, MASK_SIDE_PX)), Image.Resampling.BOX)
    marked, mark = small.copy(), (255, 0, 255)
    right, bottom = small.width - 1, small.height - 1
    for corner in ((0, 0), (right, 0), (0, bottom), (right, bottom)):
        ImageDraw.floodfill(marked, corner, mark, thresh=TOLERANCE)
    pixels = zip(*(channel.tobytes() for channel in marked.split()), strict=True)
    alpha = Image.frombytes("L", small.size, bytes(0 if pixel == mark else 255 for pixel in pixels))
    image.putalpha(alpha.resize(image.size, Image.Resampling.BILINEAR))
    return image


def _opaque(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


_DRAW: Mapping[Operation, Callable[[EditRequest], Image.Image]] = {
    "upscale": _upscale,
    "edit": _edit,
    "multi-edit": _edit,
    "background-remove": _cutout,
}
