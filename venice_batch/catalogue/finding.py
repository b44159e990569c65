"""Which listing a command goes by: a fresh one, else a live one, else the best that is at hand."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from venice_batch.catalogue.listing import Listing, is_venice, renewed, snapshot
from venice_batch.catalogue.models import KINDS
from venice_batch.errors import ApiError

if TYPE_CHECKING:
    from venice_batch.catalogue.cache import Cache
    from venice_batch.catalogue.models import Kind

PATIENCE_S = 5.0
"""How long the API may take to answer before the list at hand is used."""


class Lister(Protocol):
    """The part of the API client that is needed here."""

    async def models(self, kind: Kind = "image") -> tuple[dict[str, Any], ...]:
        """The entries of `GET /models` of that type. Raises ApiError."""
        ...

    async def styles(self) -> tuple[str, ...]:
        """The names of `GET /image/styles`. Raises ApiError."""
        ...


class Found(NamedTuple):
    """A listing, None if none is to be had, and what the user has to know about it ("": nothing)."""

    listing: Listing | None
    notice: str = ""


def fresh(base_url: str, cache: Cache, *, now_unix_s: float) -> Listing | None:
    """The cached listing, if it is recent enough not to ask for another."""
    kept = cache.load(base_url)
    return kept if kept is not None and kept.is_fresh(now_unix_s) else None


def at_hand(base_url: str, cache: Cache, *, now_unix_s: float, reason: str = "") -> Found:
    """The best listing without the network: cached, else the packaged one if the address is Venice's.

    `reason` says why the network is not used, where the user did not ask for that.
    """
    listing = _at_hand(base_url, cache)
    before = f"{reason}; " if reason else ""
    if listing is None:
        return Found(
            None, f"{before}no list of models is known for {base_url}: models, limits and prices are unchecked"
        )
    return Found(listing, f"{before}models and prices are checked by {listing.told(now_unix_s)}")


async def ask(api: Lister, base_url: str, cache: Cache, *, now_unix_s: float, patience_s: float = PATIENCE_S) -> Found:
    """The live listing, which is cached; where it cannot be had, what is at hand. Never raises ApiError."""
    import anyio

    reason = f"no answer from {base_url} within {patience_s:g} s"
    entries: tuple[dict[str, Any], ...] = ()
    others: dict[Kind, tuple[dict[str, Any], ...]] = {}
    styles: tuple[str, ...] | None = None

    async def ask_models() -> None:
        nonlocal entries, reason
        try:
            entries = await api.models()
            reason = f"{base_url} lists no image models"
        except ApiError as error:
            reason = str(error)
            group.cancel_scope.cancel()

    async def ask_others(kind: Kind) -> None:
        with suppress(ApiError):  # some servers make images only
            others[kind] = tuple(entry for entry in await api.models(kind) if entry.get("type") == kind)

    async def ask_styles() -> None:
        nonlocal styles
        try:
            styles = await api.styles()
        except ApiError:
            styles = None  # some servers have no such page

    with anyio.move_on_after(patience_s):
        async with anyio.create_task_group() as group:
            group.start_soon(ask_models)
            group.start_soon(ask_styles)
            for kind in KINDS[1:]:
                group.start_soon(ask_others, kind)
    kept = _at_hand(base_url, cache)
    if not entries:
        if is_venice(base_url) or kept is not None:
            return at_hand(base_url, cache, now_unix_s=now_unix_s, reason=reason)
        return Found(None, f"{reason}; models, limits and prices are unchecked")
    earlier = [cache.load(base_url), snapshot() if is_venice(base_url) else None]
    for kind in KINDS[1:]:
        entries += others.get(kind) or (kept.of_kind(kind) if kept else ())
    listing = renewed(
        entries,
        styles or (kept.styles if kept else None),
        now_unix_s=now_unix_s,
        earlier=[one for one in earlier if one is not None],
    )
    cache.store(base_url, listing)
    return Found(listing)


def _at_hand(base_url: str, cache: Cache) -> Listing | None:
    return cache.load(base_url) or (snapshot() if is_venice(base_url) else None)
