"""The sandbox's own list of models that change pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_INPUTS = 3
"""Input images of a model whose entry names no maxInputImages (source: API description, GET /models)."""


@dataclass(frozen=True, slots=True)
class Editor:
    """One edit model with the constraints that the server enforces."""

    id: str
    name: str
    prompt_limit: int
    ratios: tuple[str, ...]
    keeps_size: bool
    resolutions: tuple[str, ...]
    default_resolution: str
    qualities: tuple[str, ...]
    default_quality: str
    max_images: int
    transparency: bool
    pricing: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RetouchCatalogue:
    """All edit models, the upscaler's prices by scale, and every entry as GET /models lists it."""

    entries: tuple[Mapping[str, Any], ...]
    editors: Mapping[str, Editor]
    traits: Mapping[str, str]
    upscaler_id: str
    upscaler_name: str
    upscale_usd: Mapping[int, float]

    def find(self, name: str) -> Editor | None:
        """Return the edit model of this id or trait; None if there is none."""
        return self.editors.get(self.traits.get(name, name))


@cache
def shipped_retouch() -> RetouchCatalogue:
    """Return the catalogue that comes with the package."""
    listing = json.loads(resources.files(__package__).joinpath("edit_models.json").read_bytes())
    entries = tuple(listing["data"])
    editors = {entry["id"]: _editor(entry) for entry in entries if entry["type"] == "inpaint"}
    traits = {trait: entry["id"] for entry in entries if entry["id"] in editors for trait in _traits(entry)}
    upscaler = next(entry for entry in entries if entry["type"] == "upscale")
    prices = upscaler["model_spec"]["pricing"]["upscale"]
    usd = {int(scale.removesuffix("x")): price["usd"] for scale, price in prices.items()}
    return RetouchCatalogue(entries, editors, traits, upscaler["id"], upscaler["model_spec"]["name"], usd)


def _traits(entry: Mapping[str, Any]) -> list[str]:
    return list(entry["model_spec"]["traits"])


def _editor(entry: Mapping[str, Any]) -> Editor:
    spec = entry["model_spec"]
    limits = spec["constraints"]
    return Editor(
        id=entry["id"],
        name=spec["name"],
        prompt_limit=limits["promptCharacterLimit"],
        ratios=tuple(limits["aspectRatios"]),
        keeps_size=not limits.get("singleImageAspectRatio", True),
        resolutions=tuple(limits.get("resolutions", ())),
        default_resolution=limits.get("defaultResolution", ""),
        qualities=tuple(limits.get("qualities", ())),
        default_quality=limits.get("defaultQuality", ""),
        max_images=limits.get("maxInputImages", DEFAULT_INPUTS) if limits["combineImages"] else 1,
        transparency=limits.get("supportsTransparentBackground", False),
        pricing=spec["pricing"],
    )
