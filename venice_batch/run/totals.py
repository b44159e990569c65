"""The end of a run: its totals, exit code and `summary.json`."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from venice_batch.errors import ExitCode
from venice_batch.model import SCHEMA, SUMMARY, Summary
from venice_batch.output import folder
from venice_batch.run.chains import NO_IMAGE, stop_reason
from venice_batch.run.stop import Stop
from venice_batch.text_format import json_bytes

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from venice_batch.model import Reason
    from venice_batch.report.summary import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTotals:
    """The facts about a run that its events do not show.

    Of the `jobs` in the file, `done` had succeeded before, and `already_rejected` were rejected before and not
    requested again, which `known_rejected_ok` accepts; `flagged` have a flag to fail on. `stop` is the reason for an
    early end, `kept_back` why jobs could not go because others did not (`ChainedJobs`). `spent_usd` is None if no price
    is known.
    """

    run_id: str
    output: str
    started: datetime
    elapsed_s: float
    jobs: int
    done: int
    already_rejected: int
    flagged: int
    known_rejected_ok: bool
    stop: Stop | None
    blocks: int
    spent_usd: float | None
    kept_back: tuple[Reason, ...] = ()


def sum_up(totals: RunTotals, tally: Tally) -> Summary:
    """Return the summary of a run, with the exit code of the contract's table."""
    counts, times = tally.counts, tally.times
    ended = counts["succeeded"] + counts["failed"] + counts["rejected"]
    pending = totals.jobs - totals.done - totals.already_rejected - ended
    stop = totals.stop
    if stop is not None and stop.code is ExitCode.TEMPORARY and not pending:
        stop = None  # it came too late to stop anything
    if stop is None and pending > sum(reason.count for reason in totals.kept_back):
        # Only a second signal gets here without a reason.
        stop = Stop(ExitCode.SIGINT, "stopped at once")
    known = 0 if totals.known_rejected_ok else totals.already_rejected
    lacks_image = any(reason.kind == NO_IMAGE for reason in totals.kept_back)
    some_failed = bool(counts["failed"] or counts["rejected"] or known or totals.flagged or lacks_image)
    if stop is None and not some_failed and (waits := stop_reason(totals.kept_back)):
        stop = Stop(ExitCode.TEMPORARY, waits)
    code = stop.code if stop else ExitCode.SOME_FAILED if some_failed else ExitCode.OK
    return Summary(
        schema=SCHEMA,
        run_id=totals.run_id,
        output=totals.output,
        exit_code=int(code),
        reason=stop.reason if stop else None,
        started_at=totals.started.isoformat(timespec="seconds").replace("+00:00", "Z"),
        elapsed_s=round(totals.elapsed_s, 3),
        jobs=totals.jobs,
        already_done=totals.done,
        already_rejected=totals.already_rejected,
        succeeded=counts["succeeded"],
        failed=counts["failed"],
        rejected=counts["rejected"],
        pending=pending,
        images=counts["images"],
        bytes=counts["bytes"],
        attempts=counts["attempts"],
        refused=counts["refused"],
        blocks=totals.blocks,
        blurred=counts["blurred"],
        content_violations=counts["content_violations"],
        possibly_billed=counts["possibly_billed"],
        cost_usd=totals.spent_usd,
        errors=dict(tally.errors),
        lanes=tally.lanes(),
        total_s=times.total_s,
        retries=counts["retries"],
        queue_s=times.queue_s,
        server_s=times.server_s,
        slowest=tally.slowest(),
        failures=tally.failures(),
        unpriced=counts["unpriced"],
        sandbox=tally.sandbox,
        waiting=totals.kept_back,
        reused=counts["reused"],
    )


def write_summary(root: Path, summary: Summary) -> None:
    """Write `summary.json` into the output folder, whole. Raises FolderError."""
    path = root / SUMMARY
    part = path.with_name(f".{path.name}{folder.PART_SUFFIX}")
    try:
        part.write_bytes(msgspec.json.format(json_bytes(summary), indent=2) + b"\n")
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise folder.unusable(path, error) from error
