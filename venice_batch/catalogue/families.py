"""What families of Venice's models do with fields, where no listing says it.

Source: Venice's published agent skills, synced 2026-10-02 with the API's source. `*` stands for the rest of an id. The
table holds for entries that a listing says Venice owns, so neither for another server's models nor for one that
happens to have a like name there.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from venice_batch.catalogue.models import Model

USES_STEPS = ("venice-sd35", "lustify-*", "wai-Illustrious")
"""All others take any integer for `steps` and ignore it."""

USES_NEGATIVE_PROMPT = (
    "venice-sd35",
    "lustify-*",
    "wai-Illustrious",
    "qwen-image-2",
    "qwen-image-2-pro",
    "qwen-image-3",
    "qwen-image-3-pro",
    "wan-2-7-*",
)
"""All others drop `negative_prompt`."""

IGNORES_SEED = (
    "gpt-image-*",
    "muse-*",
    "luma-*",
    "recraft-*",
    "imagineart-*",
    "seedream-v5-pro",
    "nano-banana-pro",
    "grok-imagine-*",
)

REFUSES_PIXELS = ("qwen-image", "qwen-image-3", "qwen-image-3-pro")
"""`width` and `height` are a 400 there; other models sized by ratio ignore them."""

KEEPS_PROVIDERS_FORMAT = ("grok-imagine-*",)
"""The image comes in the provider's format, whatever the request says."""

ALIASES = frozenset({"qwen-edit"})
"""Names that the API takes although no list shows them."""

CHARGES_REFERENCES = ("krea-v2-*",)
"""`style_references` cost a surcharge that no list shows."""


def is_of(model: Model, family: tuple[str, ...]) -> bool:
    """Whether a model is one of Venice's in `family`."""
    return model.venice and any(fnmatchcase(model.id, pattern) for pattern in family)


def uses_steps(model: Model) -> bool:
    """Whether `steps` changes anything: by the table, for another server's model if its listing has a limit."""
    return is_of(model, USES_STEPS) if model.venice else model.steps_max is not None


def uses_negative_prompt(model: Model) -> bool:
    """Whether `negative_prompt` changes anything, as far as is known."""
    return not model.venice or is_of(model, USES_NEGATIVE_PROMPT)


def ignored_fields(model: Model) -> list[str]:
    """The fields that a model of this kind ignores although requests may have them."""
    if model.kind == "upscale":
        return []
    if model.kind == "inpaint":
        return ["output_format"] if is_of(model, KEEPS_PROVIDERS_FORMAT) else []
    ignored = {
        "width, height": model.by_ratio and not is_of(model, REFUSES_PIXELS),
        "aspect_ratio": model.divisor is not None and not model.by_ratio and not is_of(model, REFUSES_PIXELS),
        "resolution": not model.resolutions,
        "quality": not model.qualities,
        "steps": not uses_steps(model),
        "seed": is_of(model, IGNORES_SEED),
        "negative_prompt": not uses_negative_prompt(model),
        "format": is_of(model, KEEPS_PROVIDERS_FORMAT),
        "enable_web_search": model.web_search is False,
    }
    return [name for name, is_ignored in ignored.items() if is_ignored]
