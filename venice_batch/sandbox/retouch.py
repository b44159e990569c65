"""One accepted request to change pictures that exist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

    from venice_batch.sandbox.request import Delivery, Format

Kind = Literal["upscale", "edit", "multi-edit", "background-remove"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retouch:
    """What the requests of all four endpoints come down to: `width` and `height` are those of the answer."""

    kind: Kind
    model_id: str
    model_name: str
    images: tuple[Image, ...]
    width: int
    height: int
    price_micro_usd: int
    format: Format = "png"
    prompt: str = ""
    safe_mode: bool = True
    enhance: bool = False
    delivery: Delivery = "binary"
    variants: int = 1
    transparent: bool = False
