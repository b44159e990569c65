"""How a run gets hold of an output folder that another run may be using."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio

from venice_batch.engine.signals import stop_on_signals
from venice_batch.errors import FolderError, FolderHeldError, StoppedWaitingError
from venice_batch.events import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager, ExitStack

    from venice_batch.clock import Clock
    from venice_batch.engine.stop import StopSwitch
    from venice_batch.events import Observer

Held = TypeVar("Held")

POLL_S = 1.0
"""Time between two looks at the lock: a run takes minutes, and a look is three system calls."""


async def take_turn(
    stack: ExitStack,
    hold: Callable[[], AbstractContextManager[Held]],
    *,
    wait_s: float,
    clock: Clock,
    switch: StopSwitch,
    observe: Observer,
    handle_signals: bool,
) -> Held:
    """Enter `hold()` into `stack`, at once or within `wait_s` seconds; returns what it gives.

    There is no queue: of several runs that wait, any may be next.

    Raises:
        FolderHeldError: another run still holds the folder.
        StoppedWaitingError: the switch, or with `handle_signals` a signal, has ended the waiting.
        FolderError: what else `hold` raises.
    """
    deadline_s = clock.now() + wait_s
    held = _try(stack, hold)
    if isinstance(held, FolderHeldError) and wait_s > 0:
        async with anyio.create_task_group() as side:
            if handle_signals:
                await side.start(stop_on_signals, switch, side.cancel_scope)
            observe(Waiting(str(held.path), held.holder, wait_s))
            while isinstance(held, FolderHeldError) and switch.stop is None:
                left_s = deadline_s - clock.now()
                if left_s <= 0:
                    break
                await clock.wait(switch.event, min(left_s, POLL_S))
                held = _try(stack, hold)
            side.cancel_scope.cancel()
    if switch.stop is not None:
        raise StoppedWaitingError(switch.stop.reason, switch.stop.code)
    if isinstance(held, FolderError):
        raise held
    return held


def _try(stack: ExitStack, hold: Callable[[], AbstractContextManager[Held]]) -> Held | FolderError:
    """What `hold` gives, or why it could not be entered: a task group would wrap what is raised."""
    try:
        return stack.enter_context(hold())
    except FolderError as error:
        return error
