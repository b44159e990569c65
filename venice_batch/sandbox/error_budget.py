"""The error budget: what it counts, for whom, and when it is used up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from venice_batch.sandbox.request_body import Body


@dataclass(frozen=True, slots=True)
class Bucket:
    """The requests that share one error budget.

    Uploads share one bucket per key with all that names no model: the API sees their key before their fields.
    Source: Venice's agent skills, venice-errors, 2026-10-02.
    """

    key: str
    model: str = ""
    user: str = ""


def bucket_of(key: str, body: Body | None) -> Bucket:
    """Return the bucket of a request; `body` is None when it could not be read."""
    fields = body.value if body is not None and not body.is_form and isinstance(body.value, dict) else {}
    model, user = (value if isinstance(value, str) else "" for value in (fields.get("model"), fields.get("user")))
    return Bucket(key, model, user)


def counts(status: int) -> bool:
    """Return whether an answer with this status uses the error budget."""
    return 400 <= status < 500 and status != 429


class ErrorBudget:
    """Client errors of one bucket, in windows of fixed length that open with the first error.

    More than `limit` of them block the bucket until the window ends.
    """

    def __init__(self, limit: int, window_s: float) -> None:
        self._limit, self._window_s = limit, window_s
        self._ends_at = float("-inf")
        self._failures = 0

    def record_failure(self, now: float) -> bool:
        """Count one client error; return whether it has blocked the bucket."""
        if now >= self._ends_at:
            self._ends_at, self._failures = now + self._window_s, 0
        self._failures += 1
        return self._failures == self._limit + 1

    def remaining_s(self, now: float) -> float:
        """Return the seconds for which the bucket stays blocked; 0 when it is not."""
        return max(0.0, self._ends_at - now) if self._failures > self._limit else 0.0

    def headers(self, now: float) -> dict[str, str]:
        """Return the budget's two headers: the errors left, and the Unix milliseconds of the window's end.

        With no window open they show a full budget, and the end of a window that would open now.
        """
        is_open = now < self._ends_at
        left = max(0, self._limit - self._failures) if is_open else self._limit
        ends_at = self._ends_at if is_open else now + self._window_s
        return {"x-ratelimit-remaining": str(left), "x-ratelimit-resets": str(math.ceil(ends_at * 1000))}
