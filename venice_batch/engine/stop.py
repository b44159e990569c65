"""The one switch that ends a run early."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from venice_batch.errors import ExitCode


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the run ends with jobs pending, and the exit code that says so."""

    code: ExitCode
    reason: str


class StoppedError(Exception):
    """Raised inside the engine by whoever would have sent or waited; its job stays pending."""


class StopSwitch:
    """Set once, by the first reason; nothing is launched after it."""

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
