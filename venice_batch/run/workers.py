"""The worker pool: a queue for each lane, and workers that take its jobs to their outcomes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import anyio

from venice_batch.clock import READ_FIRST_S, left_s
from venice_batch.errors import ExitCode, FolderError, JobsFileError, ProcessesError
from venice_batch.events import JobEnded, Stopping
from venice_batch.model import Status
from venice_batch.run.stop import Stop
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from venice_batch.clock import Clock
    from venice_batch.events import Observer
    from venice_batch.model import Job, Outcome
    from venice_batch.run.attempts import JobRunner
    from venice_batch.run.slots import Slots
    from venice_batch.run.stop import StopSignal


class LaneQueue:
    """A lane's jobs in their order, each with the moment it was read.

    At most `ahead` of them wait in memory. A job is read when one before it is taken; that takes microseconds, so
    nothing is awaited.
    """

    def __init__(self, jobs: Iterator[Job], ahead: int, clock: Clock) -> None:
        self._jobs = jobs
        self._ahead = ahead
        self._clock = clock
        self._waiting: deque[tuple[Job, float]] = deque()

    def take(self) -> tuple[Job, float] | None:
        """Return the next job and when it was read, in seconds of the clock; None at the end.

        Raises what the iterator raises, once; jobs that were read before can still be taken.
        """
        while len(self._waiting) <= self._ahead and (job := next(self._jobs, None)) is not None:
            self._waiting.append((job, self._clock.now()))
        return self._waiting.popleft() if self._waiting else None


class Journal(Protocol):
    """The journal that outcomes are written to."""

    async def append(self, outcome: Outcome) -> None:
        """Return once `outcome` is written. Raises FolderError."""
        ...


class LaneJobs(Protocol):
    """One lane's pending jobs, read on demand."""

    @property
    def name(self) -> str: ...
    @property
    def pending(self) -> int: ...

    def jobs(self) -> Iterator[Job]: ...


READ_AHEAD = 32
"""Jobs of a lane that are read before a worker takes them."""


@dataclass(slots=True)
class _LaneWorkers:
    """A lane's workers and the jobs that they take."""

    queue: LaneQueue
    most: int
    workers: int = 0


class Pool:
    """Workers that each take one job at a time to its end.

    A lane starts with one worker. Whenever one of its requests goes out and no other waits behind it, another worker
    starts: a lane gets as many as it can use, and at most `workers`. A job that waits for its gate or backs off keeps
    its worker but no slot, so workers bound the jobs in memory and slots bound the requests.

    When a stop is requested, no more jobs are taken. Jobs still under way after `grace_s` are cancelled, and `hurry` is
    called.
    """

    def __init__(
        self,
        *,
        runner: JobRunner,
        journal: Journal,
        slots: Slots,
        stop_signal: StopSignal,
        clock: Clock,
        observe: Observer,
        workers: int,
        grace_s: float,
        max_failures: int | None,
        hurry: Callable[[], None] = lambda: None,
    ) -> None:
        self._runner = runner
        self._journal = journal
        self._slots = slots
        self._stop_signal = stop_signal
        self._clock = clock
        self._observe = observe
        self._workers = workers
        self._grace_s = grace_s
        self._max_failures = max_failures
        self._hurry = hurry
        self._failures = 0

    async def run(self, lanes: Sequence[LaneJobs]) -> None:
        """Return when every job has its outcome or the run was stopped; the stop signal says which."""
        async with anyio.create_task_group() as watch:
            watch.start_soon(self._watch_stop, watch.cancel_scope)
            async with anyio.create_task_group() as work:
                started = {lane.name: self._lane_workers(lane) for lane in lanes if lane.pending}

                def start(name: str) -> None:
                    of_lane = started.get(name)
                    if of_lane is not None and of_lane.workers < of_lane.most and self._stop_signal.stop is None:
                        of_lane.workers += 1
                        work.start_soon(self._work, of_lane.queue)

                self._slots.acquired = start
                for name in started:
                    start(name)
            watch.cancel_scope.cancel()

    def _lane_workers(self, lane: LaneJobs) -> _LaneWorkers:
        most = min(self._workers, lane.pending)
        return _LaneWorkers(LaneQueue(lane.jobs(), min(READ_AHEAD, most), self._clock), most)

    async def _work(self, queue: LaneQueue) -> None:
        try:
            while self._stop_signal.stop is None and (taken := queue.take()) is not None:
                outcome = await self._runner.run(*taken)
                if outcome is None:
                    return
                await self._journal.append(outcome)
                self._ended(outcome)
        except (FolderError, ProcessesError) as error:
            self._stop(error.exit_code, str(error))
        except JobsFileError as error:
            self._stop(ExitCode.INVALID, str(error))

    def _stop(self, code: ExitCode, reason: str) -> None:
        self._stop_signal.request(Stop(code, reason))
        self._slots.wake()

    def _ended(self, outcome: Outcome) -> None:
        self._observe(JobEnded(outcome))
        if outcome.status is Status.SUCCEEDED:
            return
        self._failures += 1
        if self._max_failures is not None and self._failures >= self._max_failures:
            failed = f"{counted(self._failures, 'job')} failed (--max-failures); see the manifest"
            self._stop(ExitCode.TEMPORARY, failed)

    async def _watch_stop(self, scope: anyio.CancelScope) -> None:
        await self._stop_signal.event.wait()
        self._slots.wake()
        stop = self._stop_signal.stop
        if stop is not None:
            self._observe(Stopping(stop.reason, self._slots.in_flight))
        ends_s = self._clock.running() + self._grace_s
        # A pause is no grace: answers that came meanwhile are read before their requests are cancelled.
        while (left := left_s(self._clock, ends_s, min(self._grace_s, READ_FIRST_S))) > 0:
            await self._clock.wait(anyio.Event(), left)
        self._hurry()
        scope.cancel()
