"""An observer that turns a run's events into the numbers of its summary."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from venice_batch.events import AttemptEnded, JobEnded
from venice_batch.histogram import Histogram
from venice_batch.model import Status
from venice_batch.retry import Verdict
from venice_batch.summary import LaneSummary

if TYPE_CHECKING:
    from venice_batch.events import Event
    from venice_batch.summary import Percentiles


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
            self.counts["possibly_billed"] += event.possibly_billed
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
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _LaneTally()
        return lane

    def _count(self, lane: str, what: str, by: int = 1) -> None:
        self.counts[what] += by
        self._lane(lane).counts[what] += by
