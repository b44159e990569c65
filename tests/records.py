"""Jobs and outcomes for the tests of what keeps and shows them."""

from __future__ import annotations

from typing import Any

import msgspec

from venice_batch.model import (
    SCHEMA,
    Attempt,
    Endpoint,
    Failure,
    Flags,
    ImageFile,
    Job,
    LaneSummary,
    Outcome,
    Percentiles,
    Status,
    Summary,
    Timing,
)
from venice_batch.output.manifest import numbered_outcomes

IMAGE = ImageFile("images/a.webp", 5, "0" * 64, "webp", 64, 48)

CORRUPT = (
    b"no json",
    b"[]",
    b"null",
    b'{"id": 1}',
    b'{"id": "x"}',
    b"\xff\xfe",
    b"\0\0",
    b'{"id": "x", "request_hash": "y", "status": "succ',
    b'{"x":' + b"[" * 100_000,
)
"""Lines of a manifest that hold no record."""


def job(job_id: str = "a", model: str = "venice-sd35") -> Job:
    request = {"model": model, "prompt": "a gondola"}
    return Job(job_id, line=1, index=0, endpoint=Endpoint.GENERATE, request=request, request_hash="f" * 32)


def attempt(status: int | None = 200, duration_s: float = 1.0, sent_s: float | None = 0.3) -> Attempt:
    return Attempt(status, None if status == 200 else "no", 0.0, None, "8f-FRA", duration_s, sent_s)


def outcome(job_id: str = "a", *, total_s: float = 2.0, **changes: Any) -> Outcome:
    made = Outcome(
        schema=SCHEMA,
        run_id="20260101T000000Z-abc123",
        id=job_id,
        request_hash="f" * 32,
        status=Status.SUCCEEDED,
        lane="venice-sd35",
        files=(IMAGE,),
        endpoint=Endpoint.GENERATE,
        request={"model": "venice-sd35", "prompt": "a gondola"},
        metadata=None,
        attempts=(attempt(),),
        error=None,
        flags=Flags(),
        cost_usd=None,
        timing=Timing("2026-01-01T00:00:00.000Z", 0.1, 0.2, 0.0, 0.9, 0.1, 0.01, total_s),
    )
    return msgspec.structs.replace(made, **changes)


def failed(
    job_id: str = "a", *, message: str = "out of order", status: Status = Status.FAILED, **changes: Any
) -> Outcome:
    error = Failure("server", 500, message)
    return outcome(job_id, status=status, files=(), error=error, **changes)


def summary(**changes: Any) -> Summary:
    """The summary of a run of one model in which all went well."""
    made = Summary(
        schema=SCHEMA,
        run_id="run-1",
        output="output/jobs",
        exit_code=0,
        reason=None,
        started_at="2026-01-01T02:00:00Z",
        elapsed_s=12.5,
        jobs=3,
        already_done=1,
        already_rejected=0,
        succeeded=2,
        failed=0,
        rejected=0,
        pending=0,
        images=2,
        bytes=2048,
        attempts=3,
        refused=1,
        blocks=0,
        blurred=0,
        content_violations=0,
        possibly_billed=0,
        cost_usd=0.02,
        errors={},
        lanes={"venice-sd35": LaneSummary(2, 0, 0, 2, 2048, 3, 1, latency_s=Percentiles(1.0, 2.0, 2.5))},
        total_s=Percentiles(1.5, 2.5, 3.0),
    )
    return msgspec.structs.replace(made, **changes)


def read_outcomes(path) -> list[Outcome]:
    """Every whole record of a manifest, in its order."""
    return [outcome for _, outcome in numbered_outcomes(path)]
