"""Calls that wait for the disk."""

import errno
import threading

import anyio
import anyio.lowlevel
import pytest

from venice_batch.output.disk import Disk, has_blocked_threads


async def test_a_call_comes_back_from_another_thread():
    assert await Disk().run(threading.get_ident) != threading.get_ident()


async def test_what_a_call_raises_is_raised_where_it_was_asked_for():
    with pytest.raises(ZeroDivisionError):
        await Disk().run(lambda: 1 // 0)


async def test_cancellation_waits_until_the_call_is_over():
    disk, going, begun, ended = Disk(), threading.Event(), threading.Event(), []

    def call():
        begun.set()
        ended.append(going.wait(10))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(disk.run, call)
        while not begun.is_set():
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
        for _ in range(5):
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
        assert not ended
        going.set()
    assert ended == [True]
    assert not has_blocked_threads()


async def none_blocked():
    with anyio.fail_after(10):
        while has_blocked_threads():
            await anyio.lowlevel.checkpoint()


async def test_nobody_waits_for_a_disk_that_is_abandoned():
    disk, going, errors = Disk(), threading.Event(), []

    async def ask():
        with pytest.raises(OSError, match="does not answer") as caught:
            await disk.run(lambda: going.wait(10))
        errors.append(caught.value.errno)

    async with anyio.create_task_group() as tasks:
        for _ in range(12):  # more than there are threads
            tasks.start_soon(ask)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        disk.abandon()
    await ask()
    assert errors == [errno.ETIMEDOUT] * 13
    assert disk.is_abandoned
    assert has_blocked_threads()
    going.set()
    await none_blocked()


async def test_a_question_is_given_up_when_cancelled():
    disk, going = Disk(), threading.Event()
    begun = threading.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(disk.ask, lambda: begun.set() or going.wait(10))
        while not begun.is_set():
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert has_blocked_threads()
    going.set()
    await none_blocked()
