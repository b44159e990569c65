"""The geometry of a chart of how durations are distributed, model by model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from venice_batch.gallery.quantities import duration, short_duration
from venice_batch.gallery.scales import Label, Logarithmic
from venice_batch.report.summary import Histogram

if TYPE_CHECKING:
    from collections.abc import Mapping

    from venice_batch.model import Percentiles

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
