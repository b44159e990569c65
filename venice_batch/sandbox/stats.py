"""Counters of one sandbox."""

from __future__ import annotations

from collections import Counter
from typing import Any


class Stats:
    """What the sandbox has seen since its start or last reset; times are seconds since the start.

    A request counts as `succeeded` only when a whole, valid answer was sent; one with a fault in a 200 counts
    as neither succeeded nor failed. A 200 whose pictures are withheld counts among the `violations`, not as
    succeeded. `images_charged` counts the pictures of charged requests, whether or not they arrived.
    """

    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Zero everything but what is in flight and the moment of the start."""
        self._counts: Counter[str] = Counter()
        self._models: dict[str, Counter[str]] = {}
        self._max_in_flight = self.in_flight
        self._first_request_s = self._last_response_s = 0.0

    def count(self, what: str, model_id: str = "", by: int = 1) -> None:
        """Add to one counter, and to the same counter of a model if one is named."""
        self._counts[what] += by
        if model_id:
            self._models.setdefault(model_id, Counter())[what] += by

    def seen(self, model_id: str) -> None:
        """Note which model a request turned out to be for."""
        self._models.setdefault(model_id, Counter())["requests"] += 1

    def arrived(self, now: float) -> None:
        """Note the arrival of a generation request."""
        if not self._counts["requests"]:
            self._first_request_s = now - self._started_at
        self._counts["requests"] += 1
        self.in_flight += 1
        self._max_in_flight = max(self._max_in_flight, self.in_flight)

    def left(self, now: float) -> None:
        """Note that a generation request has been answered or dropped."""
        self.in_flight -= 1
        self._last_response_s = now - self._started_at

    def snapshot(self, charged_usd: float) -> dict[str, Any]:
        """Return all counters as plain values, ready for JSON."""
        counts = self._counts
        names = ("requests", "succeeded", "refused", "blocked", "blocks", "failed", "at_capacity", "faults", "images",
                 "images_charged", "violations", "other_requests")  # fmt: skip
        return {
            **{name: counts[name] for name in names},
            "in_flight": self.in_flight,
            "max_in_flight": self._max_in_flight,
            "charged_usd": charged_usd,
            "by_model": {
                model: {name: seen[name] for name in ("requests", "succeeded", "refused")}
                for model, seen in self._models.items()
            },
            "first_request_s": self._first_request_s,
            "last_response_s": self._last_response_s,
        }
