"""The API's listings as plain values: models, styles, limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson

from venice_batch.errors import ApiError

CURRENCIES = ("DIEM", "BUNDLED_CREDITS", "USD")
"""What pays for images, each unit a dollar: a request is paid from the first that covers all of it, never from two."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What the API lists for one model: images a minute and a day; None where it says nothing."""

    rpm: int | None = None
    rpd: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What `GET /api_keys/rate_limits` tells of a key.

    `balances` are amounts by currency, not above the key's own limit; `day_ends` is when daily quotas start anew, as
    the API writes it. `access` says whether the key may send requests that cost something: where it is false they are
    refused, whatever the balances.
    """

    quotas: dict[str, Quota]
    balances: dict[str, float]
    tier: str
    key_expires: str | None
    day_ends: str | None
    access: bool = True

    @property
    def spendable(self) -> dict[str, float]:
        """The listed balances that pay for images, in the order in which the API takes them."""
        return {name: self.balances[name] for name in CURRENCIES if abs(self.balances.get(name, math.inf)) < 1e12}

    @property
    def day_ends_unix_s(self) -> float | None:
        """`day_ends` in Unix time; without a zone it is UTC. None where the API does not say."""
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
    """The limits in a rate-limit listing. Raises ApiError where it does not have the documented shape."""
    try:
        data = msgspec.json.decode(body, type=_LimitsBody).data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(f"the rate-limit listing makes no sense: {error}") from error
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


def parse_styles(body: bytes) -> tuple[str, ...]:
    """Style names from either documented shape: a bare array (guide) or a list object (OpenAPI description).

    Raises ApiError for anything else.
    """
    listed = _items(body, "style")
    if not all(isinstance(style, str) for style in listed):
        raise ApiError("the style listing makes no sense: its items are no names")
    return tuple(listed)


def parse_models(body: bytes) -> tuple[dict[str, Any], ...]:
    """The entries of a model listing as received, each with an `id`. Raises ApiError for anything else."""
    listed = _items(body, "model")
    if not all(isinstance(model, dict) and isinstance(model.get("id"), str) for model in listed):
        raise ApiError("the model listing makes no sense: its items have no id")
    return tuple(listed)


def _items(body: bytes, what: str) -> list[Any]:
    try:
        listing = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(f"the {what} listing is not JSON") from error
    data = listing.get("data") if isinstance(listing, dict) else listing
    if not isinstance(data, list):
        raise ApiError(f"the {what} listing makes no sense: it holds no list")
    return data
