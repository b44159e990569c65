"""The records of a folder compared with the account's usage history: which images were charged, and what else was."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from venice_batch.api.answers import GAVE_UP
from venice_batch.catalogue import enhancement_micro_usd
from venice_batch.model import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from venice_batch.api.listings import UsageRow
    from venice_batch.model import Outcome

SLACK_S = 120.0
"""How much earlier or later than its request a charge may be dated: clocks differ, and charges are written later."""

GAP_S = 3600.0
"""Requests that are further apart are looked for separately, so that a year of short runs is not a year of history."""

MICRO = 1_000_000
_MAY_BE_CHARGED = GAVE_UP | {None, 200}


class Expected(NamedTuple):
    """A request that was charged, or may have been (not `is_sure`): its images, and when it was under way.

    `unit_micro_usd` is the price of one image, None if it is not known.
    """

    id: str
    run_id: str
    model: str
    images: int
    begins_unix_s: float
    ends_unix_s: float
    unit_micro_usd: int | None
    is_sure: bool
    sandbox: bool


class Missing(msgspec.Struct, frozen=True):
    """A recorded job with `images` images that the history does not have."""

    id: str
    run_id: str
    model: str
    images: int
    at: str


class Unrecorded(msgspec.Struct, frozen=True):
    """A line of the history, for a model of these records and during one of their runs, that belongs to no record."""

    at: str
    sku: str
    units: int
    amount: float
    currency: str
    request_id: str | None


class ModelMatch(msgspec.Struct):
    """One model's images: recorded, found in the history, missing there, charged without an image, in no record.

    `recorded_usd` adds up the records' costs, `charged` the amounts of the history by currency.
    """

    images: int = 0
    found: int = 0
    missing: int = 0
    lost: int = 0
    unrecorded: int = 0
    recorded_usd: float = 0.0
    charged: dict[str, float] = msgspec.field(default_factory=dict)


class Reconciliation(msgspec.Struct, frozen=True):
    """What a comparison has found. `since` and `until` are the first and the last moment of the records.

    Of the `possibly_billed` requests, `lost` were charged although no image came. `others` counts lines of the history
    by product that are no images of these records' models.
    """

    since: str
    until: str
    images: int
    found: int
    possibly_billed: int
    lost: int
    models: dict[str, ModelMatch]
    missing: tuple[Missing, ...]
    unrecorded: tuple[Unrecorded, ...]
    others: dict[str, int]
    sandbox: bool = False

    @property
    def is_settled(self) -> bool:
        """Return whether every image was found, and nothing was charged that is in no record."""
        return not (self.missing or self.unrecorded)


def expected(outcome: Outcome, model: str) -> Iterator[Expected]:
    """Yield the requests of a record that were or may have been charged; `model` is the id of its model."""
    enqueued = datetime.fromisoformat(outcome.timing.enqueued_at).timestamp()
    succeeded = outcome.status is Status.SUCCEEDED
    variants = outcome.request.get("variants")
    asked = variants if isinstance(variants, int) and variants > 0 else 1
    for number, attempt in enumerate(outcome.attempts, start=1):
        is_sure = succeeded and number == len(outcome.attempts)
        doubtful = outcome.flags.possibly_billed and attempt.status in _MAY_BE_CHARGED
        if not (is_sure or doubtful):
            continue
        begins = enqueued + (attempt.sent_s or 0.0)
        ends = begins + (outcome.timing.total_s if attempt.sent_s is None else attempt.duration_s)
        images = len(outcome.files) if is_sure else asked
        unit = _unit_micro_usd(outcome, images) if is_sure else None
        yield Expected(
            outcome.id, outcome.run_id, model, images, begins, ends, unit, is_sure=is_sure, sandbox=outcome.sandbox
        )


def _unit_micro_usd(outcome: Outcome, images: int) -> int | None:
    """Return the price of one image of a record, without that of a rewritten prompt."""
    if outcome.cost_usd is None or not images:
        return None
    rewrite = outcome.flags.enhanced_prompt is not None
    extra = enhancement_micro_usd(outcome.endpoint, outcome.request) if rewrite else 0
    return round((outcome.cost_usd * MICRO - extra) / images)


def spans(charges: Iterable[Expected]) -> list[tuple[float, float]]:
    """Return the times in which the history may have these charges, in order, as (from, until) in Unix time."""
    found: list[tuple[float, float]] = []
    for begins, ends in sorted((one.begins_unix_s - SLACK_S, one.ends_unix_s + SLACK_S) for one in charges):
        if found and begins - found[-1][1] <= GAP_S:
            found[-1] = (found[-1][0], max(found[-1][1], ends))
        else:
            found.append((begins, ends))
    return found


class Usage:
    """The lines of a usage history that may belong to records of `models`; the others are counted by product.

    A product is a model's if its name begins with the model's id, as `venice-sd35-image-unit`. `known` are the ids of
    other models, which a longer name may belong to.
    """

    def __init__(self, models: Collection[str], known: Iterable[str] = ()) -> None:
        self.rows: defaultdict[str, list[UsageRow]] = defaultdict(list)
        self.others: Counter[str] = Counter()
        self._models = frozenset(models)
        self._ids = sorted({*models, *known}, key=len, reverse=True)
        self._model_of: dict[str, str | None] = {}

    def add(self, row: UsageRow) -> None:
        """Take one line into account."""
        if row.sku not in self._model_of:
            self._model_of[row.sku] = self._model(row.sku.lower())
        model = self._model_of[row.sku]
        if model is None or row.amount < 0:
            self.others[row.sku] += 1
        else:
            self.rows[model].append(row)

    def _model(self, sku: str) -> str | None:
        found = next((one for one in self._ids if sku == one.lower() or sku.startswith(f"{one.lower()}-")), None)
        return found if found in self._models else None


def reconcile(charges: Sequence[Expected], usage: Usage, costs_usd: dict[str, float]) -> Reconciliation:
    """Compare what should have been charged with the history, by model, time and units.

    A line of the history goes to a request of the same model that was under way then, first to those of the same
    price. Equal requests are alike, so as many of them as possible are found. What is left goes to requests
    that may have been charged.

    Parameters:
        charges: requests of real records, or of a sandbox's; at least one.
        usage: the lines of the history within `spans`.
        costs_usd: what the records of each model cost in all.
    """
    by_model: defaultdict[str, list[Expected]] = defaultdict(list)
    for one in charges:
        by_model[one.model].append(one)
    models = {name: ModelMatch(recorded_usd=round(costs_usd.get(name, 0.0), 6)) for name in by_model}
    missing: list[Missing] = []
    unrecorded: list[Unrecorded] = []
    lost = 0
    for name, match in models.items():
        own = by_model[name]
        rows = usage.rows[name]
        for row in rows:
            match.charged[row.currency] = round(match.charged.get(row.currency, 0.0) + row.amount, 6)
        found, left = _matched(own, rows)
        for one, count in zip(own, found, strict=True):
            if one.is_sure:
                match.images += one.images
                match.found += count
                if count < one.images:
                    missing.append(Missing(one.id, one.run_id, name, one.images - count, _text(one.begins_unix_s)))
            elif count:
                match.lost += count
                lost += 1
        match.missing = match.images - match.found
        for row, units in zip(rows, left, strict=True):
            if units:
                match.unrecorded += units
                at = _text(row.unix_s)
                unrecorded.append(Unrecorded(at, row.sku, units, row.amount, row.currency, row.request_id))
    return Reconciliation(
        since=_text(min(one.begins_unix_s for one in charges)),
        until=_text(max(one.ends_unix_s for one in charges)),
        images=sum(match.images for match in models.values()),
        found=sum(match.found for match in models.values()),
        possibly_billed=sum(not one.is_sure for one in charges),
        lost=lost,
        models=models,
        missing=tuple(sorted(missing, key=lambda one: one.at)),
        unrecorded=tuple(sorted(unrecorded, key=lambda row: row.at)),
        others=dict(usage.others.most_common()),
        sandbox=charges[0].sandbox,
    )


def _matched(charges: Sequence[Expected], rows: Sequence[UsageRow]) -> tuple[list[int], list[int]]:
    """Return how many images of each request were found, and how many units of each line are left over."""
    found = [0] * len(charges)
    left = _units(rows)
    sure = [place for place, one in enumerate(charges) if one.is_sure]
    doubtful = [place for place, one in enumerate(charges) if not one.is_sure]
    for price in sorted({price for one in charges if (price := one.unit_micro_usd) is not None}):
        wanted = [place for place in sure if charges[place].unit_micro_usd == price]
        _assign(charges, wanted, rows, found, left, [at for at, row in enumerate(rows) if _price(row) == price])
    for wanted in (sure, doubtful):
        _assign(charges, wanted, rows, found, left, range(len(rows)))
    return found, left


def _units(rows: Sequence[UsageRow]) -> list[int]:
    """Return the images of each line: its units, but 0 for a further line of the same request."""
    first: dict[str, str] = {}
    units = []
    for row in rows:
        is_further = row.request_id is not None and first.setdefault(row.request_id, row.sku) != row.sku
        units.append(0 if is_further else max(1, round(row.units)))
    return units


def _price(row: UsageRow) -> int:
    return round(row.unit_usd * MICRO)


def _assign(
    charges: Sequence[Expected],
    wanted: Iterable[int],
    rows: Sequence[UsageRow],
    found: list[int],
    left: list[int],
    offered: Iterable[int],
) -> None:
    """Give the units left of the `offered` lines to the images still missing of the `wanted` requests.

    Each line goes to the request that ends first of those that it may belong to: no other order finds more.
    """
    waiting = [place for place in wanted if found[place] < charges[place].images]
    waiting.sort(key=lambda place: charges[place].begins_unix_s)
    under_way: list[tuple[float, int]] = []
    begun = 0
    for number in sorted(offered, key=lambda number: rows[number].unix_s):
        now = rows[number].unix_s
        while begun < len(waiting) and charges[waiting[begun]].begins_unix_s - SLACK_S <= now:
            heapq.heappush(under_way, (charges[waiting[begun]].ends_unix_s + SLACK_S, waiting[begun]))
            begun += 1
        while left[number] and under_way:
            ends, place = under_way[0]
            if ends < now or found[place] == charges[place].images:
                heapq.heappop(under_way)
                continue
            given = min(left[number], charges[place].images - found[place])
            found[place] += given
            left[number] -= given


def _text(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
