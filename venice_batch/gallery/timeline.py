"""When a folder's images came, and what held them up."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from venice_batch.report.tables import MOST_USD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from venice_batch.model import Outcome


@dataclass(frozen=True, slots=True)
class Arrival:
    """A job that ended, in seconds of work since the first run began."""

    at_s: float
    lane: str
    images: int
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Span:
    """From when till when, in seconds."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class RunSpan:
    """One run's share of the timeline; `began_unix_s` tells when that was."""

    run_id: str
    span: Span
    began_unix_s: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """All runs of a folder one after the other, without the time between them.

    `refusals` are the waits that the server asked for, `retries` when requests that were made again had failed. Where
    records do not tell when an attempt was sent, as older ones do not, it is placed backwards from the end of its job.
    """

    length_s: float = 0.0
    runs: tuple[RunSpan, ...] = ()
    arrivals: tuple[Arrival, ...] = ()
    refusals: tuple[Span, ...] = ()
    retries: tuple[float, ...] = ()

    @property
    def ended_unix_s(self) -> float:
        """When the last run's last job ended."""
        last = self.runs[-1]
        return last.began_unix_s + last.span.end_s - last.span.start_s


@dataclass(slots=True)
class _Run:
    start_s: float
    end_s: float
    arrivals: list[Arrival] = field(default_factory=list)
    refusals: list[Span] = field(default_factory=list)
    retries: list[float] = field(default_factory=list)


def timeline(outcomes: Iterable[Outcome]) -> Timeline:
    """The timeline of `outcomes`; some 200 bytes of memory each."""
    runs: dict[str, _Run] = {}
    for outcome in outcomes:
        start_s = _unix_s(outcome.timing.enqueued_at)
        if start_s is None:
            continue
        end_s = start_s + outcome.timing.total_s
        run = runs.setdefault(outcome.run_id, _Run(start_s, end_s))
        run.start_s = min(run.start_s, start_s)
        run.end_s = max(run.end_s, end_s)
        run.arrivals.append(Arrival(end_s, outcome.lane, len(outcome.files), min(outcome.spent_usd or 0.0, MOST_USD)))
        _look_back(run, outcome, start_s)
    return _joined(sorted(runs.items(), key=lambda item: item[1].start_s))


def _look_back(run: _Run, outcome: Outcome, start_s: float) -> None:
    later_s = start_s + outcome.timing.total_s
    for number, attempt in reversed(list(enumerate(outcome.attempts))):
        asked_s = attempt.retry_after_s or 0.0
        if number < len(outcome.attempts) - 1:
            later_s -= max(attempt.wait_s, asked_s)
            if attempt.sent_s is not None:
                later_s = start_s + attempt.sent_s + attempt.duration_s
            if attempt.status == 429 or asked_s:
                run.refusals.append(Span(later_s, later_s + asked_s))
            else:
                run.retries.append(later_s)
        later_s -= attempt.duration_s


def _joined(runs: list[tuple[str, _Run]]) -> Timeline:
    spans: list[RunSpan] = []
    arrivals: list[Arrival] = []
    refusals: list[Span] = []
    retries: list[float] = []
    length_s = 0.0
    for run_id, run in runs:
        place = _Place(run.start_s, run.end_s, length_s)
        length_s = place.of(run.end_s)
        spans.append(RunSpan(run_id, Span(place.of(run.start_s), length_s), run.start_s))
        arrivals += [Arrival(place.of(one.at_s), one.lane, one.images, one.cost_usd) for one in run.arrivals]
        refusals += [Span(place.of(one.start_s), place.of(one.end_s)) for one in run.refusals]
        retries += map(place.of, run.retries)
    return Timeline(
        length_s=length_s,
        runs=tuple(spans),
        arrivals=tuple(sorted(arrivals, key=lambda one: one.at_s)),
        refusals=tuple(sorted(refusals, key=lambda one: one.start_s)),
        retries=tuple(sorted(retries)),
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a run lies on the timeline: from `first_s` on."""

    start_unix_s: float
    end_unix_s: float
    first_s: float

    def of(self, unix_s: float) -> float:
        """When on the timeline a moment was; one beyond the run counts as its nearer end."""
        return self.first_s + min(max(unix_s, self.start_unix_s), self.end_unix_s) - self.start_unix_s


def _unix_s(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
