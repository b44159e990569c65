"""What each model did, in tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from venice_batch.cli.table import table
from venice_batch.money import amount_text
from venice_batch.text_format import seconds, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from venice_batch.model import Percentiles


_WIDE = 100
"""From this width on a table has room for longer headings."""


class Times(Protocol):
    """Percentiles of where the time of jobs went."""

    @property
    def queue_s(self) -> Percentiles: ...
    @property
    def server_s(self) -> Percentiles: ...
    @property
    def total_s(self) -> Percentiles: ...


class Figures(Times, Protocol):
    """One model's share of a run or of a manifest."""

    @property
    def succeeded(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def rejected(self) -> int: ...
    @property
    def images(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def retries(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def cost_usd(self) -> float | None: ...
    @property
    def unpriced(self) -> int: ...


def counts_table(lanes: Mapping[str, Figures], width: int | None = None, *, sandbox: bool = False) -> str:
    """What came of each model's jobs and what it took; of several models a last line is the sum.

    `sandbox`: the sums are sandbox money, and are marked as such.
    """
    rows = [(name, *_counts(lane), size(lane.bytes), *_troubles(lane), _cost([lane])) for name, lane in lanes.items()]
    if len(rows) > 1:
        shares = list(lanes.values())
        rows.append(
            (
                "in all",
                *map(sum, zip(*map(_counts, shares), strict=True)),
                size(sum(lane.bytes for lane in shares)),
                *map(sum, zip(*map(_troubles, shares), strict=True)),
                _cost(shares),
            )
        )
    # On a narrow terminal the line above the table alone says so: one table is worth more than the word.
    usd = "sandbox usd" if sandbox and (width is None or width >= _WIDE) else "usd"
    header = ("model", "done", "failed", "rejected", "images", "size", "retries", "refused", usd)
    return table(header, rows, width=width, right=("size", usd))


def times_table(lanes: Mapping[str, Times], width: int | None = None, *, in_all: Times | None = None) -> str:
    """Percentiles of each model's jobs in the queue, at the server and in all, in seconds."""
    shares = [*lanes.items(), *([("in all", in_all)] if in_all is not None and len(lanes) > 1 else [])]
    header = ["seconds"]
    for what in ("queue", "server", "total"):
        header += [f"{what} p50", "p95", "p99"]
    return table(
        header, [(name, *_percentiles(lane)) for name, lane in shares], width=width, groups=(3, 3, 3), right=header[1:]
    )


def _counts(lane: Figures) -> tuple[int, ...]:
    return lane.succeeded, lane.failed, lane.rejected, lane.images


def _troubles(lane: Figures) -> tuple[int, ...]:
    return lane.retries, lane.refused


def _cost(lanes: Sequence[Figures]) -> str | None:
    known = [lane.cost_usd for lane in lanes if lane.cost_usd is not None]
    return amount_text(round(sum(known), 6) if known else None, sum(lane.unpriced for lane in lanes))


def _percentiles(lane: Times) -> Iterator[str]:
    for times in (lane.queue_s, lane.server_s, lane.total_s):
        yield from map(seconds, (times.p50, times.p95, times.p99))
