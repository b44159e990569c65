"""The charts of a page, each drawn for wide and for narrow pages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from venice_batch.gallery.overview import colours
from venice_batch.gallery.scales import Label, Linear, Logarithmic, ceiling
from venice_batch.gallery.timeline import growth_chart
from venice_batch.money import dollars
from venice_batch.report.summary import Histogram
from venice_batch.text_format import duration, short_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from venice_batch.gallery.overview import Contents
    from venice_batch.gallery.timeline import Timeline
    from venice_batch.model import Percentiles
    from venice_batch.report.tables import LaneReport, Report


WIDTHS = {"wide": 720, "narrow": 340}
"""Pixels. On a phone the chart is drawn narrower, so that its texts keep their size."""

AXIS_PX, SIDE_PX = 24, 1
BAR_ROW_PX, BAR_PX = 46, 16
LATENCY_ROW_PX, HEAD_PX = 84, 24
LEAST_COLUMN_PX = 9
NAME_CHAR_PX, NOTE_CHAR_PX = 7.6, 7.0
"""Width of a character, on average, in the widest of the page's fonts; a note's includes the space before it."""

KINDS = {
    "queued_s": "in the queue",
    "rate_wait_s": "for quota or slot",
    "backoff_s": "between attempts",
    "in_vain_s": "in failed attempts",
    "server_s": "at the server",
    "download_s": "downloading",
    "write_s": "writing",
}
"""Where a job's time goes, by the report's fields, in chronological order."""


def charts(found: Report, held: Contents, history: Timeline) -> dict[str, Any]:
    """Return the charts under the names that the page's template uses."""
    colour_of = colours(found.lanes)
    spent = [_time_row(name, lane) for name, lane in found.lanes.items() if lane.succeeded]
    costs = [
        Bar(
            name,
            ("≥ " if lane.unpriced else "") + dollars(lane.cost_usd),
            (Part(f"c{colour_of[name]}", lane.cost_usd),),
        )
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
        "costs": _twice(lambda width: bar_chart(costs, width, shown=_round_dollars)) if costs else None,
        "spending": _twice(
            lambda width: growth_chart(history, colour_of, width, amount=lambda one: one.cost_usd, shown=_round_dollars)
        )
        if costs and history.length_s
        else None,
    }


def _twice(draw: Callable[[int], object]) -> dict[str, object]:
    return {size: draw(width) for size, width in WIDTHS.items()}


def _round_dollars(amount_usd: float) -> str:
    # Without cents where those would not fit beside a chart.
    text = dollars(amount_usd)
    return text.removesuffix(".00") if amount_usd >= 1000 else text


def _beside(name: str, note: str, width: float) -> str:
    """Return `name`, cut so that it and `note` fit on a line of `width` pixels."""
    room = max(8, int((width - len(note) * NOTE_CHAR_PX) / NAME_CHAR_PX))
    return name if len(name) <= room else name[: room - 1] + "…"


def _time_row(name: str, lane: LaneReport) -> Bar:
    parts = tuple(Part(_style(field), getattr(lane.spent_s, field) / lane.succeeded) for field in KINDS)
    return Bar(name, f"{duration(sum(part.value for part in parts))} a job", parts)


def _style(field: str) -> str:
    return f"t-{field.removesuffix('_s').replace('_', '-')}"


@dataclass(frozen=True, slots=True)
class Part:
    """A share of a bar; `kind` names its colour."""

    kind: str
    value: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar to draw: its name, the note at its right end, its parts from left to right."""

    name: str
    note: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class DrawnPart:
    """A part in its place; `text` is shown when the pointer rests on it."""

    kind: str
    x: float
    width: float
    text: str


@dataclass(frozen=True, slots=True)
class DrawnBar:
    """A bar in its place: its texts on the line at `y`, the bar below `bar_y`."""

    name: str
    note: str
    y: float
    bar_y: float
    parts: tuple[DrawnPart, ...]


@dataclass(frozen=True, slots=True)
class BarChart:
    """Rows of bars over one axis; all in pixels from the top left corner."""

    width: int
    height: float
    left: float
    right: float
    bottom: float
    bar_height: float
    rows: tuple[DrawnBar, ...]
    x_labels: tuple[Label, ...]


def bar_chart(rows: Sequence[Bar], width: int, *, shown: Callable[[float], str]) -> BarChart:
    """Draw bars below each other, each as long as the sum of its parts; `shown` formats a value."""
    longest = max((sum(part.value for part in row.parts) for row in rows), default=0.0)
    across = Linear(0.0, ceiling(longest, width // 110), SIDE_PX, width - SIDE_PX)
    bottom = len(rows) * BAR_ROW_PX
    return BarChart(
        width=width,
        height=bottom + AXIS_PX,
        left=SIDE_PX,
        right=width - SIDE_PX,
        bottom=bottom,
        bar_height=BAR_PX,
        rows=tuple(_drawn(row, number * BAR_ROW_PX, across, shown) for number, row in enumerate(rows)),
        x_labels=tuple(Label(tick.at, shown(tick.value)) for tick in across.ticks(width // 110)),
    )


def _drawn(row: Bar, top: float, across: Linear, shown: Callable[[float], str]) -> DrawnBar:
    parts = []
    done = 0.0
    for part in row.parts:
        x = across.at(done)
        done += part.value
        # A sliver too thin to see stands only in the table.
        if part.value and (width := round(across.at(done) - x, 1)):
            parts.append(DrawnPart(part.kind, x, width, shown(part.value)))
    return DrawnBar(_beside(row.name, row.note, across.end), row.note, top + 14, top + 20, tuple(parts))


@dataclass(frozen=True, slots=True)
class Column:
    """The number of durations between two bounds."""

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
    """Rows of columns over one logarithmic axis; all in pixels from the top left corner."""

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
    """Draw the histogram of every model that has durations; each model's fullest column fills its row."""
    filled = {name: histogram.counts() for name, histogram in counted.items() if histogram.counts()}
    first = min((min(counts) for counts in filled.values()), default=0) - 1
    last = max((max(counts) for counts in filled.values()), default=0) + 2
    # Each column merges as many of the histogram's narrow buckets as make it wide enough to see.
    merge = math.ceil((last - first) * LEAST_COLUMN_PX / (width - 2 * SIDE_PX))
    last = first + math.ceil((last - first) / merge) * merge
    across = Logarithmic(Histogram.starts_at_s(first), Histogram.starts_at_s(last), SIDE_PX, width - SIDE_PX)
    notes = {name: f"p50 {duration(found.p50)} · p95 {duration(found.p95)}" for name, found in percentiles.items()}
    rows = tuple(
        LatencyRow(
            name=_beside(name, notes[name], width),
            note=notes[name],
            colour=colours[name],
            y=number * LATENCY_ROW_PX + 14,
            base=(number + 1) * LATENCY_ROW_PX - 4,
            columns=_columns(counts, first, merge, across, (number + 1) * LATENCY_ROW_PX - 4),
            marks=tuple(
                Label(across.at(value), label)
                for label, value in (("p50", percentiles[name].p50), ("p95", percentiles[name].p95))
                if value is not None
            ),
        )
        for number, (name, counts) in enumerate(filled.items())
    )
    bottom = len(rows) * LATENCY_ROW_PX
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
    room = LATENCY_ROW_PX - HEAD_PX - 8
    columns = []
    for start, number in merged.items():
        low_s, high_s = Histogram.starts_at_s(start), Histogram.starts_at_s(start + merge)
        x, end = across.at(low_s), across.at(high_s)
        height = round(max(1.5, number / fullest * room), 1)
        text = f"{number:,} between {duration(low_s)} and {duration(high_s)}"
        columns.append(Column(x, round(base - height, 1), round(end - x - 1, 1), height, text))
    return tuple(columns)
