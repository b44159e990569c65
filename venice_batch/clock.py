"""Time as the rest of the package sees it."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType

    from anyio import Event

BEAT_S = 0.2
LONGEST_BEAT_S = 0.5
"""A process that has not come to look at the clock for longer than this was stopped: a busy one is not so late."""
READ_FIRST_S = 5.0
"""After a stop, the time to read what has arrived meanwhile before any deadline is believed."""


class Clock(Protocol):
    """Where time comes from, so that tests and simulations can move it."""

    def now(self) -> float:
        """Seconds on a clock that never steps back; only differences mean anything."""
        ...

    def wall(self) -> float:
        """Seconds since the Unix epoch, as this machine believes."""
        ...

    def running(self) -> float:
        """As `now`, but it stands still while this process is stopped (SIGSTOP, a paused container).

        Only stops inside `beating` are noticed.
        """
        ...

    def resumed(self) -> float:
        """The moment (of `now`) at which the last stop that `running` has noticed was over; minus infinity for none."""
        ...

    def beating(self) -> AbstractContextManager[None]:
        """Notice that the process was stopped, as long as the block lasts; needs a running event loop."""
        ...

    async def wait(self, event: Event, timeout_s: float) -> None:
        """Return when `event` is set, or after `timeout_s` seconds (infinity: never)."""
        ...


def left_s(clock: Clock, ends_s: float, chance_s: float = READ_FIRST_S) -> float:
    """Seconds until the moment `ends_s` of `clock.running`, but `chance_s` at least after the process was stopped."""
    left = ends_s - clock.running()
    return max(left, clock.resumed() + chance_s - clock.now())


class SystemClock:
    """The machine's own clocks; `monotonic` may be another's in a test."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._looked_s: float | None = None
        self._stopped_s = 0.0
        self._resumed_s = -math.inf
        self._beating = 0

    def now(self) -> float:
        return self._monotonic()

    def wall(self) -> float:
        return time.time()

    def running(self) -> float:
        now_s = self._monotonic()
        if self._looked_s is not None:
            stopped_s = now_s - self._looked_s - LONGEST_BEAT_S
            if stopped_s > 0:
                self._stopped_s += stopped_s
                self._resumed_s = now_s
            self._looked_s = now_s
        return now_s - self._stopped_s

    def resumed(self) -> float:
        return self._resumed_s

    @contextmanager
    def beating(self) -> Iterator[None]:
        import asyncio

        loop = asyncio.get_running_loop()
        self._beating += 1
        if self._looked_s is None:
            self._looked_s = self._monotonic()

        timer: list[asyncio.TimerHandle] = []

        def beat() -> None:
            self.running()
            timer[:] = [loop.call_later(BEAT_S, beat)]

        beat()
        try:
            yield
        finally:
            timer[0].cancel()
            self._beating -= 1
            if not self._beating:
                self._looked_s = None

    async def wait(self, event: Event, timeout_s: float) -> None:
        # Imported here: `check` and `--help` use this module and never wait.
        import anyio

        if timeout_s == math.inf:
            await event.wait()  # a scope that never ends costs as much as one that does
            return
        with anyio.move_on_after(max(0.0, timeout_s)):
            await event.wait()


class Deadline:
    """Raise TimeoutError in its block after the process has run for `limit_s` of it; an async context manager.

    aiohttp's own timeouts are over at once when a process goes on that was stopped for longer (Ctrl-Z, a paused
    container), before it has read the answers that came meanwhile, and which are paid for.
    """

    def __init__(self, clock: Clock, limit_s: float) -> None:
        import asyncio

        self._clock = clock
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._timeout = asyncio.timeout(None)
        self.has_arrived: Callable[[], bool] = bool
        """Whether there is nothing more to wait for: a slow disk is no timeout."""

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._ends_s = self._clock.running() + self._limit_s
        self._timer = self._loop.call_later(self._limit_s, self._look)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, traceback)

    def _look(self) -> None:
        left = left_s(self._clock, self._ends_s, min(self._limit_s, READ_FIRST_S))
        if left > 0 or self.has_arrived():
            self._timer = self._loop.call_later(left if left > 0 else 1.0, self._look)
        else:
            self._timeout.reschedule(self._loop.time())
