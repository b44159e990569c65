"""All charts of a page, each drawn for wide and for narrow pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from venice_batch.gallery.bar_chart import Part, Row, bar_chart
from venice_batch.gallery.growth_chart import growth_chart
from venice_batch.gallery.latency_chart import latency_chart
from venice_batch.gallery.overview import colours
from venice_batch.gallery.quantities import duration, short_duration, usd

if TYPE_CHECKING:
    from collections.abc import Callable

    from venice_batch.gallery.overview import Contents
    from venice_batch.gallery.timeline import Timeline
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
