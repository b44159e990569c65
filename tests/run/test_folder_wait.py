"""Waiting for a folder that another run uses."""

import errno
import signal
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import pytest
from fakes import FakeClock

from venice_batch.errors import ExitCode, FolderError, FolderHeldError, StoppedWaitingError
from venice_batch.events import Waiting
from venice_batch.output.disk import Disk
from venice_batch.output.folder import unusable
from venice_batch.run.folder_wait import POLL_S, acquire_folder
from venice_batch.run.stop import Stop, StopSignal

OUT = Path("out")


class Turn:
    """A folder that is free from `free_at_s` on, and a run that wants it."""

    def __init__(self, clock, free_in_s=0.0):
        self.clock = clock
        self.free_at_s = clock.now() + free_in_s
        self.stop_signal = StopSignal()
        self.told = []
        self.holders = 0
        self.error = FolderHeldError(OUT, "process 7")

    @contextmanager
    def hold(self):
        if self.clock.now() < self.free_at_s:
            raise self.error
        self.holders += 1
        yield
        self.holders -= 1

    async def take(self, wait_s, *, handle_signals=False, observe=None):
        with ExitStack() as stack:
            await acquire_folder(
                stack,
                self.hold,
                wait_s=wait_s,
                clock=self.clock,
                stop_signal=self.stop_signal,
                observe=observe or self.told.append,
                handle_signals=handle_signals,
            )
            assert self.holders == 1
        assert self.holders == 0
        return self.clock.now() - self.clock.start_s


async def test_a_free_folder_is_taken_at_once():
    async with FakeClock() as clock:
        turn = Turn(clock)
        assert await turn.take(60) == 0
        assert turn.told == []


async def test_without_patience_a_held_folder_is_an_error_at_once():
    async with FakeClock() as clock:
        with pytest.raises(FolderHeldError):
            await Turn(clock, 1).take(0)
        assert clock.waits == []


async def test_a_held_folder_is_waited_for_and_taken_when_it_is_free():
    async with FakeClock() as clock:
        turn = Turn(clock, 90.5)
        assert 90.5 <= await turn.take(3600) <= 90.5 + POLL_S
        assert turn.told == [Waiting("out", "process 7", 3600)]
        assert len(clock.waits) == 91


async def test_patience_has_an_end():
    async with FakeClock() as clock:
        with pytest.raises(FolderHeldError):
            await Turn(clock, 100).take(9.5)
        assert clock.now() - clock.start_s == 9.5


async def test_a_folder_that_breaks_meanwhile_is_told_as_it_is():
    async with FakeClock() as clock:
        turn = Turn(clock, 100)

        def break_it(event):
            turn.error = unusable(OUT, OSError(errno.EROFS, "read-only"))

        with pytest.raises(FolderError, match="cannot write here"):
            await turn.take(9, observe=break_it)


async def test_a_stop_ends_the_waiting_with_its_own_exit_code():
    async with FakeClock() as clock:
        turn = Turn(clock, 100)
        async with anyio.create_task_group() as group:

            async def stop():
                await clock.wait(anyio.Event(), 5.5)
                turn.stop_signal.request(Stop(ExitCode.SIGTERM, "stopped by SIGTERM"))

            group.start_soon(stop)
            with pytest.raises(StoppedWaitingError, match="stopped by SIGTERM while waiting") as caught:
                await turn.take(60)
        assert caught.value.exit_code is ExitCode.SIGTERM
        assert clock.now() - clock.start_s == 5.5


async def test_a_signal_ends_the_waiting():
    async with FakeClock() as clock:
        turn = Turn(clock, 100)
        real, polls = clock.wait, []

        async def wait(event, timeout_s):
            polls.append(timeout_s)
            if len(polls) == 3:
                signal.raise_signal(signal.SIGINT)
                await event.wait()  # which the signal's stop sets
            else:
                await real(event, timeout_s)

        clock.wait = wait
        with pytest.raises(StoppedWaitingError) as caught:
            await turn.take(60, handle_signals=True)
        assert caught.value.exit_code is ExitCode.SIGINT
        assert len(polls) == 3


async def test_a_holder_that_may_be_dead_is_watched_without_patience_until_that_is_decided():
    async with FakeClock() as clock:
        turn = Turn(clock, free_in_s=3600)
        decided_s = clock.now() + 15
        with ExitStack() as stack, pytest.raises(FolderHeldError):
            await acquire_folder(
                stack,
                turn.hold,
                wait_s=0,
                clock=clock,
                stop_signal=turn.stop_signal,
                observe=turn.told.append,
                handle_signals=False,
                disk=Disk(),
                is_undecided=lambda: clock.now() < decided_s,
                undecided_s=60,
                poll_s=2,
            )
        assert 15 <= clock.now() - clock.start_s <= 17
        assert turn.told == [Waiting(str(OUT), "process 7", 60, may_be_dead=True)]
