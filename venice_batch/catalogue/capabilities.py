"""How Venice's models treat fields where no listing says so, and the sizes and values that models offer.

Source of the families: Venice's published agent skills, synced 2026-10-02 with the API's source. `*` stands for the
rest of an id. The families apply only to entries that a listing says Venice owns: another server may give a model of
its own the same name.
"""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from venice_batch.catalogue.prices import KIND
from venice_batch.jobfile.fields import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from venice_batch.catalogue.models import Catalogue, Model
    from venice_batch.model import Endpoint


USES_STEPS = ("venice-sd35", "lustify-*", "wai-Illustrious")
"""Other models accept any integer as `steps` and ignore it."""

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
"""Other models drop `negative_prompt`."""

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
"""These answer `width` and `height` with a 400; other models sized by ratio ignore them."""

KEEPS_PROVIDERS_FORMAT = ("grok-imagine-*",)
"""These answer in their provider's format, whatever the request says."""

ALIASES = frozenset({"qwen-edit"})
"""Names that the API accepts although no list shows them."""

CHARGES_REFERENCES = ("krea-v2-*",)
"""These charge extra for `style_references`; no list shows how much."""


def is_of(model: Model, family: tuple[str, ...]) -> bool:
    """Return whether a model is Venice's and in `family`."""
    return model.venice and any(fnmatchcase(model.id, pattern) for pattern in family)


def uses_steps(model: Model) -> bool:
    """Return whether `steps` changes anything: by the table above, elsewhere if the listing has a limit for it."""
    return is_of(model, USES_STEPS) if model.venice else model.steps_max is not None


def uses_negative_prompt(model: Model) -> bool:
    """Return whether `negative_prompt` changes anything; True where that is not known."""
    return not model.venice or is_of(model, USES_NEGATIVE_PROMPT)


def ignored_fields(model: Model) -> list[str]:
    """Return the fields that requests may have and `model` ignores."""
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


MAX_SIDE_PX = 1280
"""The API's upper limit for `width` and `height`, whatever the model."""

DEFAULT_SIDE_PX = 1024
"""The API's default for `width` and `height`."""


def nearest_sides(pixels: int, divisor: int) -> list[int]:
    """Return the multiples of `divisor` next below and next above `pixels` that the API takes."""
    below = pixels // divisor * divisor
    return [side for side in (below, below + divisor) if 0 < side <= MAX_SIDE_PX]


def nearest_ratio(width: int, height: int, ratios: Iterable[str]) -> str | None:
    """Return the ratio whose shape is nearest to `width` by `height`; None if no ratio has a shape."""
    asked = math.log(width / height)
    shapes = [(abs(math.log(shape) - asked), ratio) for ratio in ratios if (shape := shape_of(ratio)) is not None]
    return min(shapes, key=lambda found: found[0])[1] if shapes else None


def shape_of(ratio: str) -> float | None:
    """Return width divided by height of a ratio like "16:9"; None for "auto" and anything else."""
    across, _, down = ratio.partition(":")
    try:
        shape = float(across) / float(down)
    except (ValueError, ZeroDivisionError):
        return None
    return shape if 0 < shape < math.inf else None


def pixels_of(ratio: str, divisor: int) -> tuple[int, int] | None:
    """Return a width and height of about a megapixel in the shape of `ratio`, for a model with `divisor`.

    None for anything that is not a ratio, and for ratios of more than 16 to 1.
    """
    shape = shape_of(ratio)
    if shape is None or not 1 / 16 <= shape <= 16 or divisor > MAX_SIDE_PX:
        return None
    width = min(DEFAULT_SIDE_PX * math.sqrt(shape), MAX_SIDE_PX, MAX_SIDE_PX * shape)
    return _side(width, divisor), _side(width / shape, divisor)


def _side(pixels: float, divisor: int) -> int:
    largest = MAX_SIDE_PX // divisor * divisor
    return min(max(divisor, round(pixels / divisor) * divisor), largest)


def offers(catalogue: Catalogue, styles: Iterable[str] = ()) -> dict[Endpoint, dict[str, list[str]]]:
    """Return the values that some model offers, by endpoint and field, in the listing's order.

    Jobs may give others: names of traits, `1k` for `1K`, a model that the list lacks. Fields without values are left
    out.
    """
    found = {}
    for endpoint, kind in KIND.items():
        models = catalogue.of_kind(kind)
        values = {
            "model": (model.id for model in models),
            "aspect_ratio": (ratio for model in models for ratio in model.ratios),
            "resolution": (tier.upper() for model in models for tier in model.resolutions),
            "style_preset": styles,
        }
        distinct = {field: list(dict.fromkeys(some)) for field, some in values.items() if field in FIELDS[endpoint]}
        found[endpoint] = {field: some for field, some in distinct.items() if some}
    return found
