"""How many requests of one lane are under way at a time."""

from __future__ import annotations

import math


class AdaptiveLimit:
    """Additive increase, multiplicative decrease, between 1 and `ceiling`.

    Doubles each round trip from `start` until the first sign of overload (TCP's slow start, RFC 5681
    section 3.1), then adds one after `limit` good answers that came while the limit was really used. An
    overload takes off a fifth (a little less than CUBIC's 0.7, RFC 9438), once for all requests that were
    already under way; each of those only lowers the limit to what the server still holds. The next trial
    above that point becomes rarer, up to `MOST_PATIENCE` times: a model that takes four at a time is asked
    for a fifth less and less often.

    Latency that doubles over its long-run mean and rises by over `SLOWER_BY_S` counts as overload too
    (the gradient of Netflix's concurrency-limits).
    """

    DECREASE = 0.8
    MOST_PATIENCE = 32.0
    SLOWER_BY_S = 2.0

    def __init__(self, ceiling: int, start: int) -> None:
        self.ceiling = max(1, ceiling)
        self._limit = float(min(self.ceiling, max(1, start)))
        self._slow_start = True
        self._patience = 1.0
        self._decreased_s = -math.inf
        self._long_latency_s = 0.0
        self._short_latency_s = 0.0
        self._samples = 0

    @property
    def limit(self) -> int:
        """Requests that may be under way now."""
        return int(self._limit)

    def open(self) -> None:
        """Allow as many as the ceiling at once, unless the server was ever overloaded.

        For lanes whose quota the server has named: then the window decides how many go out, and slow answers are no
        reason to leave any of it unused.
        """
        if self._slow_start:
            self._limit = float(self.ceiling)
            self._slow_start = False

    def good(self, *, in_flight: int, latency_s: float, sent_s: float, now_s: float) -> None:
        """An answer came as wished; `in_flight` counts the lane's requests, this one among them."""
        if self._is_slower(latency_s) and sent_s > self._decreased_s:
            self._decrease(now_s)
            return
        # Not all of a limit can be in flight at each answer: half of it shows that it is needed.
        if 2 * in_flight < self.limit:
            return
        self._limit = min(
            self.ceiling, self._limit + (1.0 if self._slow_start else 1.0 / (self.limit * self._patience))
        )

    def overloaded(self, *, sent_s: float, now_s: float, in_flight: int) -> None:
        """The server could not take what was sent at `sent_s`; it holds `in_flight` others now."""
        if sent_s > self._decreased_s:
            self._decrease(now_s)
            self._patience = min(self.MOST_PATIENCE, self._patience * 2)
        self._limit = min(self._limit, float(max(1, in_flight)))

    def _decrease(self, now_s: float) -> None:
        self._slow_start = False
        self._limit = max(1.0, float(int(self._limit * self.DECREASE)))
        self._decreased_s = now_s
        self._short_latency_s = self._long_latency_s

    def _is_slower(self, latency_s: float) -> bool:
        self._samples += 1
        if self._samples == 1:
            self._long_latency_s = self._short_latency_s = latency_s
        self._short_latency_s += 0.2 * (latency_s - self._short_latency_s)
        self._long_latency_s += 0.01 * (latency_s - self._long_latency_s)
        return (
            self._samples > 20
            and self._short_latency_s > 2 * self._long_latency_s
            and self._short_latency_s - self._long_latency_s > self.SLOWER_BY_S
        )
