"""The log of a run: lines for people, or one JSON object an event."""

from __future__ import annotations

import contextlib
import json
import math
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

MIN_INTERVAL_S = 5.0
"""Seconds between two progress lines at the start of a run; waits for windows shorter than this are not mentioned."""

MAX_INTERVAL_S = 60.0
"""Seconds between two progress lines once a run has lasted 20 minutes."""


def log_observer(log_format: str, stream: TextIO | None, *, quiet: bool) -> Observer:
    """Return an observer that writes `log_format` ("text" or "json") to `stream`; None is a closed stream.

    With `quiet` it writes only about failures, notices and stops.
    """
    if stream is None:
        return lambda event: None
    return JsonLog(stream, quiet=quiet) if log_format == "json" else TextLog(stream, quiet=quiet)


class TextLog:
    """Write a line at the start, a progress line now and then, and a line for each failure; no control characters."""

    def __init__(self, stream: TextIO, *, quiet: bool, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._quiet = quiet
        self._now = now
        self._began_s = self._last_s = now()
        self._meter = ProgressMeter(now)

    def __call__(self, event: Event) -> None:
        text = event_line(event)
        if text is not None and (not self._quiet or _is_failure(event)):
            _print(text, self._stream)
        if self._quiet:
            return  # no progress lines, so nothing to count
        self._meter(event)
        if isinstance(event, JobEnded | AttemptEnded) and self._is_due():
            self._last_s = self._now()
            _print(progress_line(self._meter.progress()), self._stream)

    def _is_due(self) -> bool:
        """Return whether it is time for a progress line; the interval grows to a twentieth of the elapsed time."""
        now_s = self._now()
        return now_s - self._last_s >= min(MAX_INTERVAL_S, max(MIN_INTERVAL_S, (now_s - self._began_s) / 20))


def event_line(event: Event) -> str | None:
    """Return the line that announces `event`; None if it gets no line of its own."""
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


def _is_failure(event: Event) -> bool:
    """Return whether a quiet log shows `event` too."""
    return isinstance(event, Notice | Stopping) or (
        isinstance(event, JobEnded) and event.outcome.status is not Status.SUCCEEDED
    )


def progress_line(progress: Progress) -> str:
    """Return one line that says how far a run is."""
    parts = [f"{progress.done}/{progress.jobs} done"]
    without_image = progress.failed + progress.rejected
    parts += [f"{without_image} failed"] if without_image else []
    parts.append(f"{progress.images_a_minute:.0f} images a minute")
    if progress.eta_s is not None and progress.left:
        parts.append(f"about {span(progress.eta_s)} left")
    waiting = [
        lane
        for lane in progress.lanes
        if lane.mode in (LaneMode.WINDOW, LaneMode.GATE) and MIN_INTERVAL_S < lane.until_s < math.inf
    ]
    if waiting:
        longest = max(waiting, key=lambda lane: lane.until_s)
        parts.append(f"{longest.name} waits {span(longest.until_s)} for its next window")
    return one_line(", ".join(parts))


class JsonLog:
    """Write a JSON object on a line for every event but single attempts; if `quiet`, only for failures and stops."""

    def __init__(self, stream: TextIO, *, quiet: bool, wall: Callable[[], float] = time.time) -> None:
        self._stream = stream
        self._quiet = quiet
        self._wall = wall

    def __call__(self, event: Event) -> None:
        if self._quiet and not _is_failure(event):
            return
        if isinstance(event, RunStarted):
            self._write("run_started", run_id=event.run_id, output=event.output, jobs=event.jobs, done=event.done)
        elif isinstance(event, JobEnded):
            outcome = event.outcome
            self._write(
                "job_ended",
                id=outcome.id,
                status=outcome.status,
                lane=outcome.lane,
                files=[file.path for file in outcome.files],
                error=outcome.error.message if outcome.error else None,
                total_s=outcome.timing.total_s,
            )
        elif isinstance(event, Waiting):
            self._write("waiting", output=event.output, holder=event.holder, timeout_s=event.timeout_s)
        elif isinstance(event, Notice):
            self._write("notice", text=event.text)
        elif isinstance(event, Stopping):
            self._write("stopping", reason=event.reason, in_flight=event.in_flight)
        elif isinstance(event, RunEnded):
            summary = event.summary
            self._write(
                "run_ended",
                exit_code=summary.exit_code,
                succeeded=summary.succeeded,
                failed=summary.failed,
                rejected=summary.rejected,
                pending=summary.pending,
                elapsed_s=summary.elapsed_s,
            )

    def _write(self, name: str, **values: object) -> None:
        line = json_line({"time": round(self._wall(), 3), "event": name, **values})
        if not line.isprintable():  # JSON permits characters that terminals act on, and line ends beyond ASCII
            line = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)
        _print(line, self._stream)


def _print(line: str, stream: TextIO) -> None:
    # A closed terminal, or a full disk behind a log, is no reason to end a run.
    with contextlib.suppress(OSError):
        stream.write(line + "\n")
        stream.flush()
