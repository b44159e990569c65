"""What a job costs, by the prices that the models are listed with."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from venice_batch.catalogue.models import MICRO_PER_USD
from venice_batch.model import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from venice_batch.catalogue.models import Catalogue, Model
    from venice_batch.model import Job


def price_usd(job: Job, catalogue: Catalogue) -> Decimal | None:
    """The price of all images of a job, exactly; None where the catalogue does not know it."""
    micro = price_micro_usd(job, catalogue)
    return None if micro is None else usd(micro)


def price_micro_usd(job: Job, catalogue: Catalogue) -> int | None:
    """The price in millionths of a dollar; see `price_usd`."""
    model = model_of(job, catalogue)
    return None if model is None else request_micro_usd(job.endpoint, job.request, model)


def request_micro_usd(endpoint: Endpoint, request: Mapping[str, Any], model: Model) -> int | None:
    """The price of a request to `model`: by tier and quality, else by tier, else any image's; times the images.

    Where the request gives neither tier nor quality the model's defaults count, else its first tier. The
    OpenAI-compatible endpoint takes neither.
    """
    native = endpoint is Endpoint.GENERATE
    tier = request.get("resolution") if native else None
    quality = request.get("quality") if native else None
    tier = (tier or model.default_resolution or next(iter(model.resolutions), "")).upper()
    pricing = model.pricing
    price = pricing.qualities.get((tier, quality or model.default_quality or ""))
    if price is None:
        price = pricing.tiers.get(tier, pricing.image)
    return None if price is None else price * images(request)


def images(request: Mapping[str, Any]) -> int:
    """How many images a request asks for."""
    return int(request.get("variants") or 1)


def has_extras(request: Mapping[str, Any]) -> bool:
    """Whether a request asks for what costs extra at a price that is not published."""
    return request.get("enhance_prompt") is True or request.get("enable_web_search") is True


def model_of(job: Job, catalogue: Catalogue) -> Model | None:
    """The model that makes a job's images; None if the catalogue lacks it."""
    found = catalogue.resolve(job.model)
    return catalogue.default if found is None and job.endpoint is Endpoint.GENERATIONS else found


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
