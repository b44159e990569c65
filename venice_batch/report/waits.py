"""What a run is waiting for, and for how long."""

from __future__ import annotations

import math
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from venice_batch.api.answers import Verdict
from venice_batch.events import (
    AttemptEnded,
    JobEnded,
    Reachable,
    Retrying,
    RunEnded,
    RunStarted,
    Sending,
    Unreachable,
    Waiting,
)
from venice_batch.report.progress import LaneMode
from venice_batch.text_format import counted, span

if TYPE_CHECKING:
    from collections.abc import Callable

    from venice_batch.events import Event
    from venice_batch.report.progress import LaneProgress, Progress


class WaitReason(StrEnum):
    """Why a run does not send at the moment, or not for one of its models."""

    FOLDER = "folder"  # another run uses the output folder
    REUSE = "reuse"  # before anything is sent: images of other folders are taken
    LIMITS = "limits"  # before the first request: the API is asked for the key's limits
    UNREACHABLE = "unreachable"  # no connection to the API
    BLOCKED = "blocked"  # the API refuses everything after too many errors
    ERROR_BUDGET = "error_budget"  # a pause that keeps the errors below that
    OVERLOADED = "overloaded"  # the model is at capacity (503)
    LIMITED = "limited"  # the API has asked for a wait (429)
    WINDOW = "window"  # the model's quota is used up until its next window
    BACKOFF = "backoff"  # jobs wait before they are tried again
    ANSWERS = "answers"  # requests are under way


class Wait(msgspec.Struct, frozen=True):
    """One reason to wait. `wait_s` is the longest that it may take; None if it lasts until an answer comes.

    `lane` is the model that waits; None if all of them do. `count` is a number of jobs (BACKOFF) or requests (ANSWERS).
    `detail` completes the text for people.
    """

    reason: WaitReason
    wait_s: float | None = None
    lane: str | None = None
    count: int = 0
    detail: str = ""

    @property
    def text(self) -> str:
        """What waits, how long, and for what, in a few words."""
        during = f"{span(max(1.0, self.wait_s))} " if self.wait_s is not None else ""
        match self.reason:
            case WaitReason.FOLDER:
                return f"{self.detail}; waiting up to {during}more"
            case WaitReason.REUSE:
                return "taking images of other folders"
            case WaitReason.LIMITS:
                return "asking the API for the key's limits"
            case WaitReason.UNREACHABLE:
                return self.detail
            case WaitReason.BLOCKED:
                return f"{self.lane} waits {during}because the API blocks it after too many errors"
            case WaitReason.ERROR_BUDGET:
                return f"{self.lane} waits {during}after errors, so that the API does not block it"
            case WaitReason.OVERLOADED:
                return f"{self.lane} waits {during}because it is overloaded"
            case WaitReason.LIMITED:
                return f"{self.lane} waits {during}as the API has asked (429)"
            case WaitReason.WINDOW:
                return f"{self.lane} waits {during}for its next window"
            case WaitReason.BACKOFF:
                return f"{counted(self.count, 'failed job')} will be tried again within {during.rstrip()}"
            case WaitReason.ANSWERS:
                return f"{self.count} under way"


RUN_WIDE = frozenset({WaitReason.FOLDER, WaitReason.REUSE, WaitReason.LIMITS, WaitReason.UNREACHABLE})
"""Reasons for which nothing is sent at all."""


class WaitMeter:
    """An observer that remembers the reasons to wait that a snapshot of the run does not show.

    `waits` puts them together with the snapshot. Memory grows with the lanes and with the jobs that back off.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._folder: tuple[str, float] | None = None
        self._lost = ""
        self._is_asking = False
        self._reused_left = 0
        self._is_over = False
        self._slowed: dict[str, Verdict] = {}
        self._backoffs: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, AttemptEnded):
            self._is_asking = False
            self._backoffs.pop(event.job.id, None)
            if event.verdict in (Verdict.LIMITED, Verdict.BLOCKED, Verdict.OVERLOADED):
                self._slowed[event.job.model] = event.verdict
        elif isinstance(event, Retrying):
            if event.wait_s > 0:
                self._backoffs[event.job.id] = self._now() + event.wait_s
        elif isinstance(event, JobEnded):
            self._backoffs.pop(event.outcome.id, None)
            self._reused_left -= event.outcome.reused is not None
        elif isinstance(event, Waiting):
            living = f"{event.holder} is still using {event.output}"
            silent = f"{event.holder} holds {event.output} and has not renewed its lock yet"
            self._folder = silent if event.may_be_dead else living, self._now() + event.timeout_s
        elif isinstance(event, RunStarted):
            self._folder, self._is_asking = None, any(event.pending.values())
            self._reused_left = event.reused
        elif isinstance(event, Sending):
            self._is_asking = False
        elif isinstance(event, Unreachable):
            self._lost = unreachable_text(event)
        elif isinstance(event, Reachable):
            self._lost = ""
        elif isinstance(event, RunEnded):
            self._is_over = True

    def waits(self, progress: Progress) -> list[Wait]:
        """Return every reason to wait now: those of the whole run first, then models by how long they wait."""
        now_s = self._now()
        if self._is_over:
            return []
        if self._folder is not None:
            text, until_s = self._folder
            return [Wait(WaitReason.FOLDER, max(0.0, until_s - now_s), detail=text)]
        if self._is_asking and self._reused_left > 0:
            return [Wait(WaitReason.REUSE)]
        if self._is_asking:
            return [Wait(WaitReason.LIMITS)]
        found = []
        if self._lost:
            found.append(Wait(WaitReason.UNREACHABLE, detail=self._lost))
        elif progress.stopping is None:
            lanes = [wait for lane in progress.lanes if (wait := self._of_lane(lane)) is not None]
            found += sorted(lanes, key=lambda wait: math.inf if wait.wait_s is None else wait.wait_s, reverse=True)
            left = [until_s - now_s for until_s in self._backoffs.values() if until_s > now_s]
            if left:
                found.append(Wait(WaitReason.BACKOFF, max(left), count=len(left)))
        if progress.in_flight:
            found.append(Wait(WaitReason.ANSWERS, count=progress.in_flight))
        return found

    def _of_lane(self, lane: LaneProgress) -> Wait | None:
        if lane.mode is LaneMode.WINDOW:
            reason = WaitReason.WINDOW
        elif lane.mode is LaneMode.GATE:
            is_overloaded = self._slowed.get(lane.name) is Verdict.OVERLOADED
            reason = WaitReason.OVERLOADED if is_overloaded else WaitReason.LIMITED
        elif lane.mode is LaneMode.HELD:
            is_blocked = Verdict.BLOCKED in self._slowed.values()
            reason = WaitReason.BLOCKED if is_blocked else WaitReason.ERROR_BUDGET
        else:
            return None
        return Wait(reason, lane.until_s if math.isfinite(lane.until_s) else None, lane.name)


def unreachable_text(event: Unreachable) -> str:
    """Return that the API cannot be reached, why, and until when (local time) the run keeps trying."""
    until = f"{datetime.fromtimestamp(event.gives_up_unix_s):%H:%M:%S}"
    return f"the API cannot be reached: {event.reason}, trying until {until}"
