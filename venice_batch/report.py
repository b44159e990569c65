"""A manifest in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from venice_batch.errors import one_line
from venice_batch.histogram import Histogram
from venice_batch.model import Outcome, Status
from venice_batch.summary import Percentiles

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_PROBLEMS = 20


class LaneReport(msgspec.Struct, frozen=True):
    """One model's jobs by how they ended; `total_s` is of those that succeeded."""

    succeeded: int
    failed: int
    rejected: int
    images: int
    bytes: int
    total_s: Percentiles


class Report(msgspec.Struct, frozen=True):
    """All models' jobs, and a line for each of the first that have no image."""

    lanes: dict[str, LaneReport]
    problems: tuple[str, ...]


def report(outcomes: Iterable[Outcome]) -> Report:
    """Sum up `outcomes`, the last of each id."""
    latest = {outcome.id: outcome for outcome in outcomes}
    by_lane: dict[str, list[Outcome]] = {}
    for outcome in latest.values():
        by_lane.setdefault(outcome.lane, []).append(outcome)
    without = [outcome for outcome in latest.values() if outcome.status is not Status.SUCCEEDED]
    problems = [one_line(f"{one.id}: {one.status}: {one.error.message if one.error else '?'}") for one in without]
    more = len(problems) - MOST_PROBLEMS
    if more > 0:
        problems = [*problems[:MOST_PROBLEMS], f"… and {more} more"]
    return Report({name: _lane(jobs) for name, jobs in by_lane.items()}, tuple(problems))


def _lane(outcomes: list[Outcome]) -> LaneReport:
    total = Histogram()
    for outcome in outcomes:
        if outcome.status is Status.SUCCEEDED:
            total.add(outcome.timing.total_s)
    files = [file for outcome in outcomes for file in outcome.files]
    return LaneReport(
        **{str(status): sum(outcome.status is status for outcome in outcomes) for status in Status},
        images=len(files),
        bytes=sum(file.bytes for file in files),
        total_s=total.percentiles(),
    )
