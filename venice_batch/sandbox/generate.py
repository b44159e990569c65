"""Read and validate requests to the two generation endpoints."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from venice_batch.sandbox.catalogue import STYLES
from venice_batch.sandbox.errors import ErrorAnswer, Issue, invalid, retired
from venice_batch.sandbox.request import GenerateRequest, enhanced, pixels
from venice_batch.sandbox.settings import SandboxSettings
from venice_batch.sandbox.validation import Field, check, transparency_issues, type_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from venice_batch.sandbox.catalogue import Catalogue, Model

# Source: OpenAPI description, GenerateImageRequest. Its limit of 7,500 characters for prompts is the default
# model's: "character limit is model specific", so `_model_issues` applies each model's own.
NATIVE_FIELDS: Mapping[str, Field] = {
    "model": Field(type="string", required=True),
    "prompt": Field(type="string", required=True, min_length=1),
    "negative_prompt": Field(type="string"),
    "width": Field(type="integer", above=0, maximum=1280),
    "height": Field(type="integer", above=0, maximum=1280),
    "format": Field(type="string", choices=("jpeg", "png", "webp")),
    "variants": Field(type="integer", minimum=1, maximum=4),
    "return_binary": Field(type="boolean"),
    "safe_mode": Field(type="boolean"),
    "seed": Field(type="integer", minimum=-999_999_999, maximum=999_999_999),
    "steps": Field(type="integer"),
    "cfg_scale": Field(type="number", above=0, maximum=20),
    "style_preset": Field(type="string"),
    "aspect_ratio": Field(type="string"),
    "resolution": Field(type="string"),
    "quality": Field(type="string", choices=("low", "medium", "high")),
    "lora_strength": Field(type="integer", minimum=0, maximum=100),
    "hide_watermark": Field(type="boolean"),
    "embed_exif_metadata": Field(type="boolean"),
    "enable_web_search": Field(type="boolean"),
    "enhance_prompt": Field(type="boolean"),
    "disable_prompt_optimization_thinking": Field(type="boolean"),
    "style_references": Field(type="array"),
    "inpaint": Field(type="any", nullable=True),
    "transparent_background": Field(type="boolean"),
    "anon_user_id": Field(type="string"),
}
NEW_FIELDS = ("transparent_background", "anon_user_id")
"""Fields that are unknown in era 2026-08."""
_NATIVE_FIELDS_OLD: Mapping[str, Field] = {name: rule for name, rule in NATIVE_FIELDS.items() if name not in NEW_FIELDS}
# Source of the next four: Venice's agent skills, venice-image-generate, 2026-10-02.
STEPPED = ("venice-sd35", "lustify-", "wai-Illustrious")
"""Prefixes of the ids of models that use `steps`."""
UNSIZED = frozenset({"qwen-image", "qwen-image-3", "qwen-image-3-pro"})
"""Models that reject width and height."""
UNSEEDED = (
    "gpt-image", "muse-image", "luma-", "recraft", "imagineart", "seedream-v5-pro", "nano-banana-pro", "grok-imagine",
)  # fmt: skip
"""Prefixes of the ids of models that ignore `seed`."""
UNFORMATTED = "grok-imagine"
"""Prefix of the ids of models that return the provider's format, here JPEG."""
_REFERENCE: Mapping[str, Field] = {
    "image": Field(type="string", required=True),
    "strength": Field(type="number", minimum=0.1, maximum=1),
}


# Source: OpenAPI description, SimpleGenerateImageRequest.
OPENAI_FIELDS: Mapping[str, Field] = {
    "model": Field(type="string"),
    "prompt": Field(type="string", required=True, min_length=1, max_length=1500),
    "n": Field(type="integer", nullable=True, minimum=1, maximum=1),
    "size": Field(
        type="string",
        nullable=True,
        choices=("auto", "256x256", "512x512", "1024x1024", "1536x1024", "1024x1536", "1792x1024", "1024x1792"),
    ),
    "response_format": Field(type="string", nullable=True, choices=("b64_json", "url")),
    "output_format": Field(type="string", choices=("jpeg", "png", "webp")),
    "moderation": Field(type="string", nullable=True, choices=("low", "auto")),
    "quality": Field(type="string", nullable=True, choices=("auto", "high", "medium", "low", "hd", "standard")),
    "style": Field(type="string", nullable=True, choices=("vivid", "natural")),
    "background": Field(type="string", nullable=True, choices=("transparent", "opaque", "auto")),
    "output_compression": Field(type="integer", nullable=True, minimum=0, maximum=100),
    "user": Field(type="string"),
    "anon_user_id": Field(type="string"),
}
_OPENAI_FIELDS_OLD: Mapping[str, Field] = {name: rule for name, rule in OPENAI_FIELDS.items() if name != "anon_user_id"}
NO_MODEL = ErrorAnswer(400, "model is required")
"""Answer since 2026-10 (source: Venice's agent skills, venice-image-generate, 2026-10-02)."""
_DEFAULTS = SandboxSettings()


def read_native(
    body: object, catalogue: Catalogue, settings: SandboxSettings = _DEFAULTS
) -> GenerateRequest | ErrorAnswer:
    """Return the request in a parsed body of POST /image/generate, or its 400 or 404. Never raises."""
    if not isinstance(body, dict):
        return invalid(Issue("invalid_type", (), f"Expected object, received {type_name(body)}"))
    table = _NATIVE_FIELDS_OLD if settings.is_old else NATIVE_FIELDS
    issues = [*check(body, table), *_reference_issues(body.get("style_references"))]
    if issues:
        return invalid(*issues)
    model = catalogue.find(body["model"])
    if model is None:
        return ErrorAnswer(settings.status_of_unknown_models, "Specified model not found")
    if model.id in settings.retired:
        return retired(model.id, settings.retired[model.id])
    issues = list(_model_issues(body, model, settings))
    if issues:
        return invalid(*issues)
    request = _native_request(body, model)
    return request if settings.is_old else _without_ignored(request)


def read_openai(
    body: object, catalogue: Catalogue, settings: SandboxSettings = _DEFAULTS
) -> GenerateRequest | ErrorAnswer:
    """Return the request in a parsed body of POST /images/generations, or its 400 or 404. Never raises.

    An unknown model falls back to the default one, as the description promises to OpenAI clients.
    """
    if not isinstance(body, dict):
        return invalid(Issue("invalid_type", (), f"Expected object, received {type_name(body)}"))
    issues = check(body, _OPENAI_FIELDS_OLD if settings.is_old else OPENAI_FIELDS)
    if issues:
        return invalid(*issues)
    if not body.get("model") and not settings.is_old:
        return NO_MODEL
    model = catalogue.find(body.get("model", "default")) or catalogue.default()
    if model.id in settings.retired:
        return retired(model.id, settings.retired[model.id])
    format_ = body.get("output_format", "png")
    transparent = body.get("background") == "transparent" and not settings.is_old
    if transparent:
        issues = list(transparency_issues("background", model.id, format_, supported=model.transparency))
        if issues:
            return invalid(*issues)
    size = body.get("size") or "auto"
    width, height = (1024, 1024) if size == "auto" else (int(side) for side in size.split("x"))
    return GenerateRequest(
        model=model,
        prompt=body["prompt"],
        width=width,
        height=height,
        format=format_,
        delivery=body.get("response_format") or "b64_json",
        received=body,
        safe_mode=body.get("moderation") != "low",
        resolution=model.default_resolution.upper(),
        quality=model.default_quality,
        transparent=transparent,
    )


def _without_ignored(request: GenerateRequest) -> GenerateRequest:
    """Return the request without the fields that its model ignores."""
    return replace(
        request,
        seed=None if request.model_id.startswith(UNSEEDED) else request.seed,
        format="jpeg" if request.model_id.startswith(UNFORMATTED) else request.format,
    )


def _native_request(body: Mapping[str, Any], model: Model) -> GenerateRequest:
    resolution = body.get("resolution", model.default_resolution).upper() if model.resolutions else ""
    if model.by_ratio:
        ratio = body.get("aspect_ratio", model.default_ratio)
        width, height = pixels(ratio if ratio in model.ratios else model.default_ratio, resolution)
    else:
        width, height = int(body.get("width", 1024)), int(body.get("height", 1024))
    return GenerateRequest(
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
        enhanced_prompt=enhanced(body["prompt"]) if body.get("enhance_prompt", False) else "",
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
    """Yield the issues with the size; aspect_ratio is not validated, and fields of other models are ignored."""
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
            continue  # "for supported models" only (API description); others ignore it
        if not choices:
            hint = "; use width and height instead" if name == "aspect_ratio" else ""
            yield _custom(name, f"{model.id} does not accept {name}{hint}")
        # Tiers are written 1K or 1k (source: the models disagree among themselves).
        elif (body[name].upper() if name == "resolution" else body[name]) not in choices:
            yield _custom(name, f"{model.id} offers {', '.join(choices)}, not '{body[name]}'")


def _custom(name: str, message: str) -> Issue:
    return Issue("custom", (name,), message)
