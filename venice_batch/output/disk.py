"""Calls that wait for the disk, in threads, so that the event loop never does."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

STALLED = "the disk does not answer"

THREADS = 8
"""Calls that run at the same time. More do not write faster, and each holds its own stack."""


class Disk:
    """Runs blocking calls in anyio's worker threads.

    Cancellation does not interrupt `run`: it is delivered once the call has ended, so that a file which was begun is
    finished. Only `abandon` gives up on such calls, for a disk that no longer answers.
    """

    def __init__(self) -> None:
        self.is_abandoned = False
        self._limiter = anyio.CapacityLimiter(THREADS)
        self._under_way: set[anyio.CancelScope] = set()

    @property
    def is_waiting(self) -> bool:
        """Whether a call of `run` is under way."""
        return bool(self._under_way)

    async def run(self, function: Callable[[], Result]) -> Result:
        """Return what `function` returns, or raise what it raises.

        Raises:
            OSError: the disk was abandoned; the call may still be waiting in its thread.
        """
        if not self.is_abandoned:
            with anyio.CancelScope(shield=True) as scope:
                self._under_way.add(scope)
                try:
                    return await self.ask(function)
                finally:
                    self._under_way.discard(scope)
        raise OSError(errno.ETIMEDOUT, STALLED)

    async def ask(self, function: Callable[[], Result]) -> Result:
        """As `run`, for calls that change nothing: cancellation gives up on them at once."""
        call = _Call(function)
        try:
            return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._limiter)
        finally:
            call.give_up()

    def abandon(self) -> None:
        """Let nobody wait any longer: calls of `run`, those under way and later ones, raise OSError."""
        self.is_abandoned = True
        for scope in list(self._under_way):
            scope.cancel()


_blocked: set[object] = set()


def has_blocked_threads() -> bool:
    """Return whether a call that was given up still waits for its disk.

    Python waits for such a thread before it ends, perhaps for ever: a process that has to end calls `os._exit` then.
    """
    return bool(_blocked)


class _Call(Generic[Result]):
    """A call in a thread, listed in `_blocked` while it runs and nobody waits for it any more."""

    __slots__ = ("_function", "_is_given_up", "_is_running")

    def __init__(self, function: Callable[[], Result]) -> None:
        self._function = function
        self._is_running = False
        self._is_given_up = False

    def __call__(self) -> Result:
        self._is_running = True
        self._list()
        try:
            return self._function()
        finally:
            self._is_running = False
            _blocked.discard(self)

    def give_up(self) -> None:
        self._is_given_up = True
        self._list()
        if not self._is_running:  # it may have ended while it was listed
            _blocked.discard(self)

    def _list(self) -> None:
        if self._is_running and self._is_given_up:
            _blocked.add(self)
