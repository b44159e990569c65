"""What a run says on the terminal and in logs."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, TextIO

import orjson

from venice_batch.errors import one_line
from venice_batch.events import AttemptEnded, JobEnded, Notice, RunEnded, RunStarted, Stopping, Waiting
from venice_batch.model import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from venice_batch.events import Event, Observer
    from venice_batch.summary import Summary

EVERY_S = 5.0
"""Time between two lines of progress, at least."""


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
        self._jobs = self._done = self._failed = self._images = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._jobs, self._done = event.jobs, event.done
            self._say(
                f"{event.jobs} jobs for {', '.join(event.lanes[:4])}{'…' if len(event.lanes) > 4 else ''}"
                f" → {event.output}" + (f", {event.done} done before" if event.done else "")
            )
        elif isinstance(event, JobEnded):
            self._job_ended(event)
        elif isinstance(event, AttemptEnded):
            if self._due() and event.lane.opens_in_s > EVERY_S:
                self._progress(f", {event.lane.name} waits {event.lane.opens_in_s:.0f} s for its next window")
        elif isinstance(event, Waiting):
            self._say(f"{event.holder} is using {event.output}; waiting up to {event.timeout_s:g} s for it")
        elif isinstance(event, Notice):
            self._write(event.text)
        elif isinstance(event, Stopping):
            self._write(f"stopping: {event.reason}; {event.in_flight} under way may still finish")

    def _job_ended(self, event: JobEnded) -> None:
        outcome = event.outcome
        self._images += len(outcome.files)
        if outcome.status is Status.SUCCEEDED:
            self._done += 1
        else:
            self._failed += 1
            reason = f"{outcome.error.kind}: {outcome.error.message}" if outcome.error else ""
            self._write(f"{outcome.id}: {outcome.status}: {reason}")
        if self._due():
            self._progress("")

    def _due(self) -> bool:
        return self._now() - self._last_s >= EVERY_S

    def _progress(self, more: str) -> None:
        self._last_s = self._now()
        rate = self._images / max(self._last_s - self._began_s, 1e-9) * 60
        failed = f", {self._failed} failed" if self._failed else ""
        self._say(f"{self._done}/{self._jobs} done{failed}, {rate:.0f} images a minute{more}")

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._write(text)

    def _write(self, text: str) -> None:
        _print(one_line(text), self._stream)


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
            try:
                line = orjson.dumps(record).decode()
            except TypeError:  # a lone surrogate, as in the name of a folder that is no UTF-8
                line = orjson.dumps({name: _text_only(value) for name, value in record.items()}).decode()
            if not line.isprintable():  # JSON lets pass some that terminals act on, and line ends beyond ASCII
                line = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)
            _print(line, self._stream)


def _print(line: str, stream: TextIO) -> None:
    # A terminal that was closed, or a full disk behind a log, is no reason to end a run.
    with contextlib.suppress(OSError):
        stream.write(line + "\n")
        stream.flush()


def _text_only(value: object) -> object:
    if isinstance(value, list):
        return [_text_only(item) for item in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def closing(summary: Summary) -> str:
    """The closing lines: what came of the jobs, where it is, what to do about the rest."""
    parts = [f"{summary.succeeded} succeeded"]
    counts = (
        (summary.already_done, "done before"),
        (summary.failed, "failed"),
        (summary.rejected + summary.already_rejected, "rejected"),
        (summary.pending, "pending"),
    )
    parts += [f"{count} {what}" for count, what in counts if count]
    lines = [
        f"{summary.jobs} jobs: {', '.join(parts)}",
        f"{summary.images} images, {size(summary.bytes)} in {summary.elapsed_s:.1f} s"
        f" ({summary.attempts} requests, {summary.refused} refused, {summary.blocks} blocks)",
    ]
    if summary.succeeded:
        p50, p95 = summary.total_s.p50 or 0.0, summary.total_s.p95 or 0.0
        lines.append(f"a job took {p50:.2f} s (p50), {p95:.2f} s (p95) from its turn in the queue to its record")
    if summary.errors:
        lines.append("errors: " + ", ".join(f"{count} {kind}" for kind, count in sorted(summary.errors.items())))
    if summary.possibly_billed:
        lines.append(f"{summary.possibly_billed} requests may have been charged for an image that never arrived")
    if summary.already_rejected:
        lines.append(f"{summary.already_rejected} were refused before; --retry-rejected asks again")
    if summary.reason:
        lines.append(f"stopped: {summary.reason}")
    lines.append(f"in {summary.output}: images, manifest.jsonl, summary.json")
    return "\n".join(map(one_line, lines))


def size(count: int) -> str:
    """Bytes for people, in powers of ten."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return ""  # not reached: the last unit takes any value
