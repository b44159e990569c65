"""The listing of models and styles: live from the API, from the cache, or shipped with the package."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec
import orjson

from venice_batch.catalogue.models import KINDS, Catalogue, parse
from venice_batch.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from venice_batch.catalogue.models import ModelKind


FRESH_S = 3600.0
"""How long a listing is used before the API is asked again."""

SNAPSHOT = Path(__file__).with_name("snapshot.json")

Origin = Literal["live", "cache", "snapshot"]


class Listing(msgspec.Struct, frozen=True):
    """The entries of `GET /models` as received, of every type that concerns images, and the styles (None: not known).

    `former` maps models that an earlier listing had to the replacement that it named.
    """

    entries: tuple[dict[str, Any], ...]
    styles: tuple[str, ...] | None
    asked_unix_s: float
    origin: Origin
    former: dict[str, str | None] = {}

    def catalogue(self, now_unix_s: float) -> Catalogue:
        """Return the listing's models, with dates judged as of `now_unix_s`."""
        return Catalogue(
            filter(None, map(parse, self.entries)),
            listed=datetime.fromtimestamp(self.asked_unix_s, UTC),
            now=datetime.fromtimestamp(now_unix_s, UTC),
            current=self.is_fresh(now_unix_s),
            former=self.former,
        )

    def of_kind(self, kind: ModelKind) -> tuple[dict[str, Any], ...]:
        """Return the entries of models of this kind."""
        return tuple(entry for entry in self.entries if entry.get("type", "image") == kind)

    def is_fresh(self, now_unix_s: float) -> bool:
        """Return whether it may be used without asking again; not if it is from the future, after a clock change."""
        return self.origin != "snapshot" and 0 <= now_unix_s - self.asked_unix_s < FRESH_S

    def described(self, now_unix_s: float) -> str:
        """Return where the listing is from and how old it is, for people."""
        source = " that comes with the package" if self.origin == "snapshot" else ""
        day = f"{datetime.fromtimestamp(self.asked_unix_s, UTC):%Y-%m-%d}"
        return f"the list of {day}{source} ({age_text(now_unix_s - self.asked_unix_s)} old)"


def snapshot() -> Listing:
    """Return the listing that comes with the package: prices as published on its date."""
    shipped = orjson.loads(SNAPSHOT.read_bytes())
    listed = datetime.fromisoformat(shipped["date"]).replace(tzinfo=UTC)
    return Listing(tuple(shipped["models"]), tuple(shipped["styles"]), listed.timestamp(), "snapshot")


def renewed(
    entries: Iterable[dict[str, Any]],
    styles: tuple[str, ...] | None,
    *,
    now_unix_s: float,
    earlier: Iterable[Listing],
) -> Listing:
    """Return a live listing that remembers the models of `earlier` ones, latest first, that it lacks itself."""
    entries = tuple(entries)
    former: dict[str, str | None] = {}
    for listing in earlier:
        for entry in listing.entries:
            model = parse(entry)
            if model is not None:
                former.setdefault(model.id, model.deprecation.replacement if model.deprecation else None)
        for name, replacement in listing.former.items():
            former.setdefault(name, replacement)
    for entry in entries:
        former.pop(entry.get("id", ""), None)
    return Listing(entries, styles, now_unix_s, "live", former)


def is_venice(base_url: str) -> bool:
    """Return whether an address belongs to the Venice API, which the packaged listing describes."""
    return ("." + _host(base_url)).endswith(".venice.ai")


def is_local(base_url: str) -> bool:
    """Return whether an address is on this machine: quick to ask, and tomorrow perhaps another server."""
    host = _host(base_url)
    return host in ("localhost", "::1") or host.startswith("127.")


def _host(base_url: str) -> str:
    try:
        return urlsplit(base_url).hostname or ""
    except ValueError:
        return ""


def age_text(seconds: float) -> str:
    """Return a time span in the largest unit that fits into it twice."""
    for length_s, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * length_s:
            return f"{seconds // length_s:.0f} {unit}"
    return "moments"


SCHEMA = 2


class _Stored(msgspec.Struct):
    schema: int
    base_url: str
    asked_unix_s: float
    models: tuple[dict[str, Any], ...]
    styles: tuple[str, ...] | None = None
    former: dict[str, str | None] = {}


class Cache:
    """Listings kept in files of a folder, `models-<hash of the address>.json`. No method raises OSError.

    Nothing is kept without a `folder`, nor of servers on this machine.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    @classmethod
    def of_user(cls) -> Cache:
        """Return the cache in `~/.cache/venice-batch`, by the XDG Base Directory Specification."""
        from platformdirs.unix import Unix  # its places on every system, as the docs name them

        try:
            folder = Unix("venice-batch").user_cache_path
        except RuntimeError:  # a user without a home
            return cls(None)
        return cls(folder if folder.is_absolute() else None)

    def keeps(self, base_url: str) -> bool:
        """Return whether listings of `base_url` are kept at all."""
        return self._path(base_url) is not None

    def load(self, base_url: str) -> Listing | None:
        """Return the last listing of `base_url`; None if there is none or it cannot be read."""
        path = self._path(base_url)
        if path is None:
            return None
        try:
            stored = msgspec.json.decode(path.read_bytes(), type=_Stored)
        except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return None
        if stored.schema != SCHEMA or not stored.models or not 0 <= stored.asked_unix_s < 1e11:
            return None
        return Listing(stored.models, stored.styles, stored.asked_unix_s, "cache", stored.former)

    def store(self, base_url: str, listing: Listing) -> None:
        """Keep `listing`: whole or not at all."""
        path = self._path(base_url)
        if path is None:
            return
        stored = _Stored(SCHEMA, base_url, listing.asked_unix_s, listing.entries, listing.styles, listing.former)
        part = None
        try:
            body = msgspec.json.encode(stored)
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            with os.fdopen(descriptor, "wb") as file:
                file.write(body)
            os.replace(part, path)
        except (OSError, ValueError):
            if part is not None:
                with suppress(OSError):
                    os.unlink(part)

    def _path(self, base_url: str) -> Path | None:
        if self.folder is None or is_local(base_url):
            return None
        digest = hashlib.blake2b(base_url.rstrip("/").encode("utf-8", "replace"), digest_size=8).hexdigest()
        return self.folder / f"models-{digest}.json"


PATIENCE_S = 5.0
"""How long to wait for the API before the list at hand is used."""


class Lister(Protocol):
    """The part of the API client that listings need."""

    async def models(self, kind: ModelKind = "image") -> tuple[dict[str, Any], ...]:
        """Return the entries of `GET /models` of that type. Raises ApiError."""
        ...

    async def styles(self) -> tuple[str, ...]:
        """Return the names of `GET /image/styles`. Raises ApiError."""
        ...


class Found(NamedTuple):
    """A listing, None if there is none, and a notice for the user ("": nothing to say)."""

    listing: Listing | None
    notice: str = ""


def fresh(base_url: str, cache: Cache, *, now_unix_s: float) -> Listing | None:
    """Return the cached listing if it is recent enough to be used without asking, else None."""
    kept = cache.load(base_url)
    return kept if kept is not None and kept.is_fresh(now_unix_s) else None


def at_hand(base_url: str, cache: Cache, *, now_unix_s: float, reason: str = "") -> Found:
    """Return the best listing without the network: the cached one, else the packaged one if the address is Venice's.

    `reason` says why the network is not used, unless the user asked for that.
    """
    listing = _at_hand(base_url, cache)
    before = f"{reason}; " if reason else ""
    if listing is None:
        return Found(
            None, f"{before}no list of models is known for {base_url}: models, limits and prices are unchecked"
        )
    return Found(listing, f"{before}models and prices are checked against {listing.described(now_unix_s)}")


async def ask(api: Lister, base_url: str, cache: Cache, *, now_unix_s: float, patience_s: float = PATIENCE_S) -> Found:
    """Return the live listing, and cache it; fall back to the one at hand. Never raises ApiError."""
    import anyio

    reason = f"no answer from {base_url} within {patience_s:g} s"
    entries: tuple[dict[str, Any], ...] = ()
    others: dict[ModelKind, tuple[dict[str, Any], ...]] = {}
    styles: tuple[str, ...] | None = None

    async def ask_models() -> None:
        nonlocal entries, reason
        try:
            entries = await api.models()
            reason = f"{base_url} lists no image models"
        except ApiError as error:
            reason = str(error)
            group.cancel_scope.cancel()

    async def ask_others(kind: ModelKind) -> None:
        with suppress(ApiError):  # some servers only make images
            others[kind] = tuple(entry for entry in await api.models(kind) if entry.get("type") == kind)

    async def ask_styles() -> None:
        nonlocal styles
        try:
            styles = await api.styles()
        except ApiError:
            styles = None  # some servers do not list styles

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
