"""Bodies of the read-only endpoints."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from venice_batch.sandbox.catalogue import STYLES, listed
from venice_batch.sandbox.errors import ErrorAnswer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from venice_batch.sandbox.ledger import Currency, Ledger
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
