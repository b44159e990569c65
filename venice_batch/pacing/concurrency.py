"""Adapt how many requests of a lane are in flight to what the server can take."""

from __future__ import annotations

import math


class AdaptiveLimit:
    """A limit on requests in flight: additive increase, multiplicative decrease, between 1 and `ceiling`.

    - Up: from `start` the limit doubles each round trip until the first sign of overload (TCP's slow start, RFC 5681,
      section 3.1). After that it grows by one for every `limit` good answers that arrive while at least half of it is
      in use.
    - Down: an overload takes off a fifth (a little less than CUBIC, whose factor is 0.7, RFC 9438). All requests that
      were already in flight count as one overload. Each further refusal of theirs only lowers the limit to the number
      that the server still holds.
    - Patience: each overload also halves the rate of growth, down to 1 / `MOST_PATIENCE`. So a model that takes four at
      a time is offered a fifth less and less often.
    - Latency: a fifth comes off too when the recent mean latency is more than twice the long-run mean and more than
      `SLOWER_BY_S` above it (the gradient of Netflix's concurrency-limits). This does not change the patience.
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
        """How many requests may be in flight now."""
        return int(self._limit)

    def open(self) -> None:
        """Raise the limit to the ceiling, unless the server has shown an overload.

        Call this once the server has named the lane's quota: from then on the window decides how many requests are
        sent, and slow answers are no reason to leave quota unused.
        """
        if self._slow_start:
            self._limit = float(self.ceiling)
            self._slow_start = False

    def good(self, *, in_flight: int, latency_s: float, sent_s: float, now_s: float) -> None:
        """Learn from a good answer; `in_flight` counts the lane's requests, this one included."""
        if self._is_slower(latency_s) and sent_s > self._decreased_s:
            self._decrease(now_s)
            return
        # The limit is not fully in use at every answer; half of it shows that the limit is needed.
        if 2 * in_flight < self.limit:
            return
        self._limit = min(
            self.ceiling, self._limit + (1.0 if self._slow_start else 1.0 / (self.limit * self._patience))
        )

    def overloaded(self, *, sent_s: float, now_s: float, in_flight: int) -> None:
        """Learn that the server could not take the request sent at `sent_s`; it holds `in_flight` others now."""
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
