"""Many small writes that share few trips to a thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from venice_batch.output.threads import DiskThreads
from venice_batch.shield import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable

Entry = TypeVar("Entry")

GATHER_S = 0.005
"""From one trip to the next, at most. Each passes the interpreter's lock to and fro, which at two thousand a second
costs a fifth of what the event loop can do."""


class Gathering(Generic[Entry]):
    """Has `write` called, in a thread, with the entries that came since the last call, in their order.

    One call at a time. An entry after a pause of `GATHER_S` is written at once; else up to `enough` are waited for,
    no longer than until that time is over. `enough` is best some part of those who may wait at the same time.
    """

    def __init__(self, write: Callable[[list[Entry]], None], enough: int = 1) -> None:
        self._write = write
        self._enough = enough
        self._thread = DiskThreads(1)
        self._next: _Trip[Entry] | None = None
        self._next_s = 0.0  # of the event loop's clock
        self._under_way = False

    async def add(self, entry: Entry) -> None:
        """Return when `entry` has been written, however late cancelled; raises what `write` raises."""
        trip = self._next
        if trip is None:
            trip = self._next = _Trip(asyncio.get_running_loop().call_at(self._next_s, self._depart))
        trip.entries.append(entry)
        if len(trip.entries) >= self._enough:
            self._depart()
        await uninterrupted(trip.over.wait())
        if trip.error is not None:
            raise trip.error

    def abandon(self) -> None:
        """Have nobody wait any longer for a disk that does not answer; see `DiskThreads.abandon`."""
        self._thread.abandon()

    @property
    def is_abandoned(self) -> bool:
        """Whether entries may be lost."""
        return self._thread.is_abandoned

    def _depart(self) -> None:
        trip = self._next
        if trip is None:
            return
        trip.timer.cancel()
        trip.is_due = True
        if self._under_way:
            return
        self._next = None
        self._under_way = True
        self._next_s = asyncio.get_running_loop().time() + GATHER_S
        written = self._thread.submit(lambda: self._write(trip.entries))
        written.add_done_callback(lambda _: self._arrive(trip, written.exception()))

    def _arrive(self, trip: _Trip[Entry], error: BaseException | None) -> None:
        self._under_way = False
        trip.error = error
        trip.over.set()
        if self._next is not None and self._next.is_due:
            self._depart()


class _Trip(Generic[Entry]):
    """Entries that are written together; `timer` is what has it depart, `over` tells that it did and came back."""

    __slots__ = ("entries", "error", "is_due", "over", "timer")

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self.timer = timer
        self.entries: list[Entry] = []
        self.is_due = False
        self.over = asyncio.Event()
        self.error: BaseException | None = None
