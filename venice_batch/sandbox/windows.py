"""Rate windows of one model."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from venice_batch.sandbox.settings import WindowKind


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a window says: `reset_at` is Unix time from which on a refused request would be granted."""

    granted: bool
    limit: int
    remaining: int
    reset_at: float


class Window(Protocol):
    """A quota of requests in time; `now` is Unix time in seconds and never goes back."""

    def ask(self, now: float) -> Verdict:
        """Use quota for one request, if there is any."""

    def peek(self, now: float) -> Verdict:
        """Say what `ask` would, without using quota."""


class FixedWindow:
    """`limit` requests in each period of `length_s`, opened by its first request or aligned to Unix time."""

    def __init__(self, limit: int, length_s: float, *, aligned: bool) -> None:
        self._limit, self._length_s, self._aligned = limit, length_s, aligned
        self._ends_at = float("-inf")
        self._used = 0

    def ask(self, now: float) -> Verdict:
        """Open a period if none is open, then use one of its requests if one is left."""
        if now >= self._ends_at:
            self._ends_at, self._used = self._next_end(now), 0
        granted = self._used < self._limit
        self._used += granted
        return Verdict(granted, self._limit, self._limit - self._used, self._ends_at)

    def peek(self, now: float) -> Verdict:
        """Report the period that is open, or the one that a request would open."""
        if now >= self._ends_at:
            return Verdict(True, self._limit, self._limit, self._next_end(now))
        return Verdict(self._used < self._limit, self._limit, self._limit - self._used, self._ends_at)

    def _next_end(self, now: float) -> float:
        return (now // self._length_s + 1) * self._length_s if self._aligned else now + self._length_s


class SlidingWindow:
    """At most `limit` requests in any `length_s`; `count_refused` lets refused ones count among them."""

    def __init__(self, limit: int, length_s: float, *, count_refused: bool) -> None:
        self._limit, self._length_s, self._count_refused = limit, length_s, count_refused
        self._seen: deque[float] = deque(maxlen=limit)

    def ask(self, now: float) -> Verdict:
        """Grant the request when fewer than `limit` came within the last `length_s`."""
        granted = self.peek(now).granted
        if granted or self._count_refused:
            self._seen.append(now)
        left = self._limit - len(self._seen)
        return Verdict(granted, self._limit, left, self._seen[0] + self._length_s)

    def peek(self, now: float) -> Verdict:
        """Report quota; `reset_at` is when the oldest request that counts leaves the window."""
        while self._seen and self._seen[0] + self._length_s <= now:
            self._seen.popleft()
        left = self._limit - len(self._seen)
        oldest = self._seen[0] if self._seen else now
        return Verdict(left > 0, self._limit, left, oldest + self._length_s)


class TokenBucket:
    """A bucket of `limit` tokens that refills evenly over `length_s`; `count_refused` lets refused ones cost
    a token.
    """

    def __init__(self, limit: int, length_s: float, *, count_refused: bool) -> None:
        self._limit, self._per_s, self._count_refused = limit, limit / length_s, count_refused
        self._full_at = float("-inf")

    def ask(self, now: float) -> Verdict:
        """Take one token if a whole one is there; a debt of refused requests never exceeds one bucket."""
        verdict = self.peek(now)
        if verdict.granted or self._count_refused:
            longest = now + 2 * self._limit / self._per_s
            self._full_at = min(max(self._full_at, now) + 1 / self._per_s, longest)
        after = self.peek(now)
        return Verdict(verdict.granted, self._limit, after.remaining, after.reset_at)

    def peek(self, now: float) -> Verdict:
        """Report whole tokens; `reset_at` is when the next one is there if there is none, else when all
        are.
        """
        # A millionth of a token of slack: waiting exactly as long as told must be enough, whatever floats
        # round to.
        tokens = self._limit - max(self._full_at - now, 0.0) * self._per_s + 1e-6
        if tokens >= 1:
            return Verdict(True, self._limit, int(tokens), max(self._full_at, now))
        return Verdict(False, self._limit, 0, self._full_at - (self._limit - 1) / self._per_s)


def open_window(kind: WindowKind, limit: int, length_s: float, *, count_refused: bool) -> Window:
    """Return a new window of this kind with its whole quota."""
    if kind == "sliding":
        return SlidingWindow(limit, length_s, count_refused=count_refused)
    if kind == "token-bucket":
        return TokenBucket(limit, length_s, count_refused=count_refused)
    return FixedWindow(limit, length_s, aligned=kind == "aligned")
