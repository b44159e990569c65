"""How the API says of a model that it will be retired."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def headers(model_id: str, deprecated: Mapping[str, str], now: float) -> dict[str, str]:
    """Return what an answer of the model carries; nothing if it is not deprecated."""
    replacement = deprecated.get(model_id)
    if not replacement:
        return {}
    return {
        "x-venice-deprecated": "true",
        "x-venice-deprecated-replacement": replacement,
        "x-venice-model-deprecation-warning": f"{model_id} is deprecated; use {replacement} instead",
        "x-venice-model-deprecation-date": _date(now),
    }


def listed(entry: Mapping[str, Any], deprecated: Mapping[str, str], now: float) -> Mapping[str, Any]:
    """Return the model's entry as GET /models has it."""
    replacement = deprecated.get(entry["id"])
    if not replacement:
        return entry
    date = _date(now)
    told = {"autoRemap": False, "date": date, "removesAt": date, "replacementModelId": replacement}
    return {**entry, "model_spec": {**entry["model_spec"], "deprecation": told}}


def _date(now: float) -> str:
    # More than a year ahead, whenever that is: the model is on its way out, never gone.
    return f"{datetime.fromtimestamp(now, UTC).year + 2}-01-01T00:00:00.000Z"
