"""Price of one order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from venice_batch.sandbox.request import Order

MICRO_PER_USD = 1_000_000
ENHANCEMENT_MICRO_USD = 40_000
"""Price of one applied prompt rewrite (source: Venice's agent skills, venice-image-generate, 2026-10-02)."""


def price_micro_usd(order: Order) -> int:
    """Return the price in millionths of a dollar, so that sums stay exact.

    Raises: KeyError when the model has no price for what is ordered.
    """
    return picture_micro_usd(order.model.pricing, "generation", order.resolution, order.quality) * order.variants


def picture_micro_usd(pricing: Mapping[str, Any], base: str, resolution: str, quality: str) -> int:
    """Return what one picture costs; `base` names the price that is left when no other applies.

    Of `quality[tier][quality]`, `resolutions[tier]` and the base, the first that the model has applies
    (source: GET /models, model_spec.pricing).

    A tier without a published price costs as much as the model's first.

    Raises: KeyError when the model has no price for what is ordered.
    """
    by_quality = pricing.get("quality", {}).get(resolution, {})
    by_tier = pricing.get("resolutions", {})
    if quality in by_quality:
        return micro_usd(by_quality[quality]["usd"])
    if resolution in by_tier:
        return micro_usd(by_tier[resolution]["usd"])
    return micro_usd((pricing[base] if base in pricing else next(iter(by_tier.values())))["usd"])


def micro_usd(usd: float) -> int:
    """Return dollars in millionths."""
    return round(usd * MICRO_PER_USD)
