"""Price jobs from the prices that the models are listed with."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from venice_batch.catalogue.models import DEFAULT
from venice_batch.model import Endpoint

if TYPE_CHECKING:
    from venice_batch.catalogue.models import Catalogue, Model, ModelKind
    from venice_batch.model import Job


KIND: Mapping[Endpoint, ModelKind] = MappingProxyType(
    {
        Endpoint.GENERATE: "image",
        Endpoint.GENERATIONS: "image",
        Endpoint.UPSCALE: "upscale",
        Endpoint.EDIT: "inpaint",
        Endpoint.MULTI_EDIT: "inpaint",
    }
)
"""The kind of model for each endpoint. Background removal has its own, which no listing shows."""

REMOVAL_MICRO_USD = 30_000
"""The price of removing a background, as published on 2026-08-22."""

ENHANCEMENT_MICRO_USD = 40_000
"""The price of rewriting a prompt: once a request, however many images (Venice's agent skills, 2026-10-02)."""

_ENHANCES = frozenset({Endpoint.GENERATE, Endpoint.EDIT, Endpoint.MULTI_EDIT})


def price_micro_usd(job: Job, catalogue: Catalogue) -> int | None:
    """Return the most that a job can cost, in millionths of a dollar; None where the catalogue has no price for it."""
    return price_for(job, model_of(job, catalogue))


def price_for(job: Job, model: Model | None) -> int | None:
    """Return the most that a job can cost with `model`, its own by `model_of`: the images and a rewritten prompt.

    An image's price depends on tier and quality, else on the tier, else it is one for all. Where the request gives
    neither, the model's defaults count, else its first tier. The OpenAI-compatible endpoint takes neither. An edit pays
    for each picture that its price does not include. Upscaling has two prices: up to 2 times (the default), and above.
    """
    price = _image_price(job, model)[1]
    if price is None or model is None or job.endpoint is Endpoint.UPSCALE:
        return price
    further = _extra_pictures(job, model) * model.pricing.input
    return price * job.images + further + enhancement_micro_usd(job.endpoint, job.request)


def prices_used(job: Job, model: Model | None) -> dict[str, int | None]:
    """Return the single prices that `price_for` adds up for a job, by what each is for; None for a price not known."""
    name, price = _image_price(job, model)
    found = {name: price}
    if model is not None and _extra_pictures(job, model):
        found["input image"] = model.pricing.input
    if enhancement := enhancement_micro_usd(job.endpoint, job.request):
        found["prompt rewrite"] = enhancement
    return found


def _image_price(job: Job, model: Model | None) -> tuple[str, int | None]:
    """Return which price an image of the job has, in words, and the price."""
    endpoint, request = job.endpoint, job.request
    if endpoint is Endpoint.BACKGROUND_REMOVE:
        return "background removal", REMOVAL_MICRO_USD
    if model is None:
        return "image", None
    pricing = model.pricing
    if endpoint is Endpoint.UPSCALE:
        scale = request.get("scale") or 2
        times = 4 if isinstance(scale, int | float) and scale > 2 else 2
        return f"upscale {times}x", pricing.scales.get(times)
    asked = request.get("resolution") if endpoint is not Endpoint.GENERATIONS else None
    quality = request.get("quality") if endpoint is not Endpoint.GENERATIONS else None
    tier = str(asked or model.default_resolution or next(iter(model.resolutions), "")).upper()
    quality = str(quality or model.default_quality or "")
    price = pricing.qualities.get((tier, quality))
    if price is not None:
        return f"image at {tier}, {quality}", price
    if tier in pricing.tiers:
        return f"image at {tier}", pricing.tiers[tier]
    # A tier that is asked for and missing from a list of tiers has no known price.
    if asked and pricing.tiers:
        return f"image at {tier}", None
    return "image", pricing.image


def enhancement_micro_usd(endpoint: Endpoint, request: Mapping[str, Any]) -> int:
    """Return the price of the prompt rewrite that a request asks for; charged only if the answer has one."""
    return ENHANCEMENT_MICRO_USD if endpoint in _ENHANCES and request.get("enhance_prompt") is True else 0


def _extra_pictures(job: Job, model: Model) -> int:
    """Return how many pictures of an edit are not included in its price."""
    given = job.request.get("images")
    pictures = 1 if job.endpoint is Endpoint.EDIT else len(given) if isinstance(given, list) else 0
    return max(0, pictures - model.pricing.included)


def model_of(job: Job, catalogue: Catalogue) -> Model | None:
    """Return the model that makes a job's images; None if the catalogue lacks it, and for background removal."""
    kind = KIND.get(job.endpoint)
    if kind is None:
        return None
    found = catalogue.resolve(job.model, kind)
    if found is None and (job.endpoint is Endpoint.GENERATIONS or not names_model(job.request)):
        return catalogue.resolve(DEFAULT, kind)
    return found


def names_model(request: Mapping[str, Any]) -> bool:
    """Return whether a request names a model."""
    return "model" in request or "modelId" in request
