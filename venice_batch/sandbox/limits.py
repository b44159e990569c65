"""Limits over time: windows of a quota, the error budget, and the headers that report them."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from venice_batch.sandbox.request_body import Body
    from venice_batch.sandbox.settings import ResetForm, RetryAfterForm, WindowKind


@dataclass(frozen=True, slots=True)
class QuotaState:
    """A window's reply to one request: whether it grants it, and how much quota is left.

    A refused request would be granted from Unix time `reset_at` on.
    """

    granted: bool
    limit: int
    remaining: int
    reset_at: float


class Window(Protocol):
    """A quota in time; `now` is Unix time in seconds and never goes back.

    A request takes all its `units` of the quota or none. More units than the whole quota are never granted.
    """

    def acquire(self, now: float, units: int = 1) -> QuotaState:
        """Use quota for one request, if enough is left."""

    def peek(self, now: float, units: int = 1) -> QuotaState:
        """Return what `acquire` would, without using quota."""


class FixedWindow:
    """`limit` units in each period of `length_s`, opened by its first request or aligned to Unix time."""

    def __init__(self, limit: int, length_s: float, *, aligned: bool) -> None:
        self._limit, self._length_s, self._aligned = limit, length_s, aligned
        self._ends_at = float("-inf")
        self._used = 0

    def acquire(self, now: float, units: int = 1) -> QuotaState:
        """Open a period if none is open, then use units of it if enough are left."""
        if now >= self._ends_at:
            self._ends_at, self._used = self._next_end(now), 0
        granted = self._used + units <= self._limit
        self._used += units if granted else 0
        return QuotaState(granted, self._limit, self._limit - self._used, self._ends_at)

    def peek(self, now: float, units: int = 1) -> QuotaState:
        """Report the open period, or the one that a request would open."""
        if now >= self._ends_at:
            return QuotaState(units <= self._limit, self._limit, self._limit, self._next_end(now))
        left = self._limit - self._used
        return QuotaState(units <= left, self._limit, left, self._ends_at)

    def _next_end(self, now: float) -> float:
        return (now // self._length_s + 1) * self._length_s if self._aligned else now + self._length_s


class SlidingWindow:
    """At most `limit` units in any `length_s`; with `count_refused`, refused requests use units too."""

    def __init__(self, limit: int, length_s: float, *, count_refused: bool) -> None:
        self._limit, self._length_s, self._count_refused = limit, length_s, count_refused
        self._seen: deque[float] = deque(maxlen=limit)

    def acquire(self, now: float, units: int = 1) -> QuotaState:
        """Grant the request if it fits into `limit` with the units of the last `length_s`."""
        state = self.peek(now, units)
        if state.granted or self._count_refused:
            self._seen.extend([now] * units)
        left = self._limit - len(self._seen)
        reset_at = self._reset_at(now, 1 if state.granted else units)
        return QuotaState(state.granted, self._limit, left, reset_at)

    def peek(self, now: float, units: int = 1) -> QuotaState:
        """Report the quota; at `reset_at` enough of the oldest units have left the window."""
        while self._seen and self._seen[0] + self._length_s <= now:
            self._seen.popleft()
        left = self._limit - len(self._seen)
        return QuotaState(units <= left, self._limit, left, self._reset_at(now, units))

    def _reset_at(self, now: float, units: int) -> float:
        """Return when `units` are free, but not before the oldest unit leaves."""
        excess = len(self._seen) + units - self._limit
        oldest = self._seen[min(max(excess, 1), len(self._seen)) - 1] if self._seen else now
        return oldest + self._length_s


class TokenBucket:
    """A bucket of `limit` tokens that refills evenly over `length_s`.

    With `count_refused`, refused requests take tokens too.
    """

    def __init__(self, limit: int, length_s: float, *, count_refused: bool) -> None:
        self._limit, self._per_s, self._count_refused = limit, limit / length_s, count_refused
        self._full_at = float("-inf")

    def acquire(self, now: float, units: int = 1) -> QuotaState:
        """Take tokens if enough whole ones are there; refused requests run up a debt of at most one bucket."""
        state = self.peek(now, units)
        if state.granted or self._count_refused:
            longest = now + 2 * self._limit / self._per_s
            self._full_at = min(max(self._full_at, now) + units / self._per_s, longest)
        after = self.peek(now, 1 if state.granted else units)
        return QuotaState(state.granted, self._limit, after.remaining, after.reset_at)

    def peek(self, now: float, units: int = 1) -> QuotaState:
        """Report whole tokens; at `reset_at` enough are there, or the bucket is full if enough are there already."""
        # A millionth of a token of slack: waiting until `reset_at` must be enough, however floats round.
        tokens = self._limit - max(self._full_at - now, 0.0) * self._per_s + 1e-6
        if tokens >= units:
            return QuotaState(True, self._limit, int(tokens), max(self._full_at, now))
        enough_at = self._full_at - (self._limit - min(units, self._limit)) / self._per_s
        return QuotaState(False, self._limit, max(0, int(tokens)), max(enough_at, now))


def open_window(kind: WindowKind, limit: int, length_s: float, *, count_refused: bool) -> Window:
    """Return a new window of this kind with its whole quota."""
    if kind == "sliding":
        return SlidingWindow(limit, length_s, count_refused=count_refused)
    if kind == "token-bucket":
        return TokenBucket(limit, length_s, count_refused=count_refused)
    return FixedWindow(limit, length_s, aligned=kind == "aligned")


def rate_headers(state: QuotaState, now: float, form: ResetForm, *, fine: bool) -> dict[str, str]:
    """Return the x-ratelimit-* headers of a window; none if `form` is "none". `fine` sends seconds with 3 decimals.

    Times are rounded up to the precision of the form, so that waiting for them is always enough.
    """
    if form == "none":
        return {}
    return {
        "x-ratelimit-limit-requests": str(state.limit),
        "x-ratelimit-remaining-requests": str(state.remaining),
        "x-ratelimit-reset-requests": reset_value(state.reset_at, now, form, fine=fine),
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
    """Return the Retry-After header for a wait, rounded up; none if `form` is "none"."""
    if form == "none":
        return {}
    if form == "date":
        return {"Retry-After": formatdate(math.ceil(now + wait_s), usegmt=True)}
    return {"Retry-After": _seconds(wait_s, fine=fine)}


def _seconds(value: float, *, fine: bool) -> str:
    return f"{math.ceil(value * 1000) / 1000:.3f}" if fine else str(math.ceil(value))


@dataclass(frozen=True, slots=True)
class Bucket:
    """The requests that share one error budget.

    All uploads of a key share one bucket with its requests that name no model: the API sees their key before their
    fields. Source: Venice's agent skills, venice-errors, 2026-10-02.
    """

    key: str
    model: str = ""
    user: str = ""


def bucket_of(key: str, body: Body | None) -> Bucket:
    """Return the bucket of a request; `body` is None if it could not be read."""
    fields = body.value if body is not None and not body.is_form and isinstance(body.value, dict) else {}
    model, user = (value if isinstance(value, str) else "" for value in (fields.get("model"), fields.get("user")))
    return Bucket(key, model, user)


def uses_error_budget(status: int) -> bool:
    """Return whether an answer with this status uses the error budget."""
    return 400 <= status < 500 and status != 429


class ErrorBudget:
    """Client errors of one bucket, in windows of fixed length that open with the first error.

    More than `limit` errors block the bucket until the window ends.
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
        """Return the seconds until the bucket's block ends; 0 if it is not blocked."""
        return max(0.0, self._ends_at - now) if self._failures > self._limit else 0.0

    def headers(self, now: float) -> dict[str, str]:
        """Return the budget's two headers: the errors left, and the window's end in Unix milliseconds.

        If no window is open, they show a full budget and the end of a window that opens now.
        """
        is_open = now < self._ends_at
        left = max(0, self._limit - self._failures) if is_open else self._limit
        ends_at = self._ends_at if is_open else now + self._window_s
        return {"x-ratelimit-remaining": str(left), "x-ratelimit-resets": str(math.ceil(ends_at * 1000))}


class FailureBlock:
    """The rule of era 2026-08: more than `limit` failures of a key within `window_s` block it for `block_s`.

    Refusals by the block itself are not failures: it never extends itself. Source: API page, rate limits.
    """

    def __init__(self, limit: int, window_s: float, block_s: float) -> None:
        self._limit, self._window_s, self._block_s = limit, window_s, block_s
        self._failures: deque[float] = deque()
        self._until = float("-inf")

    def remaining_s(self, now: float) -> float:
        """Return the seconds until the block ends; 0 if the key is not blocked."""
        return max(0.0, self._until - now)

    def record_failure(self, now: float) -> bool:
        """Note one failed request; return whether it has started a block."""
        if self._limit == 0 or self.remaining_s(now):
            return False
        self._failures.append(now)
        while self._failures[0] <= now - self._window_s:
            self._failures.popleft()
        if len(self._failures) <= self._limit:
            return False
        self._failures.clear()
        self._until = now + self._block_s
        return True
