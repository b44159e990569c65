"""The geometry of a chart of what adds up over time, model by model."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from venice_batch.gallery.quantities import short_duration
from venice_batch.gallery.scales import Label, Linear, ceiling
from venice_batch.gallery.timeline import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from venice_batch.gallery.timeline import Arrival, Timeline

STEP_PX = 2
"""Arrivals closer than this are drawn as one, so that a chart's size depends on its width only."""
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
class Bar:
    """A mark below the plot."""

    x: float
    width: float


@dataclass(frozen=True, slots=True)
class MarkRow:
    """One kind of events below the plot, in the middle of a row at `y`; `kind` names its style."""

    kind: str
    name: str
    y: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class GrowthChart:
    """A stack of areas over time, with rows of marks below; all in pixels from the top left."""

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
    """What `amount` says of each arrival, added up; `shown` writes a value of the axis.

    `marked`: with rows for what the server held up or answered with errors, where there is such.
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
    """A closed path of stairs along `above` and back along `below`, without points that change nothing."""
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
        ("wait", "told to wait", _merged(history.refusals, across)),
        ("retry", "failed, tried again", _merged([Span(at_s, at_s) for at_s in history.retries], across)),
    )
    kept = [row for row in found if row[-1]]
    return tuple(MarkRow(kind, name, top + (row + 0.5) * ROW_PX, bars) for row, (kind, name, bars) in enumerate(kept))


def _merged(spans: Sequence[Span], across: Linear) -> tuple[Bar, ...]:
    """Bars at least 2 px wide; those that touch are one."""
    bars: list[list[float]] = []
    for span in spans:
        x, end = across.at(span.start_s), max(across.at(span.end_s), across.at(span.start_s) + 2)
        if bars and x <= bars[-1][1]:
            bars[-1][1] = max(bars[-1][1], end)
        else:
            bars.append([x, end])
    return tuple(Bar(x, round(end - x, 1)) for x, end in bars)


def _breaks(history: Timeline, across: Linear) -> tuple[Label, ...]:
    """Where each run begins, if there are several; named where there is room."""
    if len(history.runs) < 2:
        return ()
    labels = []
    free_from = 0.0
    for run in history.runs:
        x = across.at(run.span.start_s)
        name = ""
        if x >= free_from and across.end - x >= LEAST_RUN_LABEL_PX:
            name = f"{datetime.fromtimestamp(run.began_unix_s, UTC):%-d %b %H:%M}"
            free_from = x + LEAST_RUN_LABEL_PX
        labels.append(Label(x, name))
    return tuple(labels)
