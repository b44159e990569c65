"""How many a minute, lately."""

from __future__ import annotations

import math
from collections import deque

RATE_S = 60.0
"""The span that rates are taken over."""


class Rate:
    """What happened in the last `RATE_S` seconds, counted by the second, so that it takes no memory to speak of."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, int]] = deque()

    def add(self, count: int, now_s: float) -> None:
        """Count `count` of them now."""
        self._forget(now_s)
        second, before = math.floor(now_s), 0
        if self._counts and self._counts[-1][0] == second:
            before = self._counts.pop()[1]
        self._counts.append((second, before + count))

    def a_minute(self, now_s: float, over_s: float) -> float:
        """So many a minute by the last `over_s` seconds, of which at least 1 and at most `RATE_S` count."""
        self._forget(now_s)
        return sum(count for _, count in self._counts) * 60 / min(RATE_S, max(1.0, over_s))

    def _forget(self, now_s: float) -> None:
        while self._counts and self._counts[0][0] <= now_s - RATE_S:
            self._counts.popleft()
