"""Compare two listings: models added, removed and repriced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from venice_batch.catalogue.listing import Listing


class Repriced(msgspec.Struct, frozen=True):
    """A model's price that has changed, in USD; None where a listing has no such price.

    `price` is its place in the listing: `generation`, `resolutions.2K`, `quality.1K.low`, `inputImages.additional`.
    """

    model: str
    price: str
    before: float | None
    after: float | None


class Changes(msgspec.Struct, frozen=True):
    """The ids of models that only one listing has, and the prices that differ; in the listings' order."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    repriced: tuple[Repriced, ...] = ()

    def __bool__(self) -> bool:
        """Return whether anything differs."""
        return bool(self.added or self.removed or self.repriced)


def changes(before: Listing, after: Listing) -> Changes:
    """Compare two listings by the models' ids and prices."""
    old, new = _prices(before), _prices(after)
    return Changes(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        repriced=tuple(
            Repriced(name, price, old[name].get(price), new[name].get(price))
            for name in new
            if name in old
            for price in dict.fromkeys((*new[name], *old[name]))
            if old[name].get(price) != new[name].get(price)
        ),
    )


def _prices(listing: Listing) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for entry in listing.entries:
        name, spec = entry.get("id"), entry.get("model_spec")
        if not isinstance(name, str):
            continue
        pricing = spec.get("pricing") if isinstance(spec, dict) else None
        prices = dict(_amounts(pricing, ())) if isinstance(pricing, dict) else {}
        if entry.get("type") != "upscale":
            # Every image model repeats the upscaler's prices.
            prices = {price: usd for price, usd in prices.items() if not price.startswith("upscale.")}
        found.setdefault(name, prices)
    return found


def _amounts(value: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    for key, inner in value.items():
        if key == "usd" and isinstance(inner, int | float):
            yield ".".join(path), round(inner, 6)
        elif isinstance(inner, dict):
            yield from _amounts(inner, (*path, key.upper() if path and path[-1] in _BY_TIER else key))


_BY_TIER = ("resolutions", "quality")
