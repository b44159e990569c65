"""Durations counted without keeping them."""

from __future__ import annotations

import math
from collections import Counter

from venice_batch.summary import Percentiles


class Histogram:
    """Durations counted in buckets 5 % wide, so that a million of them take no memory to speak of."""

    _STEP = math.log(1.05)

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()

    def add(self, value_s: float) -> None:
        """Count one duration; less than a microsecond counts as that."""
        self._buckets[math.floor(math.log(max(value_s, 1e-6)) / self._STEP)] += 1

    def percentiles(self) -> Percentiles:
        """The nearest-rank percentiles, each as the middle of its bucket."""
        return Percentiles(*(self._rank(share) for share in (0.50, 0.95, 0.99)))

    def _rank(self, share: float) -> float | None:
        left = math.ceil(share * self._buckets.total())
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return float(f"{math.exp((bucket + 0.5) * self._STEP):.4g}")
        return None
