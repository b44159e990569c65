"""How a run ended, in its summary."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from venice_batch.engine.stop import Stop
from venice_batch.errors import ExitCode
from venice_batch.model import SCHEMA
from venice_batch.output import folder
from venice_batch.summary import SUMMARY, Summary, as_json

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from venice_batch.tally import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What a run has been through that no event tells.

    Of the `jobs` in the file `done` had succeeded before, `already_rejected` were refused before and not asked for
    again; `flagged` have a flag to fail on. `stop` is what ended it early, `spent_usd` None where no price is known.
    """

    run_id: str
    output: str
    started: datetime
    elapsed_s: float
    jobs: int
    done: int
    already_rejected: int
    flagged: int
    stop: Stop | None
    blocks: int
    spent_usd: float | None


def sum_up(course: Course, tally: Tally) -> Summary:
    """The summary of a run, its exit code by the contract's table."""
    counts, times = tally.counts, tally.times
    ended = counts["succeeded"] + counts["failed"] + counts["rejected"]
    pending = course.jobs - course.done - course.already_rejected - ended
    stop = course.stop
    if stop is not None and stop.code is ExitCode.TEMPORARY and not pending:
        stop = None  # it came too late to keep anything from being done
    if stop is None and pending:
        # Only a second signal gets here without a reason of its own.
        stop = Stop(ExitCode.SIGINT, "stopped at once")
    code = stop.code if stop else ExitCode.OK
    if stop is None and (counts["failed"] or counts["rejected"] or course.already_rejected or course.flagged):
        code = ExitCode.SOME_FAILED
    return Summary(
        schema=SCHEMA,
        run_id=course.run_id,
        output=course.output,
        exit_code=int(code),
        reason=stop.reason if stop else None,
        started_at=course.started.isoformat(timespec="seconds").replace("+00:00", "Z"),
        elapsed_s=round(course.elapsed_s, 3),
        jobs=course.jobs,
        already_done=course.done,
        already_rejected=course.already_rejected,
        succeeded=counts["succeeded"],
        failed=counts["failed"],
        rejected=counts["rejected"],
        pending=pending,
        images=counts["images"],
        bytes=counts["bytes"],
        attempts=counts["attempts"],
        refused=counts["refused"],
        blocks=course.blocks,
        blurred=counts["blurred"],
        content_violations=counts["content_violations"],
        possibly_billed=counts["possibly_billed"],
        cost_usd=course.spent_usd,
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
    )


def write_summary(root: Path, summary: Summary) -> None:
    """Put `summary.json` into the output folder, whole. Raises FolderError."""
    path = root / SUMMARY
    part = path.with_name(f".{path.name}{folder.PART_SUFFIX}")
    try:
        part.write_bytes(msgspec.json.format(as_json(summary), indent=2) + b"\n")
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise folder.unusable(path, error) from error
