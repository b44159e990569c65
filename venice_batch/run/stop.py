"""Everything that ends a run early: signals, an API out of reach, a full disk."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from venice_batch import portable
from venice_batch.api.answers import Fault, Verdict
from venice_batch.errors import ExitCode, FolderError
from venice_batch.events import JobEnded, Notice
from venice_batch.output.disk import Disk
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anyio.abc import TaskStatus

    from venice_batch.api.answers import Answer
    from venice_batch.clock import Clock
    from venice_batch.events import Event, Observer


@dataclass(frozen=True, slots=True)
class Stop:
    """The reason why a run ends with jobs pending, and its exit code."""

    code: ExitCode
    reason: str


class StoppedError(Exception):
    """Raised inside a run instead of sending or waiting once it stops; the job stays pending."""


class StopSignal:
    """A signal that is set once, by the first reason to stop; no request is sent after it."""

    def __init__(self) -> None:
        self.stop: Stop | None = None
        self.event = anyio.Event()

    def request(self, stop: Stop) -> None:
        """Stop for this reason, unless there is one already."""
        if self.stop is None:
            self.stop = stop
            self.event.set()

    def check(self) -> None:
        """Raise StoppedError once a stop was requested."""
        if self.stop is not None:
            raise StoppedError


async def stop_on_signals(
    stop_signal: StopSignal, scope: anyio.CancelScope, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Turn the first signal into a stop that lets what is under way finish, cancel `scope` at the second.

    Runs until cancelled; has started once signals are received, and restores the former handlers. A
    closed terminal (SIGHUP) ends a run as SIGTERM does, unless the process was started to ignore it (nohup).
    """
    former = {number: signal.getsignal(number) for number in portable.TERMINATION_SIGNALS}
    watched = [number for number, handler in former.items() if handler is not signal.SIG_IGN]
    try:
        with portable.signal_receiver(*watched) as signals:
            task_status.started()
            before = False
            async for number in signals:
                if before:
                    scope.cancel()
                    return
                before = True
                code = ExitCode.SIGINT if number == signal.SIGINT else ExitCode.SIGTERM
                stop_signal.request(Stop(code, f"stopped by {signal.Signals(number).name}"))
    finally:
        for number in watched:
            signal.signal(number, former[number])  # the event loop leaves the system's own


MOST_INTERCEPTED = 3
"""Jobs in a row that somebody else than the API has answered before everything counts as refused on the way."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds of failing to connect before the run stops.

    `first_s` counts before the first connection, when a wrong address is more likely than an outage. `later_s` counts
    after it, and is long enough for a router or a gateway to restart.
    """

    first_s: float = 15.0
    later_s: float = 120.0


class Connectivity:
    """Watch over all lanes whether connections succeed, and whether the API answers on them.

    `known`: the API has answered at this address before, in an earlier run or to a request for a listing.
    """

    def __init__(self, patience: Patience, *, known: bool = False) -> None:
        self._patience = patience
        self._ever = False
        self._lost_since_s: float | None = None
        self.known = known
        self._served = False
        self._doubted_s: float | None = None
        self._requests = 0
        self._under_way: set[int] = set()
        self._intercepted: set[str] = set()
        self._row_began = 0

    def note(self, now_s: float, *, reached: bool) -> str | None:
        """Take one attempt into account; return the advice for the user once the API is to be given up, else None.

        `now_s` is time in which the process ran (`Clock.running`): a laptop that slept has not tried to connect.
        """
        if reached:
            self._ever, self._lost_since_s = True, None
            return None
        if self._lost_since_s is None:
            self._lost_since_s = now_s
        if (self.left_s(now_s) or 0.0) > 0:
            return None
        return "run the same command again when it can" if self._ever else "is the address right?"

    def left_s(self, now_s: float) -> float | None:
        """Return the seconds until an API that cannot be reached is given up; None while it can be reached."""
        if self._lost_since_s is None:
            return None
        return self._lost_since_s + (self._patience.later_s if self._ever else self._patience.first_s) - now_s

    def sent(self) -> int:
        """Note that a request goes out; return its number, for `ended`."""
        self._requests += 1
        self._under_way.add(self._requests)
        return self._requests

    def ended(self, number: int) -> None:
        """Note that the request is over, however it ended. Call it before `judge`."""
        self._under_way.discard(number)

    def judge(self, answer: Answer, job: str) -> Verdict:
        """Return the verdict on the answer for the job with this id, in the light of the answers before.

        The page of a firewall, a proxy or a router (NOT_THE_API) proves a wrong address only if the API has never
        answered there. Otherwise it is that job's trouble, and the job is tried again (TRANSIENT). The address is
        doubted again once `MOST_INTERCEPTED` jobs in a row have got a page, the API has answered none between, and
        nothing is under way that was sent before the first of them.

        A refused key counts at once if nothing was served yet. A key that has worked counts as refused when a request
        that was sent after the first refusal is refused too: an authentication service that restarts also says 401.
        """
        verdict = answer.verdict
        if verdict is Verdict.WRONG_ADDRESS:
            return self._judge_intermediary(answer, job)
        if answer.status is None or answer.fault is not None or not answer.from_api:
            return verdict
        self.known = True
        self._intercepted.clear()
        if verdict is Verdict.KEY_REFUSED:
            if not self._served or (self._doubted_s is not None and answer.sent_s >= self._doubted_s):
                return verdict
            self._doubted_s = answer.received_s if self._doubted_s is None else self._doubted_s
            return Verdict.TRANSIENT
        if answer.status < 500:  # a server that fails may not have looked at the key
            self._served, self._doubted_s = True, None
        return verdict

    def _judge_intermediary(self, answer: Answer, job: str) -> Verdict:
        # An address that redirects may have a listing all the same.
        redirected = answer.status is not None and answer.status < 400
        if not (self._served if redirected else self.known):
            return Verdict.KEY_REFUSED if answer.status in (401, 403) else Verdict.WRONG_ADDRESS
        if not self._intercepted:
            self._row_began = self._requests
        self._intercepted.add(job)
        # Pages come at once, images take their time: requests sent before the first page may still be answered.
        if len(self._intercepted) < MOST_INTERCEPTED or any(number <= self._row_began for number in self._under_way):
            return Verdict.TRANSIENT
        return Verdict.WRONG_ADDRESS


def stop_reason(answer: Answer, *, known: bool) -> str:
    """Return why the run stops at an answer that is not from the API, or that refuses the key."""
    if answer.fault is not Fault.NOT_THE_API:
        return f"the API refused the key: {answer.message}"
    if known:
        return f"something on the way to the API refuses everything: {answer.message}; run the same command again later"
    hint = "" if "--base-url" in answer.message else "; is --base-url right?"
    if answer.status in (401, 403):
        return f"the key was refused, though not in the API's own words: {answer.message}{hint}"
    return f"this is not the API: {answer.message}{hint}"


LOOK_EVERY_S = 1.0
UNKNOWN_BYTES = 1024 * 1024
"""The assumed size of a job's images if none is recorded."""
KEPT_FREE_BYTES = 256 * 1024
"""Room that is left for records, the summary and the file system's own lists."""
LARGE_BYTES = 64 * 1024 * 1024
"""With this much room for each request, sizes do not matter."""


class DiskSpaceWatch:
    """An observer that learns how large a job's images get, and stops the run before the disk is full.

    Requests under way are paid for, so there must be room for their images.

    Parameters:
        look: return the bytes left for `root`, None if the system does not say. Raises FolderError when the folder can
        no
            longer be used, as when another run could get in. May wait for the disk.
        most: return the most requests that were under way at a time; set before `run`.
        recorded: return the size of the largest job recorded so far, 0 without any. May wait for the disk.
    """

    def __init__(
        self,
        root: Path,
        look: Callable[[], int | None],
        stop_signal: StopSignal,
        clock: Clock,
        *,
        most: Callable[[], int] = lambda: 0,
        recorded: Callable[[], int] = lambda: 0,
    ) -> None:
        self._root = root
        self._look = look
        self._stop_signal = stop_signal
        self._clock = clock
        self.most = most
        self._recorded = recorded
        self._largest_bytes = 0
        self._left_bytes: int | None = None
        self._disk = Disk()

    def __call__(self, event: Event) -> None:
        if isinstance(event, JobEnded):
            size = sum(file.bytes for file in event.outcome.files)
            self._largest_bytes = max(self._largest_bytes, size)
            if self._left_bytes is not None:
                self._left_bytes -= size
                self._weigh()

    async def begin(self, most: int, observe: Observer) -> int:
        """Look before anything is sent; return how many requests, of `most`, there is room for at a time.

        If there is not even room for one, a stop is requested.
        """
        async with anyio.create_task_group() as asking:
            asking.start_soon(self._give_up, asking.cancel_scope)
            left_bytes = await self._ask()
            if left_bytes is not None and left_bytes < most * LARGE_BYTES:
                self._largest_bytes = max(self._largest_bytes, await self._disk.ask(self._recorded))
            asking.cancel_scope.cancel()
        left_bytes = self._left_bytes
        if left_bytes is None or left_bytes >= most * LARGE_BYTES or self._stop_signal.stop is not None:
            return most
        one_bytes = self._largest_bytes or UNKNOWN_BYTES
        room = left_bytes // one_bytes
        if room < 1:
            self._stop(left_bytes, f"an image may take {one_bytes / 1e6:.1f} MB")
        elif room < most:
            left = f"only {left_bytes / 1e6:.1f} MB are left"
            observe(Notice(f"{self._root}: {left}; at most {counted(room, 'request')} at a time"))
        return max(1, min(most, room))

    async def run(self) -> None:
        """Look every second; request a stop once there is too little room or the folder can no longer be used."""
        while self._stop_signal.stop is None:
            await self._clock.wait(anyio.Event(), LOOK_EVERY_S)
            await self._ask()
            self._weigh()

    async def _give_up(self, scope: anyio.CancelScope) -> None:
        await self._stop_signal.event.wait()
        scope.cancel()

    async def _ask(self) -> int | None:
        try:
            found = await self._disk.ask(self._look)
        except FolderError as error:
            self._stop_signal.request(Stop(error.exit_code, str(error)))
            return None
        self._left_bytes = None if found is None else found - KEPT_FREE_BYTES
        return self._left_bytes

    def _weigh(self) -> None:
        # Twice: once an image is on the disk the next request goes out, before its size is known here.
        needed_bytes = 2 * self.most() * self._largest_bytes
        if self._left_bytes is not None and needed_bytes and self._left_bytes < needed_bytes:
            self._stop(self._left_bytes, f"what is under way may take {needed_bytes / 1e6:.1f} MB")

    def _stop(self, left_bytes: int, needed: str) -> None:
        reason = (
            f"{self._root}: the disk is almost full: {max(0, left_bytes) / 1e6:.1f} MB are left, and {needed};"
            " free some space, then run the same command again"
        )
        self._stop_signal.request(Stop(ExitCode.FOLDER_UNUSABLE, reason))
