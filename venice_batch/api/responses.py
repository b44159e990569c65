"""Read the API's response headers into plain values.

Sources: the API's rate-limit and header pages; Venice's published agent skills (2026-10-02) for the error budget and
for resets in milliseconds; RFC 9110, sections 10.2.3 (Retry-After) and 5.6.7 (dates); OpenAI-compatible servers for
durations such as `1m23s` and for `retry-after-ms`.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


LONGEST_WAIT_S = 86_400.0
"""A day, the API's longest quota period. A header that asks for a longer wait is ignored as a mistake."""

_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_JOINT = re.compile(r"(?<!day)(?<!Mon)(?<!Tue)(?<!Wed)(?<!Thu)(?<!Fri)(?<!Sat)(?<!Sun)\s*,\s*", re.IGNORECASE)
"""A comma that joins the values of a repeated header (RFC 9110, 5.2), but not the comma inside a date."""
_SECONDS_FROM = 1e9
_MILLISECONDS_FROM = 1e11
_MILLISECONDS_TO = 1e14


class Reset(msgspec.Struct, frozen=True, gc=False):
    """A window's end as the server wrote it: on its own clock (`unix_s`), or in seconds from the answer (`in_s`).

    Servers round up: the end may really be up to `rounded_s` earlier, a second for whole numbers, else a millisecond.
    """

    unix_s: float | None = None
    in_s: float | None = None
    rounded_s: float = 1.0


class RateLimit(msgspec.Struct, frozen=True, gc=False):
    """One answer's `x-ratelimit-*-requests`; a value that the server left out or garbled is None."""

    limit: int | None = None
    remaining: int | None = None
    reset: Reset | None = None


class AnswerHeaders(msgspec.Struct, frozen=True, gc=False):
    """Everything that this package reads from an answer's headers; None where a header is missing or garbled.

    `date_unix_s` is the server's clock in whole seconds. `retry_after_s` counts from the answer. The error budget still
    allows `errors_left` client errors, and is full again at `errors_reset`. Balances are from before the request, as
    the API documents.
    """

    date_unix_s: float | None = None
    retry_after_s: float | None = None
    rate: RateLimit = RateLimit()
    errors_left: int | None = None
    errors_reset: Reset | None = None
    ray: str | None = None
    blurred: bool = False
    content_violation: bool = False
    deprecated: str | None = None
    enhanced_prompt: str | None = None
    balance_usd: float | None = None
    balance_diem: float | None = None
    sandbox: bool = False

    @property
    def balances(self) -> dict[str, float]:
        """The balances in the answer, under the names that the listing uses; a Diem is worth a dollar."""
        found = {"DIEM": self.balance_diem, "USD": self.balance_usd}
        return {name: amount for name, amount in found.items() if amount is not None}


def read_headers(headers: Mapping[str, str], *, wall_s: float, redact: Callable[[str], str] = str) -> AnswerHeaders:
    """Return the values in `headers`, a case-insensitive mapping; garbage counts as absent and never raises.

    `wall_s` is the local Unix time. It is used only to read a date in Retry-After when the server sent no Date. All
    text goes through `redact`.
    """

    def said(text: str | None) -> str | None:
        return redact(text) if text else None

    date = _http_date(headers.get("Date", ""))
    # Other servers use x-ratelimit-remaining for something else; only Venice sends x-ratelimit-resets.
    errors_reset = _reset_within_a_day(headers.get("x-ratelimit-resets", ""), date)
    errors_left = None if errors_reset is None else _whole(headers.get("x-ratelimit-remaining"))
    return AnswerHeaders(
        date_unix_s=date,
        retry_after_s=retry_after_s(headers, now_unix_s=wall_s if date is None else date),
        rate=RateLimit(
            limit=_whole(headers.get("x-ratelimit-limit-requests")),
            remaining=_whole(headers.get("x-ratelimit-remaining-requests")),
            reset=_reset_within_a_day(headers.get("x-ratelimit-reset-requests", ""), date),
        ),
        errors_left=errors_left,
        errors_reset=None if errors_left is None else errors_reset,
        ray=said(_words(headers.get("CF-RAY"))),
        blurred=_true(headers.get("x-venice-is-blurred")),
        content_violation=_true(headers.get("x-venice-is-content-violation"))
        or _true(headers.get("x-venice-is-adult-model-content-violation")),
        deprecated=said(_deprecation(headers)),
        enhanced_prompt=said(_unquoted(headers.get("x-venice-enhanced-prompt"))),
        balance_usd=_amount(headers.get("x-venice-balance-usd")),
        balance_diem=_amount(headers.get("x-venice-balance-diem")),
        sandbox=_true(headers.get("x-venice-sandbox")),
    )


def retry_after_s(headers: Mapping[str, str], *, now_unix_s: float) -> float | None:
    """Return how long the server asks to wait, 0 to `LONGEST_WAIT_S` seconds; None if it asks nothing sensible.

    `retry-after-ms` goes before `Retry-After`, as in OpenAI's own client. `Retry-After` may be in seconds or a date, as
    the standard says, or in any other form that `parse_reset` reads. A date in the past means 0. A negative, infinite
    or absurdly long number of seconds is ignored. Of several values, as proxies join repeated headers, the longest
    counts.
    """
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None and 0 <= millis / 1000 <= LONGEST_WAIT_S:
        return millis / 1000
    waits = [_from_now_s(part, now_unix_s) for part in _JOINT.split(headers.get("Retry-After", ""))]
    return max((wait_s for wait_s in waits if wait_s is not None), default=None)


def _from_now_s(text: str, now_unix_s: float) -> float | None:
    reset = parse_reset(text)
    if reset is None or reset.unix_s is None:
        return None if reset is None else reset.in_s
    wait_s = reset.unix_s - now_unix_s
    if wait_s < -LONGEST_WAIT_S and _number(text) is not None:
        return None  # more likely a far too large number of seconds than a moment years ago
    return max(0.0, wait_s) if wait_s <= LONGEST_WAIT_S else None


def parse_reset(text: str) -> Reset | None:
    """Return the end of a window written in any of the forms in use; None for garbage.

    Numbers below 10^9 are seconds from now, from there on Unix seconds, from 10^11 on Unix milliseconds. ISO 8601
    moments, HTTP dates and durations (`1m23s`, `120ms`) are read too. Garbage includes waits of over a day and numbers
    from 10^14 on (the year 5138). A value that a proxy joined with copies of itself is read once.
    """
    text = _once(text)
    if not text:
        return None
    number = _number(text)
    if number is not None:
        if number >= _MILLISECONDS_FROM:
            return _at(number / 1000) if number < _MILLISECONDS_TO else None
        if number >= _SECONDS_FROM:
            return _at(number)
        return Reset(in_s=number) if 0 <= number <= LONGEST_WAIT_S else None
    match = _DURATION.fullmatch(text)
    if match:
        hours, minutes, seconds, millis = (float(part or 0) for part in match.groups())
        total = hours * 3600 + minutes * 60 + seconds + millis / 1000
        return Reset(in_s=total) if total <= LONGEST_WAIT_S else None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        date = _http_date(text)
        return None if date is None else Reset(unix_s=date)
    return _at(_unix(moment))


def _once(text: str) -> str:
    """Return `text` stripped; a value joined with copies of itself is returned once."""
    values = {part.strip() for part in _JOINT.split(text)}
    return values.pop() if len(values) == 1 else text.strip()


def _reset_within_a_day(text: str, date_unix_s: float | None) -> Reset | None:
    reset = parse_reset(text)
    if reset is not None and reset.unix_s is not None and date_unix_s is not None:
        return reset if reset.unix_s - date_unix_s <= LONGEST_WAIT_S else None
    return reset


def _at(unix_s: float) -> Reset:
    return Reset(unix_s=unix_s, rounded_s=1.0 if unix_s.is_integer() else 0.001)


@lru_cache(maxsize=8)  # answers of the same second have the same text, and parsing takes 40 microseconds
def _http_date(text: str) -> float | None:
    try:
        return _unix(parsedate_to_datetime(text))
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _unix(moment: datetime) -> float:
    # In HTTP a date without a zone is UTC (RFC 9110, 5.6.7); the same is assumed for ISO 8601.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(text: str | None) -> float | None:
    # float() alone would also accept "1_000", "nan" and the digits of other scripts.
    match = _NUMBER.fullmatch(text.strip()) if text else None
    value = float(match[0]) if match else math.nan
    return value if math.isfinite(value) else None


def _amount(text: str | None) -> float | None:
    value = _number(text)
    return value if value is not None and abs(value) < 1e12 else None


def _whole(text: str | None) -> int | None:
    value = _number(_once(text)) if text else None
    return int(value) if value is not None and 0 <= value < 1e9 else None


def _true(text: str | None) -> bool:
    return text is not None and text.strip().lower() == "true"


def _words(text: str | None) -> str | None:
    # Bytes that are not UTF-8 arrive as lone surrogates, which no record can store.
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if text else None


def _unquoted(text: str | None) -> str | None:
    text = _words(text)
    return unquote(text) if text else None


def _deprecation(headers: Mapping[str, str]) -> str | None:
    warning = _words(headers.get("x-venice-model-deprecation-warning"))
    date = _words(headers.get("x-venice-model-deprecation-date"))
    replacement = _words(headers.get("x-venice-deprecated-replacement"))
    if not (warning or date or replacement or _true(headers.get("x-venice-deprecated"))):
        return None
    parts = [warning or "deprecated"]
    if date:
        parts.append(f"on {date}")
    if replacement:
        parts.append(f"use {replacement}")
    return "; ".join(parts)
