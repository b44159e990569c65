"""The strip at the foot of a picture that names what it is."""

from __future__ import annotations

from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

MARK = "sandbox · no AI"
SMALLEST_PX = 96
"""Pictures with a shorter side than this carry no caption: it could not be read."""

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def write(image: Image.Image, prompt: str, style: str) -> None:
    """Draw the strip into the picture: prompt, style and the mark that no AI was involved."""
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
    # The built-in font knows Latin only; a lone surrogate would make drawing raise.
    return "".join(char if char.isprintable() and ord(char) < 0x250 else "·" for char in text)


def _anchor(font: _Font) -> str | None:
    return "lm" if isinstance(font, ImageFont.FreeTypeFont) else None


@lru_cache(64)
def _font(size: int) -> _Font:
    return ImageFont.load_default(size=size)
