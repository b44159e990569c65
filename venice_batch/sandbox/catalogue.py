"""Models of the sandbox: constraints, prices, styles and deprecations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MICRO_PER_USD = 1_000_000
ENHANCEMENT_MICRO_USD = 40_000
"""Price of one applied prompt rewrite (source: Venice's agent skills, venice-image-generate, 2026-10-02)."""
DEFAULT_INPUTS = 3
"""Input images of a model whose entry names no maxInputImages (source: API description, GET /models)."""
STYLES: tuple[str, ...] = (
    "3D Model", "Analog Film", "Anime", "Cinematic", "Comic Book", "Craft Clay", "Digital Art", "Enhance",
    "Fantasy Art", "Isometric Style", "Line Art", "Lowpoly", "Neon Punk", "Origami", "Photographic", "Pixel Art",
    "Texture", "Advertising", "Food Photography", "Real Estate", "Abstract", "Cubist", "Graffiti", "Hyperrealism",
    "Impressionist", "Pointillism", "Pop Art", "Psychedelic", "Renaissance", "Steampunk", "Surrealist", "Typography",
    "Watercolor", "Fighting Game", "GTA", "Super Mario", "Minecraft", "Pokemon", "Retro Arcade", "Retro Game",
    "RPG Fantasy Game", "Strategy Game", "Street Fighter", "Legend of Zelda", "Architectural", "Disco", "Dreamscape",
    "Dystopian", "Fairy Tale", "Gothic", "Grunge", "Horror", "Minimalist", "Monochrome", "Nautical", "Space",
    "Stained Glass", "Techwear Fashion", "Tribal", "Zentangle", "Collage", "Flat Papercut", "Kirigami", "Paper Mache",
    "Paper Quilling", "Papercut Collage", "Papercut Shadow Box", "Stacked Papercut", "Thick Layered Papercut", "Alien",
    "Film Noir", "HDR", "Long Exposure", "Neon Noir", "Silhouette", "Tilt-Shift",
)  # fmt: skip
"""Names of the style presets."""


@dataclass(frozen=True, slots=True)
class Model:
    """One image model with the constraints and prices that the server enforces."""

    id: str
    prompt_limit: int
    max_steps: int
    divisor: int
    ratios: tuple[str, ...]
    default_ratio: str
    resolutions: tuple[str, ...]
    default_resolution: str
    qualities: tuple[str, ...]
    default_quality: str
    style_references: bool
    transparency: bool
    pricing: Mapping[str, Any]

    @property
    def by_ratio(self) -> bool:
        """Whether the model is sized by aspect_ratio, not by width and height."""
        return bool(self.ratios)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All image models, in the order of GET /models."""

    entries: tuple[Mapping[str, Any], ...]
    models: Mapping[str, Model]
    traits: Mapping[str, str]
    compatibility: Mapping[str, str]

    def find(self, name: str) -> Model | None:
        """Return the model with this id, trait ("default", "fastest", …) or OpenAI name, or None."""
        known = self.traits.get(name) or self.compatibility.get(name) or name
        return self.models.get(known)

    def default(self) -> Model:
        """Return the model with the trait "default"."""
        return self.models[self.traits["default"]]


@dataclass(frozen=True, slots=True)
class EditModel:
    """One edit model with the constraints and prices that the server enforces."""

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
class EditCatalogue:
    """All edit models, the upscaler's prices by scale, and every entry as GET /models lists it."""

    entries: tuple[Mapping[str, Any], ...]
    models: Mapping[str, EditModel]
    traits: Mapping[str, str]
    upscaler_id: str
    upscaler_name: str
    upscale_usd: Mapping[int, float]

    def find(self, name: str) -> EditModel | None:
        """Return the edit model with this id or trait, or None."""
        return self.models.get(self.traits.get(name, name))


@cache
def shipped() -> Catalogue:
    """Return the image models that come with the package."""
    entries = _entries("models.json")
    models = {entry["id"]: _model(entry) for entry in entries}
    traits: dict[str, str] = {}
    for entry in entries:
        for trait in entry["model_spec"]["traits"]:
            traits.setdefault(trait, entry["id"])
    compatibility = dict.fromkeys(("dall-e-2", "dall-e-3"), traits["default"])
    return Catalogue(entries, models, traits, compatibility)


@cache
def shipped_edits() -> EditCatalogue:
    """Return the edit models and the upscaler that come with the package."""
    entries = _entries("edit_models.json")
    models = {entry["id"]: _edit_model(entry) for entry in entries if entry["type"] == "inpaint"}
    traits = {
        trait: entry["id"] for entry in entries if entry["id"] in models for trait in entry["model_spec"]["traits"]
    }
    upscaler = next(entry for entry in entries if entry["type"] == "upscale")
    prices = upscaler["model_spec"]["pricing"]["upscale"]
    usd = {int(scale.removesuffix("x")): price["usd"] for scale, price in prices.items()}
    return EditCatalogue(entries, models, traits, upscaler["id"], upscaler["model_spec"]["name"], usd)


def image_micro_usd(pricing: Mapping[str, Any], base: str, resolution: str, quality: str) -> int:
    """Return the price of one image in millionths of a dollar.

    The first price that the model has applies: `quality[tier][quality]`, `resolutions[tier]`, then `base` ("generation"
    or "inpaint"). Source: GET /models, model_spec.pricing. A tier without a published price costs as much as the
    model's first tier.

    Raises: KeyError when the model has no price for this resolution and quality.
    """
    by_quality = pricing.get("quality", {}).get(resolution, {})
    by_tier = pricing.get("resolutions", {})
    if quality in by_quality:
        return micro_usd(by_quality[quality]["usd"])
    if resolution in by_tier:
        return micro_usd(by_tier[resolution]["usd"])
    return micro_usd((pricing[base] if base in pricing else next(iter(by_tier.values())))["usd"])


def micro_usd(usd: float) -> int:
    """Return dollars as millionths of a dollar."""
    return round(usd * MICRO_PER_USD)


def deprecation_headers(model_id: str, deprecated: Mapping[str, str], now: float) -> dict[str, str]:
    """Return the deprecation headers for answers of this model; none unless `deprecated` names its replacement."""
    replacement = deprecated.get(model_id)
    if not replacement:
        return {}
    return {
        "x-venice-deprecated": "true",
        "x-venice-deprecated-replacement": replacement,
        "x-venice-model-deprecation-warning": f"{model_id} is deprecated; use {replacement} instead",
        "x-venice-model-deprecation-date": _removal_date(now),
    }


def listed(entry: Mapping[str, Any], deprecated: Mapping[str, str], now: float) -> Mapping[str, Any]:
    """Return a model's entry for GET /models, with its deprecation if `deprecated` names a replacement."""
    replacement = deprecated.get(entry["id"])
    if not replacement:
        return entry
    date = _removal_date(now)
    deprecation = {"autoRemap": False, "date": date, "removesAt": date, "replacementModelId": replacement}
    return {**entry, "model_spec": {**entry["model_spec"], "deprecation": deprecation}}


def _removal_date(now: float) -> str:
    # Always more than a year ahead, so that the date never passes.
    return f"{datetime.fromtimestamp(now, UTC).year + 2}-01-01T00:00:00.000Z"


def _entries(file: str) -> tuple[Mapping[str, Any], ...]:
    return tuple(json.loads(resources.files(__package__).joinpath(file).read_bytes())["data"])


def _model(entry: Mapping[str, Any]) -> Model:
    spec = entry["model_spec"]
    constraints = spec["constraints"]
    return Model(
        id=entry["id"],
        prompt_limit=constraints["promptCharacterLimit"],
        max_steps=constraints["steps"]["max"],
        divisor=constraints["widthHeightDivisor"],
        ratios=tuple(constraints.get("aspectRatios", ())),
        default_ratio=constraints.get("defaultAspectRatio", "1:1"),
        resolutions=tuple(constraints.get("resolutions", ())),
        default_resolution=constraints.get("defaultResolution", ""),
        qualities=tuple(constraints.get("qualities", ())),
        default_quality=constraints.get("defaultQuality", ""),
        style_references=spec.get("supportsStyleReferences", False),
        transparency=constraints.get("supportsTransparentBackground", False),
        pricing=spec["pricing"],
    )


def _edit_model(entry: Mapping[str, Any]) -> EditModel:
    spec = entry["model_spec"]
    limits = spec["constraints"]
    return EditModel(
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
