"""Find what is wrong with a job for the model that it names; the jobs file's own rules are checked before.

An error is something that the API answers with a 400. Anything that it ignores or does not check is a warning.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from venice_batch.catalogue.capabilities import (
    ALIASES,
    CHARGES_REFERENCES,
    DEFAULT_SIDE_PX,
    IGNORES_SEED,
    KEEPS_PROVIDERS_FORMAT,
    REFUSES_PIXELS,
    is_of,
    nearest_ratio,
    nearest_sides,
    pixels_of,
    uses_negative_prompt,
    uses_steps,
)
from venice_batch.catalogue.models import DEFAULT
from venice_batch.catalogue.prices import KIND, model_of, names_model
from venice_batch.jobfile.request_check import printable, shown
from venice_batch.model import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from venice_batch.catalogue.models import Catalogue, Deprecation, Model, ModelKind
    from venice_batch.model import Job

    Nearest = Callable[[str, Collection[str]], list[str]]


LISTED = 12
"""Names that a message lists at most."""

MOST_CREATIVITY = 0.02
"""The highest `creativity` of an upscale, from the API's description."""

QUALITIES = ("low", "medium", "high")

_TIER = re.compile(r"\d{1,4}(?:\.\d{1,2})?[kK]", re.ASCII)

UNUSED_BY_OPENAI_ENDPOINT = {"quality": "auto", "style": "natural", "background": "auto", "output_compression": 100}
"""Fields that the OpenAI-compatible endpoint accepts and ignores, with their defaults; but `background` may be
`transparent`."""

_TRANSPARENT = "transparent"


class ModelProblem(msgspec.Struct, frozen=True):
    """One mistake of a job, in one line: the field, what is wrong, and what to do. Warnings have `is_error` False."""

    field: str
    what: str
    is_error: bool = True


def corrected(job: Job, catalogue: Catalogue) -> dict[str, Any]:
    """Return the request with tiers and ratios in the model's own spelling (`1k` or `1K`); unchanged if it has that."""
    request = job.request
    # No other field has a spelling of its own.
    if "resolution" not in request and "aspect_ratio" not in request:
        return request
    model = model_of(job, catalogue)
    if model is None:
        return request
    right = {}
    for name, offered in (("resolution", model.resolutions), ("aspect_ratio", model.ratios)):
        value = request.get(name)
        if value is not None and value not in offered and (own := _own_spelling(value, offered)) is not None:
            right[name] = own
    return {**request, **right} if right else request


def nearest(name: str, names: Collection[str]) -> list[str]:
    """Return up to three of `names` that are most similar to `name`, ignoring case."""
    import difflib

    by_fold = {known.casefold(): known for known in names}
    close = difflib.get_close_matches(name[:80].casefold(), by_fold, n=3, cutoff=0.7)
    return [by_fold[fold] for fold in close]


def shape_complaints(
    job: Job,
    catalogue: Catalogue,
    *,
    styles: Collection[str] | None,
    allow_unknown: bool = False,
    nearest: Nearest = nearest,
) -> Iterator[ModelProblem]:
    """Yield all complaints but those about the length of prompts and about style references.

    They are the same for all jobs of one shape. `styles` are the names that `style_preset` takes, None if they are
    unknown. With `allow_unknown` an unknown model is a warning.
    """
    request = job.request
    kind = KIND.get(job.endpoint)
    if kind is None:
        return
    model = catalogue.resolve(job.model, kind)
    if model is None and not names_model(request):
        model = catalogue.resolve(DEFAULT, kind)
    if model is not None:
        yield from _standing(model, catalogue)
    # A listing without any model of a kind says nothing about that kind.
    elif names_model(request) and catalogue.of_kind(kind):
        yield _unknown(job, kind, catalogue, allow_unknown=allow_unknown, nearest=nearest)
    if job.endpoint is Endpoint.GENERATIONS:
        for field, default in UNUSED_BY_OPENAI_ENDPOINT.items():
            if request.get(field) not in (None, default, _TRANSPARENT):
                yield ModelProblem(field, f"is not used on {job.endpoint}", is_error=False)
        if request.get("background") == _TRANSPARENT:
            yield from _transparency("background", request.get("output_format"), model, catalogue)
        return
    if request.get("transparent_background") is True:
        wanted = request.get("format" if job.endpoint is Endpoint.GENERATE else "output_format")
        yield from _transparency("transparent_background", wanted, model, catalogue)
    if job.endpoint is not Endpoint.GENERATE:
        yield from _retouch(job.endpoint, request, model)
        return
    style = request.get("style_preset")
    if style is not None and styles is not None and style not in styles:
        yield ModelProblem("style_preset", f"no style {shown(style)}{_nearest_or(nearest(style, styles), 'styles')}")
    if model is not None and model.constrained:
        yield from _sizes(request, model)
        yield from _choices(job.endpoint, request, model)
        yield from _steps(request, model)
        yield from _ignored(request, model)
    yield from _seed(request, model)


def prompt_complaints(request: Mapping[str, Any], model: Model) -> Iterator[ModelProblem]:
    """Yield complaints about prompts that are too long for the model."""
    limit = model.prompt_limit
    if limit is None:
        return
    for field in ("prompt", "negative_prompt"):
        length = len(request.get(field, ""))
        if length > limit:
            what = f"has {length:,} characters; {model.id} takes at most {limit:,} (cut {length - limit:,})"
            yield ModelProblem(field, what)


def reference_complaints(request: Mapping[str, Any], model: Model, catalogue: Catalogue) -> Iterator[ModelProblem]:
    """Yield complaints about `style_references`."""
    references = request.get("style_references")
    if not references or not model.constrained:
        return
    most = model.max_style_references
    if model.style_references is not True and most is None:
        refused = model.style_references is False or bool(catalogue.marked("style_references", model.kind))
        what = f"{model.id} takes none; leave them out" if refused else f"{model.id} is not listed as using them"
        yield ModelProblem("style_references", what, refused)
    elif most is not None and len(references) > most:
        yield ModelProblem("style_references", f"has {len(references)} images; {model.id} takes at most {most}")
    elif model.style_reference_strength is False and any("strength" in reference for reference in references):
        yield ModelProblem("style_references", f"{model.id} ignores their strength", is_error=False)
    if is_of(model, CHARGES_REFERENCES):
        what = f"{model.id} adds a surcharge for them that no list shows"
        yield ModelProblem("style_references", what, is_error=False)


def _unknown(job: Job, kind: ModelKind, catalogue: Catalogue, *, allow_unknown: bool, nearest: Nearest) -> ModelProblem:
    name = job.model
    if name in ALIASES and any(model.venice for model in catalogue.of_kind(kind)):
        return ModelProblem("model", f"{name} is an alias that no list shows; its price is not known", is_error=False)
    if job.endpoint is Endpoint.GENERATIONS:
        fallback = catalogue.resolve(DEFAULT)
        default = f", {fallback.id}" if fallback else ""
        what = f"no model {shown(name)} is listed; {job.endpoint} falls back to the default one{default}"
        return ModelProblem("model", what, is_error=False)
    replacement = catalogue.former.get(name)
    instead = [replacement] if replacement in catalogue.models else nearest(name, catalogue.names(kind))
    listed = _nearest_or(
        [found for found in instead if found], "models" if kind == "image" else f"models --type {kind}"
    )
    if name in catalogue.models:
        return ModelProblem("model", f"{printable(name)} is not a model for {job.endpoint}{listed}", not allow_unknown)
    gone = name in catalogue.former
    what = f"{printable(name)} is no longer listed{listed}" if gone else f"no model {shown(name)} is listed{listed}"
    if not catalogue.current and not allow_unknown:
        what += f"; for one newer than the list of {catalogue.listed:%Y-%m-%d} give --allow-unknown"
    return ModelProblem("model", what, is_error=not allow_unknown)


def _standing(model: Model, catalogue: Catalogue) -> Iterator[ModelProblem]:
    """Yield what keeps the model from being used, now or soon."""
    if model.offline:
        # Yesterday's listing says little about now.
        when = "is offline at present" if catalogue.current else f"was offline on {catalogue.listed:%Y-%m-%d}"
        yield ModelProblem("model", f"{model.id} {when}; run later, or use another", is_error=catalogue.current)
    gone = model.deprecation
    if gone is None:
        return
    instead = f"; use {gone.replacement}" if gone.replacement else "; `venice-batch models` lists others"
    if gone.ends is not None and gone.ends <= catalogue.now:
        yield _retired(model, gone, instead)
    elif gone.starts is None or gone.starts <= catalogue.now:
        when = f" on {gone.ends:%Y-%m-%d}" if gone.ends else ""
        yield ModelProblem("model", f"{model.id} is deprecated and will be retired{when}{instead}", is_error=False)


def _retired(model: Model, gone: Deprecation, instead: str) -> ModelProblem:
    if gone.remapped and gone.replacement:
        what = f"{model.id} was retired on {gone.ends:%Y-%m-%d}; the API may use {gone.replacement} in its place"
        return ModelProblem("model", what, is_error=False)
    return ModelProblem("model", f"{model.id} was retired on {gone.ends:%Y-%m-%d}{instead}")


def _transparency(field: str, wanted: str | None, model: Model | None, catalogue: Catalogue) -> Iterator[ModelProblem]:
    """Check a request for a transparent background, in the format `wanted` if it names one."""
    if wanted in ("jpeg", "jpg"):
        yield ModelProblem(field, f"{wanted} has no transparency; ask for png or webp")
    if model is None or not model.constrained or model.transparent is True:
        return
    able = catalogue.marked("transparent", model.kind)
    if model.transparent is None and not able:
        yield ModelProblem(field, f"{model.id} is not listed as making one", is_error=False)
        return
    listed = f"; these can: {', '.join(able[:LISTED])}" if able else ""
    yield ModelProblem(field, f"{model.id} cannot make one{listed}")


def _retouch(endpoint: Endpoint, request: Mapping[str, Any], model: Model | None) -> Iterator[ModelProblem]:
    """Check an edit or an upscale against its model."""
    creativity = request.get("creativity")
    if creativity is not None and not 0 <= creativity <= MOST_CREATIVITY:
        what = f"{shown(creativity)} counts as {min(max(creativity, 0), MOST_CREATIVITY):g}: the API keeps it in 0-0.02"
        yield ModelProblem("creativity", what, is_error=False)
    if model is None or not model.constrained:
        return
    given = request.get("images", ())
    if model.max_inputs is not None and len(given) > model.max_inputs:
        yield ModelProblem("images", f"has {len(given)} images; {model.id} takes at most {model.max_inputs}")
    ratio = request.get("aspect_ratio")
    if ratio is not None and model.keeps_size and len(given) < 2:
        yield ModelProblem(
            "aspect_ratio", f"{model.id} keeps the size of a single image and ignores it", is_error=False
        )
    yield from _choices(endpoint, request, model)
    yield from _ignored(request, model)


def _sizes(request: Mapping[str, Any], model: Model) -> Iterator[ModelProblem]:
    sides = [side for side in ("width", "height") if request.get(side) is not None]
    refuses = is_of(model, REFUSES_PIXELS)
    if refuses or model.by_ratio:
        yield from (_side_of_ratio(side, request, model, is_error=refuses) for side in sides)
        return
    ratio = request.get("aspect_ratio")
    if ratio is not None and model.divisor is not None:
        close = pixels_of(ratio, model.divisor)
        hint = f" (nearest to {printable(ratio)}: width {close[0]}, height {close[1]})" if close else ""
        yield ModelProblem("aspect_ratio", f"{model.id} takes width and height instead{hint}", is_error=False)
    for side in sides:
        pixels, divisor = int(request[side]), model.divisor or 1
        if pixels % divisor:
            sizes = ", ".join(map(str, nearest_sides(pixels, divisor))) or "none"
            what = f"{pixels} is not a multiple of {divisor} for {model.id} (nearest: {sizes})"
            yield ModelProblem(side, what, is_error=False)


def _side_of_ratio(side: str, request: Mapping[str, Any], model: Model, *, is_error: bool) -> ModelProblem:
    width, height = (max(1, int(request.get(name) or DEFAULT_SIDE_PX)) for name in ("width", "height"))
    near = nearest_ratio(width, height, model.ratios)
    hint = f" (nearest to {width}x{height}: {near})" if near else ""
    return ModelProblem(side, f"{model.id} takes aspect_ratio instead of pixels{hint}", is_error)


def _choices(endpoint: Endpoint, request: Mapping[str, Any], model: Model) -> Iterator[ModelProblem]:
    # The API checks no ratio on /image/generate. It drops fields that a model does not take, except on /image/edit.
    for field, offered, is_checked, is_dropped in (
        ("aspect_ratio", model.ratios, endpoint is not Endpoint.GENERATE, True),
        ("resolution", model.resolutions, True, endpoint is not Endpoint.EDIT),
        ("quality", model.qualities, True, True),
    ):
        value = request.get(field)
        if value is None or (field == "aspect_ratio" and not offered):
            continue  # a ratio for a model without ratios is `_sizes`'s to check
        if not offered and is_dropped:
            yield ModelProblem(field, f"{model.id} ignores the field", is_error=False)
        elif not offered:
            # The API's description calls 1K the default of a request without the field, so that it may pass.
            yield ModelProblem(field, f"{model.id} has no choice of {field}; leave it out", value.upper() != "1K")
        elif value not in offered and _own_spelling(value, offered) is None:
            yield ModelProblem(
                field, f"{model.id} has no {shown(value)}{_near_choice(field, value, offered)}", is_checked
            )


def _near_choice(field: str, value: str, offered: tuple[str, ...]) -> str:
    listed = ", ".join(offered[:LISTED]) + ("…" if len(offered) > LISTED else "")
    near = _nearest_ratio(value, offered) if field == "aspect_ratio" else _nearest_rank(value, offered)
    return f" (nearest: {near}; it has {listed})" if near else f" (it has {listed})"


def _nearest_ratio(value: str, offered: tuple[str, ...]) -> str | None:
    across, _, down = value.partition(":")
    if not (across.isdecimal() and down.isdecimal() and int(across[:9]) and int(down[:9])):
        return None
    return nearest_ratio(int(across[:9]), int(down[:9]), offered)


def _nearest_rank(value: str, offered: tuple[str, ...]) -> str | None:
    """Return the tier or quality nearest to `value`, the lower of two equally near ones."""
    ranks = [(_rank(own), own) for own in offered]
    asked = _rank(value)
    distances = [(abs(rank - asked), rank, own) for rank, own in ranks if rank is not None and asked is not None]
    return min(distances)[2] if distances else None


def _rank(choice: str) -> float | None:
    if _TIER.fullmatch(choice):
        return float(choice[:-1])
    return QUALITIES.index(choice) if choice in QUALITIES else None


def _steps(request: Mapping[str, Any], model: Model) -> Iterator[ModelProblem]:
    steps = request.get("steps")
    if steps is None:
        return
    if not uses_steps(model):
        yield ModelProblem("steps", f"{model.id} ignores the field", is_error=False)
    elif model.steps_max is not None and steps > model.steps_max:
        yield ModelProblem("steps", f"{shown(steps)} is above {model.id}'s limit of {model.steps_max}")


def _seed(request: Mapping[str, Any], model: Model | None) -> Iterator[ModelProblem]:
    if request.get("seed") is None:
        return
    if model is not None and is_of(model, IGNORES_SEED):
        yield ModelProblem("seed", f"{model.id} ignores it; the image cannot be made again", is_error=False)
    elif (request.get("variants") or 1) > 1:
        what = "only the first of several variants is made by it; for a seed each give --seed-policy split"
        yield ModelProblem("seed", what, is_error=False)


def _ignored(request: Mapping[str, Any], model: Model) -> Iterator[ModelProblem]:
    if request.get("enable_web_search") and model.web_search is False:
        yield ModelProblem("enable_web_search", f"{model.id} does not search the web", is_error=False)
    field = "disable_prompt_optimization_thinking"
    if request.get(field) and model.prompt_thinking is False:
        yield ModelProblem(field, f"{model.id} ignores the field", is_error=False)
    if "negative_prompt" in request and not uses_negative_prompt(model):
        yield ModelProblem("negative_prompt", f"{model.id} ignores the field", is_error=False)
    for field in ("format", "output_format"):
        if request.get(field) is not None and is_of(model, KEEPS_PROVIDERS_FORMAT):
            what = f"{model.id} answers in its provider's format, whatever is asked for"
            yield ModelProblem(field, what, is_error=False)


def _own_spelling(value: str, offered: tuple[str, ...]) -> str | None:
    fold = value.casefold()
    return next((own for own in offered if own.casefold() == fold), None)


def _nearest_or(names: list[str], listed_by: str) -> str:
    return f" (nearest: {', '.join(names)})" if names else f"; `venice-batch {listed_by}` lists them"
