"""The log of a run for people: plain lines."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, TextIO

from venice_batch.errors import one_line
from venice_batch.events import (
    AttemptEnded,
    JobEnded,
    Notice,
    Reachable,
    RunEnded,
    RunStarted,
    Stopping,
    Unreachable,
    Waiting,
)
from venice_batch.model import Status
from venice_batch.report.progress import ProgressMeter
from venice_batch.report.waits import RUN_WIDE, Wait, WaitMeter, WaitReason, unreachable_text
from venice_batch.text_format import counted, span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from venice_batch.events import Event
    from venice_batch.report.progress import Progress

MIN_INTERVAL_S = 5.0
"""Seconds between two progress lines at the start of a run; while requests are under way, shorter waits for windows are
not mentioned."""

MAX_INTERVAL_S = 60.0
"""Seconds between two progress lines once a run has lasted 20 minutes."""

LOOK_EVERY_S = 1.0
"""Seconds between two looks at what the run waits for."""


_REASONS: dict[type, WaitReason] = {Waiting: WaitReason.FOLDER, Unreachable: WaitReason.UNREACHABLE}
"""Reasons to wait that have a line of their own."""


class TextLog:
    """Write a line at the start, a progress line now and then, and a line for each failure; no control characters.

    A progress line also comes when the reason to wait changes. Call `tick` once every `LOOK_EVERY_S`, so that lines
    come although nothing ends.
    """

    def __init__(self, stream: TextIO | None, *, quiet: bool, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._quiet = quiet
        self._now = now
        self._began_s = self._last_s = now()
        self._meter = ProgressMeter(now)
        self._waits = WaitMeter(now)
        self._named_s: dict[WaitReason, float] = {}  # when a line has last named each reason
        self._is_running = False

    def __call__(self, event: Event) -> None:
        text = event_line(event)
        if text is not None and (not self._quiet or is_failure(event)):
            write_line(text, self._stream)
        if self._quiet:
            return  # no progress lines, so nothing to count
        self._meter(event)
        self._waits(event)
        if isinstance(event, RunStarted | Waiting):
            self._is_running = True
        elif isinstance(event, RunEnded):
            self._is_running = False
        if isinstance(event, Waiting | Unreachable | Reachable):
            self._last_s = self._now()
            if (named := _REASONS.get(type(event))) is not None:
                self._named_s[named] = self._last_s
        if isinstance(event, JobEnded | AttemptEnded) and self._is_due():
            self._report()

    def tick(self) -> None:
        """Write a progress line if one is due, or if the run waits for something else than the last one said."""
        if self._quiet or not self._is_running:
            return
        if self._is_due():
            self._report()
        else:
            progress = self._meter.progress()
            waits = self._waits.waits(progress)
            if (shown := shown_wait(waits)) is not None and self._is_news(shown):
                self._report(progress, waits)

    def _is_due(self) -> bool:
        """Return whether it is time for a progress line."""
        return self._now() - self._last_s >= self._interval_s

    @property
    def _interval_s(self) -> float:
        """Seconds between two lines: they grow to a twentieth of the elapsed time."""
        return min(MAX_INTERVAL_S, max(MIN_INTERVAL_S, (self._now() - self._began_s) / 20))

    def _is_news(self, wait: Wait) -> bool:
        """Return whether the reason is another than lines have named of late; moments of waiting are no news.

        Models take turns at waiting, each for its own reason, so it is not enough to look at the last line.
        """
        is_long = wait.wait_s is None or wait.wait_s >= LOOK_EVERY_S
        return is_long and self._now() - self._named_s.get(wait.reason, -math.inf) >= self._interval_s

    def _report(self, progress: Progress | None = None, waits: Sequence[Wait] | None = None) -> None:
        progress = progress or self._meter.progress()
        waits = self._waits.waits(progress) if waits is None else waits
        self._last_s = self._now()
        if (shown := shown_wait(waits)) is not None:
            self._named_s[shown.reason] = self._last_s
        write_line(progress_line(progress, waits), self._stream)


def event_line(event: Event) -> str | None:
    """Return the line that announces `event`; None if it gets no line of its own."""
    if isinstance(event, RunStarted):
        lanes = ", ".join(event.lanes[:4]) + ("…" if len(event.lanes) > 4 else "")
        before = f", {event.done} done before" if event.done else ""
        before += f", {event.reused} reused" if event.reused else ""
        return one_line(f"{counted(event.jobs, 'job')} for {lanes} → {event.output}{before}")
    if isinstance(event, JobEnded):
        outcome = event.outcome
        if outcome.status is Status.SUCCEEDED:
            return None
        reason = f"{outcome.error.kind}: {outcome.error.message}" if outcome.error else ""
        return one_line(f"{outcome.id}: {outcome.status}: {reason}")
    if isinstance(event, Waiting) and event.may_be_dead:
        known = f"if it does not renew its lock within {event.timeout_s:g} s it is dead, and this run goes on"
        return one_line(f"{event.holder} holds {event.output}; {known}")
    if isinstance(event, Waiting):
        return one_line(f"{event.holder} is using {event.output}; waiting up to {event.timeout_s:g} s for it")
    if isinstance(event, Unreachable):
        return one_line(unreachable_text(event))
    if isinstance(event, Reachable):
        return "the API can be reached again"
    if isinstance(event, Notice):
        return one_line(event.text)
    if isinstance(event, Stopping):
        reason = event.reason.removeprefix("stopped by ")
        return one_line(f"stopping: {reason}; {event.in_flight} under way may still finish")
    return None


def is_failure(event: Event) -> bool:
    """Return whether a quiet log shows `event` too."""
    return isinstance(event, Notice | Stopping) or (
        isinstance(event, JobEnded) and event.outcome.status is not Status.SUCCEEDED
    )


def shown_wait(waits: Sequence[Wait]) -> Wait | None:
    """Return the reason to wait that a progress line names: the gravest; None if requests under way say enough."""
    first = waits[0] if waits else None
    if first is None or first.reason is WaitReason.ANSWERS:
        return None
    is_busy = waits[-1].reason is WaitReason.ANSWERS
    is_short = first.wait_s is not None and first.wait_s <= MIN_INTERVAL_S
    return None if is_busy and is_short and first.reason not in RUN_WIDE else first


def progress_line(progress: Progress, waits: Sequence[Wait] = ()) -> str:
    """Return one line that says how far a run is, and what it waits for."""
    shown = shown_wait(waits)
    if shown is not None and shown.reason is WaitReason.FOLDER:
        return one_line(shown.text)  # the jobs are not counted yet
    parts = [f"{progress.done}/{progress.jobs} done"]
    parts += [f"{progress.failed} failed"] if progress.failed else []
    parts += [f"{progress.rejected} rejected"] if progress.rejected else []
    parts += [wait.text for wait in waits if wait.reason is WaitReason.ANSWERS]
    parts.append(f"{progress.images_a_minute:.0f} images a minute")
    is_stuck = shown is not None and shown.reason in RUN_WIDE
    if progress.eta_s is not None and progress.left and not is_stuck:
        parts.append(f"about {span(progress.eta_s)} left")
    if progress.stopping is not None:
        parts.append("stopping")
    if shown is not None:
        parts.append(shown.text)
        others = sum(wait.lane is not None for wait in waits) - (shown.lane is not None)
        parts += [f"{counted(others, 'other model')} waiting too"] if others and shown.lane is not None else []
    return one_line(", ".join(parts))


def write_line(line: str, stream: TextIO | None) -> None:
    """Write a line at once. A closed terminal, or a full disk behind a log, is no reason to end a run."""
    if stream is None:
        return
    with contextlib.suppress(OSError):
        stream.write(line + "\n")
        stream.flush()
