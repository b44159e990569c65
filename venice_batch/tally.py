"""An observer that turns a run's events into the numbers of its summary."""

from __future__ import annotations

import heapq
from collections import Counter
from typing import TYPE_CHECKING

from venice_batch.events import AttemptEnded, JobEnded, RunStarted
from venice_batch.model import Status
from venice_batch.retry import Verdict
from venice_batch.summary import LaneSummary, Reason, SlowJob
from venice_batch.times import Times, queue_s

if TYPE_CHECKING:
    from venice_batch.events import Event
    from venice_batch.model import Outcome

MOST_SLOWEST = 5
MOST_REASONS = 20
"""Different reasons of failures that are kept; all failures are counted by their kinds."""

_MOST_IDS = 3


class _LaneTally:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.times = Times()
        self.cost_usd: float | None = None

    def summary(self) -> LaneSummary:
        names = ("succeeded", "failed", "rejected", "images", "bytes", "attempts", "retries", "refused", "unpriced")
        return LaneSummary(
            **{name: self.counts[name] for name in names},
            cost_usd=None if self.cost_usd is None else round(self.cost_usd, 6),
            queue_s=self.times.queue_s,
            server_s=self.times.server_s,
            latency_s=self.times.latency_s,
            total_s=self.times.total_s,
        )


class Tally:
    """An observer that counts; nothing it keeps grows with the number of jobs."""

    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()
        self.sandbox = False
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
            counts["images"] += len(outcome.files)
            counts["bytes"] += sum([file.bytes for file in outcome.files])
            counts["retries"] += max(0, len(outcome.attempts) - 1)
            self.sandbox = self.sandbox or outcome.sandbox
            counts["blurred"] += outcome.flags.blurred
            counts["content_violations"] += outcome.flags.content_violation
            if outcome.status is Status.SUCCEEDED:
                self._lane(outcome.lane).times.add(outcome)
                self._time(outcome)
            else:
                self._blame(outcome)

    @property
    def counts(self) -> Counter[str]:
        """All lanes' counts together."""
        total: Counter[str] = Counter()
        for lane in self._lanes.values():
            total.update(lane.counts)
        return total

    @property
    def times(self) -> Times:
        """All lanes' times together."""
        total = Times()
        for lane in self._lanes.values():
            total.update(lane.times)
        return total

    def lanes(self) -> dict[str, LaneSummary]:
        """The share of every lane that was used, by name, in the order of the jobs file."""
        names = [name for name in self._order if name in self._lanes]
        names += [name for name in self._lanes if name not in self._order]
        return {name: self._lanes[name].summary() for name in names}

    def slowest(self) -> tuple[SlowJob, ...]:
        """The jobs that succeeded last after they were enqueued, the slowest first."""
        return tuple(job for _, _, job in sorted(self._slowest, reverse=True))

    def failures(self) -> tuple[Reason, ...]:
        """Why jobs have no image, the commonest reason first; of very many different ones the first to come."""
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
        # The number keeps jobs themselves from being compared, and the earlier one first among equals.
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
