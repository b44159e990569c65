"""A drawing surface larger than the image, for smooth edges."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import cast

from PIL import Image, ImageDraw

from venice_batch.sandbox.art.palettes import Colour, along, mix

Point = tuple[float, float]
RIDGE_POINTS = 120


class Canvas:
    """An RGB image with the drawing operations of all scenes; coordinates are pixels, `s` is the shorter side."""

    def __init__(self, width: int, height: int) -> None:
        self.w, self.h, self.s = width, height, min(width, height)
        self.image = Image.new("RGB", (width, height))
        self.pen = ImageDraw.Draw(self.image)
        self._glows: list[tuple[float, float, float, Colour, float]] = []

    def sky(self, stops: Sequence[Colour], top: float = 0.0, bottom: float = 1.0) -> None:
        """Fill rows from `top` to `bottom` (shares of the height) with a vertical gradient."""
        first, last = int(top * self.h), int(bottom * self.h)
        for y in range(first, last):
            self.pen.line((0, y, self.w, y), fill=along(stops, (y - first) / max(1, last - first - 1)))

    def disc(self, x: float, y: float, radius: float, fill: Colour) -> None:
        """Fill a circle."""
        self.pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
        """Add a soft round light that `finish` lays over everything; `strength` (0 to 1) is its central opacity."""
        self._glows.append((x, y, radius, colour, strength))

    def shine(self, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
        """Lay a soft round light over the image at once; only for small ones, as large ones are slow."""
        _lay(self.image, x, y, radius, colour, strength)

    def finish(self, width: int, height: int) -> Image.Image:
        """Return the image at its final size with all glows, which are far cheaper to blend at that size."""
        scale = width / self.w
        if (self.w, self.h) == (2 * width, 2 * height):
            image = self.image.reduce(2)
        else:
            image = self.image.resize((width, height), Image.Resampling.BICUBIC)
        for x, y, radius, colour, strength in self._glows:
            _lay(image, x * scale, y * scale, radius * scale, colour, strength)
        return image

    def ground(self, outline: Sequence[Point], near: Colour, far: Colour, depth: float) -> None:
        """Fill everything below an outline, fading from `near` at its edge to `far` over `depth` pixels."""
        steps = 10
        rest: list[Point]
        for step in range(steps):
            upper, lower = depth * step / steps, depth * (step + 1) / steps + 2
            if step == steps - 1:
                rest = [(self.w, self.h), (0, self.h)]
            else:
                # A strip is enough if another follows: filling everything below would be slow.
                rest = [(x, y + lower) for x, y in reversed(outline)]
            shape = [(x, y + upper) for x, y in outline]
            self.pen.polygon([*shape, *rest], fill=mix(near, far, step / steps))

    def stars(
        self, count: int, bottom: float, colour: Colour, sky: Callable[[float], Colour], rng: random.Random
    ) -> None:
        """Sprinkle stars above `bottom`, a share of the height; `sky` gives the colour behind each height."""
        for _ in range(count):
            x, y = rng.random() * self.w, rng.random() ** 1.3 * bottom * self.h
            size = self.s * rng.choice((0.0009, 0.0013, 0.0013, 0.0026))
            self.disc(x, y, size, mix(sky(y / self.h), colour, rng.uniform(0.4, 1.0)))


def pixel(image: Image.Image, x: int, y: int) -> Colour:
    """Return the colour of one pixel of an RGB image."""
    return cast("Colour", image.getpixel((x, y)))


def ridge(width: int, base: float, height: float, roughness: float, rng: random.Random) -> list[Point]:
    """Return an outline from left to right that swings by `height` pixels around `base`, rougher with `roughness`."""
    waves = [(rng.uniform(0.6, 1.4) * 2**octave, rng.uniform(0, math.tau), roughness**octave) for octave in range(7)]
    points = RIDGE_POINTS
    outline = []
    for index in range(points + 1):
        share = index / points
        swing = sum(math.sin(share * math.tau * rate + phase) * weight for rate, phase, weight in waves)
        outline.append((share * width, base + swing * height * 0.5))
    return outline


_GLOW = Image.radial_gradient("L").point(lambda v: int(255 * max(0.0, 1 - v / 255 * 1.414) ** 2))


def _lay(image: Image.Image, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
    across = max(2, int(radius * 2))
    mask = _GLOW.point(lambda v: int(v * strength)).resize((across, across), Image.Resampling.BILINEAR)
    image.paste(colour, (int(x - radius), int(y - radius)), mask)
