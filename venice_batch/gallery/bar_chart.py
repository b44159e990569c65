"""The geometry of a chart of bars made of parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from venice_batch.gallery.scales import Label, Linear, ceiling

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROW_PX, BAR_PX, AXIS_PX, SIDE_PX = 46, 16, 24, 1


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
    across = Linear(0.0, ceiling(longest, width // 110), SIDE_PX, width - SIDE_PX)
    bottom = len(rows) * ROW_PX
    return BarChart(
        width=width,
        height=bottom + AXIS_PX,
        left=SIDE_PX,
        right=width - SIDE_PX,
        bottom=bottom,
        bar_height=BAR_PX,
        rows=tuple(_drawn(row, number * ROW_PX, across, shown) for number, row in enumerate(rows)),
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
