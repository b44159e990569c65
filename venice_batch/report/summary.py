"""Count a run's results as it goes: durations, costs, failures, per model and in total."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from venice_batch.api.answers import Verdict
from venice_batch.events import AttemptEnded, JobEnded, RunStarted
from venice_batch.model import LaneSummary, Percentiles, Reason, SlowJob, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from venice_batch.events import Event
    from venice_batch.model import Outcome, Timing


FEW = 200
"""Up to this many durations are kept as they are, so that their percentiles are exact."""


class Histogram:
    """Durations counted in buckets 5 % wide; a million durations take no more memory than a hundred buckets."""

    _STEP = math.log(1.05)

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._few: list[float] | None = []

    def add(self, value_s: float) -> None:
        """Count one duration, limited to a microsecond to 1e15 seconds."""
        value_s = min(max(value_s, _LEAST_S), _MOST_S)
        self._buckets[math.floor(math.log(value_s) / self._STEP)] += 1
        self._keep([value_s])

    def update(self, other: Histogram) -> None:
        """Add the counts of `other`."""
        self._buckets.update(other._buckets)
        self._keep(other._few)

    def _keep(self, values_s: list[float] | None) -> None:
        if self._few is None or values_s is None or len(self._few) + len(values_s) > FEW:
            self._few = None
        else:
            self._few += values_s

    def counts(self) -> dict[int, int]:
        """Return how many durations each bucket holds, by the bucket's number, in order; empty buckets are left out."""
        return dict(sorted(self._buckets.items()))

    @classmethod
    def starts_at_s(cls, bucket: int) -> float:
        """Return the lower bound of a bucket in seconds; the next bucket begins where this one ends."""
        return math.exp(bucket * cls._STEP)

    def percentiles(self) -> Percentiles:
        """Return the nearest-rank percentiles: of up to `FEW` durations exactly, else as the middle of the bucket."""
        if self._few:
            return percentiles_of(self._few)
        return Percentiles(*map(self._rank, _PERCENTS))

    def _rank(self, percent: int) -> float | None:
        left = _place(percent, self._buckets.total())
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return float(f"{math.exp((bucket + 0.5) * self._STEP):.4g}")
        return None


def percentiles_of(values_s: Iterable[float]) -> Percentiles:
    """Return the nearest-rank percentiles of one or more durations, as a `Histogram` of up to `FEW` has them."""
    ordered = sorted(min(max(value_s, _LEAST_S), _MOST_S) for value_s in values_s)
    return Percentiles(*(round(ordered[_place(percent, len(ordered)) - 1], 6) for percent in _PERCENTS))


_PERCENTS = (50, 95, 99)
_LEAST_S, _MOST_S = 1e-6, 1e15


def _place(percent: int, count: int) -> int:
    return -(-percent * count // 100)  # rounded up, without a float's error


class Times:
    """Durations of the jobs that succeeded, as histograms.

    `queue_s` is the time a job waited before its requests. `server_s` runs from sending the request that brought the
    image to the first byte of its answer, `latency_s` to the last byte. `total_s` runs from enqueued to finished.
    """

    def __init__(self) -> None:
        self._queue, self._server, self._latency, self._total = Histogram(), Histogram(), Histogram(), Histogram()

    def add(self, outcome: Outcome) -> None:
        """Count one job that succeeded; one that was reused was not made, so it took no time that means anything."""
        if outcome.reused is not None:
            return
        timing = outcome.timing
        self._queue.add(queue_s(timing))
        self._total.add(timing.total_s)
        if timing.ttfb_s is not None:
            self._server.add(timing.ttfb_s)
        if outcome.attempts:
            self._latency.add(outcome.attempts[-1].duration_s)

    def update(self, other: Times) -> None:
        """Add the counts of `other`."""
        self._queue.update(other._queue)
        self._server.update(other._server)
        self._latency.update(other._latency)
        self._total.update(other._total)

    @property
    def queue_s(self) -> Percentiles:
        """The percentiles of `queue_s`."""
        return self._queue.percentiles()

    @property
    def server_s(self) -> Percentiles:
        """The percentiles of `server_s`."""
        return self._server.percentiles()

    @property
    def latency_s(self) -> Percentiles:
        """The percentiles of `latency_s`."""
        return self._latency.percentiles()

    @property
    def total_s(self) -> Percentiles:
        """The percentiles of `total_s`."""
        return self._total.percentiles()


def queue_s(timing: Timing) -> float:
    """Return how long a job waited for a worker, its lane's window, the gate and a slot."""
    return timing.queued_s + timing.rate_wait_s


MOST_SLOWEST = 5
"""Slowest jobs that are kept."""

MOST_REASONS = 20
"""Different reasons for failures that are kept. Kinds of errors are counted without a limit."""

_MOST_IDS = 3
LANE_COUNTS = (
    "succeeded", "failed", "rejected", "images", "bytes", "attempts", "retries", "refused", "unpriced", "reused"
)  # fmt: skip
"""Counts of a lane that its summary has under these names."""


class _LaneTally:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.times = Times()
        self.cost_usd: float | None = None

    def summary(self) -> LaneSummary:
        return LaneSummary(
            **{name: self.counts[name] for name in LANE_COUNTS},
            cost_usd=None if self.cost_usd is None else round(self.cost_usd, 6),
            queue_s=self.times.queue_s,
            server_s=self.times.server_s,
            latency_s=self.times.latency_s,
            total_s=self.times.total_s,
        )


@dataclass(slots=True)
class QuotaUse:
    """One model's quota: how many images `a_minute` the API allows (None: unknown), and how many were requested."""

    a_minute: float | None = None
    images: int = 0


class QuotaTally:
    """An observer that counts what a run uses of the API's quotas, in `lanes` by model."""

    def __init__(self) -> None:
        self.lanes: dict[str, QuotaUse] = {}

    def __call__(self, event: Event) -> None:
        if not isinstance(event, AttemptEnded):
            return
        use = self.lanes.setdefault(event.job.model, QuotaUse())
        if event.attempt.status != 429:
            use.images += event.job.images
        if event.lane.window_limit is not None:
            use.a_minute = event.lane.window_limit * 60 / event.lane.window_s


class Tally:
    """An observer that counts a run; its memory does not grow with the number of jobs.

    `sandbox` says whether a sandbox is asked; without it, that is known once one has answered.
    """

    def __init__(self, *, sandbox: bool = False) -> None:
        self.errors: Counter[str] = Counter()
        self.sandbox = sandbox
        self._lanes: dict[str, _LaneTally] = {}
        self._order: tuple[str, ...] = ()
        self._slowest: list[tuple[float, int, SlowJob]] = []
        self._timed = 0
        self._reasons: dict[tuple[str, str, str], Reason] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, AttemptEnded):
            lane = self._lane(event.job.model)
            lane.counts["attempts"] += 1
            if event.possibly_billed:
                lane.counts["possibly_billed"] += 1
            if event.spent_usd is not None:
                lane.cost_usd = (lane.cost_usd or 0.0) + event.spent_usd
            elif event.possibly_billed or event.verdict is Verdict.SUCCEEDED:
                lane.counts["unpriced"] += 1
            if event.attempt.status == 429:
                lane.counts["refused"] += 1
        elif isinstance(event, RunStarted):
            self._order = event.lanes
        elif isinstance(event, JobEnded):
            outcome = event.outcome
            counts = self._lane(outcome.lane).counts
            counts[outcome.status] += 1
            if outcome.reused is None:
                counts["images"] += len(outcome.files)
                counts["bytes"] += sum([file.bytes for file in outcome.files])
            counts["retries"] += max(0, len(outcome.attempts) - 1)
            self.sandbox = self.sandbox or outcome.sandbox
            counts["blurred"] += outcome.flags.blurred
            counts["content_violations"] += outcome.flags.content_violation
            if outcome.reused is not None:
                counts["reused"] += 1
            elif outcome.status is Status.SUCCEEDED:
                self._lane(outcome.lane).times.add(outcome)
                self._time(outcome)
            else:
                self._blame(outcome)

    @property
    def counts(self) -> Counter[str]:
        """The counts of all lanes, added up."""
        total: Counter[str] = Counter()
        for lane in self._lanes.values():
            total.update(lane.counts)
        return total

    @property
    def times(self) -> Times:
        """The times of all lanes, merged."""
        total = Times()
        for lane in self._lanes.values():
            total.update(lane.times)
        return total

    def lanes(self) -> dict[str, LaneSummary]:
        """Return the summary of every lane that was used, by name, in the order of the jobs file."""
        names = [name for name in self._order if name in self._lanes]
        names += [name for name in self._lanes if name not in self._order]
        return {name: self._lanes[name].summary() for name in names}

    def slowest(self) -> tuple[SlowJob, ...]:
        """Return the jobs that took longest to succeed, the slowest first."""
        return tuple(job for _, _, job in sorted(self._slowest, reverse=True))

    def failures(self) -> tuple[Reason, ...]:
        """Return why jobs have no image, the most frequent reason first; the first `MOST_REASONS` reasons are kept."""
        return tuple(sorted(self._reasons.values(), key=lambda reason: -reason.count))

    def _lane(self, name: str) -> _LaneTally:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _LaneTally()
        return lane

    def _time(self, outcome: Outcome) -> None:
        timing = outcome.timing
        if len(self._slowest) == MOST_SLOWEST and timing.total_s <= self._slowest[0][0]:
            return
        slow = SlowJob(outcome.id, outcome.lane, len(outcome.attempts), queue_s(timing), timing.ttfb_s, timing.total_s)
        # The number puts the earlier of two equally slow jobs first, and keeps jobs from being compared.
        self._timed += 1
        entry = (timing.total_s, -self._timed, slow)
        if len(self._slowest) < MOST_SLOWEST:
            heapq.heappush(self._slowest, entry)
        else:
            heapq.heapreplace(self._slowest, entry)

    def _blame(self, outcome: Outcome) -> None:
        if outcome.error is None:
            return
        self.errors[outcome.error.kind] += 1
        key = (str(outcome.status), outcome.error.kind, outcome.error.message)
        known = self._reasons.get(key)
        if known is None:
            if len(self._reasons) == MOST_REASONS:
                return
            known = Reason(*key, count=0, ids=())
        ids = known.ids if len(known.ids) == _MOST_IDS else (*known.ids, outcome.id)
        self._reasons[key] = Reason(*key, count=known.count + 1, ids=ids)
