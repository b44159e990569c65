"""The text at the end of a run: counts, tables, reasons of failures, the next command."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from venice_batch.cli.text import cropped, folded, table, text_width
from venice_batch.errors import ExitCode, one_line
from venice_batch.money import amount_text, cost_text
from venice_batch.text_format import counted, seconds, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from venice_batch.model import LaneSummary, Reason, Summary


MAX_REASONS = 8
"""Distinct reasons of failures that are shown; the summary has more, the manifest all."""

FEW_JOBS = 5
"""Up to this many succeeded jobs need no list of the slowest."""

_MAX_REASON_WIDTH = 300

_WIDE = 100
"""From this width on a table has room for longer headings."""


def closing(summary: Summary, *, width: int | None = None, command: Sequence[str] = (), has_page: bool = False) -> str:
    """Return the outcome of a run, where it is stored and what to do next.

    No line is longer than `width` columns (None: any length), except paths and commands, which can be copied whole.
    `command` holds the words after the program's name that started the run. With `has_page`, the run has made its
    gallery.
    """
    sections = [_head(summary, width)]
    if summary.lanes:
        sections.append([counts_table(summary.lanes, width, sandbox=summary.sandbox)])
    if summary.succeeded:
        sections.append([times_table(summary.lanes, width, in_all=summary)])
    if summary.succeeded > FEW_JOBS:
        sections.append([_slowest_table(summary, width)])
    if summary.failures:
        sections.append(_reasons(summary.failures, width))
    sections.append(_end(summary, width, command, has_page=has_page))
    between = "\n\n" if len(sections) > 2 else "\n"
    return between.join("\n".join(lines) for lines in sections)


def next_command(summary: Summary, command: Sequence[str], *, has_page: bool = False) -> list[str] | None:
    """Return the words to type next after the program's name; None if no command would help.

    A run that has made its gallery (`has_page`) needs no `report`. Jobs from standard input cannot be run again.
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


def counts_table(lanes: Mapping[str, LaneSummary], width: int | None = None, *, sandbox: bool = False) -> str:
    """Return a table of each model's jobs, images, retries and cost; with several models, a last row adds them up.

    With `sandbox` the costs are marked as sandbox money.
    """
    rows = [(name, *_counts(lane), size(lane.bytes), *_retries(lane), _cost([lane])) for name, lane in lanes.items()]
    if len(rows) > 1:
        shares = list(lanes.values())
        rows.append(
            (
                "in all",
                *map(sum, zip(*map(_counts, shares), strict=True)),
                size(sum(lane.bytes for lane in shares)),
                *map(sum, zip(*map(_retries, shares), strict=True)),
                _cost(shares),
            )
        )
    # On a narrow terminal only the line above the table says so: the longer heading would split the table.
    usd = "sandbox usd" if sandbox and (width is None or width >= _WIDE) else "usd"
    header = ("model", "done", "failed", "rejected", "images", "size", "retries", "refused", usd)
    return table(header, rows, width=width, right=("size", usd))


def times_table(lanes: Mapping[str, LaneSummary], width: int | None = None, *, in_all: Summary | None = None) -> str:
    """Return a table of the time jobs took, in seconds: percentiles of queue, server and total for each model.

    With several models, `in_all` adds a last row for the whole run.
    """
    shares: list[tuple[str, LaneSummary | Summary]] = list(lanes.items())
    if in_all is not None and len(lanes) > 1:
        shares.append(("in all", in_all))
    header = ["seconds"]
    for what in ("queue", "server", "total"):
        header += [f"{what} p50", "p95", "p99"]
    return table(
        header, [(name, *_percentiles(lane)) for name, lane in shares], width=width, groups=(3, 3, 3), right=header[1:]
    )


def _counts(lane: LaneSummary) -> tuple[int, ...]:
    return lane.succeeded, lane.failed, lane.rejected, lane.images


def _retries(lane: LaneSummary) -> tuple[int, ...]:
    return lane.retries, lane.refused


def _cost(lanes: Sequence[LaneSummary]) -> str | None:
    known = [lane.cost_usd for lane in lanes if lane.cost_usd is not None]
    return amount_text(round(sum(known), 6) if known else None, sum(lane.unpriced for lane in lanes))


def _percentiles(lane: LaneSummary | Summary) -> Iterator[str]:
    for times in (lane.queue_s, lane.server_s, lane.total_s):
        yield from map(seconds, (times.p50, times.p95, times.p99))


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


def _slowest_table(summary: Summary, width: int | None) -> str:
    """Return a table of the slowest jobs, without their models where those do not fit: the ids matter more."""
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
    full = table(header, rows, right=header[1:4])
    if width is None or max(map(text_width, full.split("\n"))) <= width:
        return full
    return table(header[:-1], [row[:-1] for row in rows], width=width, right=header[1:4])


def _reasons(failures: Sequence[Reason], width: int | None) -> list[str]:
    lines: list[str] = []
    for reason in failures[:MAX_REASONS]:
        ids = ", ".join(reason.ids) + (", …" if reason.count > len(reason.ids) else "")
        what = cropped(one_line(f"{reason.kind}: {reason.message}"), _MAX_REASON_WIDTH)
        lines += folded(one_line(f"{reason.count} {reason.status}: {what} ({ids})"), width)
    if len(failures) > MAX_REASONS:
        lines.append("… and others; the manifest has them all")
    return lines


def _end(summary: Summary, width: int | None, command: Sequence[str], *, has_page: bool) -> list[str]:
    lines = []
    if summary.possibly_billed:
        lines.append(
            f"{counted(summary.possibly_billed, 'request')} may have been charged for an image that never arrived"
        )
    if summary.reason:
        lines.append(f"stopped: {summary.reason.removeprefix('stopped by ')}")
    lines = [part for line in lines for part in folded(one_line(line), width)]
    lines.append(one_line(f"in {summary.output}: images, manifest.jsonl, summary.json"))
    following = next_command(summary, command, has_page=has_page)
    if following is not None:
        lines.append(one_line(f"next: {shlex.join(['venice-batch', *following])}"))
    return lines
