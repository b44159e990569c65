"""The nearest sizes that a model takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_SIDE_PX = 1280
"""The API's own bound of `width` and `height`, whatever the model."""

DEFAULT_SIDE_PX = 1024
"""What `width` and `height` are where a request leaves them out."""


def nearest_sides(pixels: int, divisor: int) -> list[int]:
    """The multiples of `divisor` next below and above `pixels`, of those that the API takes."""
    below = pixels // divisor * divisor
    return [side for side in (below, below + divisor) if 0 < side <= MAX_SIDE_PX]


def nearest_ratio(width: int, height: int, ratios: Iterable[str]) -> str | None:
    """The ratio whose shape comes nearest to `width` by `height`; None if none has a shape."""
    asked = math.log(width / height)
    shapes = [(abs(math.log(shape) - asked), ratio) for ratio in ratios if (shape := shape_of(ratio)) is not None]
    return min(shapes, key=lambda found: found[0])[1] if shapes else None


def shape_of(ratio: str) -> float | None:
    """Width by height of "16:9"; None for "auto" and what else is no ratio."""
    across, _, down = ratio.partition(":")
    try:
        shape = float(across) / float(down)
    except (ValueError, ZeroDivisionError):
        return None
    return shape if 0 < shape < math.inf else None


def pixels_of(ratio: str, divisor: int) -> tuple[int, int] | None:
    """Width and height of about a megapixel in the shape of `ratio` that a model with `divisor` takes.

    None for what is no ratio, or one of more than 16 to 1.
    """
    shape = shape_of(ratio)
    if shape is None or not 1 / 16 <= shape <= 16 or divisor > MAX_SIDE_PX:
        return None
    width = min(DEFAULT_SIDE_PX * math.sqrt(shape), MAX_SIDE_PX, MAX_SIDE_PX * shape)
    return _side(width, divisor), _side(width / shape, divisor)


def _side(pixels: float, divisor: int) -> int:
    largest = MAX_SIDE_PX // divisor * divisor
    return min(max(divisor, round(pixels / divisor) * divisor), largest)
