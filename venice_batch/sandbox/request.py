"""Accepted requests for images, and the sizes of the images in pixels."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from venice_batch.sandbox.catalogue import image_micro_usd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL.Image import Image

    from venice_batch.sandbox.catalogue import Model

Format = Literal["jpeg", "png", "webp"]
Delivery = Literal["json", "binary", "b64_json", "url"]
Operation = Literal["upscale", "edit", "multi-edit", "background-remove"]

UNIT_PX = 16
BASE_AREA_PX = 1024 * 1024
LONGEST_SIDE_PX = 3840
MOST_UPSCALED_PIXELS = 16_777_216
SMALLEST_SCALE = 2
_TIERS = {"": 1, "1K": 1, "1.5K": 1.5, "2K": 2, "4K": 4}
"""Factor on the sides for each tier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """A request for new images, from either generation endpoint.

    `resolution` and `quality` are the model's defaults if the request gives none, "" if the model has none.
    """

    model: Model
    prompt: str
    width: int
    height: int
    format: Format
    delivery: Delivery
    received: Mapping[str, Any]
    variants: int = 1
    seed: int | None = None
    style: str = ""
    safe_mode: bool = True
    enhanced_prompt: str = ""
    """The prompt as rewritten for `enhance_prompt`; "" if it stays as it is."""
    embed_exif: bool = False
    resolution: str = ""
    quality: str = ""
    transparent: bool = False

    @property
    def model_id(self) -> str:
        """Id of the model, the key of limits and counters."""
        return self.model.id

    @property
    def price_micro_usd(self) -> int:
        """Price of all variants without a rewrite of the prompt, in millionths of a dollar so that sums stay exact.

        Raises: KeyError when the model has no price for this resolution and quality.
        """
        return image_micro_usd(self.model.pricing, "generation", self.resolution, self.quality) * self.variants


@dataclass(frozen=True, slots=True, kw_only=True)
class EditRequest:
    """A request to change images, from any of the four editing endpoints; `width` and `height` are the result's."""

    operation: Operation
    model_id: str
    model_name: str
    images: tuple[Image, ...]
    width: int
    height: int
    price_micro_usd: int
    format: Format = "png"
    prompt: str = ""
    safe_mode: bool = True
    enhanced_prompt: str = ""
    delivery: Delivery = "binary"
    variants: int = 1
    transparent: bool = False


ImageRequest = GenerateRequest | EditRequest


def enhanced(prompt: str) -> str:
    """Return the prompt with visual detail added, as `enhance_prompt` promises; "" if it has the word "verbatim"."""
    if "verbatim" in re.findall(r"\w+", prompt.lower()):
        return ""
    return f"{prompt}, finely detailed, balanced composition, soft natural light"


def pixels(ratio: str = "1:1", resolution: str = "") -> tuple[int, int]:
    """Return width and height for an aspect ratio ("16:9", "19.5:9", "auto" = 1:1) and a tier ("1K", "2k", "4K", "").

    1K is the exact ratio in multiples of 16 px that is nearest to one megapixel (1:1 1024x1024, 16:9 1280x720). 2K
    doubles its sides; 4K quadruples them, up to 3840 px on the long side (16:9 3840x2160). Each real model has its own
    table of sizes: rely on the shape only.

    Raises: ValueError for a malformed ratio, KeyError for an unknown tier.
    """
    across, down = _reduced(ratio)
    area = across * down * UNIT_PX * UNIT_PX
    rough = max(1, int((BASE_AREA_PX / area) ** 0.5))
    multiple = min((rough, rough + 1), key=lambda k: abs(k * k * area - BASE_AREA_PX))
    multiple = round(multiple * _TIERS[resolution.upper()])
    multiple = max(1, min(multiple, LONGEST_SIDE_PX // (max(across, down) * UNIT_PX)))
    return across * multiple * UNIT_PX, down * multiple * UNIT_PX


def upscaled(width: int, height: int, scale: float) -> tuple[int, int] | None:
    """Return the size after upscaling; None if even twice the size has too many pixels.

    A scale above 2 is lowered until the result fits (source: API description, /image/upscale).
    """
    fitting = math.sqrt(MOST_UPSCALED_PIXELS / (width * height))
    if fitting < SMALLEST_SCALE:
        return None
    factor = min(scale, fitting)
    return math.floor(width * factor), math.floor(height * factor)


def closest_ratio(width: int, height: int, ratios: tuple[str, ...]) -> str:
    """Return the ratio (such as "16:9") that is closest in shape to this size; skips "auto"."""
    shape = math.log(width / height)
    return min((ratio for ratio in ratios if ratio != "auto"), key=lambda ratio: abs(math.log(_share(ratio)) - shape))


def _reduced(ratio: str) -> tuple[int, int]:
    if ratio == "auto":
        return 1, 1
    across, separator, down = ratio.partition(":")
    if not separator:
        raise ValueError(f"not an aspect ratio: {ratio!r}")
    share = Fraction(across) / Fraction(down)
    return share.numerator, share.denominator


def _share(ratio: str) -> float:
    across, _, down = ratio.partition(":")
    return float(across) / float(down)
