"""Who has which buffer of a run's memory."""

from __future__ import annotations

import asyncio


class Buffers:
    """Lends out the numbers of `count` buffers. One for each image under way is enough."""

    def __init__(self, count: int) -> None:
        # The one given back last is taken first: it is still in the processor's cache.
        self._free = list(range(count))
        self._left = asyncio.Semaphore(count)

    async def take(self) -> int:
        """A free buffer's number, as soon as there is one."""
        await self._left.acquire()
        return self._free.pop()

    def give_back(self, buffer: int) -> None:
        """Let others use a buffer that was taken."""
        self._free.append(buffer)
        self._left.release()
