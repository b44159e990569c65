"""How the shell ends a run."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import anyio

from venice_batch.engine.stop import Stop
from venice_batch.errors import ExitCode

if TYPE_CHECKING:
    from venice_batch.engine.stop import StopSwitch

_CODES = {
    signal.SIGINT: ExitCode.SIGINT,
    signal.SIGTERM: ExitCode.SIGTERM,
    signal.SIGHUP: ExitCode.SIGTERM,
}


async def stop_on_signals(switch: StopSwitch, scope: anyio.CancelScope) -> None:
    """Turn the first signal into a stop that lets what is under way finish, cancel `scope` at the second.

    Runs until cancelled. A closed terminal (SIGHUP) ends a run as SIGTERM does.
    """
    with anyio.open_signal_receiver(*_CODES) as signals:
        async for number in signals:
            if switch.stop is not None:
                scope.cancel()
                return
            switch.request(Stop(_CODES[number], f"stopped by {signal.Signals(number).name}"))
