"""Headers that tell clients about limits."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import formatdate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from venice_batch.sandbox.limits import Verdict
    from venice_batch.sandbox.settings import ResetForm, RetryAfterForm


def rate_headers(verdict: Verdict, now: float, form: ResetForm, *, fine: bool) -> dict[str, str]:
    """Return the x-ratelimit-* headers for a verdict; none when `form` is "none". `fine` sends 3 decimals of
    seconds.

    Times are rounded up to what the form can carry, so that waiting for them is always enough.
    """
    if form == "none":
        return {}
    return {
        "x-ratelimit-limit-requests": str(verdict.limit),
        "x-ratelimit-remaining-requests": str(verdict.remaining),
        "x-ratelimit-reset-requests": reset_value(verdict.reset_at, now, form, fine=fine),
        "x-ratelimit-type": "user",
    }


def reset_value(reset_at: float, now: float, form: ResetForm, *, fine: bool) -> str:
    """Return Unix time `reset_at` in this form; "duration" is relative to `now` and looks like 1m23.4s."""
    if form == "ms":
        return str(math.ceil(reset_at * 1000))
    if form == "iso":
        moment = datetime.fromtimestamp(math.ceil(reset_at * 1000) / 1000, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if form == "duration":
        minutes, milliseconds = divmod(math.ceil(max(0.0, reset_at - now) * 1000), 60_000)
        seconds = f"{milliseconds / 1000:g}s"
        return f"{minutes}m{seconds}" if minutes else seconds
    return _seconds(reset_at, fine=fine or form == "fractional")


def retry_after(wait_s: float, now: float, form: RetryAfterForm, *, fine: bool) -> dict[str, str]:
    """Return the Retry-After header for a wait, rounded up; none when `form` is "none"."""
    if form == "none":
        return {}
    if form == "date":
        return {"Retry-After": formatdate(math.ceil(now + wait_s), usegmt=True)}
    return {"Retry-After": _seconds(wait_s, fine=fine)}


def _seconds(value: float, *, fine: bool) -> str:
    return f"{math.ceil(value * 1000) / 1000:.3f}" if fine else str(math.ceil(value))
