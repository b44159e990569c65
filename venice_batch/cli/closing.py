"""What is said when a run is over."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Protocol

from venice_batch.cli.text import cropped, folded, table, text_width
from venice_batch.errors import ExitCode, one_line
from venice_batch.money import amount_text, cost_text
from venice_batch.text_format import counted, seconds, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from venice_batch.model import Percentiles, Reason, Summary


MOST_REASONS = 8
"""Different reasons of failures that are shown; the summary has more, the manifest all."""

FEW_JOBS = 5
"""So many that succeeded need no list of the slowest."""

_LONGEST_REASON = 300


def closing(summary: Summary, *, width: int | None = None, command: Sequence[str] = (), has_page: bool = False) -> str:
    """What came of the jobs, where it is, what to do next; in lines of `width` columns (None: as they are).

    `command` are the words after the program's name that the run was started with; `has_page`: its gallery was asked
    for. Paths and commands are never folded, so that they can be copied.
    """
    sections = [_head(summary, width)]
    if summary.lanes:
        sections.append([counts_table(summary.lanes, width, sandbox=summary.sandbox)])
    if summary.succeeded:
        sections.append([times_table(summary.lanes, width, in_all=summary)])
    if summary.succeeded > FEW_JOBS:
        sections.append([_slowest(summary, width)])
    if summary.failures:
        sections.append(_reasons(summary.failures, width))
    sections.append(_end(summary, width, command, has_page=has_page))
    between = "\n\n" if len(sections) > 2 else "\n"
    return between.join("\n".join(lines) for lines in sections)


def next_command(summary: Summary, command: Sequence[str], *, has_page: bool = False) -> list[str] | None:
    """The words after the program's name of what to type next; None where that would not help.

    A run that made its page, as `has_page` says, needs no `report` to look at it.
    """
    look = None if has_page else ["report", summary.output]
    again = list(command) if command and "-" not in command else None
    left = summary.failed or summary.pending
    if summary.exit_code == ExitCode.OK:
        return look
    if summary.exit_code == ExitCode.SOME_FAILED and not left:
        return [*again, "--retry-rejected"] if again and "--retry-rejected" not in again else look
    if summary.exit_code in (ExitCode.SOME_FAILED, ExitCode.TEMPORARY, ExitCode.SIGINT, ExitCode.SIGTERM):
        return again
    return None


def _head(summary: Summary, width: int | None) -> list[str]:
    parts = [f"{summary.succeeded} succeeded"]
    counts = (
        (summary.already_done, "done before"),
        (summary.failed, "failed"),
        (summary.rejected + summary.already_rejected, "rejected"),
        (summary.pending, "pending"),
    )
    parts += [f"{count} {what}" for count, what in counts if count]
    cost = cost_text(summary.cost_usd or None, summary.unpriced, sandbox_usd=summary.sandbox_usd)
    lines = [
        f"{counted(summary.jobs, 'job')}: {', '.join(parts)}",
        f"{counted(summary.images, 'image')}, {size(summary.bytes)} in {summary.elapsed_s:.1f} s{cost and ', ' + cost}"
        f" ({counted(summary.attempts, 'request')}, {summary.refused} refused, {counted(summary.blocks, 'block')})",
    ]
    return [part for line in lines for part in folded(line, width)]


def _slowest(summary: Summary, width: int | None) -> str:
    longest = 40 if width is None else max(8, width // 3)
    header = ["slowest", "seconds", "queue", "server", "tries", "model"]
    rows = [
        [
            cropped(one_line(job.id), longest),
            *map(seconds, (job.total_s, job.queue_s, job.server_s)),
            job.attempts,
            job.lane,
        ]
        for job in summary.slowest
    ]
    made = table(header, rows, right=header[1:4])
    if (
        width is None
        or text_width(made.partition("\n")[0]) + max(text_width(job.lane) for job in summary.slowest) <= width
    ):
        return made
    # Too narrow for all: the ids tell more than the models do.
    return table(header[:-1], [row[:-1] for row in rows], width=width, right=header[1:4])


def _reasons(failures: Sequence[Reason], width: int | None) -> list[str]:
    lines: list[str] = []
    for reason in failures[:MOST_REASONS]:
        ids = ", ".join(reason.ids) + (", …" if reason.count > len(reason.ids) else "")
        what = cropped(one_line(f"{reason.kind}: {reason.message}"), _LONGEST_REASON)
        lines += folded(one_line(f"{reason.count} {reason.status}: {what} ({ids})"), width)
    if len(failures) > MOST_REASONS:
        lines.append("… and others; the manifest has them all")
    return lines


def _end(summary: Summary, width: int | None, command: Sequence[str], *, has_page: bool) -> list[str]:
    lines = []
    if summary.possibly_billed:
        lines.append(
            f"{counted(summary.possibly_billed, 'request')} may have been charged for an image that never arrived"
        )
    if summary.already_rejected:
        lines.append(f"{summary.already_rejected} refused before; --retry-rejected asks again")
    if summary.reason:
        lines.append(f"stopped: {summary.reason.removeprefix('stopped by ')}")
    lines = [part for line in lines for part in folded(one_line(line), width)]
    lines.append(one_line(f"in {summary.output}: images, manifest.jsonl, summary.json"))
    following = next_command(summary, command, has_page=has_page)
    if following is not None:
        lines.append(one_line(f"next: {shlex.join(['venice-batch', *following])}"))
    return lines


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
