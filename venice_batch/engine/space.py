"""Stops a run before the disk is too full for what is under way, which is paid for, or another run gets in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from venice_batch.engine.stop import Stop
from venice_batch.errors import ExitCode, FolderError
from venice_batch.events import JobEnded, Notice
from venice_batch.output.threads import DiskThreads
from venice_batch.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from venice_batch.clock import Clock
    from venice_batch.engine.stop import StopSwitch
    from venice_batch.events import Event, Observer

LOOK_EVERY_S = 1.0
UNKNOWN_BYTES = 1024 * 1024
"""Taken for the size of a job's images where none is recorded."""
KEPT_FREE_BYTES = 256 * 1024
"""Of the free room, what records, the summary and the file system's own lists may take."""
LARGE_BYTES = 64 * 1024 * 1024
"""With so much room for each request nothing has to be known of sizes."""


class SpaceWatch:
    """An observer that knows how large a job's images get, and sees to it that there is room for what is under way.

    `most`, to be set before `run`, returns how many requests were under way at a time at most. `look` returns the bytes
    left for `root`, None where that is not told, and raises FolderError where the folder can be used no longer; it may
    wait for the disk, as may `recorded`, which returns the size of the largest job recorded, 0 without any.
    """

    def __init__(
        self,
        root: Path,
        look: Callable[[], int | None],
        switch: StopSwitch,
        clock: Clock,
        *,
        most: Callable[[], int] = lambda: 0,
        recorded: Callable[[], int] = lambda: 0,
    ) -> None:
        self._root = root
        self._look = look
        self._switch = switch
        self._clock = clock
        self.most = most
        self._recorded = recorded
        self._largest_bytes = 0
        self._left_bytes: int | None = None
        # Not anyio's threads: at a disk that never answers those would keep the process from ending.
        self._thread = DiskThreads(1)

    def __call__(self, event: Event) -> None:
        if isinstance(event, JobEnded):
            size = sum(file.bytes for file in event.outcome.files)
            self._largest_bytes = max(self._largest_bytes, size)
            if self._left_bytes is not None:
                self._left_bytes -= size
                self._weigh()

    async def begin(self, most: int, observe: Observer) -> int:
        """Look before anything is sent; returns how many requests, of `most`, there is room for at a time.

        Where there is not even room for one, a stop is requested.
        """
        async with anyio.create_task_group() as asking:
            asking.start_soon(self._give_up, asking.cancel_scope)
            left_bytes = await self._ask()
            if left_bytes is not None and left_bytes < most * LARGE_BYTES:
                self._largest_bytes = max(self._largest_bytes, await self._thread.submit(self._recorded))
            asking.cancel_scope.cancel()
        left_bytes = self._left_bytes
        if left_bytes is None or left_bytes >= most * LARGE_BYTES or self._switch.stop is not None:
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
        """Request a stop once there is too little room, or the folder can be used no longer; returns then."""
        while self._switch.stop is None:
            await self._clock.wait(anyio.Event(), LOOK_EVERY_S)
            await self._ask()
            self._weigh()

    async def _give_up(self, scope: anyio.CancelScope) -> None:
        await self._switch.event.wait()
        scope.cancel()

    async def _ask(self) -> int | None:
        try:
            found = await self._thread.submit(self._look)
        except FolderError as error:
            self._switch.request(Stop(error.exit_code, str(error)))
            return None
        self._left_bytes = None if found is None else found - KEPT_FREE_BYTES
        return self._left_bytes

    def _weigh(self) -> None:
        # Twice: once an image is on the disk the next request goes out, before the size of the first is known here.
        needed_bytes = 2 * self.most() * self._largest_bytes
        if self._left_bytes is not None and needed_bytes and self._left_bytes < needed_bytes:
            self._stop(self._left_bytes, f"what is under way may take {needed_bytes / 1e6:.1f} MB")

    def _stop(self, left_bytes: int, needed: str) -> None:
        reason = (
            f"{self._root}: the disk is almost full: {max(0, left_bytes) / 1e6:.1f} MB are left, and {needed};"
            " free some space, then run the same command again"
        )
        self._switch.request(Stop(ExitCode.FOLDER_UNUSABLE, reason))
