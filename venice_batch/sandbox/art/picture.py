"""One picture as a file."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from PIL import Image, ImageChops, ImageFilter

from venice_batch.sandbox.art import caption, effects, hints, scenes_abstract, scenes_made, scenes_nature
from venice_batch.sandbox.art.canvas import Canvas
from venice_batch.sandbox.art.palettes import Palette
from venice_batch.sandbox.art.sketch import Sketch
from venice_batch.sandbox.request import Format

PlainKey = tuple[int, int, Format, int, bool]
Scene = Callable[[Canvas, Palette, random.Random], None]

STYLED_SIDE_PX = 1280
"""Longest side at which effects work; larger pictures are styled at this size, then enlarged."""
GRAIN_AREA_PX = 1_700_000
"""Larger pictures stay without grain, which would only slow their encoding down."""
CANVAS_SIDE_PX = 3072
"""Longest side of the canvas of large pictures."""
SHADES = 64
"""Number of different plain pictures of one size."""
PLAIN_PICTURES = 512
"""Number of plain pictures kept."""
_TAGS = {"description": 0x010E, "software": 0x0131, "model": 0x0110}

_SCENES: Mapping[str, Scene] = {
    "hills": scenes_nature.hills,
    "sea": scenes_nature.sea,
    "forest": scenes_nature.forest,
    "fronds": scenes_nature.fronds,
    "bloom": scenes_nature.bloom,
    "city": scenes_made.city,
    "canal": scenes_made.canal,
    "still": scenes_made.still,
    "bauhaus": scenes_abstract.bauhaus,
    "ribbons": scenes_abstract.ribbons,
    "mosaic": scenes_abstract.mosaic,
    "planet": scenes_abstract.planet,
}


def draw(sketch: Sketch) -> bytes:
    """Return the image file: exactly the size and format of the sketch, the same bytes each time.

    Plain pictures carry no metadata, so that requests can share them.
    """
    if sketch.draw == "plain":
        return _plain(*plain_key(sketch))
    image = _art(sketch)
    if sketch.blurred:
        image = blurred(image)
    elif not sketch.transparent:
        caption.write(image, sketch.prompt, sketch.style)
    if sketch.transparent:
        image = cut_out(image)
    return encoded(image, sketch.format, _exif(sketch) if sketch.metadata else None)


def black(width: int, height: int, kind: Format) -> bytes:
    """Return the file of a black picture, which stands for one that breaks the terms."""
    return encoded(Image.new("RGB", (width, height)), kind)


def cut_out(image: Image.Image) -> Image.Image:
    """Return the oval in the middle of an image, with a soft edge, on a transparent background."""
    cut = image.convert("RGB")
    cut.putalpha(_OVAL.resize(image.size, Image.Resampling.BILINEAR))
    return cut


def plain_key(sketch: Sketch) -> PlainKey:
    """Return what the plain picture of a sketch depends on."""
    return sketch.width, sketch.height, sketch.format, sketch.digest() % SHADES, sketch.transparent


@lru_cache(PLAIN_PICTURES)
def _plain(width: int, height: int, kind: Format, shade: int, transparent: bool) -> bytes:
    """Return a flat picture that many requests share: encoding one for each would be what limits throughput."""
    colour = (40 + shade % 4 * 60, 40 + shade // 4 % 4 * 60, 40 + shade // 16 * 60)
    image = Image.new("RGB", (width, height), colour)
    return encoded(cut_out(image) if transparent else image, kind)


def _art(sketch: Sketch) -> Image.Image:
    size = (sketch.width, sketch.height)
    shrink = min(1.0, STYLED_SIDE_PX / max(size)) if sketch.style else 1.0
    image = _scene(sketch, max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink)))
    if sketch.style:
        image = effects.apply(image, sketch.style)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    return _grained(image) if size[0] * size[1] <= GRAIN_AREA_PX else image


def _scene(sketch: Sketch, width: int, height: int) -> Image.Image:
    """Return the bare motif at this size, drawn at twice that unless it is large."""
    rng = random.Random(sketch.digest())
    scale = 2.0 if width * height <= GRAIN_AREA_PX else min(2.0, CANVAS_SIDE_PX / max(width, height))
    canvas = Canvas(max(8, round(width * scale)), max(8, round(height * scale)))
    palette = hints.palette(sketch.prompt, rng)
    _SCENES[hints.motif(sketch.prompt, rng)](canvas, palette, rng)
    return canvas.finish(width, height)


def blurred(image: Image.Image) -> Image.Image:
    """Return an image in which nothing can be made out any more."""
    small = image.resize((max(1, image.width // 40), max(1, image.height // 40)), Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.BICUBIC).filter(ImageFilter.BoxBlur(4))


def _grained(image: Image.Image) -> Image.Image:
    grain = _grain(image.size)
    return ImageChops.add(image, grain, 1, -128)


@lru_cache(8)
def _grain(size: tuple[int, int]) -> Image.Image:
    side = 256
    noise = random.Random("grain")
    tile = Image.frombytes("L", (side, side), noise.randbytes(side * side)).point(lambda v: 124 + v // 32)
    whole = Image.new("L", size)
    for y in range(0, size[1], side):
        for x in range(0, size[0], side):
            whole.paste(tile, (x, y))
    return whole.convert("RGB")


def _exif(sketch: Sketch) -> Image.Exif:
    exif = Image.Exif()
    # ASCII is all that EXIF text promises to carry.
    exif[_TAGS["description"]] = sketch.prompt.encode("ascii", "replace").decode()
    exif[_TAGS["model"]] = sketch.model_id
    exif[_TAGS["software"]] = "venice-batch sandbox"
    return exif


def encoded(image: Image.Image, kind: Format, exif: Image.Exif | None = None) -> bytes:
    """Return an image as a file of this format, with metadata if there is any."""
    out = io.BytesIO()
    options: dict[str, Any] = {**_OPTIONS[kind], **({"exif": exif} if exif else {})}
    image.save(out, kind, **options)
    return out.getvalue()


_OVAL = Image.radial_gradient("L").point(lambda v: max(0, min(255, (240 - v) * 6)))
"""How opaque a cut-out picture is: whole up to three quarters of the way out, nothing at the edges."""
_OPTIONS: Mapping[str, Mapping[str, int]] = {
    "webp": {"method": 0, "quality": 80},
    "png": {"compress_level": 1},
    "jpeg": {"quality": 85},
}
