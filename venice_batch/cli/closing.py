"""What is said when a run is over."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from venice_batch.cli.lane_tables import counts_table, times_table
from venice_batch.cli.table import table
from venice_batch.cli.text import cropped, folded, text_width
from venice_batch.errors import ExitCode, one_line
from venice_batch.money import cost_text
from venice_batch.text_format import counted, seconds, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from venice_batch.model import Reason, Summary

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
