"""What a run says on the terminal and in logs."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, TextIO

from venice_batch.cli.text import json_line
from venice_batch.errors import one_line
from venice_batch.events import AttemptEnded, JobEnded, Notice, RunEnded, RunStarted, Stopping, Waiting
from venice_batch.model import Status
from venice_batch.report.progress import LaneMode, ProgressMeter
from venice_batch.text_format import counted, span

if TYPE_CHECKING:
    from collections.abc import Callable

    from venice_batch.events import Event, Observer
    from venice_batch.report.progress import Progress


EVERY_S = 5.0
MOST_S = 60.0
"""Time between two lines of progress: at least, and once the run has taken long."""


def observer(log_format: str, stream: TextIO | None, *, quiet: bool) -> Observer:
    """An observer that writes to `stream` (None: closed): lines for people, or one JSON object an event."""
    if stream is None:
        return lambda event: None
    return JsonLog(stream, quiet=quiet) if log_format == "json" else TextLog(stream, quiet=quiet)


class TextLog:
    """A line at the start, one now and then, one for whatever fails; no control characters."""

    def __init__(self, stream: TextIO, *, quiet: bool, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._quiet = quiet
        self._now = now
        self._began_s = self._last_s = now()
        self._meter = ProgressMeter(now)

    def __call__(self, event: Event) -> None:
        text = told(event)
        if text is not None and (fails(event) or not self._quiet):
            _print(text, self._stream)
        if self._quiet:
            return  # nothing of what the meter counts would be shown
        self._meter(event)
        if isinstance(event, JobEnded | AttemptEnded) and self._due():
            self._last_s = self._now()
            _print(progress_line(self._meter.progress()), self._stream)

    def _due(self) -> bool:
        """Whether some time has passed since the last line, ever more of it as the run goes on."""
        now_s = self._now()
        return now_s - self._last_s >= min(MOST_S, max(EVERY_S, (now_s - self._began_s) / 20))


def told(event: Event) -> str | None:
    """What is said of `event` in a line of its own; None if nothing is."""
    if isinstance(event, RunStarted):
        lanes = ", ".join(event.lanes[:4]) + ("…" if len(event.lanes) > 4 else "")
        before = f", {event.done} done before" if event.done else ""
        return one_line(f"{counted(event.jobs, 'job')} for {lanes} → {event.output}{before}")
    if isinstance(event, JobEnded):
        outcome = event.outcome
        if outcome.status is Status.SUCCEEDED:
            return None
        reason = f"{outcome.error.kind}: {outcome.error.message}" if outcome.error else ""
        return one_line(f"{outcome.id}: {outcome.status}: {reason}")
    if isinstance(event, Waiting):
        return one_line(f"{event.holder} is using {event.output}; waiting up to {event.timeout_s:g} s for it")
    if isinstance(event, Notice):
        return one_line(event.text)
    if isinstance(event, Stopping):
        reason = event.reason.removeprefix("stopped by ")
        return one_line(f"stopping: {reason}; {event.in_flight} under way may still finish")
    return None


def fails(event: Event) -> bool:
    """Whether `event` is to be told where only what fails is."""
    return isinstance(event, Notice | Stopping) or (
        isinstance(event, JobEnded) and event.outcome.status is not Status.SUCCEEDED
    )


def progress_line(progress: Progress) -> str:
    """How far a run is, in one line."""
    parts = [f"{progress.done}/{progress.jobs} done"]
    without = progress.failed + progress.rejected
    parts += [f"{without} failed"] if without else []
    parts.append(f"{progress.images_a_minute:.0f} images a minute")
    if progress.eta_s is not None and progress.left:
        parts.append(f"about {span(progress.eta_s)} left")
    waiting = [
        lane for lane in progress.lanes if lane.mode in (LaneMode.WINDOW, LaneMode.GATE) and lane.until_s > EVERY_S
    ]
    if waiting:
        longest = max(waiting, key=lambda lane: lane.until_s)
        parts.append(f"{longest.name} waits {longest.until_s:.0f} s for its next window")
    return one_line(", ".join(parts))


class JsonLog:
    """One JSON object a line for every event but single attempts; `quiet` leaves only what fails."""

    def __init__(self, stream: TextIO, *, quiet: bool, wall: Callable[[], float] = time.time) -> None:
        self._stream = stream
        self._quiet = quiet
        self._wall = wall

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._write(
                "run_started", False, run_id=event.run_id, output=event.output, jobs=event.jobs, done=event.done
            )
        elif isinstance(event, JobEnded):
            outcome = event.outcome
            self._write(
                "job_ended",
                outcome.status is not Status.SUCCEEDED,
                id=outcome.id,
                status=outcome.status,
                lane=outcome.lane,
                files=[file.path for file in outcome.files],
                error=outcome.error.message if outcome.error else None,
                total_s=outcome.timing.total_s,
            )
        elif isinstance(event, Waiting):
            self._write("waiting", False, output=event.output, holder=event.holder, timeout_s=event.timeout_s)
        elif isinstance(event, Notice):
            self._write("notice", True, text=event.text)
        elif isinstance(event, Stopping):
            self._write("stopping", True, reason=event.reason, in_flight=event.in_flight)
        elif isinstance(event, RunEnded):
            summary = event.summary
            self._write(
                "run_ended",
                False,
                exit_code=summary.exit_code,
                succeeded=summary.succeeded,
                failed=summary.failed,
                rejected=summary.rejected,
                pending=summary.pending,
                elapsed_s=summary.elapsed_s,
            )

    def _write(self, name: str, fails: bool, **values: object) -> None:
        if fails or not self._quiet:
            record = {"time": round(self._wall(), 3), "event": name, **values}
            line = json_line(record)
            if not line.isprintable():  # JSON lets pass some that terminals act on, and line ends beyond ASCII
                line = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)
            _print(line, self._stream)


def _print(line: str, stream: TextIO) -> None:
    # A terminal that was closed, or a full disk behind a log, is no reason to end a run.
    with contextlib.suppress(OSError):
        stream.write(line + "\n")
        stream.flush()
