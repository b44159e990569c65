"""Waits that no cancellation cuts short."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from anyio import CancelScope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator


Result = TypeVar("Result")


class _Shelter(NamedTuple):
    """The scope that one task keeps for its waits."""

    task: asyncio.Task[object] | None
    scope: CancelScope


_shelter: ContextVar[_Shelter | None] = ContextVar("shelter", default=None)


@contextmanager
def shelter() -> Iterator[None]:
    """Have all `uninterrupted` waits of the current task in this block share one cancel scope.

    To make one for each of them costs a busy run a tenth of what its event loop can do. Cancel scopes within the block
    may not be cancelled during such a wait: only cancellation from outside of it is held off.
    """
    with CancelScope() as scope:
        token = _shelter.set(_Shelter(asyncio.current_task(), scope))
        try:
            yield
        finally:
            _shelter.reset(token)


async def uninterrupted(awaited: Awaitable[Result]) -> Result:
    """What `awaited` comes to; the task is cancelled meanwhile only once that is known, at what it waits for next."""
    own = _shelter.get()
    if own is not None and not own.scope.shield and own.task is asyncio.current_task():
        own.scope.shield = True
        try:
            return await awaited
        finally:
            own.scope.shield = False
    with CancelScope(shield=True):
        result = await awaited
    return result  # noqa: RET504 (for all that a type checker knows, a scope may swallow what is raised in it)
