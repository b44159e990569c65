"""What the API listed and when: live, from the cache, or as it comes with the package."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import msgspec
import orjson

from venice_batch.catalogue.models import Catalogue, parse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from venice_batch.catalogue.models import Kind

FRESH_S = 3600.0
"""For so long a listing is used without asking again."""

SNAPSHOT = Path(__file__).with_name("snapshot.json")

Origin = Literal["live", "cache", "snapshot"]


class Listing(msgspec.Struct, frozen=True):
    """The entries of `GET /models` as received, of each type that concerns images, and the styles (None: not known).

    `former` are models that an earlier listing had, with the replacement that it named.
    """

    entries: tuple[dict[str, Any], ...]
    styles: tuple[str, ...] | None
    asked_unix_s: float
    origin: Origin
    former: dict[str, str | None] = {}

    def catalogue(self, now_unix_s: float) -> Catalogue:
        """The listing's models, judged at `now_unix_s`."""
        return Catalogue(
            filter(None, map(parse, self.entries)),
            listed=datetime.fromtimestamp(self.asked_unix_s, UTC),
            now=datetime.fromtimestamp(now_unix_s, UTC),
            current=self.is_fresh(now_unix_s),
            former=self.former,
        )

    def of_kind(self, kind: Kind) -> tuple[dict[str, Any], ...]:
        """The entries of models of this kind."""
        return tuple(entry for entry in self.entries if entry.get("type", "image") == kind)

    def is_fresh(self, now_unix_s: float) -> bool:
        """Whether it may be used without asking again; not one of the future, after a clock was set back."""
        return self.origin != "snapshot" and 0 <= now_unix_s - self.asked_unix_s < FRESH_S

    def told(self, now_unix_s: float) -> str:
        """What is used and how old it is, for people."""
        source = " that comes with the package" if self.origin == "snapshot" else ""
        day = f"{datetime.fromtimestamp(self.asked_unix_s, UTC):%Y-%m-%d}"
        return f"the list of {day}{source} ({age_text(now_unix_s - self.asked_unix_s)} old)"


def snapshot() -> Listing:
    """The listing that comes with the package: prices as published on its date."""
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
    """A live listing that remembers what `earlier` ones, the last first, had and it has no more."""
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
    """Whether an address is the Venice API's own, for which the packaged listing holds."""
    return ("." + _host(base_url)).endswith(".venice.ai")


def is_local(base_url: str) -> bool:
    """Whether an address is this machine's: quick to ask, and another server tomorrow."""
    host = _host(base_url)
    return host in ("localhost", "::1") or host.startswith("127.")


def _host(base_url: str) -> str:
    try:
        return urlsplit(base_url).hostname or ""
    except ValueError:
        return ""


def age_text(seconds: float) -> str:
    """A time span in the largest unit that it has two of."""
    for length_s, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * length_s:
            return f"{seconds // length_s:.0f} {unit}"
    return "moments"
