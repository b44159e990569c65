"""Rate windows of one model."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from venice_batch.sandbox.settings import WindowKind


@dataclass(frozen=True, slots=True)
class Verdict:
    """Answer of a window: `reset_at` is the Unix time from which on a refused request would be granted."""

    granted: bool
    limit: int
    remaining: int
    reset_at: float


class Window(Protocol):
    """A quota in time; `now` is Unix time in seconds and never goes back.

    A request takes all its `units` of the quota or none. More units than the whole quota are never granted.
    """

    def ask(self, now: float, units: int = 1) -> Verdict:
        """Use quota for one request, if enough is left."""

    def peek(self, now: float, units: int = 1) -> Verdict:
        """Say what `ask` would, without using quota."""


class FixedWindow:
    """`limit` units in each period of `length_s`, opened by its first request or aligned to Unix time."""

    def __init__(self, limit: int, length_s: float, *, aligned: bool) -> None:
        self._limit, self._length_s, self._aligned = limit, length_s, aligned
        self._ends_at = float("-inf")
        self._used = 0

    def ask(self, now: float, units: int = 1) -> Verdict:
        """Open a period if none is open, then use units of it if enough are left."""
        if now >= self._ends_at:
            self._ends_at, self._used = self._next_end(now), 0
        granted = self._used + units <= self._limit
        self._used += units if granted else 0
        return Verdict(granted, self._limit, self._limit - self._used, self._ends_at)

    def peek(self, now: float, units: int = 1) -> Verdict:
        """Report the period that is open, or the one that a request would open."""
        if now >= self._ends_at:
            return Verdict(units <= self._limit, self._limit, self._limit, self._next_end(now))
        left = self._limit - self._used
        return Verdict(units <= left, self._limit, left, self._ends_at)

    def _next_end(self, now: float) -> float:
        return (now // self._length_s + 1) * self._length_s if self._aligned else now + self._length_s


class SlidingWindow:
    """At most `limit` units in any `length_s`; `count_refused` lets refused ones count among them."""

    def __init__(self, limit: int, length_s: float, *, count_refused: bool) -> None:
        self._limit, self._length_s, self._count_refused = limit, length_s, count_refused
        self._seen: deque[float] = deque(maxlen=limit)

    def ask(self, now: float, units: int = 1) -> Verdict:
        """Grant the request when it and those of the last `length_s` have at most `limit` units."""
        verdict = self.peek(now, units)
        if verdict.granted or self._count_refused:
            self._seen.extend([now] * units)
        left = self._limit - len(self._seen)
        reset_at = self._reset_at(now, 1 if verdict.granted else units)
        return Verdict(verdict.granted, self._limit, left, reset_at)

    def peek(self, now: float, units: int = 1) -> Verdict:
        """Report quota; `reset_at` is when enough of the oldest units have left the window."""
        while self._seen and self._seen[0] + self._length_s <= now:
            self._seen.popleft()
        left = self._limit - len(self._seen)
        return Verdict(units <= left, self._limit, left, self._reset_at(now, units))

    def _reset_at(self, now: float, units: int) -> float:
        """Return when `units` are free, but at the earliest when the oldest unit leaves."""
        excess = len(self._seen) + units - self._limit
        oldest = self._seen[min(max(excess, 1), len(self._seen)) - 1] if self._seen else now
        return oldest + self._length_s


class TokenBucket:
    """A bucket of `limit` tokens that refills evenly over `length_s`; `count_refused` lets refused ones cost
    a token.
    """

    def __init__(self, limit: int, length_s: float, *, count_refused: bool) -> None:
        self._limit, self._per_s, self._count_refused = limit, limit / length_s, count_refused
        self._full_at = float("-inf")

    def ask(self, now: float, units: int = 1) -> Verdict:
        """Take tokens if enough whole ones are there; a debt of refused requests never exceeds one bucket."""
        verdict = self.peek(now, units)
        if verdict.granted or self._count_refused:
            longest = now + 2 * self._limit / self._per_s
            self._full_at = min(max(self._full_at, now) + units / self._per_s, longest)
        after = self.peek(now, 1 if verdict.granted else units)
        return Verdict(verdict.granted, self._limit, after.remaining, after.reset_at)

    def peek(self, now: float, units: int = 1) -> Verdict:
        """Report whole tokens; `reset_at` is when enough are there if they are not yet, else when all are."""
        # A millionth of a token of slack: waiting exactly as long as told must be enough, whatever floats
        # round to.
        tokens = self._limit - max(self._full_at - now, 0.0) * self._per_s + 1e-6
        if tokens >= units:
            return Verdict(True, self._limit, int(tokens), max(self._full_at, now))
        enough_at = self._full_at - (self._limit - min(units, self._limit)) / self._per_s
        return Verdict(False, self._limit, max(0, int(tokens)), max(enough_at, now))


def open_window(kind: WindowKind, limit: int, length_s: float, *, count_refused: bool) -> Window:
    """Return a new window of this kind with its whole quota."""
    if kind == "sliding":
        return SlidingWindow(limit, length_s, count_refused=count_refused)
    if kind == "token-bucket":
        return TokenBucket(limit, length_s, count_refused=count_refused)
    return FixedWindow(limit, length_s, aligned=kind == "aligned")
