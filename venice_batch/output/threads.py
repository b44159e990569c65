"""Threads for what may have to wait for the disk."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
import weakref
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from venice_batch.shield import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

MOST = 4
BACKLOG = 8
"""Calls that may wait for each thread before another is started: one thread keeps up with a local disk, more would only
contend with it for the interpreter's lock; on a slow disk (a network share) several wait at the same time."""


class DiskThreads:
    """Up to `most` threads that run one event loop's calls in the order of asking.

    A trip costs a sixth of what `anyio.to_thread` takes: results that are ready together come back with one waking of
    the event loop, not one each. Another thread is started when calls pile up; all end when nothing refers to this
    object any more.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self.started = 0
        self.is_abandoned = False
        self._futures: set[asyncio.Future[Any]] = set()
        self._errands: SimpleQueue[_Errand[Any] | None] = SimpleQueue()
        self._returns = _Returns()
        weakref.finalize(self, _dismiss, self._errands, most)

    async def run(self, call: Callable[[], Result]) -> Result:
        """What `call` returns or raises, from one of the threads; cancellation waits until it is over."""
        return await uninterrupted(self.submit(call))

    def submit(self, call: Callable[[], Result]) -> asyncio.Future[Result]:
        """Have one of the threads run `call`, which it does whatever becomes of the future."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        if self.is_abandoned:
            future.set_exception(_no_answer())
            return future
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        errand = _Errand(call, future)
        self._errands.put(errand)
        if self.started < self._most and self._errands.qsize() > self.started * BACKLOG:
            self.started += 1
            threading.Thread(target=_work, args=(self._errands, self._returns), name="disk", daemon=True).start()
        return future

    def abandon(self) -> None:
        """Have nobody wait any longer for a disk that does not answer: calls under way, and all to come, raise OSError.

        What is under way may still be done, by threads that do not keep the process from ending.
        """
        self.is_abandoned = True
        for future in tuple(self._futures):
            if not future.done():
                future.set_exception(_no_answer())


def _no_answer() -> OSError:
    return OSError(errno.ETIMEDOUT, "the disk does not answer")


class _Errand(Generic[Result]):
    """One call on its way to a thread or back."""

    __slots__ = ("call", "error", "future", "result")

    def __init__(self, call: Callable[[], Result], future: asyncio.Future[Result]) -> None:
        self.call = call
        self.future = future
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.call()
        except BaseException as error:  # noqa: BLE001  (it is raised where the call was asked for)
            self.error = error

    def tell(self) -> None:
        if self.future.done():
            return  # whoever asked was torn away by something else than a cancel scope
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class _Returns:
    """Errands that are over, on their way back to the event loop."""

    def __init__(self) -> None:
        self._errands: deque[_Errand[Any]] = deque()
        self._called = False

    def add(self, errand: _Errand[Any]) -> None:
        """From a thread: have the loop told, unless it is about to look anyway."""
        self._errands.append(errand)
        if not self._called:
            self._called = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                errand.future.get_loop().call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        # First this: what is added from here on calls again.
        self._called = False
        while self._errands:
            self._errands.popleft().tell()


def _work(errands: SimpleQueue[_Errand[Any] | None], returns: _Returns) -> None:
    while (errand := errands.get()) is not None:
        errand.run()
        returns.add(errand)
        del errand  # an idle thread keeps no image alive


def _dismiss(errands: SimpleQueue[_Errand[Any] | None], count: int) -> None:
    for _ in range(count):
        errands.put(None)
