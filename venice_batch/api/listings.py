"""Parse the API's listings of models, styles, limits and usage into plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson

from venice_batch.errors import ApiError

CURRENCIES = ("DIEM", "BUNDLED_CREDITS", "USD")
"""Balances that pay for images, each unit worth a dollar. The first that covers a request pays all of it; a request is
never split between two."""


@dataclass(frozen=True, slots=True)
class Quota:
    """The quota listed for one model: images per minute (`rpm`) and per day (`rpd`); None if not listed."""

    rpm: int | None = None
    rpd: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """The quotas and balances of a key, as `GET /api_keys/rate_limits` lists them.

    `balances` are amounts by currency, capped at the key's own limit. `day_ends` is when daily quotas restart, in the
    API's own spelling. If `access` is false the API refuses every request that costs something, whatever the balances.
    """

    quotas: dict[str, Quota]
    balances: dict[str, float]
    tier: str
    key_expires: str | None
    day_ends: str | None
    access: bool = True

    @property
    def spendable(self) -> dict[str, float]:
        """The listed balances that pay for images, in the order in which the API uses them."""
        return {name: self.balances[name] for name in CURRENCIES if abs(self.balances.get(name, math.inf)) < 1e12}

    @property
    def day_ends_unix_s(self) -> float | None:
        """`day_ends` in Unix time, UTC if it has no zone; None if the API does not say."""
        if self.day_ends is None:
            return None
        try:
            ends = datetime.fromisoformat(self.day_ends)
        except ValueError:
            return None
        return (ends if ends.tzinfo else ends.replace(tzinfo=UTC)).timestamp()


class _Rate(msgspec.Struct):
    amount: float
    type: str


class _ModelRates(msgspec.Struct, rename="camel"):
    rate_limits: list[_Rate]
    api_model_id: str | None = None


class _Tier(msgspec.Struct):
    id: str


class _LimitsData(msgspec.Struct, rename="camel"):
    api_tier: _Tier
    balances: dict[str, float | None]
    rate_limits: list[_ModelRates]
    access_permitted: bool = True
    key_expiration: str | None = None
    next_epoch_begins: str | None = None


class _LimitsBody(msgspec.Struct):
    data: _LimitsData


def parse_limits(body: bytes) -> Limits:
    """Return the limits in a rate-limit listing. Raises ApiError if it does not have the documented shape."""
    try:
        data = msgspec.json.decode(body, type=_LimitsBody).data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(f"the rate-limit listing is malformed: {error}") from error
    quotas = {}
    for model in data.rate_limits:
        amounts = {rate.type.upper(): int(rate.amount) for rate in model.rate_limits if rate.amount >= 1}
        if model.api_model_id and amounts:
            quotas[model.api_model_id] = Quota(rpm=amounts.get("RPM"), rpd=amounts.get("RPD"))
    return Limits(
        quotas=quotas,
        balances={name: value for name, value in data.balances.items() if value is not None},
        tier=data.api_tier.id,
        key_expires=data.key_expiration,
        day_ends=data.next_epoch_begins,
        access=data.access_permitted,
    )


class UsageRow(msgspec.Struct, frozen=True):
    """One line of the account's usage history.

    `sku` names the product, such as `venice-sd35-image-unit`; `unix_s` is when the line was made. `amount` is what was
    charged in `currency`, whose units are worth a dollar each; it is negative for money given back. Rows of one
    request may share a `request_id`.
    """

    unix_s: float
    sku: str
    units: float
    unit_usd: float
    amount: float
    currency: str
    request_id: str | None = None


class UsagePage(msgspec.Struct, frozen=True):
    """A page of the usage history, in the order of time; `next_cursor` asks for the next one, None after the last."""

    rows: tuple[UsageRow, ...]
    next_cursor: str | None


class _Details(msgspec.Struct, rename="camel"):
    request_id: str | None = None


class _UsageRow(msgspec.Struct, rename="camel"):
    timestamp: datetime
    sku: str
    units: float
    price_per_unit_usd: float
    amount: float
    currency: str
    inference_details: _Details | None = None


class _UsageBody(msgspec.Struct, rename="camel"):
    data: list[_UsageRow]
    next_cursor: str | None = None


def parse_usage(body: bytes) -> UsagePage:
    """Return a page of the usage history. Raises ApiError if it does not have the documented shape."""
    try:
        found = msgspec.json.decode(body, type=_UsageBody)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(f"the usage history is malformed: {error}") from error
    rows = tuple(
        UsageRow(
            unix_s=(row.timestamp if row.timestamp.tzinfo else row.timestamp.replace(tzinfo=UTC)).timestamp(),
            sku=row.sku,
            units=row.units,
            unit_usd=row.price_per_unit_usd,
            amount=-row.amount,
            currency=row.currency,
            request_id=row.inference_details.request_id if row.inference_details else None,
        )
        for row in found.data
    )
    return UsagePage(rows, found.next_cursor or None)


def parse_styles(body: bytes) -> tuple[str, ...]:
    """Return the style names in a listing. Raises ApiError if it has neither documented shape.

    It may be a bare array, as in the API's guide, or a list object, as in the OpenAPI description.
    """
    listed = _items(body, "style")
    if not all(isinstance(style, str) for style in listed):
        raise ApiError("the style listing is malformed: its items are not names")
    return tuple(listed)


def parse_models(body: bytes) -> tuple[dict[str, Any], ...]:
    """Return the entries of a model listing as received. Raises ApiError unless each has an `id`."""
    listed = _items(body, "model")
    if not all(isinstance(model, dict) and isinstance(model.get("id"), str) for model in listed):
        raise ApiError("the model listing is malformed: its items have no id")
    return tuple(listed)


def _items(body: bytes, what: str) -> list[Any]:
    try:
        listing = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(f"the {what} listing is not JSON") from error
    data = listing.get("data") if isinstance(listing, dict) else listing
    if not isinstance(data, list):
        raise ApiError(f"the {what} listing is malformed: it contains no list")
    return data
