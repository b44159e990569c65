"""Pixel sizes of changed pictures."""

from __future__ import annotations

import math

MOST_UPSCALED_PIXELS = 16_777_216
SMALLEST_SCALE = 2


def upscaled(width: int, height: int, scale: float) -> tuple[int, int] | None:
    """Return the size after upscaling; None when even twice the size has more pixels than allowed.

    A scale of 4 gives way until the result fits (source: API description, /image/upscale).
    """
    fitting = math.sqrt(MOST_UPSCALED_PIXELS / (width * height))
    if fitting < SMALLEST_SCALE:
        return None
    factor = min(scale, fitting)
    return math.floor(width * factor), math.floor(height * factor)


def closest_ratio(width: int, height: int, ratios: tuple[str, ...]) -> str:
    """Return the one of `ratios` ("16:9", "auto" is skipped) whose shape is closest to this size."""
    shape = math.log(width / height)
    return min((ratio for ratio in ratios if ratio != "auto"), key=lambda ratio: abs(math.log(_share(ratio)) - shape))


def _share(ratio: str) -> float:
    across, _, down = ratio.partition(":")
    return float(across) / float(down)
