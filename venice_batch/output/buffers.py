"""The memory through which images pass on their way to the disk."""

from __future__ import annotations

import asyncio
import mmap
import os
import weakref

BUFFER_BYTES = 512 * 1024
"""What is gathered before the disk is asked to write: most images are written in one go."""


class Buffers:
    """`count` buffers of `BUFFER_BYTES` each, which another process may share.

    One for each image under way is enough. Memory is taken by those that were ever used at the same time.
    """

    def __init__(self, count: int) -> None:
        size = count * BUFFER_BYTES
        self.file = _shareable(size)
        """A descriptor of the memory, for another process; -1 where the system has none without a file on a disk."""
        if self.file >= 0:
            weakref.finalize(self, os.close, self.file)
        self._memory = mmap.mmap(self.file, size)
        self._view = memoryview(self._memory)
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

    def fill(self, buffer: int, at: int, data: bytes) -> int:
        """Copy the start of `data` to place `at` of a buffer; returns how much of it had room."""
        size = min(len(data), BUFFER_BYTES - at)
        start = buffer * BUFFER_BYTES + at
        self._memory[start : start + size] = data if size == len(data) else data[:size]
        return size

    def read(self, buffer: int) -> memoryview:
        """All of a buffer, without copying it."""
        return self._view[buffer * BUFFER_BYTES : (buffer + 1) * BUFFER_BYTES]


class InheritedBuffers:
    """The buffers of the process that has handed over their descriptor `file`."""

    def __init__(self, file: int) -> None:
        self._view = memoryview(mmap.mmap(file, 0))

    def read(self, buffer: int) -> memoryview:
        """All of a buffer, without copying it."""
        return self._view[buffer * BUFFER_BYTES : (buffer + 1) * BUFFER_BYTES]


def _shareable(size: int) -> int:
    if not hasattr(os, "memfd_create"):
        return -1
    try:
        file = os.memfd_create("venice-batch", os.MFD_CLOEXEC)
    except OSError:
        return -1
    try:
        os.ftruncate(file, size)
    except OSError:
        os.close(file)
        return -1
    return file
