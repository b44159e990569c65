"""The clock that the rest of the package reads and waits on, and deadlines that survive a stopped process."""

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
"""How often a running process looks at the clock, in seconds."""
LONGEST_BEAT_S = 0.5
"""A longer gap between two looks means that the process was stopped: a busy one is never that late."""
READ_FIRST_S = 5.0
"""Seconds after a stop for reading the answers that have arrived meanwhile; no deadline ends in them."""


class Clock(Protocol):
    """The source of time, which tests and simulations replace."""

    def now(self) -> float:
        """Return seconds on a clock that never steps back; only differences mean anything."""
        ...

    def wall(self) -> float:
        """Return seconds since the Unix epoch by this machine's clock, which may be wrong."""
        ...

    def running(self) -> float:
        """Return seconds as `now` does, less those in which the process was stopped (SIGSTOP, a paused container).

        Only stops inside `beating` are noticed.
        """
        ...

    def resumed(self) -> float:
        """Return the time (of `now`) when the last noticed stop ended; minus infinity if there was none."""
        ...

    def beating(self) -> AbstractContextManager[None]:
        """Notice stops of the process while the block lasts; needs a running event loop."""
        ...

    async def wait(self, event: Event, timeout_s: float) -> None:
        """Wait until `event` is set, for at most `timeout_s` seconds (infinity: without limit)."""
        ...


def left_s(clock: Clock, ends_s: float, chance_s: float = READ_FIRST_S) -> float:
    """Return the seconds left until `ends_s` (of `clock.running`), and at least `chance_s` right after a stop."""
    left = ends_s - clock.running()
    return max(left, clock.resumed() + chance_s - clock.now())


class SystemClock:
    """The machine's clocks; a test may pass another `monotonic`."""

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
        # Imported here because `check` and `--help` use this module and never wait.
        import anyio

        if timeout_s == math.inf:
            await event.wait()  # saves the cost of a cancel scope that would never end
            return
        with anyio.move_on_after(max(0.0, timeout_s)):
            await event.wait()


class Deadline:
    """An async context manager that raises TimeoutError once the process has run for `limit_s` seconds in its block.

    When a process continues after a long stop (Ctrl-Z, a paused container), aiohttp's own timeouts fire at once, before
    the answers that arrived meanwhile are read. Those answers are paid for.
    """

    def __init__(self, clock: Clock, limit_s: float) -> None:
        import asyncio

        self._clock = clock
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._timeout = asyncio.timeout(None)
        self.has_arrived: Callable[[], bool] = bool
        """Return whether the whole answer has arrived; then a slow disk does not count as a timeout."""

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
