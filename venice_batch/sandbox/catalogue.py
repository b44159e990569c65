"""The sandbox's own list of image models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


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
    """All models, in the order that GET /models lists them."""

    entries: tuple[Mapping[str, Any], ...]
    models: Mapping[str, Model]
    traits: Mapping[str, str]
    compatibility: Mapping[str, str]

    def find(self, name: str) -> Model | None:
        """Return the model of this id, trait ("default", "fastest", …) or OpenAI name; None if there is
        none.
        """
        known = self.traits.get(name) or self.compatibility.get(name) or name
        return self.models.get(known)

    def default(self) -> Model:
        """Return the model with the trait "default"."""
        return self.models[self.traits["default"]]


def parse(listing: Mapping[str, Any]) -> Catalogue:
    """Return the catalogue for a body of GET /models?type=image.

    Raises: KeyError when it lacks a default model.
    """
    entries: tuple[Mapping[str, Any], ...] = tuple(listing["data"])
    traits: dict[str, str] = {}
    for entry in entries:
        for trait in entry["model_spec"]["traits"]:
            traits.setdefault(trait, entry["id"])
    models = {entry["id"]: _model(entry) for entry in entries}
    compatibility = dict.fromkeys(("dall-e-2", "dall-e-3"), traits["default"])
    return Catalogue(entries, models, traits, compatibility)


@cache
def shipped() -> Catalogue:
    """Return the catalogue that comes with the package."""
    return parse(json.loads(resources.files(__package__).joinpath("models.json").read_bytes()))


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
