"""What a job costs, by the prices that the models are listed with."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from venice_batch.catalogue.models import DEFAULT, MICRO_PER_USD
from venice_batch.model import Endpoint

if TYPE_CHECKING:
    from venice_batch.catalogue.models import Catalogue, Kind, Model
    from venice_batch.model import Job


KIND: Mapping[Endpoint, Kind] = MappingProxyType(
    {
        Endpoint.GENERATE: "image",
        Endpoint.GENERATIONS: "image",
        Endpoint.UPSCALE: "upscale",
        Endpoint.EDIT: "inpaint",
        Endpoint.MULTI_EDIT: "inpaint",
    }
)
"""The kind of model that each endpoint takes; background removal has one of its own, which no listing shows."""

REMOVAL_MICRO_USD = 30_000
"""The price of removing a background, as published on 2026-08-22."""


def price_usd(job: Job, catalogue: Catalogue) -> Decimal | None:
    """The price of all images of a job, exactly; None where the catalogue does not know it."""
    micro = price_micro_usd(job, catalogue)
    return None if micro is None else usd(micro)


def price_micro_usd(job: Job, catalogue: Catalogue) -> int | None:
    """The price in millionths of a dollar; see `price_usd`."""
    return request_micro_usd(job.endpoint, job.request, model_of(job, catalogue))


def request_micro_usd(endpoint: Endpoint, request: Mapping[str, Any], model: Model | None) -> int | None:
    """The price of a request to `model`: by tier and quality, else by tier, else any image's; times the images.

    Where the request gives neither tier nor quality the model's defaults count, else its first tier. The
    OpenAI-compatible endpoint takes neither. Upscaling has a price for each scale, 2 by default.
    """
    if endpoint is Endpoint.BACKGROUND_REMOVE:
        return REMOVAL_MICRO_USD
    if model is None:
        return None
    pricing = model.pricing
    if endpoint is Endpoint.UPSCALE:
        return pricing.scales.get(request.get("scale", 2))
    tier = request.get("resolution") if endpoint is not Endpoint.GENERATIONS else None
    quality = request.get("quality") if endpoint is not Endpoint.GENERATIONS else None
    tier = (tier or model.default_resolution or next(iter(model.resolutions), "")).upper()
    price = pricing.qualities.get((tier, quality or model.default_quality or ""))
    if price is None:
        price = pricing.tiers.get(tier, pricing.image)
    if price is None:
        return None
    return price * images(request) + max(0, len(request.get("images", ())) - pricing.included) * pricing.input


def images(request: Mapping[str, Any]) -> int:
    """How many images a request asks for."""
    return int(request.get("variants") or 1)


def has_extras(request: Mapping[str, Any]) -> bool:
    """Whether a request asks for what costs extra at a price that is not published."""
    return request.get("enhance_prompt") is True or request.get("enable_web_search") is True


def model_of(job: Job, catalogue: Catalogue) -> Model | None:
    """The model that makes a job's images; None if the catalogue lacks it, and for background removal."""
    kind = KIND.get(job.endpoint)
    if kind is None:
        return None
    found = catalogue.resolve(job.model, kind)
    if found is None and (job.endpoint is Endpoint.GENERATIONS or not names_model(job.request)):
        return catalogue.resolve(DEFAULT, kind)
    return found


def names_model(request: Mapping[str, Any]) -> bool:
    """Whether a request says which model is to have it."""
    return "model" in request or "modelId" in request


def usd(micro: int) -> Decimal:
    """Millionths of a dollar as dollars, exactly."""
    return Decimal(micro) / MICRO_PER_USD


def micro_usd(amount: Decimal | float) -> int:
    """Dollars as millionths, rounded down: a limit is never exceeded by what rounding adds."""
    return int(Decimal(str(amount)) * MICRO_PER_USD)


def usd_text(micro: int) -> str:
    """Dollars for people: cents at least, smaller parts where there are any."""
    whole, part = divmod(micro, MICRO_PER_USD)
    decimals = f"{part:06}".rstrip("0").ljust(2, "0")
    return f"{whole:,}.{decimals}"
