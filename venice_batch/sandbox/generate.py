"""Validation of POST /image/generate."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from venice_batch.sandbox import moderation
from venice_batch.sandbox.errors import Issue, Refusal, invalid, retired
from venice_batch.sandbox.fields import Field, check, transparency_issues, type_name
from venice_batch.sandbox.request import Order
from venice_batch.sandbox.settings import SandboxSettings
from venice_batch.sandbox.sizes import pixels
from venice_batch.sandbox.styles import STYLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from venice_batch.sandbox.catalogue import Catalogue, Model


# Source: OpenAPI description, GenerateImageRequest. Its limit of 7,500 characters for prompts is the default
# model's; "character limit is model specific", so `_model_issues` applies each model's own.
TABLE: Mapping[str, Field] = {
    "model": Field(kind="string", required=True),
    "prompt": Field(kind="string", required=True, min_length=1),
    "negative_prompt": Field(kind="string"),
    "width": Field(kind="integer", above=0, maximum=1280),
    "height": Field(kind="integer", above=0, maximum=1280),
    "format": Field(kind="string", choices=("jpeg", "png", "webp")),
    "variants": Field(kind="integer", minimum=1, maximum=4),
    "return_binary": Field(kind="boolean"),
    "safe_mode": Field(kind="boolean"),
    "seed": Field(kind="integer", minimum=-999_999_999, maximum=999_999_999),
    "steps": Field(kind="integer"),
    "cfg_scale": Field(kind="number", above=0, maximum=20),
    "style_preset": Field(kind="string"),
    "aspect_ratio": Field(kind="string"),
    "resolution": Field(kind="string"),
    "quality": Field(kind="string", choices=("low", "medium", "high")),
    "lora_strength": Field(kind="integer", minimum=0, maximum=100),
    "hide_watermark": Field(kind="boolean"),
    "embed_exif_metadata": Field(kind="boolean"),
    "enable_web_search": Field(kind="boolean"),
    "enhance_prompt": Field(kind="boolean"),
    "disable_prompt_optimization_thinking": Field(kind="boolean"),
    "style_references": Field(kind="array"),
    "inpaint": Field(kind="any", nullable=True),
    "transparent_background": Field(kind="boolean"),
    "anon_user_id": Field(kind="string"),
}
NEW_FIELDS = ("transparent_background", "anon_user_id")
"""Fields that era 2026-08 does not know."""
TABLE_OLD: Mapping[str, Field] = {name: rule for name, rule in TABLE.items() if name not in NEW_FIELDS}
# Source of the next four: Venice's agent skills, venice-image-generate, 2026-10-02.
STEPPED = ("venice-sd35", "lustify-", "wai-Illustrious")
"""Beginnings of the ids of models that `steps` counts for."""
UNSIZED = frozenset({"qwen-image", "qwen-image-3", "qwen-image-3-pro"})
"""Models that refuse width and height."""
UNSEEDED = (
    "gpt-image", "muse-image", "luma-", "recraft", "imagineart", "seedream-v5-pro", "nano-banana-pro", "grok-imagine",
)  # fmt: skip
"""Beginnings of the ids of models that ignore `seed`."""
UNFORMATTED = "grok-imagine"
"""Beginning of the ids of models whose pictures have the provider's format, here JPEG."""
_DEFAULTS = SandboxSettings()
_REFERENCE: Mapping[str, Field] = {
    "image": Field(kind="string", required=True),
    "strength": Field(kind="number", minimum=0.1, maximum=1),
}


def read(body: object, catalogue: Catalogue, settings: SandboxSettings = _DEFAULTS) -> Order | Refusal:
    """Return the order that a parsed body asks for, or the 400 or 404 that it is answered with.

    Never raises.
    """
    if not isinstance(body, dict):
        return invalid(Issue("invalid_type", (), f"Expected object, received {type_name(body)}"))
    issues = [*check(body, TABLE_OLD if settings.is_old else TABLE), *_reference_issues(body.get("style_references"))]
    if issues:
        return invalid(*issues)
    model = catalogue.find(body["model"])
    if model is None:
        return Refusal(settings.status_of_unknown_models, "Specified model not found")
    if model.id in settings.retired:
        return retired(model.id, settings.retired[model.id])
    issues = list(_model_issues(body, model, settings))
    if issues:
        return invalid(*issues)
    return _order(body, model) if settings.is_old else _as_served(_order(body, model))


def _as_served(order: Order) -> Order:
    """Return the order without what its model ignores."""
    unformatted = order.model_id.startswith(UNFORMATTED)
    return replace(
        order,
        seed=None if order.model_id.startswith(UNSEEDED) else order.seed,
        format="jpeg" if unformatted else order.format,
    )


def _order(body: Mapping[str, Any], model: Model) -> Order:
    resolution = body.get("resolution", model.default_resolution).upper() if model.resolutions else ""
    if model.by_ratio:
        ratio = body.get("aspect_ratio", model.default_ratio)
        width, height = pixels(ratio if ratio in model.ratios else model.default_ratio, resolution)
    else:
        width, height = int(body.get("width", 1024)), int(body.get("height", 1024))
    return Order(
        model=model,
        prompt=body["prompt"],
        width=width,
        height=height,
        format=body.get("format", "webp"),
        delivery="binary" if body.get("return_binary", False) else "json",
        received=body,
        variants=int(body.get("variants", 1)),
        seed=int(body["seed"]) if "seed" in body else None,
        style=body.get("style_preset", ""),
        safe_mode=body.get("safe_mode", True),
        enhance=body.get("enhance_prompt", False) and moderation.may_enhance(body["prompt"]),
        embed_exif=body.get("embed_exif_metadata", False),
        resolution=resolution,
        quality=body.get("quality", model.default_quality),
        transparent=body.get("transparent_background", False),
    )


def _reference_issues(references: object) -> Iterator[Issue]:
    if not isinstance(references, list):
        return
    for index, reference in enumerate(references):
        at = ("style_references", index)
        if isinstance(reference, dict):
            yield from check(reference, _REFERENCE, at)
        else:
            yield Issue("invalid_type", at, f"Expected object, received {type_name(reference)}")


def _model_issues(body: Mapping[str, Any], model: Model, settings: SandboxSettings) -> Iterator[Issue]:
    for name in ("prompt", "negative_prompt"):
        if len(body.get(name, "")) > model.prompt_limit:
            yield Issue("too_big", (name,), f"String must contain at most {model.prompt_limit} character(s)")
    yield from _size_issues_old(body, model) if settings.is_old else _size_issues(body, model)
    if body.get("steps", 0) > model.max_steps and (settings.is_old or model.id.startswith(STEPPED)):
        yield Issue("too_big", ("steps",), f"Number must be less than or equal to {model.max_steps}")
    if body.get("style_preset", STYLES[0]) not in STYLES:
        yield _custom("style_preset", f"Invalid style preset '{body['style_preset']}'. See GET /image/styles")
    if "variants" in body and body.get("return_binary", False):
        yield _custom("variants", "variants is only supported when return_binary is false")
    if body.get("style_references") and not model.style_references:
        yield _custom("style_references", f"{model.id} does not support style references")
    if body.get("transparent_background", False):
        format_ = body.get("format", "webp")
        yield from transparency_issues("transparent_background", model.id, format_, supported=model.transparency)


def _size_issues(body: Mapping[str, Any], model: Model) -> Iterator[Issue]:
    """Yield what is wrong with the size; aspect_ratio is not validated, and fields of other models are ignored."""
    if model.id in UNSIZED:
        yield from (_custom(side, f"{model.id} does not accept {side}") for side in ("width", "height") if side in body)
    tiers = tuple(tier.upper() for tier in model.resolutions)
    # Tiers are written 1K or 1k (source: the models disagree among themselves).
    if tiers and body.get("resolution", tiers[0]).upper() not in tiers:
        yield _custom("resolution", f"{model.id} offers {', '.join(tiers)}, not '{body['resolution']}'")
    if model.qualities and body.get("quality", model.qualities[0]) not in model.qualities:
        yield _custom("quality", f"{model.id} offers {', '.join(model.qualities)}, not '{body['quality']}'")


def _size_issues_old(body: Mapping[str, Any], model: Model) -> Iterator[Issue]:
    for side in ("width", "height"):
        if side not in body:
            continue
        if model.by_ratio:
            yield _custom(side, f"{model.id} does not accept {side}; use aspect_ratio instead")
        elif body[side] % model.divisor:
            yield Issue("not_multiple_of", (side,), f"Number must be a multiple of {model.divisor}")
    offered = {
        "aspect_ratio": model.ratios,
        "resolution": tuple(tier.upper() for tier in model.resolutions),
        "quality": model.qualities,
    }
    for name, choices in offered.items():
        if name not in body:
            continue
        if not choices and name == "quality":
            continue  # "for supported models" only (API description); the others pass over it
        if not choices:
            hint = "; use width and height instead" if name == "aspect_ratio" else ""
            yield _custom(name, f"{model.id} does not accept {name}{hint}")
        # Tiers are written 1K or 1k (source: the models disagree among themselves).
        elif (body[name].upper() if name == "resolution" else body[name]) not in choices:
            yield _custom(name, f"{model.id} offers {', '.join(choices)}, not '{body[name]}'")


def _custom(name: str, message: str) -> Issue:
    return Issue("custom", (name,), message)
