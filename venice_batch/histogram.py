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
        """Count one duration; less than a microsecond counts as that, as does more than any job takes as the most."""
        self._buckets[math.floor(math.log(min(max(value_s, 1e-6), 1e15)) / self._STEP)] += 1

    def update(self, other: Histogram) -> None:
        """Count all that `other` has counted, too."""
        self._buckets.update(other._buckets)

    def counts(self) -> dict[int, int]:
        """How many durations each bucket holds, by its number, in order; empty buckets are left out."""
        return dict(sorted(self._buckets.items()))

    @classmethod
    def starts_at_s(cls, bucket: int) -> float:
        """The shortest duration that the bucket of this number holds; the next one's is the first that it does not."""
        return math.exp(bucket * cls._STEP)

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
