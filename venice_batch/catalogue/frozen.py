"""Prices, models and limits that jobs depend on, frozen into a file that people can approve and compare."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import msgspec

from venice_batch.catalogue.listing import is_local
from venice_batch.catalogue.models import ModelKind
from venice_batch.errors import UsageError, one_line
from venice_batch.money import usd

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from venice_batch.catalogue.listing import Listing
    from venice_batch.catalogue.models import Model
    from venice_batch.catalogue.preflight import Preflight, Use

SCHEMA = 1

MADE_BY: Literal["venice-batch check --freeze"] = "venice-batch check --freeze"
"""How the file says what it is."""

SANDBOX = "sandbox"
"""The name of the sandbox as a server."""

_SOURCES: dict[str, Literal["live", "cached", "packaged"]] = {
    "live": "live",
    "cache": "cached",
    "snapshot": "packaged",
}

Usd = Annotated[float, msgspec.Meta(ge=0, lt=1e6)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Quota(Protocol):
    """A key's limits for one model, in images a minute and a day; None if not listed."""

    @property
    def rpm(self) -> int | None: ...

    @property
    def rpd(self) -> int | None: ...


class _Plain(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Part of the file: what has nothing to say is left out, and what has no meaning is a mistake."""


class FrozenLimits(_Plain, frozen=True, kw_only=True):
    """What requests to a model may hold, in fields named as in `Model`; an edit's price covers `included_inputs`."""

    prompt_limit: Count | None = None
    steps_max: Count | None = None
    divisor: Count | None = None
    ratios: tuple[str, ...] = ()
    default_ratio: str | None = None
    resolutions: tuple[str, ...] = ()
    default_resolution: str | None = None
    qualities: tuple[str, ...] = ()
    default_quality: str | None = None
    max_inputs: Count | None = None
    included_inputs: Count | None = None
    keeps_size: bool = False
    web_search: bool | None = None
    style_references: bool | None = None
    max_style_references: Count | None = None
    style_reference_strength: bool | None = None
    prompt_thinking: bool | None = None
    transparent: bool | None = None
    beta_users_only: bool = False
    regions: tuple[str, ...] = ()


class FrozenQuota(_Plain, frozen=True, kw_only=True):
    """The key's own limits for a model."""

    images_a_minute: Count | None = None
    images_a_day: Count | None = None


class FrozenModel(_Plain, frozen=True, kw_only=True):
    """A model that jobs use; `names` are those in their lines.

    `prices_usd` are those that the jobs' costs are made of; None where the listing has none. `retires` is the moment of
    an announced retirement. `quota` is there if the key could read it.
    """

    type: ModelKind | None = None
    names: tuple[str, ...]
    listed: bool = True
    retires: Moment | None = None
    successor: str | None = None
    prices_usd: dict[str, Usd | None] = {}
    limits: FrozenLimits = FrozenLimits()
    quota: FrozenQuota | None = None


class FrozenList(_Plain, frozen=True, kw_only=True):
    """Which list of models was frozen."""

    source: Literal["live", "cached", "packaged"]
    listed_at: Moment


class FrozenJobs(_Plain, frozen=True, kw_only=True):
    """All jobs of the file, done before or not, and what they cost at most; for the reader, not a limit."""

    jobs: Count
    images: Count
    usd: Annotated[float, msgspec.Meta(ge=0, lt=1e12)]
    unpriced: Count = 0


class Frozen(_Plain, frozen=True, kw_only=True):
    """The content of the file. `server` is the API's address, without the port on this machine, or `SANDBOX`."""

    made_by: Literal["venice-batch check --freeze"]
    schema: int
    frozen_at: Moment
    server: str
    list: FrozenList
    jobs: FrozenJobs
    models: dict[str, FrozenModel]


def server_name(base_url: str, *, sandbox: bool) -> str:
    """Return how the file names a server; ports on this machine are left out, because they differ from run to run."""
    return SANDBOX if sandbox else "localhost" if is_local(base_url) else base_url.rstrip("/")


def freeze(
    preflight: Preflight,
    listing: Listing,
    server: str,
    *,
    now_unix_s: float,
    quotas: Mapping[str, Quota] | None = None,
) -> Frozen:
    """Return prices, models and limits of the jobs that `preflight` has examined, by the `listing` that it has."""
    uses: dict[str, list[Use]] = {}
    for use in sorted(preflight.prices, key=lambda use: use.is_listed):
        uses.setdefault(use.model, []).append(use)
    known = preflight.catalogue.models if preflight.catalogue is not None else {}
    sums = _sums(preflight)
    return Frozen(
        made_by=MADE_BY,
        schema=SCHEMA,
        frozen_at=_moment(now_unix_s),
        server=server,
        list=FrozenList(source=_SOURCES[listing.origin], listed_at=_moment(listing.asked_unix_s)),
        jobs=sums,
        models={
            name: _frozen(uses[name], preflight, known.get(name), (quotas or {}).get(name)) for name in sorted(uses)
        },
    )


def encode(frozen: Frozen) -> bytes:
    """Return the file's bytes: indented, in one order, so that two versions can be compared line by line."""
    return msgspec.json.format(msgspec.json.encode(frozen), indent=2) + b"\n"


def load(path: Path) -> Frozen:
    """Return what the file at `path` holds.

    Raises:
        UsageError: it cannot be read, or `check --freeze` has not written it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(one_line(f"{path}: cannot be read: {error.strerror}")) from None
    try:
        made = msgspec.json.decode(data, type=_Header)
        if made.made_by == MADE_BY and made.schema != SCHEMA:
            why = (
                f"has the schema {made.schema}, and this version of venice-batch reads {SCHEMA}; use the other version"
            )
            raise UsageError(one_line(f"{path}: {why}"))
        return msgspec.json.decode(data, type=Frozen)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise UsageError(one_line(f"{path}: is no file of `check --freeze`: {error}")) from None


class _Header(msgspec.Struct):
    made_by: str
    schema: int


def same(one: Frozen, other: Frozen) -> bool:
    """Return whether two files say the same, made when and from which list they may."""
    return msgspec.structs.replace(one, frozen_at=other.frozen_at, list=other.list) == other


def _frozen(uses: list[Use], preflight: Preflight, model: Model | None, quota: Quota | None) -> FrozenModel:
    """Return one model; `uses` are all under one id, and the last is listed if any is."""
    last = uses[-1]
    prices = {what: micro for use in uses for what, micro in sorted(preflight.prices[use].items())}
    removes = last.kind is None
    found = FrozenModel(
        type=last.kind,
        names=tuple(sorted({use.name for use in uses})),
        listed=last.is_listed or removes,
        prices_usd={what: None if micro is None else float(usd(micro)) for what, micro in sorted(prices.items())},
        quota=None if quota is None else FrozenQuota(images_a_minute=quota.rpm, images_a_day=quota.rpd),
    )
    if model is None or not last.is_listed:
        former = preflight.catalogue.former.get(last.model) if preflight.catalogue is not None else None
        return msgspec.structs.replace(found, successor=former)
    values = {name: getattr(model, name) for name in FrozenLimits.__struct_fields__ if name != "included_inputs"}
    included = model.pricing.included if model.kind == "inpaint" else None
    gone = model.deprecation
    return msgspec.structs.replace(
        found,
        retires=gone.ends if gone else None,
        successor=gone.replacement if gone else None,
        limits=FrozenLimits(**values, included_inputs=included),
    )


def _sums(preflight: Preflight) -> FrozenJobs:
    sums: Counter[str] = Counter()
    for bill, count in preflight.bills():
        sums["jobs"] += count
        sums["images"] += count * bill.images
        sums["usd"] += count * (bill.micro_usd or 0)
        sums["unpriced"] += count if bill.micro_usd is None else 0
    return FrozenJobs(jobs=sums["jobs"], images=sums["images"], usd=float(usd(sums["usd"])), unpriced=sums["unpriced"])


def _moment(unix_s: float) -> datetime:
    return datetime.fromtimestamp(int(unix_s), UTC)
