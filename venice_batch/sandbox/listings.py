"""Bodies of the read-only endpoints."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from venice_batch.sandbox.catalogue import MICRO_PER_USD, STYLES, listed
from venice_batch.sandbox.errors import ErrorAnswer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from venice_batch.sandbox.ledger import Charge, Currency, Ledger
    from venice_batch.sandbox.settings import SandboxSettings


WELCOME = """venice-batch sandbox

This is a sandbox, not the Venice API. It answers like the Venice image API under /api/v1, but it runs no model:
it draws images from hashes of the prompts. Nothing leaves this machine, and nothing costs money.

GET  /sandbox/stats   counters since the start or the last reset
POST /sandbox/reset   reset the counters
"""
TYPES = ("asr", "embedding", "image", "music", "text", "tts", "upscale", "inpaint", "video")
DEFAULT_TYPE = "text"


def models(
    entries: Iterable[Mapping[str, Any]], kind: str, deprecated: Mapping[str, str], now: float
) -> dict[str, Any]:
    """Return GET /models for this type; the sandbox has models for images only.

    `deprecated` maps deprecated models to their replacements. The description has no error for an unknown type, so the
    default type replaces it.
    """
    if kind not in (*TYPES, "all", "code"):
        kind = DEFAULT_TYPE
    data = [listed(entry, deprecated, now) for entry in entries if kind in (entry["type"], "all")]
    return {"object": "list", "type": kind, "data": data}


def names(mappings: Mapping[str, Mapping[str, str]], kind: str) -> dict[str, Any]:
    """Return GET /models/traits or /models/compatibility_mapping for this type; `mappings` has one mapping a type."""
    if kind not in TYPES:
        kind = DEFAULT_TYPE
    return {"object": "list", "type": kind, "data": dict(mappings.get(kind, {}))}


def styles(settings: SandboxSettings) -> dict[str, Any] | list[str]:
    """Return GET /image/styles in the shape of the settings."""
    return list(STYLES) if settings.styles_shape == "array" else {"object": "list", "data": list(STYLES)}


def rate_limits(
    settings: SandboxSettings, model_ids: Iterable[str], spendable: Mapping[Currency, float], now: float
) -> dict[str, Any] | ErrorAnswer:
    """Return GET /api_keys/rate_limits for a key that may spend these amounts.

    RPM is the number in the settings; `speed` does not change it.
    """
    if settings.rate_limits_endpoint == "forbidden":
        return ErrorAnswer(403, "This API key is not allowed to read rate limits")
    factor = 2 if settings.rate_limits_endpoint == "wrong" else 1
    limits = [
        {
            "apiModelId": model_id,
            "rateLimits": [
                {"amount": amount * factor, "type": kind}
                for kind, amount in (("RPM", settings.rpm_of(model_id)), ("RPD", settings.rpd))
                if amount
            ],
        }
        for model_id in model_ids
    ]
    currencies: tuple[Currency, ...] = ("USD", "DIEM") if settings.is_old else ("USD", "DIEM", "BUNDLED_CREDITS")
    midnight = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return {
        "data": {
            "accessPermitted": settings.is_old or any(spendable.values()),
            "apiTier": {"id": "paid", "isCharged": True},
            "balances": {currency: spendable[currency] for currency in currencies},
            "keyExpiration": None,
            "nextEpochBegins": (midnight + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "rateLimits": limits,
        }
    }


def balance(ledger: Ledger) -> dict[str, Any]:
    """Return GET /billing/balance."""
    return {
        "canConsume": ledger.next_currency is not None,
        "consumptionCurrency": ledger.next_currency or "USD",
        "balances": {"diem": ledger.diem or None, "usd": ledger.balance_usd},
        "diemEpochAllocation": 0,
    }


CURRENCIES = ("USD", "DIEM", "BUNDLED_CREDITS", "EARNED_CREDITS")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?Z")
_NO_ADMIN = ErrorAnswer(401, "Admin API key required")
_BAD_CURSOR = ErrorAnswer(400, "Invalid or expired cursor; restart from the first page")


def usage_history(
    settings: SandboxSettings, history: Sequence[Charge], query: Mapping[str, str]
) -> dict[str, Any] | ErrorAnswer:
    """Return one page of GET /billing/usage-history, the oldest charges first.

    The first page takes filters, any other one a cursor and nothing else, which carries the filters. Source: Venice's
    agent skills, venice-billing, 2026-10-02. Images have no `inferenceDetails` in the API's own example.
    """
    if settings.usage_history_endpoint == "forbidden":
        return _NO_ADMIN
    filters = _filters(query)
    if isinstance(filters, ErrorAnswer):
        return filters
    start, end, currency, size, begin = filters
    found = [charge for charge in history if start <= charge.at < end and currency in ("", charge.currency)]
    rows = [
        {
            "timestamp": _moment(charge.at),
            "sku": charge.sku,
            "units": charge.units,
            "pricePerUnitUsd": charge.unit_price / MICRO_PER_USD,
            "amount": -charge.micro_usd / MICRO_PER_USD,
            "currency": charge.currency,
            "notes": "API Inference",
            "inferenceDetails": None,
        }
        for charge in found[begin : begin + size]
    ]
    more = begin + size < len(found)
    return {"data": rows, "nextCursor": _cursor((start, end, currency, size, begin + size)) if more else None}


_Filters = tuple[float, float, str, int, int]
_NO_END = 1e12


def _filters(query: Mapping[str, str]) -> _Filters | ErrorAnswer:
    """Return start and end (Unix s), currency ("": any), page size and the first row's number."""
    if "cursor" in query:
        return _BAD_CURSOR if len(query) > 1 else _read_cursor(query["cursor"])
    moments = {name: query[name] for name in ("startTimestamp", "endTimestamp") if name in query}
    size = query.get("pageSize", "1000")
    is_valid = (
        set(query) <= {"startTimestamp", "endTimestamp", "currency", "pageSize"}
        and all(map(_MOMENT.fullmatch, moments.values()))
        and query.get("currency", "USD") in CURRENCIES
        and size.isdecimal()
        and 10 <= int(size) <= 1000
    )
    if not is_valid:
        return ErrorAnswer(400, "Invalid request parameters")
    bounds = {name: datetime.fromisoformat(text).timestamp() for name, text in moments.items()}
    start, end = bounds.get("startTimestamp", 0.0), bounds.get("endTimestamp", _NO_END)
    if start >= end:
        return ErrorAnswer(400, "endTimestamp must be later than startTimestamp")
    return start, end, query.get("currency", ""), int(size), 0


def _cursor(filters: _Filters) -> str:
    return base64.urlsafe_b64encode(json.dumps(filters).encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> _Filters | ErrorAnswer:
    try:
        start, end, currency, size, begin = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        return _BAD_CURSOR
    return start, end, currency, size, begin


def _moment(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
