"""One image as a file: its motif, style, caption and encoding."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Literal

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from venice_batch.sandbox.art import effects, hints, scenes_abstract, scenes_made, scenes_nature
from venice_batch.sandbox.art.canvas import Canvas
from venice_batch.sandbox.art.palettes import Palette
from venice_batch.sandbox.request import Format, GenerateRequest

PlainKey = tuple[int, int, Format, int, bool]
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Scene = Callable[[Canvas, Palette, random.Random], None]

STYLED_SIDE_PX = 1280
"""Longest side at which effects work; larger images are styled at this size, then enlarged."""
GRAIN_AREA_PX = 1_700_000
"""Larger images have no grain: it would only slow down their encoding."""
CANVAS_SIDE_PX = 3072
"""Longest side of the canvas of large images."""
SHADES = 64
"""Number of different plain images of one size."""
MARK = "sandbox · no AI"
SMALLEST_PX = 96
"""Images with a shorter side than this have no caption: it would be illegible."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """Everything that decides how one image looks: the same sketch gives the same bytes."""

    model_id: str
    prompt: str
    seed: int
    style: str
    width: int
    height: int
    format: Format
    blurred: bool = False
    metadata: bool = False
    transparent: bool = False
    draw: Literal["art", "plain"] = "art"

    def digest(self) -> int:
        """Return a hash of the motif; style, size, format and blur do not change it."""
        text = "\x1f".join((self.model_id, self.prompt, str(self.seed)))
        return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def sketches(
    request: GenerateRequest, seeds: Sequence[int], draw: Literal["art", "plain"], *, adult: bool
) -> Iterator[Sketch]:
    """Yield one sketch for each seed."""
    for seed in seeds:
        yield Sketch(
            model_id=request.model.id,
            prompt=request.enhanced_prompt or request.prompt,
            seed=seed,
            style=request.style,
            width=request.width,
            height=request.height,
            format=request.format,
            blurred=adult and request.safe_mode,
            metadata=request.embed_exif,
            transparent=request.transparent,
            draw=draw,
        )


def draw(sketch: Sketch) -> bytes:
    """Return the image file, in exactly the size and format of the sketch.

    The same sketch gives the same bytes each time. Plain images have no metadata, so that requests can share them.
    """
    if sketch.draw == "plain":
        return _plain(*plain_key(sketch))
    image = _art(sketch)
    if sketch.blurred:
        image = blurred(image)
    elif not sketch.transparent:
        write_caption(image, sketch.prompt, sketch.style)
    if sketch.transparent:
        image = cut_out(image)
    return encoded(image, sketch.format, _exif(sketch) if sketch.metadata else None)


def black(width: int, height: int, kind: Format) -> bytes:
    """Return the file of a black image, which replaces one that breaks the terms."""
    return encoded(Image.new("RGB", (width, height)), kind)


def cut_out(image: Image.Image) -> Image.Image:
    """Return the oval in the middle of an image, with a soft edge, on a transparent background."""
    cut = image.convert("RGB")
    cut.putalpha(_OVAL.resize(image.size, Image.Resampling.BILINEAR))
    return cut


def plain_key(sketch: Sketch) -> PlainKey:
    """Return everything that the plain image of a sketch depends on."""
    return sketch.width, sketch.height, sketch.format, sketch.digest() % SHADES, sketch.transparent


def blurred(image: Image.Image) -> Image.Image:
    """Return the image so blurred that nothing is recognisable."""
    small = image.resize((max(1, image.width // 40), max(1, image.height // 40)), Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.BICUBIC).filter(ImageFilter.BoxBlur(4))


def write_caption(image: Image.Image, prompt: str, style: str) -> None:
    """Draw a strip at the foot of the image: style, prompt and the mark of the sandbox."""
    shorter = min(image.size)
    if shorter < SMALLEST_PX:
        return
    strip = max(16, round(shorter * 0.045))
    left, top = round(strip * 0.5), image.height - strip
    box = (0, top, image.width, image.height)
    foot = image.crop(box)
    image.paste(Image.blend(foot, Image.new("RGB", foot.size, "#0d0e14"), 0.72), box)
    pen, font, y = ImageDraw.Draw(image), _font(round(strip * 0.52)), top + strip * 0.5
    mark_width = font.getlength(MARK)
    pen.text((image.width - left - mark_width, y), MARK, font=font, fill="#aab0bd", anchor=_anchor(font))
    text = " ".join(f"{style} · {prompt}".split() if style else prompt.split())
    room = image.width - 3 * left - mark_width
    pen.text((left, y), _fitted(_drawable(text), font, room), font=font, fill="#f2f0ea", anchor=_anchor(font))


def encoded(image: Image.Image, kind: Format, exif: Image.Exif | None = None) -> bytes:
    """Return the image as a file in this format, with metadata if given."""
    out = io.BytesIO()
    options: dict[str, Any] = {**_OPTIONS[kind], **({"exif": exif} if exif else {})}
    image.save(out, kind, **options)
    return out.getvalue()


def _plain(width: int, height: int, kind: Format, shade: int, transparent: bool) -> bytes:
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
    """Return the bare motif at this size, drawn at twice the size unless it is large."""
    rng = random.Random(sketch.digest())
    scale = 2.0 if width * height <= GRAIN_AREA_PX else min(2.0, CANVAS_SIDE_PX / max(width, height))
    canvas = Canvas(max(8, round(width * scale)), max(8, round(height * scale)))
    palette = hints.palette(sketch.prompt, rng)
    _SCENES[hints.motif(sketch.prompt, rng)](canvas, palette, rng)
    return canvas.finish(width, height)


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
    # EXIF text holds ASCII only.
    exif[_TAGS["description"]] = sketch.prompt.encode("ascii", "replace").decode()
    exif[_TAGS["model"]] = sketch.model_id
    exif[_TAGS["software"]] = "venice-batch sandbox"
    return exif


def _fitted(text: str, font: _Font, room: float) -> str:
    text = text[:400]
    if font.getlength(text) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle] + "…") <= room else (low, middle - 1)
    return text[:low].rstrip() + "…" if low else ""


def _drawable(text: str) -> str:
    # The built-in font has Latin letters only; a lone surrogate would make drawing raise.
    return "".join(char if char.isprintable() and ord(char) < 0x250 else "·" for char in text)


def _anchor(font: _Font) -> str | None:
    return "lm" if isinstance(font, ImageFont.FreeTypeFont) else None


@lru_cache(64)
def _font(size: int) -> _Font:
    return ImageFont.load_default(size=size)


_OVAL = Image.radial_gradient("L").point(lambda v: max(0, min(255, (240 - v) * 6)))
"""Opacity of a cut-out image: full up to three quarters of the way out, zero at the edges."""
_OPTIONS: Mapping[str, Mapping[str, int]] = {
    "webp": {"method": 0, "quality": 80},
    "png": {"compress_level": 1},
    "jpeg": {"quality": 85},
}
