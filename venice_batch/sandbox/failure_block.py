"""The block that follows too many failed requests."""

from __future__ import annotations

from collections import deque


class FailureBlock:
    """Refuses one key everything for `block_s` after more than `limit` failures within `window_s`.

    Refusals by the block itself are not failures: it never extends itself. Source: API page, rate limits.
    """

    def __init__(self, limit: int, window_s: float, block_s: float) -> None:
        self._limit, self._window_s, self._block_s = limit, window_s, block_s
        self._failures: deque[float] = deque()
        self._until = float("-inf")

    def remaining_s(self, now: float) -> float:
        """Return the seconds for which the key stays blocked; 0 when it is not."""
        return max(0.0, self._until - now)

    def record_failure(self, now: float) -> bool:
        """Note one answer that was no success; return whether it has started a block."""
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
