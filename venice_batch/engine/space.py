"""Stops a run before the disk is too full for what is under way, which is paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from venice_batch.engine.stop import Stop
from venice_batch.errors import ExitCode
from venice_batch.events import JobEnded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from venice_batch.clock import Clock
    from venice_batch.engine.stop import StopSwitch
    from venice_batch.events import Event

LOOK_EVERY_S = 1.0


class SpaceWatch:
    """An observer that knows how large a job's images get, and looks now and then whether so many more have room.

    `most` returns how many requests were under way at a time at most. `free` returns the bytes left for `root`; it may
    wait for the disk.
    """

    def __init__(
        self, root: Path, free: Callable[[], int], switch: StopSwitch, clock: Clock, *, most: Callable[[], int]
    ) -> None:
        self._root = root
        self._free = free
        self._switch = switch
        self._clock = clock
        self._most = most
        self._largest_bytes = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, JobEnded):
            self._largest_bytes = max(self._largest_bytes, sum(file.bytes for file in event.outcome.files))

    async def run(self) -> None:
        """Request a stop once there is too little room; returns then, or when the disk says nothing of its room."""
        while True:
            await self._clock.wait(anyio.Event(), LOOK_EVERY_S)
            try:
                left_bytes = await to_thread.run_sync(self._free, abandon_on_cancel=True)
            except OSError:
                return
            needed_bytes = self._most() * self._largest_bytes
            if left_bytes < needed_bytes:
                reason = (
                    f"{self._root}: the disk is almost full: {left_bytes / 1e6:.1f} MB are left, and what is under way"
                    f" may take {needed_bytes / 1e6:.1f} MB; free some space, then run the same command again"
                )
                self._switch.request(Stop(ExitCode.FOLDER_UNUSABLE, reason))
                return
