"""Time as the rest of the package sees it."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from anyio import Event


class Clock(Protocol):
    """Where time comes from, so that tests and simulations can move it."""

    def now(self) -> float:
        """Seconds on a clock that never steps back; only differences mean anything."""
        ...

    def wall(self) -> float:
        """Seconds since the Unix epoch, as this machine believes."""
        ...

    async def wait(self, event: Event, timeout_s: float) -> None:
        """Return when `event` is set, or after `timeout_s` seconds (infinity: never)."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def wait(self, event: Event, timeout_s: float) -> None:
        # Imported here: `check` and `--help` use this module and never wait.
        import anyio

        if timeout_s == math.inf:
            await event.wait()  # a scope that never ends costs as much as one that does
            return
        with anyio.move_on_after(max(0.0, timeout_s)):
            await event.wait()
