"""Memory that two processes share, cut into buffers."""

from __future__ import annotations

import mmap
import os
import weakref

BUFFER_BYTES = 1024 * 1024
"""What is gathered before the disk is asked to write: most images are written in one go, large ones in few."""


class Memory:
    """`count` buffers of `BUFFER_BYTES` each; those that were never used take no room.

    `file` is a descriptor to hand to the other process, -1 where the system has none without a file on a disk; then the
    memory serves this process alone.
    """

    def __init__(self, count: int) -> None:
        size = count * BUFFER_BYTES
        self.file = _shareable(size)
        if self.file >= 0:
            weakref.finalize(self, os.close, self.file)
        self._map = mmap.mmap(self.file, size)
        self._view = memoryview(self._map)

    def fill(self, buffer: int, at: int, data: bytes | memoryview) -> int:
        """Copy the start of `data` to place `at` of a buffer; returns how much of it had room."""
        size = min(len(data), BUFFER_BYTES - at)
        start = buffer * BUFFER_BYTES + at
        self._map[start : start + size] = data[:size]
        return size

    def read(self, buffer: int) -> memoryview:
        """All of a buffer, without copying it."""
        return _buffer(self._view, buffer)


class InheritedMemory:
    """The memory of another process, which has handed over `file`."""

    def __init__(self, file: int) -> None:
        self._view = memoryview(mmap.mmap(file, 0))

    def read(self, buffer: int) -> memoryview:
        """All of a buffer, without copying it."""
        return _buffer(self._view, buffer)


def _buffer(view: memoryview, number: int) -> memoryview:
    return view[number * BUFFER_BYTES : (number + 1) * BUFFER_BYTES]


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
