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
    endpoint, request = job.endpoint, job.request
    if endpoint is Endpoint.BACKGROUND_REMOVE:
        return REMOVAL_MICRO_USD
    if model is None:
        return None
    pricing = model.pricing
    if endpoint is Endpoint.UPSCALE:
        scale = request.get("scale") or 2
        return pricing.scales.get(4 if isinstance(scale, int | float) and scale > 2 else 2)
    asked = request.get("resolution") if endpoint is not Endpoint.GENERATIONS else None
    quality = request.get("quality") if endpoint is not Endpoint.GENERATIONS else None
    tier = str(asked or model.default_resolution or next(iter(model.resolutions), "")).upper()
    price = pricing.qualities.get((tier, str(quality or model.default_quality or "")))
    if price is None:
        # A tier that is asked for and missing from a list of tiers has no known price.
        price = pricing.tiers.get(tier, None if asked and pricing.tiers else pricing.image)
    if price is None:
        return None
    extra = max(0, _pictures(endpoint, request) - pricing.included)
    return price * job.images + extra * pricing.input + enhancement_micro_usd(endpoint, request)


def enhancement_micro_usd(endpoint: Endpoint, request: Mapping[str, Any]) -> int:
    """Return the price of the prompt rewrite that a request asks for; charged only if the answer has one."""
    return ENHANCEMENT_MICRO_USD if endpoint in _ENHANCES and request.get("enhance_prompt") is True else 0


def _pictures(endpoint: Endpoint, request: Mapping[str, Any]) -> int:
    given = request.get("images")
    return 1 if endpoint is Endpoint.EDIT else len(given) if isinstance(given, list) else 0


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
