"""Signals while a run listens to them, and after it."""

import os
import signal

import anyio
import pytest

from venice_batch.engine.signals import stop_on_signals
from venice_batch.engine.stop import StopSwitch
from venice_batch.errors import ExitCode


@pytest.fixture
def before():
    """Somebody who received all of these signals before; the numbers that came."""
    came = []
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in former:
        signal.signal(number, lambda number, frame: came.append(number))
    yield came
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signals_go_to_the_run_while_it_listens_and_then_to_whoever_had_them(before, number):
    switch = StopSwitch()
    async with anyio.create_task_group() as tasks:
        await tasks.start(stop_on_signals, switch, anyio.CancelScope())
        os.kill(os.getpid(), number)
        with anyio.fail_after(10):
            await switch.event.wait()
        assert not before
        tasks.cancel_scope.cancel()
    assert switch.stop.code is (ExitCode.SIGINT if number is signal.SIGINT else ExitCode.SIGTERM)
    os.kill(os.getpid(), number)
    assert before == [number]
