"""What is left of a lane's daily quota."""

from __future__ import annotations

import math

DAY_S = 86_400.0


class DayQuota:
    """Counts images until the day ends; without a limit (None or 0) it counts, and holds, nothing.

    `ends_s` is the present day's end on the run's clock; infinity where the API does not say, then a day
    counts from the first request. A server's own word (`spent`) goes before any count.
    """

    def __init__(self, limit: int | None, ends_s: float) -> None:
        self._limit = limit or None
        self._ends_s = ends_s
        self._used = 0
        self._spent_until_s = -math.inf

    def wait_s(self, now_s: float, units: int = 1) -> float:
        """Seconds until the day has room for `units` more images; 0 when it has."""
        if now_s >= self._ends_s:
            self._used = 0
            self._ends_s += DAY_S * (1 + (now_s - self._ends_s) // DAY_S)
        if self._limit is not None and self._used + min(units, self._limit) > self._limit:
            return max(self._ends_s, self._spent_until_s) - now_s
        return max(0.0, self._spent_until_s - now_s)

    def sent(self, now_s: float, units: int = 1) -> None:
        """A request for `units` images goes out."""
        if self._limit is None:
            return
        if math.isinf(self._ends_s):
            self._ends_s = now_s + DAY_S
        self._used += units

    def refused(self, units: int = 1) -> None:
        """A request for `units` images was not taken, so it did not count."""
        self._used = max(0, self._used - units)

    def spent(self, until_s: float) -> None:
        """The server says that the day has no room before `until_s`."""
        self._spent_until_s = max(self._spent_until_s, until_s)
