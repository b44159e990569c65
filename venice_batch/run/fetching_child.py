"""A process of `--processes`: fetches for the process that started it, over a pipe each way.

Its parent is a `ProcessFetcher`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import anyio
import msgspec

from venice_batch.api.answers import Reply
from venice_batch.api.client import ApiClient, ApiSettings
from venice_batch.api.key import ApiKey
from venice_batch.clock import SystemClock
from venice_batch.errors import FolderError, SourceError
from venice_batch.model import Endpoint
from venice_batch.output.images import ImageFolder, JobImages, Wanted

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectSendStream

    from venice_batch.output.images import ImageStore


class Start(msgspec.Struct, frozen=True):
    """The first message to a child. The key travels through the pipe: others can read a command line or environment."""

    key: str
    api: ApiSettings
    root: str
    prefix: str
    durable: bool
    bucket: str | None
    run_id: str
    has_lock: bool


class Fetch(msgspec.Struct, frozen=True, tag=True):
    """Make an attempt; the answer has the same number."""

    number: int
    endpoint: Endpoint
    body: dict[str, Any]
    wanted: Wanted
    owned: tuple[str, ...]


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Give up an attempt; it is answered all the same."""

    number: int


class Fetched(msgspec.Struct, frozen=True, tag=True):
    """The answer to a `Fetch`: a reply, or why there is none."""

    number: int
    reply: Reply | None = None
    folder: tuple[str, str] | None = None
    source: str | None = None
    unexpected: str | None = None


READY = b"\0venice-batch is ready\0"
"""Written by a child that takes requests. Whatever its interpreter printed at the start stands before it."""
LENGTH = struct.Struct("!I")
"""The length of a message, in front of it."""


def main() -> None:
    """Fetch for the parent at the other end of standard input and output, until that is closed."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # a service manager sends them to all; the parent decides
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else gets between the answers
    start = _read(sys.stdin.buffer)
    if start is not None:
        anyio.run(_serve, msgspec.msgpack.decode(start, type=Start), answers)


async def _serve(start: Start, answers: BinaryIO) -> None:
    key = ApiKey(start.key)
    images = ImageFolder(Path(start.root), prefix=start.prefix, durable=start.durable, store=store(start))
    under_way: dict[int, anyio.CancelScope] = {}
    inbox, requests = anyio.create_memory_object_stream[bytes](float("inf"))
    async with ApiClient(start.api, key, SystemClock()) as api, anyio.create_task_group() as tasks:
        _forward(sys.stdin.buffer, inbox)

        def answer(fetched: Fetched) -> None:
            data = msgspec.msgpack.encode(fetched)
            with suppress(BrokenPipeError):  # the parent has died, and its end of the other pipe says so next
                answers.write(LENGTH.pack(len(data)) + data)

        async def fetch(request: Fetch) -> None:
            with anyio.CancelScope() as scope:
                under_way[request.number] = scope
                try:
                    owned = request.owned
                    writer = JobImages(images, request.wanted, lambda: owned)
                    reply = await api.generate(request.endpoint, request.body, writer)
                    answer(Fetched(request.number, reply))
                    return
                except FolderError as error:
                    answer(Fetched(request.number, folder=(str(error.path), error.reason)))
                    return
                except SourceError as error:
                    answer(Fetched(request.number, source=str(error)))
                    return
                except Exception as error:  # noqa: BLE001 - sent to the parent, which raises it
                    answer(Fetched(request.number, unexpected=key.redact(repr(error))))
                    return
                finally:
                    del under_way[request.number]
            answer(Fetched(request.number, unexpected="cancelled"))

        answers.write(READY)
        decode = msgspec.msgpack.Decoder(Fetch | Cancel).decode
        async for message in requests:
            request = decode(message)
            if isinstance(request, Fetch):
                tasks.start_soon(fetch, request)
            elif request.number in under_way:
                under_way[request.number].cancel()
        tasks.cancel_scope.cancel()


def store(start: Start) -> ImageStore | None:
    """Return where images get their names in a bucket; None for a folder."""
    if start.bucket is None:
        return None
    from venice_batch.bucket.folder import BucketFolder
    from venice_batch.bucket.store import Bucket

    folder = BucketFolder(Bucket(start.bucket, os.environ), Path(start.root))
    folder.has_lock = start.has_lock
    return folder.images(start.run_id)


def _forward(stream: BinaryIO, inbox: MemoryObjectSendStream[bytes]) -> None:
    """Have a thread read messages from `stream` into `inbox`, and close it at the end."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        while (message := _read(stream)) is not None:
            loop.call_soon_threadsafe(inbox.send_nowait, message)
        loop.call_soon_threadsafe(inbox.close)

    threading.Thread(target=read, daemon=True).start()


def _read(stream: BinaryIO) -> bytes | None:
    """Return the next message; None at the end."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    message = stream.read(length)
    return message if len(message) == length else None


if __name__ == "__main__":
    main()
