"""Slots for requests under way, and the queue of workers that wait for one."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import anyio

from venice_batch.api.answers import Verdict
from venice_batch.errors import ExitCode
from venice_batch.pacing.lane import QUOTA_SPENT_S
from venice_batch.run.stop import Stop, StoppedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from venice_batch.api.answers import Answer
    from venice_batch.clock import Clock
    from venice_batch.pacing.limiter import Permit, RateLimiter
    from venice_batch.run.stop import StopSignal


class LaneRefusedError(Exception):
    """The model does not exist, or the key may not use it, as `answer` says."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(answer.message)


class Slots:
    """Give out permits to send, when `RateLimiter` allows it.

    In each lane one waiter asks the limiter and the others queue behind it. So an opening gate wakes one worker, not
    all of them, and a lane's requests go out in the order in which they came: a request for four images is not
    overtaken by a smaller one while the window has fewer left. Lanes wait independently.

    A slot (of anyio's CapacityLimiter) is held from `acquire` to `release`, and never while waiting for the window, the
    gate or a backoff. `acquired`, if set, is called with the lane's name whenever one of its requests got its permit
    and no other waits behind it.
    """

    def __init__(self, limiter: RateLimiter, clock: Clock, stop_signal: StopSignal, *, deadline_s: float) -> None:
        self.limiter = limiter
        self._clock = clock
        self._stop_signal = stop_signal
        self._deadline_s = deadline_s
        self._capacity = anyio.CapacityLimiter(limiter.rules.concurrency)
        self.acquired: Callable[[str], None] | None = None
        self._turns: dict[str, asyncio.Lock] = {}
        self._waiting: Counter[str] = Counter()
        self._good: set[str] = set()
        self._doubted: set[str] = set()
        self._changed: anyio.Event | None = None
        self._refused: dict[str, Answer] = {}
        self._parked: dict[str, Stop] = {}

    @property
    def in_flight(self) -> int:
        """The number of requests under way."""
        return self._capacity.borrowed_tokens

    @property
    def parked(self) -> Stop | None:
        """Why a lane's jobs were left pending while others went on, if any were."""
        return next(iter(self._parked.values()), None)

    def refuse(self, lane: str, answer: Answer) -> None:
        """Raise LaneRefusedError for all waiters of `lane`, now and later: `answer` says that it cannot be used.

        A lane that has worked before is given up only at the second such answer in a row.
        """
        if lane in self._good and lane not in self._doubted:
            self._doubted.add(lane)
            return
        self._refused.setdefault(lane, answer)
        self.wake()

    async def change(self, timeout_s: float = float("inf")) -> None:
        """Wait until a request has come back or `wake` is called, for at most `timeout_s`."""
        await self._wait_for_change(timeout_s)

    def wake(self) -> None:
        """Wake all waiters, so that they look again."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def acquire(
        self, name: str, *, units: int = 1, bucket: str = "", before: Callable[[], Awaitable[None]] | None = None
    ) -> Permit:
        """Wait until lane `name` may send a request for `units` images; return its permit, to be released.

        `bucket` is where its errors count (see `RateLimiter`). `before` is awaited once, when the request could be sent
        at once; no slot is held meanwhile, and the lane's next requests wait behind it.

        Raises:
            StoppedError: the run stops, or it will stop before the wait is over.
            LaneRefusedError: see `refuse`.
        """
        turn = self._turns.get(name)
        if turn is None:
            turn = self._turns[name] = asyncio.Lock()
        self._waiting[name] += 1
        try:
            async with turn:
                permit = await self._wait(name, units, bucket, before)
        finally:
            self._waiting[name] -= 1
        if self.acquired is not None and not self._waiting[name]:
            self.acquired(name)
        return permit

    def release(self, permit: Permit) -> None:
        """Give the slot back and learn from the permit's answer; without an answer the request counts as cancelled."""
        self._capacity.release_on_behalf_of(permit)
        if permit.answer is None:
            self.limiter.given_up(permit, self._clock.now())
        else:
            self.limiter.answered(permit, permit.answer)
            if permit.answer.verdict is Verdict.SUCCEEDED:
                self._good.add(permit.lane.name)
                self._doubted.discard(permit.lane.name)
        self.wake()

    async def _wait(self, name: str, units: int, bucket: str, before: Callable[[], Awaitable[None]] | None) -> Permit:
        lane = self.limiter.lane(name)
        while True:
            self._check(name)
            now_s = self._clock.now()
            wait_s = self.limiter.wait_s(lane, now_s, images=units, bucket=bucket)
            if wait_s <= 0 and before is not None:
                await before()
                before = None
                continue
            if wait_s <= 0:
                permit = self.limiter.send(lane, now_s, images=units, bucket=bucket)
                self._capacity.acquire_on_behalf_of_nowait(permit)
                return permit
            if wait_s != float("inf"):
                self._park_if_too_long(name, wait_s, now_s)
            await self._wait_for_change(wait_s)

    async def _wait_for_change(self, timeout_s: float) -> None:
        if self._changed is None:
            self._changed = anyio.Event()
        await self._clock.wait(self._changed, timeout_s)

    def _check(self, name: str) -> None:
        self._stop_signal.check()
        if name in self._refused:
            raise LaneRefusedError(self._refused[name])
        if name in self._parked:
            raise StoppedError

    def _park_if_too_long(self, name: str, wait_s: float, now_s: float) -> None:
        if wait_s > QUOTA_SPENT_S:
            reason = f"{name} may send again in {wait_s / 3600:.1f} h, as when a daily quota is spent"
        elif now_s + wait_s > self._deadline_s:
            reason = f"{name} may send again in {wait_s:.0f} s, after --max-time"
        else:
            return
        self._parked[name] = Stop(ExitCode.TEMPORARY, f"{reason}; run the same command again then")
        raise StoppedError
