"""Validation of POST /images/generations, the OpenAI-compatible endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from venice_batch.sandbox.errors import Issue, Refusal, invalid, retired
from venice_batch.sandbox.fields import Field, check, transparency_issues, type_name
from venice_batch.sandbox.request import Order
from venice_batch.sandbox.settings import SandboxSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from venice_batch.sandbox.catalogue import Catalogue

# Source: OpenAPI description, SimpleGenerateImageRequest.
TABLE: Mapping[str, Field] = {
    "model": Field(kind="string"),
    "prompt": Field(kind="string", required=True, min_length=1, max_length=1500),
    "n": Field(kind="integer", nullable=True, minimum=1, maximum=1),
    "size": Field(
        kind="string",
        nullable=True,
        choices=("auto", "256x256", "512x512", "1024x1024", "1536x1024", "1024x1536", "1792x1024", "1024x1792"),
    ),
    "response_format": Field(kind="string", nullable=True, choices=("b64_json", "url")),
    "output_format": Field(kind="string", choices=("jpeg", "png", "webp")),
    "moderation": Field(kind="string", nullable=True, choices=("low", "auto")),
    "quality": Field(kind="string", nullable=True, choices=("auto", "high", "medium", "low", "hd", "standard")),
    "style": Field(kind="string", nullable=True, choices=("vivid", "natural")),
    "background": Field(kind="string", nullable=True, choices=("transparent", "opaque", "auto")),
    "output_compression": Field(kind="integer", nullable=True, minimum=0, maximum=100),
    "user": Field(kind="string"),
    "anon_user_id": Field(kind="string"),
}
TABLE_OLD: Mapping[str, Field] = {name: rule for name, rule in TABLE.items() if name != "anon_user_id"}
NO_MODEL = Refusal(400, "model is required")
"""Since 2026-10 (source: Venice's agent skills, venice-image-generate, 2026-10-02)."""
_DEFAULTS = SandboxSettings()


def read(body: object, catalogue: Catalogue, settings: SandboxSettings = _DEFAULTS) -> Order | Refusal:
    """Return the order that a parsed body asks for, or the 400 or 404 that it is answered with. Never raises.

    A model that does not exist falls back to the default one, as the description promises to OpenAI clients.
    """
    if not isinstance(body, dict):
        return invalid(Issue("invalid_type", (), f"Expected object, received {type_name(body)}"))
    issues = check(body, TABLE_OLD if settings.is_old else TABLE)
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
    return Order(
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
