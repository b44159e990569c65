"""The log of a run as JSON, one object a line (`--log-format json`)."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO
from urllib.parse import urlsplit

import msgspec

from venice_batch._version import __version__
from venice_batch.api.answers import Verdict
from venice_batch.cli.log import write_line
from venice_batch.cli.text import json_line
from venice_batch.errors import ExitCode
from venice_batch.events import (
    AttemptEnded,
    JobEnded,
    Notice,
    Reachable,
    Retrying,
    RunEnded,
    RunStarted,
    Stopping,
    Unreachable,
    Waiting,
)
from venice_batch.model import Status
from venice_batch.report import log_lines as lines
from venice_batch.report.progress import ProgressMeter
from venice_batch.report.waits import RUN_WIDE, WaitMeter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from venice_batch.events import Event
    from venice_batch.model import Outcome, Summary
    from venice_batch.report.progress import Progress
    from venice_batch.report.waits import Wait

PROGRESS_S = 30.0
"""Seconds between two progress lines."""

SHORTEST_WAIT_S = 1.0
"""Shorter waits of a model have no line."""


class JsonWriter:
    """Writes lines with their time and run id; with `quiet`, only warnings and errors.

    `stream` is None where nothing is connected.
    """

    def __init__(
        self,
        stream: TextIO | None,
        *,
        quiet: bool = False,
        run_id: str | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._stream = stream
        self._is_utf8 = "utf" in (getattr(stream, "encoding", None) or "utf-8").lower()
        self.quiet = quiet
        self.run_id = run_id
        self.wall = wall

    def write(self, line: lines.LogLine) -> None:
        """Write one line. A stream that takes no more is no reason to fail."""
        if self._stream is None or (self.quiet and line.level == lines.LEVELS[0]):
            return
        line.time, line.run_id = rfc3339(self.wall()), self.run_id
        text = json_line(line)
        if not text.isprintable():  # JSON permits characters that terminals act on, and line ends beyond ASCII
            text = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
        if not self._is_utf8 and not text.isascii():  # in another encoding it would be no JSON
            text = "".join(char if char.isascii() else json.dumps(char)[1:-1] for char in text)
        write_line(text, self._stream)


class JsonLog:
    """An observer that writes a line for every event but the successful requests, which their jobs' ends name.

    Call `tick` once a second, for progress and for waits. No lines are written about progress with `quiet`.
    """

    def __init__(self, writer: JsonWriter, *, now: Callable[[], float] = time.monotonic) -> None:
        self._writer = writer
        self._now = now
        self._last_s = now()
        self._meter = ProgressMeter(now)
        self._waits = WaitMeter(now)
        self._folder: Waiting | None = None
        self._waiting: dict[str, str] = {}
        self._server: tuple[str | None, int | None] = (None, None)
        self._is_running = False

    def __call__(self, event: Event) -> None:
        self._meter(event)
        self._waits(event)
        if isinstance(event, RunStarted):
            self._is_running, self._folder, self._last_s = True, None, self._now()
            self._writer.run_id, self._server = event.run_id, server_of(event.base_url)
        elif isinstance(event, RunEnded):
            self._is_running = False
        elif isinstance(event, Waiting):
            self._folder, self._last_s = event, self._now()
        line = self._line(event)
        if line is not None:
            self._writer.write(line)

    def tick(self) -> None:
        """Write which models have begun to wait, and every `PROGRESS_S` how far the run is, or that it still waits."""
        if self._folder is not None and self._is_due():
            left_s = self._folder.timeout_s - PROGRESS_S
            self._folder = msgspec.structs.replace(self._folder, timeout_s=max(0.0, left_s))
            self._writer.write(_waiting(self._folder))
        if not self._is_running or self._writer.quiet:
            return
        progress = self._meter.progress()
        waits = self._waits.waits(progress)
        before, self._waiting = self._waiting, {}
        for wait in waits:
            if wait.lane is None:
                continue
            is_long = wait.wait_s is None or wait.wait_s >= SHORTEST_WAIT_S
            if is_long and before.get(wait.lane) != wait.reason:
                self._writer.write(
                    lines.LaneWaitingLine(lane=wait.lane, reason=wait.reason.value, wait_s=_rounded(wait.wait_s))  # type: ignore[arg-type]
                )
            if is_long or wait.lane in before:
                self._waiting[wait.lane] = wait.reason
        if self._is_due():
            self._writer.write(progress_of(progress, waits))

    def _is_due(self) -> bool:
        """Return whether the time of a line has come, and begin to wait for the next."""
        if self._now() - self._last_s < PROGRESS_S:
            return False
        self._last_s = self._now()
        return True

    def _line(self, event: Event) -> lines.LogLine | None:
        if isinstance(event, AttemptEnded):
            return None if event.verdict is Verdict.SUCCEEDED else _attempt_failed(event)
        if isinstance(event, JobEnded):
            return _job_ended(event.outcome)
        if isinstance(event, Retrying):
            return _retry(event)
        if isinstance(event, RunStarted):
            return _run_started(event)
        if isinstance(event, Waiting):
            return _waiting(event)
        if isinstance(event, Unreachable):
            address, port = self._server
            return lines.UnreachableLine(
                level="warning",
                message=event.reason,
                server_address=address,
                server_port=port,
                gives_up_at=rfc3339(event.gives_up_unix_s),
            )
        if isinstance(event, Reachable):
            return lines.ReachableLine()
        if isinstance(event, Notice):
            return lines.NoticeLine(level="warning", text=event.text)
        if isinstance(event, Stopping):
            return lines.StoppingLine(level="warning", reason=event.reason, in_flight=event.in_flight)
        if isinstance(event, RunEnded):
            return _run_ended(event.summary)
        return None


def rfc3339(unix_s: float) -> str:
    """Return a moment in UTC with milliseconds."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def server_of(base_url: str) -> tuple[str | None, int | None]:
    """Return host and port of an address."""
    parts = urlsplit(base_url)
    return parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def progress_of(progress: Progress, waits: Sequence[Wait]) -> lines.ProgressLine:
    """Return the line that says how far a run is."""
    return lines.ProgressLine(
        jobs=progress.jobs,
        done=progress.done,
        failed=progress.failed,
        rejected=progress.rejected + progress.rejected_before,
        pending=progress.left,
        in_flight=progress.in_flight,
        images=progress.images,
        bytes=progress.bytes,
        images_a_minute=round(progress.images_a_minute, 1),
        quota_a_minute=_rounded(progress.quota_a_minute),
        retries=progress.retries,
        spent_usd=progress.spent_usd,
        sandbox=progress.sandbox,
        elapsed_s=round(progress.elapsed_s, 3),
        eta_s=None if any(wait.reason in RUN_WIDE for wait in waits) else _rounded(progress.eta_s),
        waits=[lines.WaitEntry(wait.reason, wait.lane, _rounded(wait.wait_s), wait.count) for wait in waits],
    )


def _waiting(event: Waiting) -> lines.WaitingLine:
    return lines.WaitingLine(output=event.output, holder=event.holder, timeout_s=round(event.timeout_s, 3))


def _run_started(event: RunStarted) -> lines.RunStartedLine:
    address, port = server_of(event.base_url)
    return lines.RunStartedLine(
        output=event.output,
        jobs=event.jobs,
        done=event.done,
        pending=sum(event.pending.values()),
        reused=event.reused,
        lanes=dict(event.pending),
        expected_usd=event.expected_usd,
        server_address=address,
        server_port=port,
        version=__version__,
    )


def _attempt_failed(event: AttemptEnded) -> lines.AttemptFailedLine:
    attempt = event.attempt
    is_grave = event.possibly_billed or event.verdict is Verdict.BLOCKED
    return lines.AttemptFailedLine(
        level="warning" if is_grave else "info",
        id=event.job.id,
        lane=event.job.model,
        verdict=event.verdict,
        status_code=attempt.status,
        kind=event.kind,
        message=attempt.error,
        ray=attempt.ray,
        retry_after_s=attempt.retry_after_s,
        duration_s=attempt.duration_s,
        possibly_billed=event.possibly_billed,
    )


def _retry(event: Retrying) -> lines.RetryLine:
    return lines.RetryLine(
        id=event.job.id,
        lane=event.job.model,
        number=event.number,
        wait_s=round(event.wait_s, 3),
        status_code=event.last.status,
        kind=event.kind,
        message=event.last.error,
        ray=event.last.ray,
        retry_after_s=event.last.retry_after_s,
    )


def _job_ended(outcome: Outcome) -> lines.JobEndedLine:
    error, last = outcome.error, outcome.attempts[-1] if outcome.attempts else None
    return lines.JobEndedLine(
        level="info" if outcome.status is Status.SUCCEEDED else "error",
        id=outcome.id,
        status=outcome.status.value,
        lane=outcome.lane,
        files=[file.path for file in outcome.files],
        status_code=error.status if error else last.status if last else None,
        kind=error.kind if error else None,
        message=error.message if error else None,
        attempts=len(outcome.attempts),
        blurred=outcome.flags.blurred,
        content_violation=outcome.flags.content_violation,
        possibly_billed=outcome.flags.possibly_billed,
        cost_usd=outcome.cost_usd,
        total_s=outcome.timing.total_s,
    )


RUN_AGAIN = frozenset({ExitCode.TEMPORARY, ExitCode.SIGINT, ExitCode.SIGTERM})
"""Ends that are only warnings: the same command goes on from there."""


def _run_ended(summary: Summary) -> lines.RunEndedLine:
    level: lines.Level = "info" if not summary.exit_code else "warning" if summary.exit_code in RUN_AGAIN else "error"
    names = (name for name in lines.RunEndedLine.__struct_fields__ if hasattr(summary, name))
    return lines.RunEndedLine(level=level, **{name: getattr(summary, name) for name in names if name != "run_id"})


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
