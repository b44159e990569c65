"""A run's progress: jobs, images, rate, time left, per lane and in total."""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from venice_batch.api.answers import Verdict
from venice_batch.events import AttemptEnded, JobEnded, JobKept, RunStarted, Sending, Stopping
from venice_batch.model import Status
from venice_batch.pacing.estimate import LATENCY_S, Load, run_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from venice_batch.events import Event, RunState
    from venice_batch.pacing.lane import LaneState


RATE_S = 60.0
"""Seconds over which rates are measured."""


class Rate:
    """Count the events of the last `RATE_S` seconds, with one counter for each second."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, int]] = deque()

    def add(self, count: int, now_s: float) -> None:
        """Add `count` events at `now_s`."""
        self._forget(now_s)
        second, before = math.floor(now_s), 0
        if self._counts and self._counts[-1][0] == second:
            before = self._counts.pop()[1]
        self._counts.append((second, before + count))

    def a_minute(self, now_s: float, over_s: float) -> float:
        """Return the events a minute over the last `over_s` seconds, limited to 1 to `RATE_S`."""
        self._forget(now_s)
        return sum(count for _, count in self._counts) * 60 / min(RATE_S, max(1.0, over_s))

    def _forget(self, now_s: float) -> None:
        while self._counts and self._counts[0][0] <= now_s - RATE_S:
            self._counts.popleft()


_NEW_SHARE = 0.1
"""Weight of the latest request in a lane's moving average of latency."""


class LaneMode(StrEnum):
    """What a lane is doing."""

    WAITING = "waiting"  # it has sent nothing yet
    OPEN = "open"  # its own limits let it send
    WINDOW = "window"  # its quota is used up until the next window
    GATE = "gate"  # the server has asked it to wait, or is overloaded
    HELD = "held"  # all lanes of the bucket wait: the API blocks the user, or is close to it
    DONE = "done"


@dataclass(frozen=True, slots=True)
class LaneProgress:
    """One lane at one moment.

    `until_s` is the number of seconds that its mode lasts; infinity if it lasts until an answer comes. `quota` is the
    number of images that its window takes, `quota_left` how many of them are left; both are None if no limit is known.
    A lane that is held may open earlier: answers to its requests under way can shorten the wait.
    """

    name: str
    jobs: int
    done: int
    failed: int
    in_flight: int
    mode: LaneMode
    until_s: float
    quota: int | None
    quota_left: int | None
    rejected: int = 0

    @property
    def left(self) -> int:
        """Jobs without an outcome."""
        return self.jobs - self.done - self.failed - self.rejected


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at one moment.

    `jobs` counts the whole file: `done` have their images, from this run or an earlier one, `failed` and `rejected`
    have none, and `rejected_before` were rejected by an earlier run and are not sent again. `quota_a_minute` is the sum
    of the limits of all lanes that had jobs left within the span of the rate; None if one of them has no known limit.
    `spent_usd` includes `possibly_billed_usd`, which may have been charged for images that never arrived; without it,
    `spent_usd` never exceeds `expected_usd`. `unpriced` requests were or may have been charged at an unknown price.
    `sandbox` means that no real money was spent. `stopping` is the reason why the run is ending early. `eta_s` is None
    before the first request, while the run is stopping, and while a lane stays closed until an answer comes.
    """

    jobs: int
    done: int
    rejected_before: int
    failed: int
    rejected: int
    left: int
    images: int
    bytes: int
    in_flight: int
    images_a_minute: float
    quota_a_minute: float | None
    retries: int
    spent_usd: float | None
    possibly_billed_usd: float
    expected_usd: float | None
    elapsed_s: float
    eta_s: float | None
    stopping: str | None
    lanes: tuple[LaneProgress, ...]
    unpriced: int = 0
    sandbox: bool = False


class _Lane:
    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.ended: Counter[Status] = Counter()
        self.images = 0
        self.attempts = 0
        self.latency_s: float | None = None
        self.ended_s = -math.inf

    @property
    def left(self) -> int:
        return self.jobs - self.ended.total()

    @property
    def requests_a_job(self) -> float:
        """Requests that a job needs on average; more than 1 if jobs had to be tried again."""
        return max(1.0, self.attempts / max(self.ended.total(), 1)) if self.ended else 1.0

    @property
    def images_a_job(self) -> int:
        """Images that a job takes of the lane's window, by the average of the jobs that succeeded."""
        return max(1, round(self.images / self.ended[Status.SUCCEEDED])) if self.images else 1

    def timed(self, latency_s: float) -> None:
        before = latency_s if self.latency_s is None else self.latency_s
        self.latency_s = before + _NEW_SHARE * (latency_s - before)


class ProgressMeter:
    """An observer that counts events; `progress` calculates the rest when it is called.

    Memory grows with the number of lanes, not of jobs. `now` is a clock that never steps back.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._began_s = now()
        self._started = RunStarted("", "", 0, 0, ())
        self._state: Callable[[], RunState] | None = None
        self._lanes: dict[str, _Lane] = {}
        self._counts: Counter[str] = Counter()
        self._possibly_billed_usd = 0.0
        self._sandbox = False
        self._rate = Rate()
        self._stopping: str | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, AttemptEnded):
            lane = self._lane(event.job.model)
            # Requests that the server asks to wait are repeated by design, so they are no extra attempts.
            lane.attempts += event.verdict not in (Verdict.LIMITED, Verdict.BLOCKED)
            if event.possibly_billed:
                self._possibly_billed_usd += event.spent_usd or 0.0
            if event.spent_usd is None and (event.possibly_billed or event.verdict is Verdict.SUCCEEDED):
                self._counts["unpriced"] += 1
            if event.verdict is Verdict.SUCCEEDED:
                lane.timed(event.attempt.duration_s)
        elif isinstance(event, JobEnded):
            outcome, now_s = event.outcome, self._now()
            lane = self._lane(outcome.lane)
            lane.ended[outcome.status] += 1
            lane.ended_s = now_s
            lane.images += len(outcome.files)
            self._sandbox = self._sandbox or outcome.sandbox
            self._counts[outcome.status] += 1
            self._counts["retries"] += max(0, len(outcome.attempts) - 1)
            if outcome.reused is None:  # disks are faster than models
                self._counts["images"] += len(outcome.files)
                self._counts["bytes"] += sum(file.bytes for file in outcome.files)
                self._rate.add(len(outcome.files), now_s)
        elif isinstance(event, JobKept):
            self._lane(event.lane).jobs -= 1
            self._counts["kept_done" if event.done else "kept_rejected"] += 1
        elif isinstance(event, RunStarted):
            self._started = event
            self._lanes = {name: _Lane(jobs) for name, jobs in event.pending.items()}
        elif isinstance(event, Sending):
            self._state = event.state
            self._began_s = self._now()
        elif isinstance(event, Stopping):
            self._stopping = event.reason

    def progress(self) -> Progress:
        """Return the run's progress now. Call it on the event loop, because it reads the state of the run."""
        now_s = self._now()
        state = self._state() if self._state is not None else None
        states = {lane.name: lane for lane in state.lanes} if state else {}
        # An endless hold ends with the next answer, so it counts as none.
        held_s = state.held_s if state and not math.isinf(state.held_s) else 0.0
        started, counts = self._started, self._counts
        lanes = tuple(_lane_progress(name, lane, states.get(name), held_s) for name, lane in self._lanes.items())
        left = sum(lane.left for lane in lanes)
        done = started.done + counts["kept_done"] + counts[Status.SUCCEEDED]
        rejected_before = started.jobs - started.done - sum(started.pending.values()) + counts["kept_rejected"]
        elapsed_s = now_s - self._began_s
        window_s = max((lane.window_s for lane in states.values() if lane.window_limit is not None), default=0.0)
        eta_s = None
        if state is not None and self._stopping is None:
            time_left_s = run_s(self._loads(states, held_s), state.concurrency)
            eta_s = time_left_s if math.isfinite(time_left_s) else None
        return Progress(
            jobs=started.jobs,
            done=done,
            rejected_before=rejected_before,
            failed=counts[Status.FAILED],
            rejected=counts[Status.REJECTED],
            left=left,
            images=counts["images"],
            bytes=counts["bytes"],
            in_flight=sum(lane.in_flight for lane in lanes),
            # A quota is often used up at the beginning of its window: measure over whole windows.
            images_a_minute=self._rate.a_minute(now_s, _whole_windows_s(elapsed_s, window_s)),
            quota_a_minute=self._quota_a_minute(states, now_s),
            retries=counts["retries"],
            spent_usd=state.spent_usd if state else None,
            possibly_billed_usd=self._possibly_billed_usd,
            expected_usd=started.expected_usd,
            elapsed_s=elapsed_s,
            eta_s=eta_s,
            stopping=self._stopping,
            lanes=lanes,
            unpriced=counts["unpriced"],
            sandbox=self._sandbox,
        )

    def _lane(self, name: str) -> _Lane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane(0)
        return lane

    def _quota_a_minute(self, states: dict[str, LaneState], now_s: float) -> float | None:
        quotas = []
        for name, lane in self._lanes.items():
            if lane.left <= 0 and lane.ended_s <= now_s - RATE_S:
                continue
            state = states.get(name)
            if state is None or state.window_limit is None:
                return None
            quotas.append(state.window_limit * 60 / state.window_s)
        return sum(quotas) if quotas else None

    def _loads(self, states: dict[str, LaneState], held_s: float) -> list[Load]:
        timed = [lane.latency_s for lane in self._lanes.values() if lane.latency_s is not None]
        usual_s = sum(timed) / len(timed) if timed else LATENCY_S
        return [_load(lane, states.get(name), usual_s, held_s) for name, lane in self._lanes.items() if lane.left > 0]


def _whole_windows_s(elapsed_s: float, window_s: float) -> float:
    """Return `elapsed_s` rounded up to whole windows, at least one; a window of 0 s means that there are no windows."""
    return max(1, math.ceil(elapsed_s / window_s)) * window_s if window_s else elapsed_s


def _load(lane: _Lane, state: LaneState | None, usual_s: float, held_s: float) -> Load:
    latency_s = usual_s if lane.latency_s is None else lane.latency_s
    if state is None:
        return Load(requests=lane.left, latency_s=latency_s)
    requests = math.ceil(max(0, lane.left - state.in_flight) * lane.requests_a_job)
    return Load(
        requests=requests,
        sizes=((lane.images_a_job, requests),),
        latency_s=latency_s,
        under_way=state.in_flight,
        at_a_time=state.limit,
        quota=state.window_limit,
        window_s=state.window_s,
        left=state.window_left,
        renews_in_s=state.renews_in_s,
        opens_in_s=max(held_s, state.opens_in_s, 0.0 if math.isinf(state.held_s) else state.held_s),
    )


def _lane_progress(name: str, lane: _Lane, state: LaneState | None, held_s: float) -> LaneProgress:
    mode, until_s = _mode(lane, state, held_s)
    known = state is not None and state.window_limit is not None
    return LaneProgress(
        name=name,
        jobs=lane.jobs,
        done=lane.ended[Status.SUCCEEDED],
        failed=lane.ended[Status.FAILED],
        rejected=lane.ended[Status.REJECTED],
        in_flight=state.in_flight if state else 0,
        mode=mode,
        until_s=until_s,
        quota=state.window_limit if state else None,
        quota_left=max(0, math.floor(state.window_left)) if state is not None and known else None,
    )


def _mode(lane: _Lane, state: LaneState | None, held_s: float) -> tuple[LaneMode, float]:
    if lane.left <= 0:
        return LaneMode.DONE, math.inf
    if state is None:
        return LaneMode.WAITING, math.inf
    own_s = 0.0 if math.isinf(state.held_s) else state.held_s
    if max(held_s, own_s) > state.opens_in_s:
        return LaneMode.HELD, max(held_s, own_s)
    if state.opens_in_s <= 0:
        return LaneMode.OPEN, math.inf
    # The gate of an overloaded model closes for moments within a window that is open.
    return (LaneMode.GATE if state.gate_s >= state.opens_in_s else LaneMode.WINDOW), state.opens_in_s
