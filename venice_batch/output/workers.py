"""Who carries out a run's orders on image files."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol

from venice_batch.output import child
from venice_batch.output.orders import Trouble, written_bytes
from venice_batch.output.store import ImageStore
from venice_batch.output.threads import DiskThreads
from venice_batch.output.writing_process import WritingProcess

if TYPE_CHECKING:
    from venice_batch.output.memory import Memory
    from venice_batch.output.orders import Ending, Order

ORDER_BYTES = 256 * 1024
"""Carrying out an order takes about as long as writing this much, which comes on top."""
PROCESS_AFTER_BYTES = 64 * ORDER_BYTES
"""A process takes 0.1 s to start, and 20 MB: what writes no more than this is over before that pays."""
PILE = 4
"""Orders under way at a time, of which all but one or two wait; at the API's own pace there is hardly ever a second."""


class Worker(Protocol):
    """Carries out the orders for an image."""

    async def run(self, order: Order) -> Ending:
        """How `order` ended; cancellation waits until it has."""
        ...


class DiskWorkers:
    """Threads at first; when orders pile up before them, a process for the images that come then, while it lives.

    All of an image's orders have to go to the same worker.
    """

    def __init__(self, images: str, memory: Memory) -> None:
        self.threads = DiskThreads()
        self._store = ImageStore(images, memory.read)
        self.process = WritingProcess(images, memory, self.threads)
        self._through = _Through(self.process, self)
        self._may_start = memory.file >= 0 and child.is_possible()
        self._work_bytes = 0
        self._under_way = 0
        self._piled_up = False

    async def choose(self) -> Worker:
        """The worker for one more image."""
        if self._may_start and self._work_bytes > PROCESS_AFTER_BYTES and self._piled_up:
            self._may_start = False
            await self.process.start()
        return self._through if self.process.ready else self

    async def run(self, order: Order) -> Ending:
        self._work_bytes += ORDER_BYTES + written_bytes(order)
        self._under_way += 1
        self._piled_up = self._piled_up or self._under_way >= PILE
        try:
            return await self.threads.run(lambda: self._store.carry_out(order))
        except OSError as error:  # of threads that were abandoned; the store raises nothing
            return Trouble(error.errno or errno.EIO, error.strerror or str(error))
        finally:
            self._under_way -= 1

    def hurry(self) -> None:
        """Have nobody wait for a process at a stand: what it has begun the threads take over."""
        self.process.kill()

    def abandon(self) -> None:
        """Have nobody wait for the disk any longer: no order under way, and none to come, is carried out for sure."""
        self.threads.abandon()

    async def close(self) -> None:
        """End the process, if there is one; threads end by themselves."""
        await self.process.close()


class _Through:
    """Has orders carried out by the process; what it did not live to answer, others carry out."""

    def __init__(self, process: WritingProcess, others: Worker) -> None:
        self._process = process
        self._others = others

    async def run(self, order: Order) -> Ending:
        ending = await self._process.run(order)
        return await self._others.run(order) if ending is None else ending
