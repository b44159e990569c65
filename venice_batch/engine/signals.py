"""How the shell ends a run."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import anyio

from venice_batch.engine.stop import Stop
from venice_batch.errors import ExitCode

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from venice_batch.engine.stop import StopSwitch

_CODES = {
    signal.SIGINT: ExitCode.SIGINT,
    signal.SIGTERM: ExitCode.SIGTERM,
    signal.SIGHUP: ExitCode.SIGTERM,
}


async def stop_on_signals(
    switch: StopSwitch, scope: anyio.CancelScope, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Turn the first signal into a stop that lets what is under way finish, cancel `scope` at the second.

    Runs until cancelled; has started once signals are received, and leaves them to whoever received them before. A
    closed terminal (SIGHUP) ends a run as SIGTERM does, unless the process was started to ignore it (nohup).
    """
    former = {number: signal.getsignal(number) for number in _CODES}
    watched = [number for number, handler in former.items() if handler is not signal.SIG_IGN]
    try:
        with anyio.open_signal_receiver(*watched) as signals:
            task_status.started()
            before = False
            async for number in signals:
                if before:
                    scope.cancel()
                    return
                before = True
                switch.request(Stop(_CODES[number], f"stopped by {signal.Signals(number).name}"))
    finally:
        for number in watched:
            signal.signal(number, former[number])  # the event loop leaves the system's own
