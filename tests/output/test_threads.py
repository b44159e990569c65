import asyncio
import gc
import threading
import weakref

import anyio
import pytest

from venice_batch.output.threads import BACKLOG, DiskThreads


def alive():
    return sum(thread.name == "disk" for thread in threading.enumerate())


async def test_a_call_comes_back_from_another_thread():
    assert await DiskThreads().run(threading.get_ident) != threading.get_ident()


async def test_what_a_call_raises_is_raised_where_it_was_asked_for():
    def fail():
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        await DiskThreads().run(fail)


async def test_one_thread_runs_calls_in_the_order_of_asking():
    threads, ran = DiskThreads(1), []
    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(threads.run, lambda number=number: ran.append(number))
    assert ran == list(range(50))


async def test_threads_are_added_while_calls_pile_up_and_no_more_than_allowed():
    threads, going = DiskThreads(2), threading.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(threads.run, lambda: going.wait(10))
        await anyio.lowlevel.checkpoint()
        assert threads.started == 1
        for _ in range(4 * BACKLOG):
            tasks.start_soon(threads.run, threading.get_ident)
        await anyio.lowlevel.checkpoint()
        assert threads.started == 2
        going.set()


async def test_cancellation_waits_until_the_call_is_over():
    begun, going, ended = threading.Event(), threading.Event(), []

    def call():
        begun.set()
        assert going.wait(10)
        ended.append(True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(DiskThreads().run, call)
        while not begun.is_set():
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
        going.set()
    assert ended == [True]


async def test_a_task_torn_away_leaves_the_others_their_results():
    threads, begun, going = DiskThreads(1), threading.Event(), threading.Event()

    def call():
        begun.set()
        assert going.wait(10)
        return 1

    torn, other = asyncio.ensure_future(threads.run(call)), asyncio.ensure_future(threads.run(call))
    while not begun.is_set():
        await anyio.lowlevel.checkpoint()
    torn.cancel()
    await anyio.lowlevel.checkpoint()
    going.set()
    assert await other == 1
    assert torn.cancelled()


async def test_idle_threads_keep_nothing_alive_and_end_with_their_owner():
    class Image(bytearray):
        pass

    threads, image = DiskThreads(), Image(b"x")
    gone = weakref.ref(image)
    await threads.run(lambda image=image: len(image))
    del image
    gc.collect()
    while gone() is not None:  # the thread lets go a moment after it has answered
        await anyio.lowlevel.checkpoint()
    before = alive()
    del threads
    gc.collect()
    with anyio.fail_after(10):
        while alive() >= before:
            await anyio.lowlevel.checkpoint()


def test_a_call_may_outlive_its_loop():
    begun, going, ended = threading.Event(), threading.Event(), threading.Event()
    threads = DiskThreads()

    def call():
        begun.set()
        going.wait(10)
        ended.set()

    async def ask():
        task = asyncio.ensure_future(threads.run(call))
        while not begun.is_set():
            await anyio.lowlevel.checkpoint()
        task.cancel()

    asyncio.run(ask())
    going.set()
    assert ended.wait(10)


async def test_nobody_waits_for_threads_that_are_abandoned():
    threads, begun, going = DiskThreads(1), threading.Event(), threading.Event()

    def stall():
        begun.set()
        assert going.wait(10)

    async def call():
        with pytest.raises(OSError, match="the disk does not answer"):
            await threads.run(stall)
        raised.append(True)

    raised = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        tasks.start_soon(call)
        while not begun.is_set():
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
        threads.abandon()
    assert raised == [True, True]
    await call()
    going.set()
