"""Jobs written as native lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from venice_batch.jobfile.reading import MAX_LINE_BYTES
from venice_batch.model import Endpoint

if TYPE_CHECKING:
    from venice_batch.model import Job


def native_line(job: Job) -> bytes:
    """Return the line that says all of a job by itself, with its line end: read again, it has the same id and hash."""
    record: dict[str, Any] = {"id": job.id}
    if job.endpoint is not Endpoint.GENERATE:
        record["endpoint"] = job.endpoint
    record |= job.request
    if job.metadata is not None:
        record["metadata"] = job.metadata
    return orjson.dumps(record) + b"\n"


def oversize(job: Job) -> list[tuple[str, str]]:
    """Return what is wrong with a job whose own line would be longer than any that is read; [] if nothing.

    Give it to `JobIndex.build` as `examine`. A line holds less than its jobs do where `--set` or a `matrix` adds to it.
    """
    size = len(native_line(job)) - 1
    if size <= MAX_LINE_BYTES:
        return []
    return [("", f"{job.id!r} by itself is a line of {size / MAX_LINE_BYTES:.2f} MB; at most 1 MB")]
