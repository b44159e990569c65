"""Counters of one sandbox."""

from __future__ import annotations

from collections import Counter
from typing import Any


class Stats:
    """Counters since the start or the last reset; times are seconds since the start.

    A request counts as `succeeded` only if its answer was whole and valid. A 200 with a fault counts neither as
    succeeded nor as failed. A 200 with withheld images counts as a violation, not as succeeded. `images_charged`
    counts the images of charged requests, whether or not they arrived.
    """

    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Zero everything except requests in flight and the time of the start."""
        self._counts: Counter[str] = Counter()
        self._models: dict[str, Counter[str]] = {}
        self._max_in_flight = self.in_flight
        self._first_request_s = self._last_response_s = 0.0

    def count(self, name: str, model_id: str = "", by: int = 1) -> None:
        """Add to one counter, and to the same counter of a model if `model_id` is given."""
        self._counts[name] += by
        if model_id:
            self._models.setdefault(model_id, Counter())[name] += by

    def seen(self, model_id: str) -> None:
        """Count a request for its model, once the model is known."""
        self._models.setdefault(model_id, Counter())["requests"] += 1

    def arrived(self, now: float) -> None:
        """Count the arrival of a paid request."""
        if not self._counts["requests"]:
            self._first_request_s = now - self._started_at
        self._counts["requests"] += 1
        self.in_flight += 1
        self._max_in_flight = max(self._max_in_flight, self.in_flight)

    def left(self, now: float) -> None:
        """Note that a paid request has been answered or dropped."""
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
