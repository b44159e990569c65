"""Pixel sizes of pictures."""

from __future__ import annotations

from fractions import Fraction

UNIT_PX = 16
BASE_AREA_PX = 1024 * 1024
LONGEST_SIDE_PX = 3840
_SCALES = {"": 1, "1K": 1, "1.5K": 1.5, "2K": 2, "4K": 4}


def pixels(ratio: str = "1:1", resolution: str = "") -> tuple[int, int]:
    """Return width and height for an aspect ratio ("16:9", "19.5:9", "auto" = 1:1) at a tier ("1K", "2k",
    "4K", "").

    1K is the exact ratio in multiples of 16 px that comes nearest to one megapixel (1:1 1024x1024, 16:9
    1280x720); 2K doubles its sides; 4K quadruples them with at most 3840 px on the long one (16:9 3840x2160).
    The real models each have their own tables, so nothing but the shape should be relied upon.

    Raises: ValueError for a malformed ratio, KeyError for an unknown tier.
    """
    across, down = _reduced(ratio)
    area = across * down * UNIT_PX * UNIT_PX
    rough = max(1, int((BASE_AREA_PX / area) ** 0.5))
    multiple = min((rough, rough + 1), key=lambda k: abs(k * k * area - BASE_AREA_PX))
    multiple = round(multiple * _SCALES[resolution.upper()])
    multiple = max(1, min(multiple, LONGEST_SIDE_PX // (max(across, down) * UNIT_PX)))
    return across * multiple * UNIT_PX, down * multiple * UNIT_PX


def _reduced(ratio: str) -> tuple[int, int]:
    if ratio == "auto":
        return 1, 1
    across, separator, down = ratio.partition(":")
    if not separator:
        raise ValueError(f"not an aspect ratio: {ratio!r}")
    share = Fraction(across) / Fraction(down)
    return share.numerator, share.denominator
