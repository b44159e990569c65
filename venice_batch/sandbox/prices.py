"""Price of one order."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from venice_batch.sandbox.order import Order

MICRO_PER_USD = 1_000_000


def price_micro_usd(order: Order) -> int:
    """Return the price in millionths of a dollar, so that sums stay exact.

    Of `quality[tier][quality]`, `resolutions[tier]` and `generation`, the first that the model has applies to
    every image (source: GET /models, model_spec.pricing).

    Raises: KeyError when the model has no price for what is ordered.
    """
    pricing = order.model.pricing
    by_quality = pricing.get("quality", {}).get(order.resolution, {})
    by_tier = pricing.get("resolutions", {})
    usd: float
    if order.quality in by_quality:
        usd = by_quality[order.quality]["usd"]
    elif order.resolution in by_tier:
        usd = by_tier[order.resolution]["usd"]
    else:
        usd = pricing["generation"]["usd"]
    return round(usd * MICRO_PER_USD) * order.variants
