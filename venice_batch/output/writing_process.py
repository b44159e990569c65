"""A process of its own that carries out orders on image files.

Threads that work on the disk take turns with the event loop at holding the interpreter's lock, several times an
image; at a thousand images a second that costs more than all the work itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from typing import TYPE_CHECKING, cast

import msgspec

from venice_batch.output import child
from venice_batch.output.orders import Ending
from venice_batch.shield import uninterrupted

if TYPE_CHECKING:
    import subprocess

    from venice_batch.output.memory import Memory
    from venice_batch.output.orders import Order
    from venice_batch.output.threads import DiskThreads


class WritingProcess(asyncio.Protocol):
    """Carries out orders in the order of asking. Images reach it through `memory`, orders through a socket.

    It ignores the terminal's signals, knows no key, and ends when this process does, whatever has ended that.
    `greeted` is set when it has started, which it never does where that is not possible.
    """

    def __init__(self, images: str, memory: Memory, threads: DiskThreads) -> None:
        self._images = images
        self._memory = memory
        self._threads = threads
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._unanswered: deque[asyncio.Future[Ending | None]] = deque()
        self._rest = b""
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Ending)
        self.greeted = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether it has started and not ended."""
        return self._transport is not None and self.greeted.is_set()

    async def start(self) -> None:
        """Begin to start it, which takes a tenth of a second."""
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            return  # no descriptors left: a run that is short of them is told where it matters
        ours.setblocking(False)
        with theirs:
            self._process = await self._threads.run(lambda: self._spawn(theirs.fileno()))
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=ours)

    async def run(self, order: Order) -> Ending | None:
        """How `order` ended; cancellation waits until it has.

        None: the process has ended, and may or may not have carried it out before.
        """
        if self._transport is None or self._transport.is_closing():
            return None
        future: asyncio.Future[Ending | None] = asyncio.get_running_loop().create_future()
        self._unanswered.append(future)
        self._transport.write(self._encoder.encode(order) + b"\n")
        return await uninterrupted(future)

    def kill(self) -> None:
        """End it at once, whatever it does; nothing that is asked of it has an answer from then on."""
        if self._process is not None:
            self._process.kill()

    async def close(self) -> None:
        """End it; no order may be under way."""
        if self._transport is not None:
            self._transport.close()
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with contextlib.suppress(OSError):  # it waits for a disk that does not answer, as nobody does any more
                await self._threads.run(process.wait)

    def _spawn(self, link: int) -> subprocess.Popen[bytes] | None:
        files = (link, self._memory.file)
        return child.start("venice_batch.output.writer", (*files, self._images), files=files)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A socket's can always write; the classes of other event loops than asyncio's do not say so.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if not line:
                self.greeted.set()
                continue
            future = self._unanswered.popleft()
            if not future.done():
                future.set_result(self._decoder.decode(line))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        while self._unanswered:
            future = self._unanswered.popleft()
            if not future.done():
                future.set_result(None)
