"""A run in numbers, `summary.json`."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from venice_batch.events import AttemptEnded, JobEnded
from venice_batch.model import Status
from venice_batch.retry import Verdict

if TYPE_CHECKING:
    from venice_batch.events import Event


class Percentiles(msgspec.Struct, frozen=True):
    """Durations in seconds, each within 3 %; null when there was none."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class LaneSummary(msgspec.Struct, frozen=True):
    """One model's share of the run; the percentiles are of successful attempts."""

    succeeded: int
    failed: int
    rejected: int
    images: int
    bytes: int
    attempts: int
    refused: int
    latency_s: Percentiles


class Summary(msgspec.Struct, frozen=True):
    """What a run did; written as `summary.json` and, with `--json`, to standard output.

    `jobs` counts the file's; `already_done` had succeeded before, `already_rejected` were not asked for again,
    `pending` have no outcome yet. `refused` counts 429 answers to this run, `possibly_billed` the jobs that may have
    been charged for an image that never arrived. `reason` says why a run ended early, else null.
    """

    schema: int
    run_id: str
    output: str
    exit_code: int
    reason: str | None
    started_at: str
    elapsed_s: float
    jobs: int
    already_done: int
    already_rejected: int
    succeeded: int
    failed: int
    rejected: int
    pending: int
    images: int
    bytes: int
    attempts: int
    refused: int
    blocks: int
    blurred: int
    content_violations: int
    possibly_billed: int
    cost_usd: float | None
    errors: dict[str, int]
    lanes: dict[str, LaneSummary]
    total_s: Percentiles


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


class _LaneTally:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.latency = Histogram()

    def summary(self) -> LaneSummary:
        names = ("succeeded", "failed", "rejected", "images", "bytes", "attempts", "refused")
        return LaneSummary(**{name: self.counts[name] for name in names}, latency_s=self.latency.percentiles())


class Tally:
    """An observer that counts; nothing it keeps grows with the number of jobs."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._lanes: dict[str, _LaneTally] = {}
        self._total = Histogram()

    def __call__(self, event: Event) -> None:
        if isinstance(event, AttemptEnded):
            self._count(event.job.model, "attempts")
            if event.attempt.status == 429:
                self._count(event.job.model, "refused")
            if event.verdict is Verdict.SUCCEEDED:
                self._lane(event.job.model).latency.add(event.attempt.duration_s)
        elif isinstance(event, JobEnded):
            outcome = event.outcome
            self._count(outcome.lane, outcome.status)
            self._count(outcome.lane, "images", len(outcome.files))
            self._count(outcome.lane, "bytes", sum(file.bytes for file in outcome.files))
            self.counts["blurred"] += outcome.flags.blurred
            self.counts["content_violations"] += outcome.flags.content_violation
            self.counts["possibly_billed"] += outcome.flags.possibly_billed
            if outcome.error is not None:
                self.errors[outcome.error.kind] += 1
            if outcome.status is Status.SUCCEEDED:
                self._total.add(outcome.timing.total_s)

    def lanes(self) -> dict[str, LaneSummary]:
        """Every lane's share, by name."""
        return {name: lane.summary() for name, lane in self._lanes.items()}

    def total_s(self) -> Percentiles:
        """From enqueued to done, of the jobs that succeeded."""
        return self._total.percentiles()

    def _lane(self, name: str) -> _LaneTally:
        return self._lanes.setdefault(name, _LaneTally())

    def _count(self, lane: str, what: str, by: int = 1) -> None:
        self.counts[what] += by
        self._lane(lane).counts[what] += by
