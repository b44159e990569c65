"""When a folder's images arrived and what delayed them, and the chart of both."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from venice_batch.gallery.scales import Label, Linear, ceiling
from venice_batch.report.tables import MOST_USD
from venice_batch.text_format import short_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

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
    """A span of time, in seconds."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class RunSpan:
    """One run's part of the timeline; `began_unix_s` is when it began, as a Unix time."""

    run_id: str
    span: Span
    began_unix_s: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """All runs of a folder one after the other, without the time between them.

    `refusals` are the waits that the server asked for; `retries` are the moments at which requests failed that were
    then repeated. Older records do not hold when an attempt was sent; its place is counted back from the job's end.
    """

    length_s: float = 0.0
    runs: tuple[RunSpan, ...] = ()
    arrivals: tuple[Arrival, ...] = ()
    refusals: tuple[Span, ...] = ()
    retries: tuple[float, ...] = ()

    @property
    def ended_unix_s(self) -> float:
        """When the last job of the last run ended."""
        last = self.runs[-1]
        return last.began_unix_s + last.span.end_s - last.span.start_s


@dataclass(slots=True)
class _Run:
    start_s: float
    end_s: float
    arrivals: list[Arrival] = field(default_factory=list)
    refusals: list[Span] = field(default_factory=list)
    retries: list[float] = field(default_factory=list)


class TimelineBuilder:
    """Put outcomes on a timeline; each takes about 200 bytes of memory."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}

    def add(self, outcome: Outcome) -> None:
        """Add one job; it is left out if its record holds no time."""
        start_s = _unix_s(outcome.timing.enqueued_at)
        if start_s is None:
            return
        end_s = start_s + outcome.timing.total_s
        run = self._runs.setdefault(outcome.run_id, _Run(start_s, end_s))
        run.start_s = min(run.start_s, start_s)
        run.end_s = max(run.end_s, end_s)
        run.arrivals.append(Arrival(end_s, outcome.lane, len(outcome.files), min(outcome.spent_usd or 0.0, MOST_USD)))
        _add_attempts(run, outcome, start_s)

    def timeline(self) -> Timeline:
        """Return the timeline of the outcomes so far."""
        return _joined(sorted(self._runs.items(), key=lambda item: item[1].start_s))


def _add_attempts(run: _Run, outcome: Outcome, start_s: float) -> None:
    """Add the attempts that brought no image, from the last to the first."""
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
    """Where a run lies on the timeline: it begins at `first_s`."""

    start_unix_s: float
    end_unix_s: float
    first_s: float

    def of(self, unix_s: float) -> float:
        """Return where a moment lies on the timeline; one outside the run counts as the nearer end of the run."""
        return self.first_s + min(max(unix_s, self.start_unix_s), self.end_unix_s) - self.start_unix_s


def _unix_s(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def moment_text(unix_s: float, form: str) -> str:
    """Return a Unix time in UTC as `strftime` writes it; a stranger's record may hold one that is in no calendar."""
    try:
        return datetime.fromtimestamp(unix_s, UTC).strftime(form)
    except (ValueError, OverflowError, OSError):
        return "an impossible time"


STEP_PX = 2
"""Arrivals closer than this are drawn as one, so that the size of a chart depends only on its width."""
LEFT_PX, RIGHT_PX, TOP_PX, AXIS_PX, ROW_PX = 52, 14, 10, 22, 16
PLOT_PX = 190
LEAST_RUN_LABEL_PX = 92


@dataclass(frozen=True, slots=True)
class Area:
    """One model's band, as the `d` of a path."""

    name: str
    colour: int
    path: str


@dataclass(frozen=True, slots=True)
class MarkBar:
    """One mark in a row."""

    x: float
    width: float


@dataclass(frozen=True, slots=True)
class MarkRow:
    """Events of one kind in a row below the plot; `y` is the middle of the row, `kind` names its style."""

    kind: str
    name: str
    y: float
    bars: tuple[MarkBar, ...]


@dataclass(frozen=True, slots=True)
class GrowthChart:
    """A stack of areas over time, with rows of marks below; all in pixels from the top left corner."""

    width: int
    height: float
    left: float
    right: float
    top: float
    bottom: float
    areas: tuple[Area, ...]
    x_labels: tuple[Label, ...]
    y_labels: tuple[Label, ...]
    breaks: tuple[Label, ...]
    rows: tuple[MarkRow, ...]


def growth_chart(
    history: Timeline,
    colours: Mapping[str, int],
    width: int,
    *,
    amount: Callable[[Arrival], float],
    shown: Callable[[float], str],
    marked: bool = False,
) -> GrowthChart:
    """Draw the sum of `amount` over the arrivals as it grew, model by model; `shown` formats a value of the axis.

    `marked` adds rows for waits that the server asked for and for requests that failed, if there were any.
    """
    across = Linear(0.0, history.length_s, LEFT_PX, width - RIGHT_PX)
    total = sum(map(amount, history.arrivals))
    bottom = TOP_PX + PLOT_PX
    up = Linear(0.0, ceiling(total, 4), bottom, TOP_PX)
    rows = _rows(history, across, bottom + 6) if marked else ()
    axis_y = bottom + len(rows) * ROW_PX + (6 if rows else 0)
    return GrowthChart(
        width=width,
        height=axis_y + AXIS_PX,
        left=LEFT_PX,
        right=width - RIGHT_PX,
        top=TOP_PX,
        bottom=bottom,
        areas=tuple(_areas(history.arrivals, colours, across, up, amount)),
        x_labels=tuple(Label(tick.at, short_duration(tick.value)) for tick in across.time_ticks(width // 80)),
        y_labels=tuple(Label(tick.at, shown(tick.value)) for tick in up.ticks(4)),
        breaks=_breaks(history, across),
        rows=rows,
    )


def _areas(
    arrivals: Sequence[Arrival],
    colours: Mapping[str, int],
    across: Linear,
    up: Linear,
    amount: Callable[[Arrival], float],
) -> Iterable[Area]:
    steps = round((across.end - across.start) / STEP_PX)
    grown: dict[int, list[float]] = defaultdict(lambda: [0.0] * (steps + 1))
    names: dict[int, str] = {}
    for one in arrivals:
        colour = colours[one.lane]
        names[colour] = one.lane if colour not in names or names[colour] == one.lane else "other models"
        grown[colour][min(steps, int((across.at(one.at_s) - across.start) / STEP_PX))] += amount(one)
    below = [0.0] * (steps + 1)
    for colour in sorted(grown):
        sum_so_far = 0.0
        above = []
        for step, more in enumerate(grown[colour]):
            sum_so_far += more
            above.append(below[step] + sum_so_far)
        yield Area(names[colour], colour, _band(below, above, across, up))
        below = above


def _band(below: list[float], above: list[float], across: Linear, up: Linear) -> str:
    """Return a closed path of stairs along `above` and back along `below`, without redundant points."""
    return f"M{_stairs(above, across, up)}L{_stairs(below, across, up, back=True)}Z"


def _stairs(values: list[float], across: Linear, up: Linear, *, back: bool = False) -> str:
    points = [(across.start, up.at(values[0]))]
    for step in range(1, len(values)):
        x = min(across.start + step * STEP_PX, across.end)
        if values[step] != values[step - 1]:
            points += [(x, up.at(values[step - 1])), (x, up.at(values[step]))]
    points.append((across.end, up.at(values[-1])))
    return "L".join(f"{x:g},{y:g}" for x, y in (reversed(points) if back else points))


def _rows(history: Timeline, across: Linear, top: float) -> tuple[MarkRow, ...]:
    found = (
        ("wait", "asked to wait", _merged(history.refusals, across)),
        ("retry", "failed, tried again", _merged([Span(at_s, at_s) for at_s in history.retries], across)),
    )
    kept = [row for row in found if row[-1]]
    return tuple(MarkRow(kind, name, top + (row + 0.5) * ROW_PX, bars) for row, (kind, name, bars) in enumerate(kept))


def _merged(spans: Sequence[Span], across: Linear) -> tuple[MarkBar, ...]:
    """Return bars at least 2 px wide; bars that touch become one."""
    bars: list[list[float]] = []
    for span in spans:
        x, end = across.at(span.start_s), max(across.at(span.end_s), across.at(span.start_s) + 2)
        if bars and x <= bars[-1][1]:
            bars[-1][1] = max(bars[-1][1], end)
        else:
            bars.append([x, end])
    return tuple(MarkBar(x, round(end - x, 1)) for x, end in bars)


def _breaks(history: Timeline, across: Linear) -> tuple[Label, ...]:
    """Return where each run begins, if there are several, with its date where there is room."""
    if len(history.runs) < 2:
        return ()
    labels = []
    free_from = 0.0
    for run in history.runs:
        x = across.at(run.span.start_s)
        name = ""
        if x >= free_from and across.end - x >= LEAST_RUN_LABEL_PX:
            name = moment_text(run.began_unix_s, "%-d %b %H:%M")
            free_from = x + LEAST_RUN_LABEL_PX
        labels.append(Label(x, name))
    return tuple(labels)
