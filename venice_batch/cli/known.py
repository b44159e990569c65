"""What a command knows before it reads a jobs file: models, prices, and the key's balance and limits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from venice_batch.errors import KeyMissingError

if TYPE_CHECKING:
    from pathlib import Path

    from venice_batch.api.key import ApiKey
    from venice_batch.api.listings import Limits
    from venice_batch.catalogue import Cache, Found, Listing, Preflight


class Known(NamedTuple):
    """The models and limits known before the jobs file is read; `notice` goes to standard error unless empty."""

    listing: Listing | None
    limits: Limits | None
    notice: str

    @property
    def account(self) -> dict[str, Any]:
        """The arguments of `plan` that concern the key."""
        limits = self.limits
        return {"quotas": limits.quotas, "balances": limits.spendable, "access": limits.access} if limits else {}

    def preflight(self, *, allow_unknown: bool = False, strict: bool = False) -> Preflight:
        """Return the checks for a file's jobs against this listing."""
        from venice_batch.catalogue import Preflight

        if self.listing is None:
            return Preflight(None, strict=strict)
        return Preflight(
            self.listing.catalogue(time.time()),
            self.listing.styles,
            allow_unknown=allow_unknown,
            strict=strict,
        )


def know(
    base_url: str,
    key_file: Path | None,
    *,
    sandbox: bool = False,
    offline: bool = False,
    limits: bool = True,
    cache: Cache | None = None,
) -> Known:
    """Return the models and, if there is a key and `limits` are wanted, its balance and limits.

    Use the network only for lists that are not cached.

    Raises:
        UsageError: the key's file cannot be read, or the address is invalid.
    """
    from venice_batch.catalogue import Cache, at_hand, fresh, snapshot

    now = time.time()
    if sandbox:
        return Known(snapshot(), None, "")  # exactly the models of the sandbox
    cache = cache or Cache.of_user()
    if offline:
        listing, notice = at_hand(base_url, cache, now_unix_s=now)
        return Known(listing, None, notice)
    from venice_batch.api.key import find_key

    kept = fresh(base_url, cache, now_unix_s=now)
    try:
        key = find_key(key_file)
    except KeyMissingError:
        key = None
    limits = limits and key is not None
    if kept is not None and not limits:
        return Known(kept, None, "")
    return _ask(base_url, key, kept, cache, now, want_limits=limits)


def _ask(
    base_url: str, key: ApiKey | None, kept: Listing | None, cache: Cache, now: float, *, want_limits: bool
) -> Known:
    import anyio

    from venice_batch.catalogue import Found, ask
    from venice_batch.catalogue.listing import PATIENCE_S
    from venice_batch.cli.connection import connect
    from venice_batch.errors import ApiError

    found: Found | None = None if kept is None else Found(kept)
    limits: Limits | None = None
    unknown = f"no answer from {base_url} within {PATIENCE_S:g} s"

    async def go() -> None:
        nonlocal found, limits, unknown
        async with connect(base_url, key) as api:

            async def ask_models() -> None:
                nonlocal found
                found = await ask(api, base_url, cache, now_unix_s=now)

            async def ask_limits() -> None:
                nonlocal limits, unknown
                try:
                    with anyio.move_on_after(PATIENCE_S):
                        limits = await api.limits()
                except ApiError as error:
                    unknown = str(error)

            async with anyio.create_task_group() as group:
                if kept is None:
                    group.start_soon(ask_models)
                if want_limits:
                    group.start_soon(ask_limits)

    anyio.run(go)
    assert found is not None  # noqa: S101 - for the type checker
    notice = found.notice
    if want_limits and limits is None and not notice:
        notice = f"balance and limits are unknown: {unknown}"
    return Known(found.listing, limits, notice)
