"""One accepted request for pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from venice_batch.sandbox.catalogue import Model


Format = Literal["jpeg", "png", "webp"]
Delivery = Literal["json", "binary", "b64_json", "url"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What both endpoints' requests come down to.

    `resolution` and `quality` are the model's defaults where the request is silent, "" where the model has
    none.
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
    enhance: bool = False
    embed_exif: bool = False
    resolution: str = ""
    quality: str = ""
    transparent: bool = False

    @property
    def model_id(self) -> str:
        """The id of the model that limits and counters go by."""
        return self.model.id
