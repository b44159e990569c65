"""A manifest in numbers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from venice_batch.errors import one_line
from venice_batch.histogram import Histogram
from venice_batch.model import Outcome, Status
from venice_batch.summary import Percentiles

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_PROBLEMS = 20


class TimeSpent(msgspec.Struct, frozen=True):
    """Where the time of jobs went, in seconds; the parts add up to their `total_s` but for milliseconds.

    `queued_s`, `rate_wait_s` and `backoff_s` as in a record's timing; `in_vain_s` is of the attempts that brought no
    image; `server_s` from sending the request that counted to its answer's first byte, `download_s` and `write_s` after
    it.
    """

    queued_s: float = 0.0
    rate_wait_s: float = 0.0
    backoff_s: float = 0.0
    in_vain_s: float = 0.0
    server_s: float = 0.0
    download_s: float = 0.0
    write_s: float = 0.0


class LaneReport(msgspec.Struct, frozen=True):
    """One model's jobs by how they ended.

    `retries` counts the attempts after each job's first, `refused` the 429 answers. `cost_usd` adds up what is known;
    null where nothing is. The times are of jobs that succeeded: `queue_s` all that a job waited for its turns,
    `server_s` until the first byte of the answer that counted, `latency_s` that attempt as a whole, `total_s` from
    enqueued to finished; `spent_s` adds them all up.
    """

    succeeded: int
    failed: int
    rejected: int
    images: int
    bytes: int
    attempts: int
    retries: int
    refused: int
    cost_usd: float | None
    queue_s: Percentiles
    server_s: Percentiles
    latency_s: Percentiles
    total_s: Percentiles
    spent_s: TimeSpent


class Report(msgspec.Struct, frozen=True):
    """All models' jobs, and a line for each of the first that have no image."""

    lanes: dict[str, LaneReport]
    problems: tuple[str, ...]


def report(outcomes: Iterable[Outcome]) -> Report:
    """Sum up `outcomes`, each of another job; none of them is kept."""
    lanes: dict[str, _LaneCount] = {}
    problems: list[str] = []
    without = 0
    for outcome in outcomes:
        lanes.setdefault(outcome.lane, _LaneCount()).add(outcome)
        if outcome.status is not Status.SUCCEEDED:
            without += 1
            if without <= MOST_PROBLEMS:
                reason = outcome.error.message if outcome.error else "?"
                problems.append(one_line(f"{outcome.id}: {outcome.status}: {reason}"))
    if without > MOST_PROBLEMS:
        problems.append(f"… and {without - MOST_PROBLEMS} more")
    return Report({name: lane.report() for name, lane in lanes.items()}, tuple(problems))


def time_spent(outcome: Outcome) -> TimeSpent:
    """Where the time of one job that succeeded went."""
    timing = outcome.timing
    return TimeSpent(
        queued_s=timing.queued_s,
        rate_wait_s=timing.rate_wait_s,
        backoff_s=timing.backoff_s,
        in_vain_s=sum(attempt.duration_s for attempt in outcome.attempts[:-1]),
        server_s=timing.ttfb_s or 0.0,
        download_s=timing.download_s or 0.0,
        write_s=timing.write_s or 0.0,
    )


class _LaneCount:
    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._costs_usd: float | None = None
        self._spent_s: Counter[str] = Counter()
        self._times = {name: Histogram() for name in ("queue_s", "server_s", "latency_s", "total_s")}

    def add(self, outcome: Outcome) -> None:
        attempts = outcome.attempts
        self._counts.update(
            {
                str(outcome.status): 1,
                "images": len(outcome.files),
                "bytes": sum(file.bytes for file in outcome.files),
                "attempts": len(attempts),
                "retries": max(0, len(attempts) - 1),
                "refused": sum(attempt.status == 429 for attempt in attempts),
            }
        )
        if outcome.cost_usd is not None:
            self._costs_usd = (self._costs_usd or 0.0) + outcome.cost_usd
        if outcome.status is Status.SUCCEEDED:
            self._add_times(outcome)

    def _add_times(self, outcome: Outcome) -> None:
        timing = outcome.timing
        self._times["queue_s"].add(timing.queued_s + timing.rate_wait_s)
        self._times["total_s"].add(timing.total_s)
        if timing.ttfb_s is not None:
            self._times["server_s"].add(timing.ttfb_s)
        if outcome.attempts:
            self._times["latency_s"].add(outcome.attempts[-1].duration_s)
        self._spent_s.update(msgspec.structs.asdict(time_spent(outcome)))

    def report(self) -> LaneReport:
        names = ("succeeded", "failed", "rejected", "images", "bytes", "attempts", "retries", "refused")
        return LaneReport(
            **{name: self._counts[name] for name in names},
            cost_usd=None if self._costs_usd is None else round(self._costs_usd, 6),
            queue_s=self._times["queue_s"].percentiles(),
            server_s=self._times["server_s"].percentiles(),
            latency_s=self._times["latency_s"].percentiles(),
            total_s=self._times["total_s"].percentiles(),
            spent_s=TimeSpent(**{name: round(spent_s, 6) for name, spent_s in self._spent_s.items()}),
        )
