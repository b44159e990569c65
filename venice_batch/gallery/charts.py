"""All charts of a page, each drawn for wide and for narrow pages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from venice_batch.gallery.overview import colours
from venice_batch.gallery.scales import Label, Linear, Logarithmic, ceiling, duration, short_duration, usd
from venice_batch.gallery.timeline import growth_chart
from venice_batch.report.summary import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from venice_batch.gallery.overview import Contents
    from venice_batch.gallery.timeline import Timeline
    from venice_batch.model import Percentiles
    from venice_batch.report.tables import LaneReport, Report


WIDTHS = {"wide": 720, "narrow": 340}
"""A chart's texts keep their size on a phone; it is the chart that is drawn narrower."""

KINDS = {
    "queued_s": "in the queue",
    "rate_wait_s": "for quota or slot",
    "backoff_s": "between attempts",
    "in_vain_s": "in failed attempts",
    "server_s": "at the server",
    "download_s": "downloading",
    "write_s": "writing",
}
"""What a job's time is spent on, by the report's fields, in the order in which it happens."""


def charts(found: Report, held: Contents, history: Timeline) -> dict[str, Any]:
    """What the page's template draws, by the names that it has for it."""
    colour_of = colours(found.lanes)
    spent = [_time_row(name, lane) for name, lane in found.lanes.items() if lane.succeeded]
    costs = [
        Row(name, ("≥ " if lane.unpriced else "") + usd(lane.cost_usd), (Part(f"c{colour_of[name]}", lane.cost_usd),))
        for name, lane in found.lanes.items()
        if lane.cost_usd
    ]
    percentiles = {name: lane.latency_s for name, lane in found.lanes.items()}
    return {
        "colours": colour_of,
        "kinds": [
            (_style(field), words)
            for field, words in KINDS.items()
            if any(part.kind == _style(field) and part.value for row in spent for part in row.parts)
        ],
        "progress": _twice(
            lambda width: growth_chart(
                history, colour_of, width, amount=lambda one: one.images, shown=lambda value: f"{value:,g}", marked=True
            )
        ),
        "spent": _twice(lambda width: bar_chart(spent, width, shown=short_duration)),
        "latency": _twice(lambda width: latency_chart(held.latencies, percentiles, colour_of, width)),
        "costs": _twice(lambda width: bar_chart(costs, width, shown=usd)) if costs else None,
        "spending": _twice(
            lambda width: growth_chart(history, colour_of, width, amount=lambda one: one.cost_usd, shown=usd)
        )
        if costs and history.length_s
        else None,
    }


def _twice(draw: Callable[[int], object]) -> dict[str, object]:
    return {size: draw(width) for size, width in WIDTHS.items()}


def _time_row(name: str, lane: LaneReport) -> Row:
    parts = tuple(Part(_style(field), getattr(lane.spent_s, field) / lane.succeeded) for field in KINDS)
    return Row(name, f"{duration(sum(part.value for part in parts))} a job", parts)


def _style(field: str) -> str:
    return f"t-{field.removesuffix('_s').replace('_', '-')}"


BAR_ROW_PX, BAR_PX, BAR_AXIS_PX, BAR_SIDE_PX = 46, 16, 24, 1


@dataclass(frozen=True, slots=True)
class Part:
    """A share of a bar; `kind` names its colour."""

    kind: str
    value: float


@dataclass(frozen=True, slots=True)
class Row:
    """A bar to draw: its name, what stands at its right, its parts from left to right."""

    name: str
    note: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class DrawnPart:
    """A part in its place; `text` tells it to who points at it."""

    kind: str
    x: float
    width: float
    text: str


@dataclass(frozen=True, slots=True)
class DrawnRow:
    """A row in its place: its texts on the line at `y`, its bar from `bar_y` on."""

    name: str
    note: str
    y: float
    bar_y: float
    parts: tuple[DrawnPart, ...]


@dataclass(frozen=True, slots=True)
class BarChart:
    """Rows of bars over one axis; all in pixels from the top left."""

    width: int
    height: float
    left: float
    right: float
    bottom: float
    bar_height: float
    rows: tuple[DrawnRow, ...]
    x_labels: tuple[Label, ...]


def bar_chart(rows: Sequence[Row], width: int, *, shown: Callable[[float], str]) -> BarChart:
    """`rows` below each other, as long as their parts add up to; `shown` writes a value."""
    longest = max((sum(part.value for part in row.parts) for row in rows), default=0.0)
    across = Linear(0.0, ceiling(longest, width // 110), BAR_SIDE_PX, width - BAR_SIDE_PX)
    bottom = len(rows) * BAR_ROW_PX
    return BarChart(
        width=width,
        height=bottom + BAR_AXIS_PX,
        left=BAR_SIDE_PX,
        right=width - BAR_SIDE_PX,
        bottom=bottom,
        bar_height=BAR_PX,
        rows=tuple(_drawn(row, number * BAR_ROW_PX, across, shown) for number, row in enumerate(rows)),
        x_labels=tuple(Label(tick.at, shown(tick.value)) for tick in across.ticks(width // 110)),
    )


def _drawn(row: Row, top: float, across: Linear, shown: Callable[[float], str]) -> DrawnRow:
    parts = []
    done = 0.0
    for part in row.parts:
        x = across.at(done)
        done += part.value
        # A sliver too thin to see is told by the table only.
        if part.value and (width := round(across.at(done) - x, 1)):
            parts.append(DrawnPart(part.kind, x, width, shown(part.value)))
    return DrawnRow(row.name, row.note, top + 14, top + 20, tuple(parts))


ROW_PX, HEAD_PX, AXIS_PX, SIDE_PX = 84, 24, 24, 1
LEAST_COLUMN_PX = 9


@dataclass(frozen=True, slots=True)
class Column:
    """So many durations between two bounds."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """One model: its texts on the line at `y`, its columns standing on `base`, its median and 95th percentile."""

    name: str
    note: str
    colour: int
    y: float
    base: float
    columns: tuple[Column, ...]
    marks: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class LatencyChart:
    """Rows of columns over one logarithmic axis; all in pixels from the top left."""

    width: int
    height: float
    left: float
    right: float
    bottom: float
    rows: tuple[LatencyRow, ...]
    x_labels: tuple[Label, ...]


def latency_chart(
    counted: Mapping[str, Histogram], percentiles: Mapping[str, Percentiles], colours: Mapping[str, int], width: int
) -> LatencyChart:
    """The histograms of all models that have any durations, each as high as its fullest column."""
    filled = {name: histogram.counts() for name, histogram in counted.items() if histogram.counts()}
    first = min((min(counts) for counts in filled.values()), default=0) - 1
    last = max((max(counts) for counts in filled.values()), default=0) + 2
    # As many of the histogram's own narrow buckets to a column as keep it wide enough to see.
    merge = math.ceil((last - first) * LEAST_COLUMN_PX / (width - 2 * SIDE_PX))
    last = first + math.ceil((last - first) / merge) * merge
    across = Logarithmic(Histogram.starts_at_s(first), Histogram.starts_at_s(last), SIDE_PX, width - SIDE_PX)
    rows = tuple(
        LatencyRow(
            name=name,
            note=f"p50 {duration(percentiles[name].p50)} · p95 {duration(percentiles[name].p95)}",
            colour=colours[name],
            y=number * ROW_PX + 14,
            base=(number + 1) * ROW_PX - 4,
            columns=_columns(counts, first, merge, across, (number + 1) * ROW_PX - 4),
            marks=tuple(
                Label(across.at(value), label)
                for label, value in (("p50", percentiles[name].p50), ("p95", percentiles[name].p95))
                if value is not None
            ),
        )
        for number, (name, counts) in enumerate(filled.items())
    )
    bottom = len(rows) * ROW_PX
    return LatencyChart(
        width=width,
        height=bottom + AXIS_PX,
        left=SIDE_PX,
        right=width - SIDE_PX,
        bottom=bottom,
        rows=rows,
        x_labels=tuple(Label(tick.at, short_duration(tick.value)) for tick in across.ticks(width // 70)),
    )


def _columns(counts: dict[int, int], first: int, merge: int, across: Logarithmic, base: float) -> tuple[Column, ...]:
    merged: dict[int, int] = {}
    for bucket, number in counts.items():
        start = first + (bucket - first) // merge * merge
        merged[start] = merged.get(start, 0) + number
    fullest = max(merged.values())
    room = ROW_PX - HEAD_PX - 8
    columns = []
    for start, number in merged.items():
        low_s, high_s = Histogram.starts_at_s(start), Histogram.starts_at_s(start + merge)
        x, end = across.at(low_s), across.at(high_s)
        height = round(max(1.5, number / fullest * room), 1)
        text = f"{number:,} between {duration(low_s)} and {duration(high_s)}"
        columns.append(Column(x, round(base - height, 1), round(end - x - 1, 1), height, text))
    return tuple(columns)
