"""The text at the end of a run: counts, tables, reasons of failures, the next command."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from venice_batch.cli.text import cropped, folded, one_table, text_width
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


def closing(
    summary: Summary,
    *,
    width: int | None = None,
    command: Sequence[str] = (),
    has_page: bool = False,
    verbose: bool = False,
) -> str:
    """Return the outcome of a run; its last two lines are the result, and where it is and what to do next.

    No line is longer than `width` columns (None: any length), except paths and commands, which can be copied whole.
    `command` holds the words after the program's name that started the run. With `has_page`, the run has made its
    gallery. `verbose` adds tables of times and of the slowest jobs.
    """
    sections = []
    if summary.lanes:
        sections.append([counts_table(summary.lanes, width, sandbox=summary.sandbox)])
    if verbose and summary.succeeded:
        sections.append([times_table(summary.lanes, width, in_all=summary)])
    if verbose and summary.succeeded > FEW_JOBS:
        sections.append(_slowest_table(summary, width))
    if summary.failures:
        sections.append(_reasons(summary.failures, width))
    if summary.waiting:
        sections.append(_waiting(summary.waiting, width))
    sections.append([*_notes(summary, width), *_result(summary, width), _where(summary, width, command, has_page)])
    return "\n\n".join("\n".join(lines) for lines in sections)


def next_command(summary: Summary, command: Sequence[str], *, has_page: bool = False) -> list[str] | None:
    """Return the words to type next after the program's name; None if no command would help.

    A run that has made its gallery (`has_page`) needs no `report`. Jobs from standard input cannot be run again.
    """
    look = None if has_page else ["report", summary.output]
    again = list(command) if command and "-" not in command else None
    left = summary.failed or summary.pending > sum(reason.count for reason in summary.waiting)
    is_stopped = summary.exit_code in (ExitCode.SIGINT, ExitCode.SIGTERM)
    if summary.exit_code == ExitCode.OK or (is_stopped and not left):  # all that was under way has finished
        return look
    if summary.exit_code == ExitCode.SOME_FAILED and not left:
        # Without a rejected job it is `--fail-on` that makes the exit code 1, and the same images would not help.
        is_rejected = summary.rejected + summary.already_rejected
        return [*again, "--retry-rejected"] if is_rejected and again and "--retry-rejected" not in again else look
    if is_stopped or summary.exit_code in (ExitCode.SOME_FAILED, ExitCode.TEMPORARY):
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
    # On a narrow terminal the result below the table says it.
    usd = "sandbox usd" if sandbox and (width is None or width >= _WIDE) else "usd"
    header = ("model", "done", "failed", "rejected", "images", "size", "retries", "429s", usd)
    idle = [header.index(name) for name in ("retries", "429s", "failed", "rejected", usd)]
    spare = [place for place in idle if not any(row[place] for row in rows)]
    spare += [place for name in ("size", "retries", "429s", "images") if (place := header.index(name)) not in spare]
    return one_table(header, rows, width=width, right=("size", usd), spare=spare)


def times_table(lanes: Mapping[str, LaneSummary], width: int | None = None, *, in_all: Summary | None = None) -> str:
    """Return a table of the time jobs took, in seconds: percentiles of queue, server and total for each model.

    `n` is the number of jobs that they are taken from. With several models, `in_all` adds a last row for the whole
    run. A narrow terminal gets fewer percentiles.
    """
    shares: list[tuple[str, LaneSummary | Summary]] = list(lanes.items())
    if in_all is not None and len(lanes) > 1:
        shares.append(("in all", in_all))
    header = ["seconds", "n"]
    for what in ("queue", "server", "total"):
        header += [f"{what} p50", "p95", "p99"]
    rows = [(name, lane.succeeded - lane.reused, *_percentiles(lane)) for name, lane in shares]
    # The first to go are the 99th percentiles, then the queue and the server; the total's p50 always stays.
    return one_table(header, rows, width=width, right=header[1:], spare=(4, 7, 10, 3, 2, 6, 5, 1, 9))


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


def _result(summary: Summary, width: int | None) -> list[str]:
    """Return the counts, images and cost as one line; what does not fit into it stands above."""
    parts = [f"{summary.succeeded - summary.reused} succeeded"]
    kinds = (
        (summary.reused, "reused"),
        (summary.already_done, "done before"),
        (summary.failed, "failed"),
        (summary.rejected + summary.already_rejected, "rejected"),
        (summary.pending, "pending"),
    )
    parts += [f"{count} {what}" for count, what in kinds if count]
    counts = f"{counted(summary.jobs, 'job')}: {', '.join(parts)}"
    done = summary.succeeded + summary.already_done
    left = summary.jobs - done
    brief = f"{done} of {counted(summary.jobs, 'job')} done" + (f", {left} not" if left else "")
    images = counted(summary.images, "image") if summary.images else ""
    cost = cost_text(summary.cost_usd or None, summary.unpriced, sandbox_usd=summary.sandbox_usd)
    made = _joined(images, cost)
    forms = (  # each a line, and what it leaves out
        (_joined(counts, made, by="; "), ""),
        (_joined(counts, cost, by="; "), images),
        (counts, made),
        (_joined(brief, cost, by="; "), _joined(counts, images, by="; ")),
        (brief, _joined(counts, made, by="; ")),
    )
    fitting = (form for form in forms if width is None or text_width(form[0]) <= width)
    line, above = next(fitting, forms[-1])
    return [*(folded(above, width) if above else []), cropped(line, width or text_width(line))]


def _slowest_table(summary: Summary, width: int | None) -> list[str]:
    """Return a table of the slowest jobs, without their models where those do not fit: the ids matter more."""
    header = ["slowest", "seconds", "queue", "server", "tries", "model"]
    rows = [
        [
            cropped(one_line(job.id), 40 if width is None else max(8, width // 3)),
            *map(seconds, (job.total_s, job.queue_s, job.server_s)),
            job.attempts,
            job.lane,
        ]
        for job in summary.slowest
    ]
    return [one_table(header, rows, width=width, right=header[1:4], spare=(5, 4, 2, 3))]


def _reasons(failures: Sequence[Reason], width: int | None) -> list[str]:
    lines: list[str] = []
    for reason in failures[:MAX_REASONS]:
        what = cropped(one_line(f"{reason.kind}: {reason.message}"), _MAX_REASON_WIDTH)
        lines += folded(one_line(f"{reason.count} {reason.status}: {what} ({_ids(reason)})"), width)
    if len(failures) > MAX_REASONS:
        lines.append("… and others; the manifest has them all")
    return lines


def _waiting(waiting: Sequence[Reason], width: int | None) -> list[str]:
    lines: list[str] = []
    for reason in waiting:
        lines += folded(one_line(f"{reason.count} pending: {reason.message} ({_ids(reason)})"), width)
    return lines


def _ids(reason: Reason) -> str:
    return ", ".join(reason.ids) + (", …" if reason.count > len(reason.ids) else "")


def _notes(summary: Summary, width: int | None) -> list[str]:
    """Return what else there is to know about the run, as lines above its result."""
    lines = []
    if summary.possibly_billed:
        lines.append(
            f"{counted(summary.possibly_billed, 'request')} may have been charged for an image that never arrived"
        )
    flagged = flags_text(summary.blurred, summary.content_violations)
    if flagged:
        lines.append(f"flagged by the API: {flagged}")
    if summary.attempts:
        limited = f", {summary.refused} answered with 429" if summary.refused else ""
        blocks = f", {counted(summary.blocks, 'block')} after too many errors" if summary.blocks else ""
        requests = f"{counted(summary.attempts, 'request')}{limited}{blocks}"
        lines.append(f"{size(summary.bytes)} in {summary.elapsed_s:.1f} s, {requests}")
    if summary.reason:
        lines.append(f"stopped: {summary.reason.removeprefix('stopped by ')}")
    return [part for line in lines for part in folded(one_line(line), width)]


def flags_text(blurred: int, content_violations: int) -> str:
    """Return how many jobs the API has flagged, such as "3 blurred, 1 content violation"; "" if none."""
    violations = counted(content_violations, "content violation") if content_violations else ""
    return _joined(f"{blurred} blurred" if blurred else "", violations)


def _joined(*parts: str, by: str = ", ") -> str:
    return by.join(part for part in parts if part)


def _where(summary: Summary, width: int | None, command: Sequence[str], has_page: bool) -> str:
    """Return one line: the folder, and the command or the page to go on with."""
    following = next_command(summary, command, has_page=has_page)
    then = ""
    if following is not None:
        then = f"; next: {shlex.join(['venice-batch', *following])}"
    elif has_page:
        then = f"; see {summary.output}/gallery.html"
    line = one_line(f"in {summary.output}: images, manifest.jsonl, summary.json{then}")
    return line if width is None or text_width(line) <= width else one_line(f"in {summary.output}{then}")
