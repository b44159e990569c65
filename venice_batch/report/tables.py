"""The records of a folder in numbers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from venice_batch.errors import one_line
from venice_batch.model import LaneSummary, Outcome, Percentiles, Status
from venice_batch.report.seeds import IgnoredSeed, SeedCheck
from venice_batch.report.summary import LANE_COUNTS, Times

if TYPE_CHECKING:
    from collections.abc import Iterable


MOST_PROBLEMS = 20
"""Jobs without an image that a report lists."""

MOST_USD = 1e12
"""More was never spent. A larger amount in a record is cut to this, so that the sum keeps its meaning."""

MOST_S = 1e15
"""The same limit for durations."""


class TimeSpent(msgspec.Struct, frozen=True):
    """Where the time of jobs went, in seconds; the parts add up to `total_s`, apart from milliseconds.

    `queued_s`, `rate_wait_s` and `backoff_s` are those of a record's timing. `in_vain_s` went into attempts that
    brought no image. `server_s` runs from sending the request that brought the image to the first byte of its answer;
    `download_s` and `write_s` come after it.
    """

    queued_s: float = 0.0
    rate_wait_s: float = 0.0
    backoff_s: float = 0.0
    in_vain_s: float = 0.0
    server_s: float = 0.0
    download_s: float = 0.0
    write_s: float = 0.0


class LaneReport(LaneSummary, frozen=True):
    """One model's jobs, as in the summary of a run but over all runs.

    `cost_usd` is the sum over the records; a possibly billed job counts with the most it may have cost, as in its run.
    `unpriced` counts the jobs whose cost no record gives. `sandbox_usd` is the part of the cost that a sandbox
    pretended to charge. `spent_s` is the sum over the jobs that succeeded. `images` and `bytes` include those of the
    `reused` jobs: they are in the folder.
    """

    spent_s: TimeSpent = TimeSpent()
    sandbox_usd: float = 0.0


class Report(msgspec.Struct, frozen=True):
    """All models' jobs, and a line for each of the first jobs without an image.

    `total_s` covers the jobs of all models that succeeded. `blurred` and `content_violations` count the jobs that the
    API has flagged so. `pruned` counts the images that were moved away or deleted because a person rejected them; the
    other figures include them. `ignored_seeds` are the models that gave requests with different seeds the same files.
    """

    total_s: Percentiles
    lanes: dict[str, LaneReport]
    problems: tuple[str, ...]
    blurred: int = 0
    content_violations: int = 0
    pruned: int = 0
    ignored_seeds: tuple[IgnoredSeed, ...] = ()

    @property
    def cost_usd(self) -> float | None:
        """The cost of all models' jobs, with charges that are only possible; None if nothing is known."""
        return total_usd(lane.cost_usd for lane in self.lanes.values())

    @property
    def unpriced(self) -> int:
        """Jobs whose cost no record gives."""
        return sum(lane.unpriced for lane in self.lanes.values())

    @property
    def sandbox_usd(self) -> float:
        """The part of the cost that a sandbox pretended to charge."""
        return total_usd(lane.sandbox_usd for lane in self.lanes.values()) or 0.0


class ReportBuilder:
    """Sum up outcomes, one for each job, without keeping them."""

    def __init__(self) -> None:
        self._lanes: dict[str, _LaneCount] = {}
        self._times = Times()
        self._problems: list[str] = []
        self._without_image = 0
        self._blurred = 0
        self._content_violations = 0
        self._pruned = 0
        self._seeds = SeedCheck()

    def add(self, outcome: Outcome) -> None:
        """Count one job."""
        lane = self._lanes.get(outcome.lane)
        if lane is None:
            lane = self._lanes[outcome.lane] = _LaneCount()
        lane.add(outcome)
        self._seeds.add(outcome)
        self._blurred += outcome.flags.blurred
        self._content_violations += outcome.flags.content_violation
        self._pruned += sum(file.pruned is not None for file in outcome.files)
        if outcome.status is Status.SUCCEEDED:
            self._times.add(outcome)
            return
        self._without_image += 1
        if self._without_image <= MOST_PROBLEMS:
            reason = outcome.error.message if outcome.error else "?"
            self._problems.append(one_line(f"{outcome.id}: {outcome.status}: {reason}"))

    def report(self) -> Report:
        """Return the report on the jobs so far."""
        problems = list(self._problems)
        if self._without_image > MOST_PROBLEMS:
            problems.append(f"… and {self._without_image - MOST_PROBLEMS} more")
        lanes = {name: lane.report() for name, lane in self._lanes.items()}
        flags = (self._blurred, self._content_violations)
        return Report(self._times.total_s, lanes, tuple(problems), *flags, self._pruned, self._seeds.ignored())


def total_usd(amounts: Iterable[float | None]) -> float | None:
    """Return the sum of the amounts that are known, rounded to a millionth; None if none is known."""
    known = [amount for amount in amounts if amount is not None]
    return round(min(sum(known), MOST_USD), 6) if known else None


def time_spent(outcome: Outcome) -> TimeSpent:
    """Return where one job's time went; all attempts of a job without an image were in vain."""
    timing, attempts = outcome.timing, outcome.attempts
    waited = TimeSpent(queued_s=timing.queued_s, rate_wait_s=timing.rate_wait_s, backoff_s=timing.backoff_s)
    if outcome.status is not Status.SUCCEEDED:
        return msgspec.structs.replace(waited, in_vain_s=sum(attempt.duration_s for attempt in attempts))
    return msgspec.structs.replace(
        waited,
        in_vain_s=sum(attempt.duration_s for attempt in attempts[:-1]),
        server_s=timing.ttfb_s or 0.0,
        download_s=timing.download_s or 0.0,
        write_s=timing.write_s or 0.0,
    )


class _LaneCount:
    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._cost_usd: float | None = None
        self._sandbox_usd = 0.0
        self._spent_s: Counter[str] = Counter()
        self._times = Times()

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
                "unpriced": outcome.is_unpriced,
                "reused": outcome.reused is not None,
            }
        )
        spent_usd = outcome.spent_usd
        if spent_usd is not None:
            spent_usd = max(min(spent_usd, MOST_USD), -MOST_USD)
            self._cost_usd = (self._cost_usd or 0.0) + spent_usd
            self._sandbox_usd += spent_usd if outcome.sandbox else 0.0
        if outcome.status is Status.SUCCEEDED:
            self._times.add(outcome)
            spent_s = msgspec.structs.asdict(time_spent(outcome))
            self._spent_s.update({name: max(min(value, MOST_S), -MOST_S) for name, value in spent_s.items()})

    def report(self) -> LaneReport:
        return LaneReport(
            **{name: self._counts[name] for name in LANE_COUNTS},
            cost_usd=None if self._cost_usd is None else round(self._cost_usd, 6),
            sandbox_usd=round(self._sandbox_usd, 6),
            queue_s=self._times.queue_s,
            server_s=self._times.server_s,
            latency_s=self._times.latency_s,
            total_s=self._times.total_s,
            spent_s=TimeSpent(**{name: round(spent_s, 6) for name, spent_s in self._spent_s.items()}),
        )
