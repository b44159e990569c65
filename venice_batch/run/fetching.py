"""One attempt, from a request to images on disk: in this process, or in others beside it.

One event loop moves some hundred images a second. If your own server is faster, `--processes` starts more of them: each
fetches, decodes and writes whole images, and answers with a record's worth of data.
Queue, pacing, money and journal stay in the parent; no image byte crosses a process.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

import venice_batch
from venice_batch.api.answers import Answer, Fault, Reply
from venice_batch.api.client import ApiClient, ApiSettings
from venice_batch.api.key import VARIABLE, ApiKey
from venice_batch.api.responses import AnswerHeaders
from venice_batch.errors import BucketError, FolderError, ProcessesError, SourceError, UsageError
from venice_batch.output.atomic_file import is_address
from venice_batch.output.disk import STALLED
from venice_batch.output.images import ImageFolder
from venice_batch.run import fetching_child
from venice_batch.run.fetching_child import LENGTH, READY, Cancel, Fetch, Fetched, Start

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from anyio.abc import Process, TaskGroup

    from venice_batch.bucket.folder import BucketFolder
    from venice_batch.clock import Clock
    from venice_batch.model import Job, Sent


class Fetcher(Protocol):
    """Makes one attempt at a job."""

    async def fetch(self, job: Job, body: dict[str, Any], sent: Sent | None = None) -> Reply:
        """Send `body` to the job's endpoint and put the images that come back in place.

        `sent` is noted with images in a bucket, for a run that is killed before it records them. Whatever comes back is
        a Reply. Cancelled, it leaves no temporary file.

        Raises:
            FolderError: the images could not be stored.
            SourceError: a picture to send is not the one that was checked; the server did not get the whole request.
            ProcessesError: there is no process left to fetch in; nothing was sent.
        """
        ...

    def abandon(self) -> str | None:
        """Wait no longer: attempts under way end. Return what does not answer, in words; None if all of it does."""
        ...


class LocalFetcher:
    """Fetches in this process."""

    def __init__(self, api: ApiClient, images: ImageFolder) -> None:
        self._api = api
        self._images = images

    async def fetch(self, job: Job, body: dict[str, Any], sent: Sent | None = None) -> Reply:
        return await self._api.generate(job.endpoint, body, self._images.writer(job, sent))

    def abandon(self) -> str | None:
        self._images.disk.abandon()
        return STALLED


PROCESS_STALLED = "a process that fetches images does not answer"

_ENDS_OF_STREAM = (
    anyio.EndOfStream,
    anyio.IncompleteRead,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
)

_ENDS_WITHIN_S = 5.0
"""Time for a child to end by itself. Then it is killed: it is stopped, or its disk does not answer."""
_MOST_PRINTED_BYTES = 64 * 1024
"""The most that an interpreter may print before the child is ready."""


class ProcessFetcher:
    """Fetches in `count` processes; an async context manager.

    Each attempt goes to the process with the fewest under way. If a process dies, its attempts end as cut connections:
    the server may have charged for them, and they are tried again in another. When the last one has died, `on_loss` is
    called with the error that `fetch` raises from then on. With a `bucket` images go there. No signal of the
    terminal reaches the children; they end with their standard input, so also when this process is killed.

    Raises on entry:
        ProcessesError: a process cannot be started.
        UsageError: there is no interpreter to start one with.
    """

    def __init__(
        self,
        count: int,
        settings: ApiSettings,
        key: ApiKey,
        images: ImageFolder,
        clock: Clock,
        *,
        on_loss: Callable[[ProcessesError], None] = lambda error: None,
        bucket: BucketFolder | None = None,
    ) -> None:
        self._count = count
        self._settings = settings
        self._key = key
        self._images = images
        self._clock = clock
        self._on_loss = on_loss
        self._bucket = bucket
        self._is_ending = False
        self._children: list[_Child] = []
        self._tasks: TaskGroup
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        if not sys.executable or getattr(sys, "frozen", False):
            raise UsageError("--processes: there is no Python interpreter to start others with; give 1")
        self._tasks = await anyio.create_task_group().__aenter__()
        try:
            for number in range(self._count):
                await self._start(number)
        except BaseException:
            await self.__aexit__(*sys.exc_info())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_ending = True
        with anyio.CancelScope(shield=True):
            for child in self._children:
                await child.end()
        await self._tasks.__aexit__(None, None, None)

    async def fetch(self, job: Job, body: dict[str, Any], sent: Sent | None = None) -> Reply:
        owned: tuple[str, ...] = ()
        if self._images.replaceable is not None:
            owned = await self._images.disk.run(lambda: tuple(self._images.owned_by(job.id)))
        request = Fetch(next(self._numbers), job.endpoint, body, self._images.wanted(job, sent), owned)
        while True:
            child = await self._least_busy()
            sent_s = self._clock.now()
            with suppress(_NotSentError):
                fetched = await child.ask(request)
                break
        if fetched is None:
            answer = Answer(
                None,
                AnswerHeaders(),
                "the process that fetched the image has died",
                sent_s,
                self._clock.now(),
                Fault.CUT,
            )
            return Reply(answer)
        if fetched.folder is not None:
            path, reason = fetched.folder
            raise BucketError(path, reason) if is_address(path) else FolderError(Path(path), reason)
        if fetched.source is not None:
            raise SourceError(fetched.source)
        if fetched.reply is None:
            raise RuntimeError(f"in a process that fetches images: {fetched.unexpected}")
        return fetched.reply

    def abandon(self) -> str | None:
        self._is_ending = True
        is_stuck = any(child.waiting for child in self._children)
        for child in self._children:
            child.abandon()
        disk = self._images.disk
        if not (is_stuck or disk.is_waiting):
            return None  # only a process without anything to do has not ended
        stalled = STALLED if disk.is_waiting else PROCESS_STALLED
        disk.abandon()
        return stalled

    async def _least_busy(self) -> _Child:
        alive = [child for child in self._children if child.is_alive]
        if alive:
            return min(alive, key=lambda child: len(child.waiting))
        for child in self._children:
            await child.ended.wait()
        raise self._loss()

    def _loss(self) -> ProcessesError:
        causes = sorted({child.cause for child in self._children if child.cause})
        return ProcessesError("every process that fetched images has died", ", ".join(causes))

    async def _watch(self, child: _Child) -> None:
        await child.read()
        ended = sum(child.ended.is_set() for child in self._children)
        if ended == self._count and not self._is_ending:
            self._on_loss(self._loss())

    async def _start(self, number: int) -> None:
        environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
        # The package is looked for where this process has found it, not in the current folder.
        places = [str(Path(venice_batch.__file__).parent.parent), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, places))
        try:
            process = await anyio.open_process(
                [sys.executable, "-P", "-m", fetching_child.__name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            what = "a process that fetches images cannot be started"
            raise ProcessesError(what, f"{sys.executable}: {error.strerror or error}") from error
        child = _Child(process)
        self._children.append(child)
        prefix = f"{self._images.prefix}-{number}"
        start = Start(
            self._key.header().removeprefix("Bearer "),
            self._settings,
            str(self._images.root),
            prefix,
            self._images.durable,
            None if self._bucket is None else self._bucket.address,
            self._images.prefix,
            self._bucket is None or self._bucket.has_lock,
        )
        self._tasks.start_soon(self._watch, child)
        await child.send(start)


class _NotSentError(Exception):
    """The process has died before the request was sent to it."""


class _Child:
    """One process, seen from its parent.

    `is_alive` says that it may be given requests. Once `ended` is set, `cause` says how it ended, if that is known.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._sending = anyio.Lock()
        self._reading = anyio.CancelScope(shield=True)
        self._begun = anyio.Event()  # it is ready, or it has ended
        self.waiting: dict[int, anyio.Event] = {}
        self._fetched: dict[int, Fetched] = {}
        self.is_alive = True
        self.ended = anyio.Event()
        self.cause = ""

    async def ask(self, request: Fetch) -> Fetched | None:
        """Return the answer; None if the process has died before it came.

        Cancelled, it has the process give up the attempt, and returns what came of that.

        Raises:
            _NotSentError: another process may be asked.
        """
        event = self.waiting[request.number] = anyio.Event()
        try:
            await self._begun.wait()
            if not self.is_alive:
                raise _NotSentError
            await self.send(request)
            try:
                await event.wait()
            except anyio.get_cancelled_exc_class():
                with anyio.CancelScope(shield=True):
                    await self.send(Cancel(request.number))
                    await event.wait()
                if request.number in self._fetched and self._fetched[request.number].reply is not None:
                    return self._fetched[request.number]  # it was whole already; what was paid for is kept
                raise
            return self._fetched.get(request.number)
        finally:
            self.waiting.pop(request.number, None)
            self._fetched.pop(request.number, None)

    async def send(self, message: Start | Fetch | Cancel) -> None:
        data = msgspec.msgpack.encode(message)
        assert self._process.stdin is not None  # noqa: S101  (for the type checker)
        # A message is sent whole or not at all, and a process that has died is noticed by `read`.
        with anyio.CancelScope(shield=True), suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            async with self._sending:
                await self._process.stdin.send(LENGTH.pack(len(data)) + data)

    async def read(self) -> None:
        """Take answers until the process ends; cancellation is for those who ask."""
        assert self._process.stdout is not None  # noqa: S101  (for the type checker)
        stream = BufferedByteReceiveStream(self._process.stdout)
        decode = msgspec.msgpack.Decoder(Fetched).decode
        try:
            with self._reading, suppress(*_ENDS_OF_STREAM):
                await stream.receive_until(READY, _MOST_PRINTED_BYTES)
                self._begun.set()
                while True:
                    (length,) = LENGTH.unpack(await stream.receive_exactly(LENGTH.size))
                    fetched = decode(await stream.receive_exactly(length))
                    if (event := self.waiting.get(fetched.number)) is not None:
                        self._fetched[fetched.number] = fetched
                        event.set()
        except anyio.DelimiterNotFound:
            self.kill()  # it prints without end
        finally:
            await self._end_reading()

    async def _end_reading(self) -> None:
        self.is_alive = False
        if not self._reading.cancel_called:
            with anyio.move_on_after(_ENDS_WITHIN_S, shield=True):
                self.cause = _cause(await self._process.wait())
        self.ended.set()
        self._begun.set()
        for event in self.waiting.values():
            event.set()

    def abandon(self) -> None:
        """End the process now, and do not wait for that: one that waits for its disk cannot even be killed."""
        self.kill()
        self._reading.cancel()

    async def end(self) -> None:
        """Close the process's input, wait until it has ended, and close its output."""
        assert self._process.stdin is not None  # noqa: S101  (for the type checker)
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            await self._process.stdin.aclose()
        with anyio.move_on_after(_ENDS_WITHIN_S):
            await self._process.wait()
        if self._process.returncode is None:
            self.kill()
            with anyio.move_on_after(_ENDS_WITHIN_S):  # one that waits for its disk cannot even be killed
                await self._process.wait()
        if self._process.returncode is not None:
            # Its output is still open if nobody reads it to its end, as once the child is abandoned.
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
                await self._process.aclose()

    def kill(self) -> None:
        """End the process now."""
        with suppress(ProcessLookupError):
            self._process.kill()


def _cause(returncode: int) -> str:
    """Return how a process has ended, in words."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        return f"killed by signal {-returncode}"
    return f"killed by {name}" + (", perhaps for lack of memory" if name == "SIGKILL" else "")
